"""Data sets by name."""

import pickle
from pathlib import Path

import pytest

from pipeline.core.errors import DataError, UsageError
from pipeline.sources.camvid import CamVid
from pipeline.sources.cityscapes import Cityscapes
from pipeline.sources.classes import read_classes
from pipeline.sources.folder import PlainFolder
from pipeline.sources.registry import SOURCES, SourceRequest, open_source
from pipeline.sources.streets.source import Streets


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "classes.toml"
    path.write_text('name = "rooms"\n[[classes]]\nname = "floor"\ncolour = [1, 2, 3]\n')
    return path


@pytest.fixture
def requests(tmp_path: Path, classes: Path) -> dict[str, SourceRequest]:
    return {
        "camvid": SourceRequest("camvid", tmp_path),
        "cityscapes": SourceRequest("cityscapes", tmp_path),
        "folder": SourceRequest("folder", tmp_path, classes, 0.25),
        "streets": SourceRequest("streets"),
    }


def test_each_name_opens_its_source(
    requests: dict[str, SourceRequest], tmp_path: Path, classes: Path
) -> None:
    assert {name: open_source(request) for name, request in requests.items()} == {
        "camvid": CamVid(tmp_path),
        "cityscapes": Cityscapes(tmp_path),
        "folder": PlainFolder(tmp_path, read_classes(classes), 0.25),
        "streets": Streets(),
    }
    assert requests.keys() == SOURCES.keys()


def test_a_source_bears_the_name_it_is_opened_by_but_a_folder_its_own(
    requests: dict[str, SourceRequest],
) -> None:
    names = {name: open_source(request).name for name, request in requests.items()}

    assert names == {name: name for name in SOURCES} | {"folder": "rooms"}


def test_sources_can_be_sent_to_other_processes(requests: dict[str, SourceRequest]) -> None:
    for source in map(open_source, requests.values()):
        assert source == pickle.loads(pickle.dumps(source))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (SourceRequest("streets", Path("x")), "streets does not go with --source, got x: leave"),
        (SourceRequest("streets", classes=Path("x")), "streets does not go with --classes"),
        (SourceRequest("camvid", Path("x"), Path("y")), "camvid does not go with --classes, got y"),
        (SourceRequest("cityscapes", Path("x"), val_fraction=0.2), "--val-fraction, got 0.2"),
        (SourceRequest("camvid"), "camvid needs --source DIR"),
        (SourceRequest("cityscapes"), "cityscapes needs --source DIR"),
        (SourceRequest("folder", classes=Path("y")), "folder needs --source DIR"),
        (SourceRequest("folder", Path("x")), "folder needs .* --classes FILE"),
        (SourceRequest("kitti"), "'kitti': use one of camvid, cityscapes, folder, streets"),
    ],
)
def test_what_a_source_does_not_want_or_lacks_is_told(request_: SourceRequest, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_source(request_)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 20.0, float("nan")])
def test_a_fraction_that_leaves_a_split_empty_is_refused(
    tmp_path: Path, classes: Path, fraction: float
) -> None:
    with pytest.raises(UsageError, match="wanted between 0 and 1, such as"):
        open_source(SourceRequest("folder", tmp_path, classes, fraction))


def test_a_folder_cannot_pass_for_another_kind(tmp_path: Path, classes: Path) -> None:
    classes.write_text(classes.read_text().replace("rooms", "streets"))

    with pytest.raises(DataError, match="'streets', which is another kind's name"):
        open_source(SourceRequest("folder", tmp_path, classes))
