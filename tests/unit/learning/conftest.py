"""A small labelled data set as it lies on disk, written without the code that writes real ones."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from pipeline.core.manifest import (
    DATASET_FILE,
    MANIFEST_FILE,
    ClassTable,
    DatasetInfo,
    SampleRecord,
    class_weights,
)
from pipeline.learning.dataset import Dataset, open_dataset
from pipeline.learning.folder import Folder
from pipeline.learning.records import write_records

SIZE = (32, 32)
IGNORE = 255
CLASSES = ClassTable(
    names=("ground", "wall", "sky"),
    palette=((200, 40, 40), (40, 200, 40), (40, 40, 200)),
    ignore_index=IGNORE,
)
FINGERPRINT = "f00dcafe42"
SAMPLES_PER_SHARD = 4

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # picture (H, W, 3) and label (H, W)


@dataclass(frozen=True)
class WrittenDataset:
    """A data set on disk and what was put into it."""

    root: Path
    folder: Folder
    info: DatasetInfo
    records: tuple[SampleRecord, ...]
    samples: dict[str, list[Sample]]

    def open(self) -> Dataset:
        return open_dataset(self.folder)

    def records_of(self, split: str) -> tuple[SampleRecord, ...]:
        return tuple(record for record in self.records if record.split == split)


def make_folder(path: Path) -> Folder:
    path.mkdir(parents=True, exist_ok=True)
    return SubTreeFileSystem(str(path), LocalFileSystem())


def draw_sample(chance: np.random.Generator) -> Sample:
    """Return a patchwork of classes in their palette's colours, with noise and ignored pixels."""
    patches = chance.integers(0, CLASSES.num_classes, (4, 4), dtype=np.uint8)
    label = patches.repeat(SIZE[0] // 4, axis=0).repeat(SIZE[1] // 4, axis=1)
    picture = np.array(CLASSES.palette)[label] + chance.integers(-30, 31, (*SIZE, 3))
    label[:2, chance.integers(SIZE[1]) :] = IGNORE
    return picture.astype(np.uint8), label


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def write_shard(
    path: Path, shard: str, split: str, samples: dict[str, Sample]
) -> list[SampleRecord]:
    contents = {key: (png(image), png(label)) for key, (image, label) in samples.items()}
    with tarfile.open(path / shard, "w") as tar:
        for key, pair in contents.items():
            for suffix, content in zip(("png", "label.png"), pair, strict=True):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    with tarfile.open(path / shard) as tar:
        offsets = {member.name: member.offset_data for member in tar}
    return [
        SampleRecord(
            key=key,
            split=split,
            shard=shard,
            image_offset=offsets[f"{key}.png"],
            image_bytes=len(contents[key][0]),
            label_offset=offsets[f"{key}.label.png"],
            label_bytes=len(contents[key][1]),
            height=SIZE[0],
            width=SIZE[1],
            class_pixels=count_pixels(label),
            sha256=hashlib.sha256(b"".join(contents[key])).hexdigest(),
        )
        for key, (_, label) in samples.items()
    ]


def count_pixels(label: NDArray[np.uint8]) -> tuple[int, ...]:
    return tuple(int((label == value).sum()) for value in (*range(CLASSES.num_classes), IGNORE))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """On tensors this small a second thread only waits, longest where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder_at() -> Callable[[Path], Folder]:
    """Return what makes a folder of a path."""
    return make_folder


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., WrittenDataset]:
    """Return what writes a data set of given split sizes into a path."""

    def write(root: Path, train: int = 10, val: int = 3) -> WrittenDataset:
        folder = make_folder(root)
        (root / FINGERPRINT).mkdir()
        chance = np.random.default_rng(7)
        samples: dict[str, list[Sample]] = {}
        records: list[SampleRecord] = []
        for split, count in (("train", train), ("val", val)):
            samples[split] = [draw_sample(chance) for _ in range(count)]
            for start in range(0, count, SAMPLES_PER_SHARD):
                chunk = {
                    f"{split}-{start + i}": sample
                    for i, sample in enumerate(samples[split][start : start + SAMPLES_PER_SHARD])
                }
                shard = f"{FINGERPRINT}/{split}-{start // SAMPLES_PER_SHARD:06d}.tar"
                records += write_shard(root, shard, split, chunk)
        pixels = np.sum([record.class_pixels for record in records], axis=0)
        info = DatasetInfo(
            name="patchwork",
            fingerprint=FINGERPRINT,
            generation=FINGERPRINT,
            classes=CLASSES,
            num_samples={"train": train, "val": val},
            image_size=SIZE,
            mean=(93.0, 94.0, 95.0),
            std=(77.0, 78.0, 79.0),
            class_pixels=tuple(pixels[:-1].tolist()),
            class_weights=class_weights(pixels[:-1].tolist()),
        )
        (root / FINGERPRINT / MANIFEST_FILE).write_bytes(write_records(records))
        (root / DATASET_FILE).write_text(info.to_json())
        return WrittenDataset(root, folder, info, tuple(records), samples)

    return write
