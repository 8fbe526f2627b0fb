"""Reading a sharded data set through its manifest, never through what a tar says of itself.

Members are found by the byte ranges in the manifest, checked against its sha256 and decoded as PNG
only: a shard cannot make the reader run code or write files.
"""

import hashlib
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from pipeline.core.config import DataConfig
from pipeline.core.errors import DataError
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE, DatasetInfo, SampleRecord
from pipeline.learning.folder import Folder, folder_uri, read_bytes
from pipeline.learning.records import Records, read_records

MEMORY_LIMIT_BYTES = 4 << 30  # decoded pictures of one split that a worker keeps


@dataclass(frozen=True)
class Dataset:
    """An opened data set: its description, its manifest and the folder of its shards."""

    folder: Folder
    info: DatasetInfo
    records: Records

    def split(self, name: str) -> "Split":
        """Return the samples of one split, in stored order.

        Raises:
            DataError: the split has no samples.
        """
        records = self.records.of_split(name)
        if not records:
            raise DataError(f"the data set in {folder_uri(self.folder)} has no {name} split")
        return Split(self.folder, records, self.info.image_size)


class Split:
    """The samples of one split, each as uint8 tensors (3, H, W) and (H, W).

    A split that fits into memory is read once, shard by shard, and kept decoded. A larger one is
    read sample by sample.
    """

    def __init__(
        self,
        folder: Folder,
        records: Sequence[SampleRecord],
        image_size: tuple[int, int],
        memory_limit: int = MEMORY_LIMIT_BYTES,
    ) -> None:
        self.records = records
        self._folder = folder
        height, width = image_size
        self._kept: list[tuple[Tensor, Tensor]] | None = None
        if len(records) * height * width * 4 <= memory_limit:
            self._kept = self._read_all()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self._kept is not None:
            return self._kept[index]
        record = self.records[index]
        try:
            with self._folder.open_input_file(record.shard) as shard:
                image = shard.read_at(record.image_bytes, record.image_offset)
                label = shard.read_at(record.label_bytes, record.label_offset)
        except FileNotFoundError as cause:
            raise DataError(
                f"{record.shard} is missing in {folder_uri(self._folder)}: preprocess again"
            ) from cause
        return _decode(record, image, label)

    def _read_all(self) -> list[tuple[Tensor, Tensor]]:
        by_shard: dict[str, list[int]] = defaultdict(list)
        for index, record in enumerate(self.records):
            by_shard[record.shard].append(index)
        samples: dict[int, tuple[Tensor, Tensor]] = {}
        for shard, indices in by_shard.items():
            content = memoryview(read_bytes(self._folder, shard))
            for index in indices:
                samples[index] = _decode_from(self.records[index], content)
        return [samples[index] for index in range(len(self.records))]


def _decode_from(record: SampleRecord, shard: memoryview) -> tuple[Tensor, Tensor]:
    image = shard[record.image_offset : record.image_offset + record.image_bytes]
    label = shard[record.label_offset : record.label_offset + record.label_bytes]
    return _decode(record, bytes(image), bytes(label))


def _decode(record: SampleRecord, image: bytes, label: bytes) -> tuple[Tensor, Tensor]:
    if hashlib.sha256(image + label).hexdigest() != record.sha256:
        raise DataError(
            f"sample {record.key} in {record.shard} is damaged (sha256 differs): preprocess again"
        )
    image_HWC = _decode_png(record, image, "RGB")
    label_HW = _decode_png(record, label, "L")
    return torch.from_numpy(image_HWC).permute(2, 0, 1).contiguous(), torch.from_numpy(label_HW)


def _decode_png(record: SampleRecord, content: bytes, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if (picture.height, picture.width, picture.mode) != (record.height, record.width, mode):
                raise DataError(
                    f"sample {record.key} in {record.shard} is {picture.mode} "
                    f"{picture.height}x{picture.width}, its manifest says {mode} "
                    f"{record.height}x{record.width}: preprocess again"
                )
            return np.array(picture)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as cause:
        raise DataError(f"sample {record.key} in {record.shard} is no PNG: {cause}") from cause


def open_dataset(folder: Folder, expected: DataConfig | None = None) -> Dataset:
    """Open the data set in a folder.

    Args:
        folder: where ``dataset.json`` is.
        expected: what a training was planned on; None takes whatever is there.

    Raises:
        DataError: there is no data set, it cannot be read, or it is not the expected one.
    """
    info = DatasetInfo.from_json(read_bytes(folder, DATASET_FILE))
    if expected is not None and info.fingerprint != expected.fingerprint:
        raise DataError(
            f"the data set at {expected.uri} has changed: it is {info.fingerprint}, this training "
            f"was planned on {expected.fingerprint}; choose a new --name to search on the new data"
        )
    content = read_bytes(folder, f"{info.generation}/{MANIFEST_FILE}")
    return Dataset(folder, info, read_records(content))
