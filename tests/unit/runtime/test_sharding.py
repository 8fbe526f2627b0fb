"""Shards: the same bytes every time, readable by WebDataset, honest about what is in them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from pipeline.core.errors import DataError
from pipeline.core.manifest import ClassTable, DatasetInfo
from pipeline.learning.dataset import open_dataset
from pipeline.learning.folder import write_bytes
from pipeline.learning.records import write_records
from pipeline.runtime.sharding import SAMPLES_PER_SHARD, describe, plan_shards
from pipeline.runtime.shards import write_shard
from pipeline.runtime.storage import open_folder
from pipeline.sources.source import LabelledImage
from pipeline.sources.streets.source import Streets

CLASSES = ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), ignore_index=255)


@dataclass(frozen=True)
class Squares:
    """Pictures of one grey; the label says which half of the greys, its first row nothing."""

    sizes: tuple[tuple[int, int], ...] = ((8, 16),)
    num_train: int = 3
    name: str = "squares"
    classes: ClassTable = CLASSES

    def keys(self) -> Mapping[str, Sequence[str]]:
        return {"train": [f"{i:03d}" for i in range(self.num_train)], "val": ["000"]}

    def fingerprint(self) -> str:
        return f"{self.sizes} {self.num_train}"

    def read(self, split: str, key: str) -> LabelledImage:
        grey = 200 if split == "val" else 100 * (int(key) % 2)
        size = self.sizes[int(key) % len(self.sizes)]
        label = np.full(size, grey // 100 > 0, dtype=np.uint8)
        label[0] = 255
        return LabelledImage(np.full((*size, 3), grey, dtype=np.uint8), label)


def write(source: Squares, folder: Path, size: tuple[int, int] | None = None) -> DatasetInfo:
    """Write a data set without a cluster, shard by shard."""
    root = open_folder(str(folder))
    results = [write_shard(source, shard, root, size) for shard in plan_shards(source, "gen")]
    records = [record for result in results for record in result.records]
    info = describe(source, source.name, "gen", records, results)
    write_bytes(root, "gen/manifest.parquet", write_records(records))
    write_bytes(root, "dataset.json", info.to_json().encode())
    return info


def test_what_is_written_is_what_a_training_reads(tmp_path: Path) -> None:
    source = Squares()
    write(source, tmp_path)
    split = open_dataset(open_folder(str(tmp_path))).split("train")

    assert len(split) == 3
    for index, key in enumerate(source.keys()["train"]):
        image, label = split[index]
        np.testing.assert_array_equal(image.permute(1, 2, 0), source.read("train", key).image_HWC)
        np.testing.assert_array_equal(label, source.read("train", key).label_HW)


def test_the_same_source_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(Squares(), tmp_path / name)
    files = [
        {p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")}
        for n in ("a", "b")
    ]

    assert files[0] == files[1]
    assert {path.name for path in files[0]} == {
        "dataset.json",
        "manifest.parquet",
        "train-000000.tar",
        "val-000000.tar",
    }


def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    source = Squares()
    write(source, tmp_path)
    tar = str(tmp_path / "gen" / "train-000000.tar")
    samples = list(webdataset.WebDataset(tar, shardshuffle=False))

    assert [sample["__key__"] for sample in samples] == ["000", "001", "002"]
    with Image.open(io.BytesIO(samples[1]["image.png"])) as image:
        np.testing.assert_array_equal(image, source.read("train", "001").image_HWC)
    with Image.open(io.BytesIO(samples[1]["label.png"])) as label:
        np.testing.assert_array_equal(label, source.read("train", "001").label_HW)


def test_statistics_are_of_the_train_split_alone(tmp_path: Path) -> None:
    info = write(Squares(num_train=4), tmp_path)

    assert info.mean == (50.0, 50.0, 50.0)
    assert info.std == (50.0, 50.0, 50.0)
    assert info.class_weights == pytest.approx([1 / np.log(1.6)] * 2)
    assert info.num_samples == {"train": 4, "val": 1}


def test_unlabelled_pixels_are_counted_apart(tmp_path: Path) -> None:
    write(Squares(), tmp_path)
    record = open_dataset(open_folder(str(tmp_path))).records[1]

    assert record.class_pixels == (0, 7 * 16, 16)


def test_pictures_of_several_sizes_need_a_size_to_share(tmp_path: Path) -> None:
    mixed = Squares(sizes=((8, 16), (16, 16)))

    with pytest.raises(DataError, match="2 sizes, from 8x16 to 16x16"):
        write(mixed, tmp_path / "a")
    assert write(mixed, tmp_path / "b", size=(8, 8)).image_size == (8, 8)


def test_resizing_invents_no_label(tmp_path: Path) -> None:
    write(replace(Squares(), sizes=((9, 15),)), tmp_path, size=(6, 11))
    split = open_dataset(open_folder(str(tmp_path))).split("train")

    for image, label in (split[i] for i in range(3)):
        assert tuple(image.shape) == (3, 6, 11)
        assert set(label.unique().tolist()) <= {0, 1, 255}


def test_a_long_split_is_cut_into_shards_of_equal_length() -> None:
    shards = plan_shards(Streets(num_train=SAMPLES_PER_SHARD + 1, num_val=1), "gen")

    assert [(s.path, len(s.keys)) for s in shards] == [
        ("gen/train-000000.tar", SAMPLES_PER_SHARD),
        ("gen/train-000001.tar", 1),
        ("gen/val-000000.tar", 1),
    ]
