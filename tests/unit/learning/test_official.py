"""The authors' .pth files become weights files of this program, or are refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.core.errors import DataError
from pipeline.learning.official import official_weights
from pipeline.learning.segmenter import Segmenter
from pipeline.sources.camvid import CAMVID_CLASSES
from tests.unit.learning.test_official_weights import official_forward, official_state

SMALL = Architecture(
    num_classes=11, num_blocks_2=2, num_blocks_3=3, widths=(8, 16, 32), reduction_3=8
)
CAMVID_BGR = (105.66, 103.33, 99.63)  # the means in the authors' dataset/camvid.py


def pth(saved: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(saved, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [True, False])
def test_the_shapes_tell_the_architecture(prefix: str, wrapped: bool) -> None:
    state = {f"{prefix}{key}": value for key, value in official_state(SMALL).items()}
    saved = {"epoch": 800, "model": state} if wrapped else state
    deployment = Segmenter.from_bytes(official_weights(pth(saved), quirk=True)).deployment

    assert deployment.architecture == SMALL
    assert deployment.class_names == CAMVID_CLASSES.names
    assert deployment.palette == CAMVID_CLASSES.palette


@pytest.mark.parametrize("quirk", [True, False])
def test_the_means_come_off_as_asked_and_nothing_is_divided_by(quirk: bool) -> None:
    """The authors measured blue, green, red and subtracted in that order from red, green, blue."""
    state = official_state(SMALL)
    segmenter = Segmenter.from_bytes(official_weights(pth({"model": state}), quirk=quirk))
    images = torch.randint(0, 256, (2, 24, 40, 3), generator=torch.Generator().manual_seed(3))
    mean = torch.tensor(CAMVID_BGR if quirk else CAMVID_BGR[::-1])
    logits = official_forward(state, (images - mean).permute(0, 3, 1, 2), SMALL)
    best = logits.topk(2, dim=1).values
    clear = (best[:, 0] - best[:, 1]) > 1e-2  # closer ones may fall either way

    labels = torch.from_numpy(segmenter.label(images.to(torch.uint8).numpy()))
    assert clear.float().mean() > 0.9
    assert torch.equal(labels[clear].long(), logits.argmax(dim=1)[clear])


class RunsCode:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as weights alone"):
        official_weights(pth({"model": RunsCode(tmp_path / "ran")}), quirk=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"garbage", "cannot be read"),
        (pth([1, 2]), "cannot be read"),
        (pth({"model": {}}), "holds no CGNet"),
        (pth({"classifier.0.conv.weight": 3}), "holds no CGNet"),
        (pth({"classifier.0.conv.weight": torch.zeros(11, 64, 1, 1)}), "holds no CGNet"),
    ],
)
def test_what_is_no_cgnet_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        official_weights(content, quirk=True)


def test_a_file_that_would_fill_the_memory_is_refused() -> None:
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pth({"model": torch.zeros(1 << 20)}))) as whole,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(DataError, match="its members are larger than the file"):
        official_weights(packed.getvalue(), quirk=True)

    state = official_state(SMALL)
    state["classifier.0.conv.weight"] = torch.zeros(1, 1, 1, 1).expand(10**4, 10**9, 1, 1)
    with pytest.raises(DataError, match="fewer bytes than such a network has weights"):
        official_weights(pth(state), quirk=True)


def test_a_missing_weight_is_named() -> None:
    state = official_state(SMALL)
    del state["bn_prelu_3.bn.weight"]

    with pytest.raises(DataError, match=r"holds no CGNet.*"):
        official_weights(pth(state), quirk=False)


def test_classes_that_were_never_published_are_refused() -> None:
    state = official_state(
        Architecture(**SMALL.to_dict() | {"num_classes": 5, "widths": (8, 16, 32)})
    )

    with pytest.raises(DataError, match="has 5 classes"):
        official_weights(pth(state), quirk=True)
