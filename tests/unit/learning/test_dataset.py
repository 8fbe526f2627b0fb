"""Samples come back as they were stored, or not at all."""

import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.core.config import DataConfig
from pipeline.core.errors import DataError
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE, SampleRecord
from pipeline.learning.dataset import Split, open_dataset
from pipeline.learning.records import read_records, write_records

Written = Any  # the value that the write_dataset fixture gives
KEEP, LAZY = 1 << 30, 0
both_ways = pytest.mark.parametrize("memory_limit", [KEEP, LAZY], ids=["kept", "lazy"])


@pytest.fixture
def written(tmp_path: Path, write_dataset: Callable[..., Written]) -> Written:
    return write_dataset(tmp_path, train=6, val=2)


def read_one(written: Written, record: SampleRecord, memory_limit: int) -> Any:
    return Split(written.folder, (record,), (record.height, record.width), memory_limit)[0]


def stored_anew(
    written: Written, record: SampleRecord, image: bytes | None = None, label: bytes | None = None
) -> SampleRecord:
    """Append other bytes for a sample to its shard; return the record that points to them."""
    path = written.root / record.shard
    shard = path.read_bytes()
    image = image or shard[record.image_offset :][: record.image_bytes]
    label = label or shard[record.label_offset :][: record.label_bytes]
    path.write_bytes(shard + image + label)
    return replace(
        record,
        image_offset=len(shard),
        image_bytes=len(image),
        label_offset=len(shard) + len(image),
        label_bytes=len(label),
        sha256=hashlib.sha256(image + label).hexdigest(),
    )


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


@both_ways
@pytest.mark.parametrize("name", ["train", "val"])
def test_samples_read_back_as_they_were_written(
    written: Written, name: str, memory_limit: int
) -> None:
    records, size = written.records_of(name), written.info.image_size
    split = Split(written.folder, records, size, memory_limit)

    assert len(split) == len(written.samples[name])
    for index, (image_HWC, label_HW) in enumerate(written.samples[name]):
        image, label = split[index]
        np.testing.assert_array_equal(image.numpy(), image_HWC.transpose(2, 0, 1))
        np.testing.assert_array_equal(label.numpy(), label_HW)


@both_ways
def test_samples_are_bytes_in_channels_first_order(written: Written, memory_limit: int) -> None:
    image, label = read_one(written, written.records[0], memory_limit)

    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (3, *written.info.image_size))
    assert (label.dtype, tuple(label.shape)) == (torch.uint8, written.info.image_size)
    assert image.is_contiguous()


@both_ways
def test_samples_come_in_the_order_of_the_records_whatever_their_shards(
    written: Written, memory_limit: int
) -> None:
    order = (5, 0, 4, 1)  # shards of four: back and forth between two
    records = tuple(written.records_of("train")[i] for i in order)
    split = Split(written.folder, records, written.info.image_size, memory_limit)

    for index, stored in enumerate(order):
        _, label_HW = written.samples["train"][stored]
        np.testing.assert_array_equal(split[index][1].numpy(), label_HW)


def test_a_kept_split_needs_its_shards_no_longer(written: Written) -> None:
    split = written.open().split("val")
    (written.root / split.records[0].shard).unlink()

    np.testing.assert_array_equal(split[1][1].numpy(), written.samples["val"][1][1])


def test_an_opened_data_set_knows_what_was_written(written: Written) -> None:
    dataset = open_dataset(written.folder)

    assert (dataset.info, dataset.records) == (written.info, written.records)


def test_the_expected_data_set_opens(written: Written) -> None:
    expected = DataConfig("file:///data", written.info.fingerprint)

    assert open_dataset(written.folder, expected).info == written.info


def test_a_data_set_that_changed_is_refused_by_both_fingerprints(written: Written) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(written.folder, DataConfig("s3://data/patchwork", "0ther"))

    message = str(caught.value)
    assert all(w in message for w in ("s3://data/patchwork", "0ther", written.info.fingerprint))


def test_a_split_that_is_not_there_is_refused_by_name(written: Written) -> None:
    with pytest.raises(DataError, match="no test split"):
        written.open().split("test")


@both_ways
@pytest.mark.parametrize("part", ["image", "label"])
@pytest.mark.parametrize("position", [0, 0.5, 1])
def test_a_flipped_byte_is_reported_with_its_sample(
    written: Written, part: str, position: float, memory_limit: int
) -> None:
    record = written.records[1]
    path = written.root / record.shard
    content = bytearray(path.read_bytes())
    length = getattr(record, f"{part}_bytes")
    content[getattr(record, f"{part}_offset") + int(position * (length - 1))] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=f"sample {record.key} in {record.shard} is damaged"):
        read_one(written, record, memory_limit)


@both_ways
def test_damage_to_one_sample_leaves_its_neighbour_readable(
    written: Written, memory_limit: int
) -> None:
    damaged, sound = written.records[0], written.records[1]
    path = written.root / damaged.shard
    content = bytearray(path.read_bytes())
    content[damaged.image_offset] ^= 0xFF
    path.write_bytes(content)

    _, label = read_one(written, sound, memory_limit)
    np.testing.assert_array_equal(label.numpy(), written.samples["train"][1][1])


@both_ways
def test_a_cut_off_shard_is_reported_with_the_sample(written: Written, memory_limit: int) -> None:
    record = written.records_of("val")[-1]
    path = written.root / record.shard
    path.write_bytes(path.read_bytes()[: record.label_offset + record.label_bytes - 1])

    with pytest.raises(DataError, match=record.key):
        read_one(written, record, memory_limit)


@pytest.mark.parametrize(
    "memory_limit",
    [
        pytest.param(KEEP, id="kept"),
        pytest.param(LAZY, id="lazy"),
    ],
)
def test_a_missing_shard_is_reported_by_name(written: Written, memory_limit: int) -> None:
    record = written.records[0]
    (written.root / record.shard).unlink()

    with pytest.raises(DataError, match=record.shard):
        read_one(written, record, memory_limit)


@both_ways
def test_a_picture_of_another_size_is_refused_with_both_sizes(
    written: Written, memory_limit: int
) -> None:
    record = stored_anew(written, written.records[0], image=encoded(Image.new("RGB", (31, 32))))

    with pytest.raises(DataError, match=f"{record.key} .* RGB 32x31, its manifest says RGB 32x32"):
        read_one(written, record, memory_limit)


@both_ways
def test_a_label_of_another_size_is_refused_with_both_sizes(
    written: Written, memory_limit: int
) -> None:
    record = stored_anew(written, written.records[0], label=encoded(Image.new("L", (32, 33))))

    with pytest.raises(DataError, match=f"{record.key} .* L 33x32, its manifest says L 32x32"):
        read_one(written, record, memory_limit)


@both_ways
@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_a_picture_that_is_not_rgb_is_refused(
    written: Written, mode: str, memory_limit: int
) -> None:
    record = stored_anew(written, written.records[0], image=encoded(Image.new(mode, (32, 32))))

    with pytest.raises(DataError, match=f"is {mode} 32x32, its manifest says RGB"):
        read_one(written, record, memory_limit)


@both_ways
@pytest.mark.parametrize(
    "content",
    [encoded(Image.new("RGB", (32, 32)), "JPEG"), encoded(Image.new("RGB", (32, 32)))[:60], b"no"],
    ids=["jpeg", "half a png", "text"],
)
def test_what_is_no_png_is_refused(written: Written, content: bytes, memory_limit: int) -> None:
    record = stored_anew(written, written.records[0], image=content)

    with pytest.raises(DataError, match=f"sample {record.key} in {record.shard} is no PNG"):
        read_one(written, record, memory_limit)


@pytest.mark.parametrize("name", [DATASET_FILE, MANIFEST_FILE])
def test_a_missing_description_or_manifest_is_reported_by_name(written: Written, name: str) -> None:
    next(written.root.rglob(name)).unlink()

    with pytest.raises(DataError, match=f"{name} is missing"):
        open_dataset(written.folder)


def test_records_read_back_as_they_were_written(written: Written) -> None:
    assert read_records(write_records(written.records)) == written.records


def parquet(columns: dict[str, list[Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"garbage", id="text"),
        pytest.param(parquet({"key": ["a"], "split": ["train"]}), id="other columns"),
        pytest.param(b"PAR1" + bytes(40) + b"PAR1", id="zeros"),
    ],
)
def test_a_manifest_of_something_else_is_refused(written: Written, content: bytes) -> None:
    (written.root / written.info.generation / MANIFEST_FILE).write_bytes(content)

    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(written.folder)


def test_a_damaged_manifest_raises_nothing_but_a_data_error(written: Written) -> None:
    """Damage to a value may read as another value: then the sample's sha256 tells."""
    sound = write_records(written.records)
    chance = np.random.default_rng(0)
    for position in chance.choice(len(sound), 200, replace=False):
        content = bytearray(sound)
        content[position] ^= 0xFF
        with suppress(DataError):
            read_records(bytes(content))
