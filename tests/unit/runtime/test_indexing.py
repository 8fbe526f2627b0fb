"""Tars as others write them become a data set where they are, or are refused by tar and sample."""

import hashlib
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.layout import Layout
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.learning.dataset import open_dataset
from pipeline.runtime.indexing import ids_as_stored, index_dataset
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import in_process
from pipeline.runtime.verification import verify_dataset
from pipeline.sources.classes import MaskClasses
from pipeline.sources.source import Source

CLASSES = ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), ignore_index=255)
Member = tuple[str, bytes]


def index(folder: Path) -> DatasetInfo:
    return index_dataset(str(folder), "mine", CLASSES, run=in_process)


def picture(grey: int = 90, size: tuple[int, int] = (8, 16), form: str = "png") -> bytes:
    return encoded(Image.new("RGB", size[::-1], (grey,) * 3), form)


def label(value: int = 1, size: tuple[int, int] = (8, 16), mode: str = "L") -> bytes:
    image = Image.new(mode, size[::-1], value)
    if mode == "P":
        image.putpalette([0, 0, 0, 128, 0, 0])
    return encoded(image, "png")


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def write_tar(path: Path, members: Sequence[Member]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), 1.5
            tar.addfile(member, io.BytesIO(content))


def sample(key: str, grey: int = 90) -> list[Member]:
    return [(f"{key}.jpg", picture(grey, form="jpeg")), (f"{key}.png", label())]


def test_tars_of_plain_tarfile_are_read_by_a_training(tmp_path: Path) -> None:
    """With folders in the tar, long names, other members, and the two layouts mixed."""
    long = "street/" + "x" * 120
    write_tar(tmp_path / "train" / "b.tar", sample("b", 30))
    write_tar(
        tmp_path / "train-0001.tar",
        [
            (f"{long}.seg.png", label(255)),
            (f"{long}.json", b"{}"),
            (f"{long}.webp.txt", b"no picture"),
            (f"{long}.png", picture(60)),
            ("__info__", b"no sample"),
        ],
    )
    write_tar(tmp_path / "val-0000.tar", [("a.png", picture()), ("a.mask.png", label(0))])
    write_tar(tmp_path / "old-0000.tar", sample("left out"))
    write_tar(tmp_path / "train" / "b.tar", [("b.png", picture(30)), ("b.annot.png", label())])
    tars = {path: path.read_bytes() for path in tmp_path.rglob("*.tar")}
    info = index(tmp_path)
    dataset = open_dataset(open_folder(str(tmp_path)))

    assert info.num_samples == {"train": 2, "val": 1}
    assert [r.key for r in dataset.records] == [long, "b", "a"]
    train = dataset.split("train")
    assert [int(train[i][0][0, 0, 0]) for i in range(2)] == [60, 30]
    assert [int(train[i][1][0, 0]) for i in range(2)] == [255, 1]
    assert info.mean == (45.0,) * 3
    assert info.std == (15.0,) * 3
    assert info.class_pixels == (0, 128)
    assert tars == {path: path.read_bytes() for path in tmp_path.rglob("*.tar")}
    assert {p.name for p in tmp_path.iterdir() if p.suffix != ".tar"} == {
        "train",
        "dataset.json",
        info.generation,
    }
    assert index(tmp_path) == info


def test_tars_of_webdataset_give_the_bytes_and_hashes_that_are_there(tmp_path: Path) -> None:
    image, ids = picture(form="jpeg"), label(mode="P")
    with webdataset.TarWriter(str(tmp_path / "train-0.tar")) as tar:
        for key in ("a", "b"):
            tar.write({"__key__": key, "jpg": image, "png": ids, "json": {"n": 1}})
    info = index(tmp_path)
    first, second = open_dataset(open_folder(str(tmp_path))).records
    content = (tmp_path / "train-0.tar").read_bytes()

    assert info.image_encoding == "jpeg"
    for record in (first, second):
        image_end = record.image_offset + record.image_bytes
        assert content[record.image_offset : image_end] == image
        assert content[record.label_offset : record.label_offset + record.label_bytes] == ids
        assert record.sha256 == hashlib.sha256(image + ids).hexdigest()
        assert record.class_pixels == (0, 128, 0)
    assert verify_dataset(str(tmp_path), run=in_process).num_wrong == 0


def test_our_own_shards_taken_in_elsewhere_are_the_same_data_set(
    squares: type[Source], tmp_path: Path
) -> None:
    made = shard_dataset(squares(), "x", str(tmp_path / "a"), Layout(), run=in_process)
    (tmp_path / "b").mkdir()
    for tar in (tmp_path / "a" / made.generation).glob("*.tar"):
        tar.rename(tmp_path / "b" / tar.name)
    taken = index(tmp_path / "b")

    assert taken.fingerprint == made.fingerprint
    assert (taken.mean, taken.std, taken.class_weights) == (
        made.mean,
        made.std,
        made.class_weights,
    )


def test_another_name_is_another_data_set(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", sample("a"))
    index(tmp_path)

    assert index_dataset(str(tmp_path), "yours", CLASSES, run=in_process).name == "yours"


def test_a_tar_that_changed_makes_another_generation(tmp_path: Path) -> None:
    write_tar(tmp_path / "train-0.tar", sample("a"))
    first = index(tmp_path)
    write_tar(tmp_path / "train-0.tar", sample("a") + sample("b"))
    second = index(tmp_path)

    assert second.num_samples == {"train": 2}
    assert not (tmp_path / first.generation).exists()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("a.jpg", picture(form="jpeg"))], "sample 'a' has jpg; wanted one picture and one label"),
        ([("a.png", label())], "sample 'a' has png; wanted"),
        ([("a.json", b"{}")], "sample 'a' has no picture; wanted"),
        ([("a.png", picture()), ("a.depth.png", label())], "'a' has png, depth.png; wanted"),
        ([*sample("a"), ("a.mask.png", label())], "'a' has jpg, png, mask.png; wanted"),
        ([("a.seg.png", label()), ("a.mask.png", label())], "'a' has seg.png, mask.png; wanted"),
        ([*sample("a"), *sample("b"), *sample("a")], "holds the sample 'a' twice"),
        ([("a.png", picture()), ("a.mask.jpg", picture(form="jpeg"))], "a.mask.jpg is no PNG"),
        ([("a.jpg", picture()[:-30]), ("a.png", label())], "a.jpg is damaged"),
        ([("a.jpg", label()), ("a.png", label())], "a.jpg has the pixel format L, wanted RGB"),
        ([("a.jpg", picture()), ("a.png", picture())], "a.png has the pixel format RGB, wanted L"),
        (
            [("a.jpg", picture()), ("a.png", label(7))],
            "a.png holds the label 7, wanted 0..1, or 255",
        ),
        ([("a.jpg", picture()), ("a.png", label(size=(8, 8)))], "a.png is 8x8, its picture 8x16"),
        ([*sample("a"), ("b.png", picture()), ("b.seg.png", label())], "holds jpeg and png"),
        ([("../a.jpg", picture())], "'../a.jpg' has a name that leads out of the tar"),
        ([], "holds no samples"),
    ],
)
def test_what_cannot_be_taken_in_names_tar_and_sample(
    tmp_path: Path, members: list[Member], said: str
) -> None:
    write_tar(tmp_path / "train-0.tar", members)

    with pytest.raises(DataError) as caught:
        index(tmp_path)
    assert str(caught.value).startswith("train-0.tar")
    assert said in str(caught.value)
    assert not (tmp_path / "dataset.json").exists()


def test_a_folder_without_tars_is_told_how_to_name_them(tmp_path: Path) -> None:
    write_tar(tmp_path / "shard-0.tar", sample("a"))

    with pytest.raises(DataError, match=r"holds no tars named train-\*\.tar or train/\*\.tar"):
        index(tmp_path)


def test_a_picture_too_large_to_decode_is_refused(tmp_path: Path) -> None:
    bomb = encoded(Image.new("L", (9000, 9000)), "png")
    write_tar(tmp_path / "train-0.tar", [("a.jpg", picture()), ("a.png", bomb)])

    with pytest.raises(DataError, match=r"train-0\.tar: a\.png has more than 64 megapixels"):
        index(tmp_path)


def test_masks_with_other_values_than_ids_are_not_taken_in() -> None:
    stored = MaskClasses("mine", CLASSES, (0, 1), 255, ())

    assert ids_as_stored(stored) == CLASSES
    with pytest.raises(DataError, match=r"classes of mine have ids \(3, 1\) and 255 to ignore"):
        ids_as_stored(MaskClasses("mine", CLASSES, (3, 1), 255, ()))
    with pytest.raises(DataError, match="and 9 to ignore"):
        ids_as_stored(MaskClasses("mine", CLASSES, (0, 1), 9, ()))


def test_a_label_is_the_png_beside_another_format_in_any_order(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "train-0.tar",
        [("a.PNG", label()), ("a.webp", picture(form="webp")), *sample("c")[:0]],
    )
    info = index(tmp_path)

    assert info.image_encoding == "webp"
    np.testing.assert_array_equal(info.class_pixels, (0, 128))
