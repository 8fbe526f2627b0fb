"""Which pictures are meant, and that nothing written can replace one of them."""

from pathlib import Path

import pytest

from pipeline.core.errors import UsageError
from pipeline.sources.collection import plan_outputs


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_a_folder_gives_its_pictures_with_their_paths_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "in/b.JPG", "in/a.png", "in/deep/a.webp", "in/notes.txt", "in/._a.png")

    plan = plan_outputs([tmp_path / "in"], tmp_path / "out")
    assert {p.relative_to(tmp_path / "in").as_posix(): stem for p, stem in plan.items()} == {
        "a.png": "a",
        "b.JPG": "b",
        "deep/a.webp": "deep/a",
    }


def test_a_picture_goes_by_its_name_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "x.tiff")

    assert plan_outputs([tmp_path / "x.tiff"], tmp_path / "out") == {tmp_path / "x.tiff": "x"}


def test_what_an_earlier_call_wrote_into_the_folder_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/out/a.ids.png", "in/out/a.overlay.png")

    assert list(plan_outputs([tmp_path / "in"], tmp_path / "in" / "out").values()) == ["a"]


def test_a_picture_given_twice_is_labelled_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")

    assert len(plan_outputs([tmp_path / "a.png", tmp_path / "a.png"], tmp_path / "out")) == 1


@pytest.mark.parametrize("output", [".", "..", "link"])
def test_a_picture_in_the_folder_to_write_to_is_refused(tmp_path: Path, output: str) -> None:
    touch(tmp_path, "in/a.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in")

    with pytest.raises(UsageError, match="choose another --output"):
        plan_outputs([tmp_path / "in" / "a.png"], tmp_path / "in" / output)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "no picture is given"),
        (["missing.png"], "there is no picture"),
        (["empty"], "holds no picture"),
        (["in"], "holds no picture to label"),
        (["x/a.png", "y/a.jpg"], "would both be written as a"),
    ],
)
def test_what_cannot_be_labelled_is_told(tmp_path: Path, given: list[str], said: str) -> None:
    touch(tmp_path, "in/a.png", "x/a.png", "y/a.jpg")
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=said):
        plan_outputs([tmp_path / name for name in given], tmp_path / "in")
