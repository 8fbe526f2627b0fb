"""Samples come back as they were stored, or not at all."""

import hashlib
import io
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.config import CachePolicy, DataConfig
from pipeline.core.errors import CorruptSample, DataError
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE, SampleRecord
from pipeline.learning.dataset import Dataset, free_bytes, open_dataset
from pipeline.learning.loader import evaluation_batches
from pipeline.learning.records import SCHEMA, Records, read_records, records_table, write_records
from pipeline.learning.shards import FolderShards, MemoryShards
from pipeline.learning.split import Split
from tests.unit.learning.stores import CountedShards, encoded

Written = Any  # the value that the write_dataset fixture gives
both_ways = pytest.mark.parametrize("keep", [True, False], ids=["kept", "lazy"])


@pytest.fixture
def written(tmp_path: Path, write_dataset: Callable[..., Written]) -> Written:
    return write_dataset(tmp_path, train=6, val=2)


def read_one(written: Written, record: SampleRecord, keep: bool) -> Any:
    return split_of(written, (record,), keep)[0]


def split_of(written: Written, records: tuple[SampleRecord, ...], keep: bool) -> Split:
    return Split(Records(records_table(records)), FolderShards(str(written.root)), keep=keep)


def stored_anew(
    written: Written, record: SampleRecord, image: bytes | None = None, label: bytes | None = None
) -> SampleRecord:
    """Append other bytes for a sample to its shard; return the record that points to them."""
    path = written.root / record.shard
    shard = path.read_bytes()
    image = image or shard[record.image_offset :][: record.image_bytes]
    label = label or shard[record.label_offset :][: record.label_bytes]
    path.write_bytes(shard + image + label)
    return record._replace(
        image_offset=len(shard),
        image_bytes=len(image),
        label_offset=len(shard) + len(image),
        label_bytes=len(label),
        sha256=hashlib.sha256(image + label).hexdigest(),
    )


@both_ways
@pytest.mark.parametrize("name", ["train", "val"])
def test_samples_read_back_as_they_were_written(written: Written, name: str, keep: bool) -> None:
    split = split_of(written, written.records_of(name), keep)

    assert len(split) == len(written.samples[name])
    for _ in range(2):  # read, then kept or read again
        for index, (image_HWC, label_HW) in enumerate(written.samples[name]):
            image, label = split[index]
            np.testing.assert_array_equal(image, image_HWC)
            np.testing.assert_array_equal(label, label_HW)


@both_ways
def test_samples_are_bytes_in_channels_last_order_that_nobody_may_change(
    written: Written, keep: bool
) -> None:
    image, label = read_one(written, written.records[0], keep)

    assert (image.dtype, image.shape) == (np.uint8, (*written.info.image_size, 3))
    assert (label.dtype, label.shape) == (np.uint8, written.info.image_size)
    assert image.flags.c_contiguous
    assert not image.flags.writeable
    assert not label.flags.writeable


@both_ways
def test_samples_come_in_the_order_of_the_records_whatever_their_shards(
    written: Written, keep: bool
) -> None:
    order = (5, 0, 4, 1)  # shards of four: back and forth between two
    records = tuple(written.records_of("train")[i] for i in order)
    split = split_of(written, records, keep)

    for index, stored in enumerate(order):
        _, label_HW = written.samples["train"][stored]
        np.testing.assert_array_equal(split[index].label_HW, label_HW)


def test_a_kept_split_needs_its_shards_no_longer(written: Written) -> None:
    split = written.open().split("val", "memory")
    for index in range(len(split)):
        split[index]
    (written.root / split.records[0].shard).unlink()

    for index, (image_HWC, label_HW) in enumerate(written.samples["val"]):
        np.testing.assert_array_equal(split[index].image_HWC, image_HWC)
        np.testing.assert_array_equal(split[index].label_HW, label_HW)


def test_an_opened_data_set_knows_what_was_written(written: Written) -> None:
    dataset = open_dataset(written.folder)

    assert (dataset.info, [*dataset.records]) == (written.info, [*written.records])


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
    written: Written, part: str, position: float, keep: bool
) -> None:
    record = written.records[1]
    path = written.root / record.shard
    content = bytearray(path.read_bytes())
    length = getattr(record, f"{part}_bytes")
    content[getattr(record, f"{part}_offset") + int(position * (length - 1))] ^= 1
    path.write_bytes(content)

    with pytest.raises(DataError, match=f"sample {record.key} in {record.shard} is damaged"):
        read_one(written, record, keep)


@both_ways
def test_damage_to_one_sample_leaves_its_neighbour_readable(written: Written, keep: bool) -> None:
    damaged, sound = written.records[0], written.records[1]
    path = written.root / damaged.shard
    content = bytearray(path.read_bytes())
    content[damaged.image_offset] ^= 0xFF
    path.write_bytes(content)

    _, label = read_one(written, sound, keep)
    np.testing.assert_array_equal(label, written.samples["train"][1][1])


@both_ways
def test_a_cut_off_shard_is_reported_with_the_sample(written: Written, keep: bool) -> None:
    record = written.records_of("val")[-1]
    path = written.root / record.shard
    path.write_bytes(path.read_bytes()[: record.label_offset + record.label_bytes - 1])

    with pytest.raises(DataError, match=record.key):
        read_one(written, record, keep)


@both_ways
def test_a_missing_shard_is_reported_by_name(written: Written, keep: bool) -> None:
    record = written.records[0]
    (written.root / record.shard).unlink()

    with pytest.raises(DataError, match=record.shard):
        read_one(written, record, keep)


@both_ways
def test_a_picture_of_another_size_is_refused_with_both_sizes(written: Written, keep: bool) -> None:
    record = stored_anew(written, written.records[0], image=encoded(Image.new("RGB", (31, 32))))

    with pytest.raises(DataError, match=f"{record.key} .* is 32x31, its manifest says 32x32"):
        read_one(written, record, keep)


@both_ways
def test_a_label_of_another_size_is_refused_with_both_sizes(written: Written, keep: bool) -> None:
    record = stored_anew(written, written.records[0], label=encoded(Image.new("L", (32, 33))))

    with pytest.raises(DataError, match=f"{record.key} .* is 33x32, its manifest says 32x32"):
        read_one(written, record, keep)


def painted(mode: str) -> Image.Image:
    pixels = np.random.default_rng(4).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@both_ways
@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "1", "LA"])
def test_a_picture_that_is_not_rgb_is_read_as_rgb(written: Written, mode: str, keep: bool) -> None:
    picture = painted(mode)
    record = stored_anew(written, written.records[0], image=encoded(picture))

    np.testing.assert_array_equal(
        read_one(written, record, keep).image_HWC, np.asarray(picture.convert("RGB"))
    )


@both_ways
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_picture_in_another_format_is_read(written: Written, kind: str, keep: bool) -> None:
    content = encoded(painted("RGB"), kind)
    record = stored_anew(written, written.records[0], image=content)

    with Image.open(io.BytesIO(content)) as picture:
        expected = np.asarray(picture)
    np.testing.assert_array_equal(read_one(written, record, keep).image_HWC, expected)


@both_ways
@pytest.mark.parametrize(
    "content",
    [encoded(painted("RGB"), "GIF"), encoded(painted("RGB"))[:60], b"no"],
    ids=["gif", "half a png", "text"],
)
def test_what_is_no_picture_is_refused(written: Written, content: bytes, keep: bool) -> None:
    record = stored_anew(written, written.records[0], image=content)

    with pytest.raises(
        CorruptSample, match=f"sample {record.key} in {record.shard} is no PNG or JPEG or WEBP"
    ):
        read_one(written, record, keep)


@both_ways
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_label_that_lost_its_ids_is_refused(written: Written, kind: str, keep: bool) -> None:
    record = stored_anew(written, written.records[0], label=encoded(painted("L"), kind))

    with pytest.raises(CorruptSample, match=f"sample {record.key} in {record.shard} is no PNG"):
        read_one(written, record, keep)


@both_ways
def test_members_far_apart_are_read_one_by_one(written: Written, keep: bool) -> None:
    """Nor is what lies between them: it may be much."""
    record = written.records[0]
    path = written.root / record.shard
    shard = path.read_bytes()
    label = shard[record.label_offset :][: record.label_bytes]
    path.write_bytes(shard + bytes(1 << 20) + label)
    far = record._replace(label_offset=len(shard) + (1 << 20))
    source = CountedShards({record.shard: path.read_bytes()})

    sample = Split(Records(records_table([far])), source, keep=keep)[0]
    np.testing.assert_array_equal(sample.label_HW, written.samples["train"][0][1])
    assert [length for _, _, length in source.reads] == [far.image_bytes, far.label_bytes]


def test_a_label_may_lie_before_its_picture(written: Written) -> None:
    record = written.records[0]
    shard = (written.root / record.shard).read_bytes()
    image, label = (
        shard[start:][:length]
        for start, length in (
            (record.image_offset, record.image_bytes),
            (record.label_offset, record.label_bytes),
        )
    )
    source = CountedShards({record.shard: label + image})
    turned = record._replace(label_offset=0, image_offset=len(label))

    sample = Split(Records(records_table([turned])), source)[0]
    np.testing.assert_array_equal(sample.image_HWC, written.samples["train"][0][0])
    np.testing.assert_array_equal(sample.label_HW, written.samples["train"][0][1])


@dataclass
class Meeting:
    """Shards that answer no read before ``readers`` have asked."""

    shards: FolderShards
    readers: int

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.readers)

    def read(self, shard: str, start: int, length: int) -> bytes:
        self.barrier.wait(timeout=20)
        return self.shards.read(shard, start, length)


def test_far_samples_of_a_batch_are_asked_for_together(written: Written) -> None:
    far = Meeting(FolderShards(str(written.root)), readers=6)
    split = open_dataset(written.folder, shards=far).split("train", "none")

    (batch,) = evaluation_batches(split, 6, num_threads=0)
    for image_CHW, (image_HWC, _) in zip(batch.image_BCHW, written.samples["train"], strict=True):
        np.testing.assert_array_equal(image_CHW.permute(1, 2, 0).numpy(), image_HWC)


def test_near_samples_are_read_by_whoever_asks(written: Written) -> None:
    """Threads that wait for nothing would only take turns."""
    split = open_dataset(written.folder).split("train", "none")

    assert list(split.at_once(lambda index: threading.get_ident() + index, [0, 1])) == [
        threading.get_ident(),
        threading.get_ident() + 1,
    ]


@pytest.mark.parametrize(
    "claim", [{"image_bytes": 65 << 20}, {"height": 60_000, "width": 60_000}, {"label_offset": -4}]
)
def test_what_no_camera_took_is_refused_before_a_byte_is_read(
    written: Written, claim: dict[str, int]
) -> None:
    record = written.records[0]._replace(**claim)
    source = CountedShards({record.shard: (written.root / record.shard).read_bytes()})

    with pytest.raises(CorruptSample, match=f"sample {record.key} in {record.shard} has"):
        Split(Records(records_table([record])), source)[0]
    assert source.reads == []


# What is kept between epochs


def far_away(written: Written, cache_dir: Path) -> tuple[Dataset, CountedShards]:
    """Open a data set as if its shards were not on this machine."""
    shards = {name: (written.root / name).read_bytes() for name in shard_names(written)}
    source = CountedShards(shards)
    return open_dataset(written.folder, shards=source, cache_dir=cache_dir), source


def shard_names(written: Written) -> set[str]:
    return {record.shard for record in written.records}


@pytest.mark.parametrize(("limit", "is_one"), [("1048576\n", True), ("max\n", False)])
def test_a_container_has_no_more_memory_than_its_limit(
    tmp_path: Path, limit: str, is_one: bool
) -> None:
    here = free_bytes(tmp_path)
    (tmp_path / "memory.max").write_text(limit)

    assert here > 1 << 20
    assert (free_bytes(tmp_path) == 1 << 20) == is_one


@pytest.mark.parametrize("cache", ["auto", "none", "disk", "memory"])
def test_every_cache_gives_the_samples_that_were_written(
    written: Written, tmp_path: Path, cache: CachePolicy
) -> None:
    dataset, _ = far_away(written, tmp_path / "cache")
    split = dataset.split("train", cache)

    for _ in range(2):
        for index, (image_HWC, label_HW) in enumerate(written.samples["train"]):
            np.testing.assert_array_equal(split[index].image_HWC, image_HWC)
            np.testing.assert_array_equal(split[index].label_HW, label_HW)


def test_without_a_cache_each_sample_is_read_each_time(written: Written, tmp_path: Path) -> None:
    dataset, source = far_away(written, tmp_path / "cache")
    split = dataset.split("train", "none")
    for index in (*range(6), *range(6)):
        split[index]

    assert len(source.reads) == 12
    assert source.whole_reads == []
    assert not (tmp_path / "cache").exists()


def test_the_memory_cache_fetches_each_shard_once(written: Written, tmp_path: Path) -> None:
    dataset, source = far_away(written, tmp_path / "cache")
    split = dataset.split("train", "memory")
    for index in (*range(6), *range(6)):
        split[index]

    assert sorted({record.shard for record in split.records}) == sorted(
        shard for shard, _, _ in source.reads
    )
    assert not (tmp_path / "cache").exists()


def test_the_disk_cache_serves_the_next_process(written: Written, tmp_path: Path) -> None:
    for times in range(2):
        dataset, source = far_away(written, tmp_path / "cache")
        for name in ("train", "val"):
            split = dataset.split(name, "disk")
            for index in range(len(split)):
                split[index]
        assert len(source.reads) == (0 if times else len(shard_names(written)))

    copies = tmp_path / "cache" / written.info.fingerprint
    for shard in shard_names(written):
        # To the end of its last member: what a tar has after it is nobody's.
        assert (written.root / shard).read_bytes().startswith((copies / shard).read_bytes())


def test_what_is_near_is_not_copied(written: Written, tmp_path: Path) -> None:
    split = open_dataset(written.folder, cache_dir=tmp_path / "cache").split("train", "disk")
    split[0]

    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("last", [0, 3, 5])
def test_a_corrupt_sample_does_not_keep_the_shards_in_memory(
    written: Written, tmp_path: Path, last: int
) -> None:
    """Whether it is the first or the last one to be read."""
    dataset, source = far_away(written, tmp_path / "cache")
    record = written.records_of("train")[last]
    content = bytearray(source.shards[record.shard])
    content[record.image_offset + 60] ^= 1
    held = MemoryShards(
        CountedShards(dict(source.shards) | {record.shard: bytes(content)}), source.sizes
    )
    split = Split(dataset.records.of_split("train"), held, keep=True, skip_corrupt=True)
    watched = weakref.ref(held)
    del held

    for index in [i for i in range(6) if i != last]:
        split.sound(index)
    assert watched() is not None
    assert split.sound(last) is None
    assert watched() is None
    with pytest.raises(CorruptSample, match=f"sample {record.key} in {record.shard} is damaged"):
        split[last]


def test_a_shard_that_is_too_short_loses_its_last_sample_with_any_cache(
    written: Written, tmp_path: Path
) -> None:
    """Or a cache, which is for speed, would decide what a training sees."""
    lost = written.records_of("train")[3]
    found = {}
    for cache in ("none", "disk", "memory"):
        dataset, source = far_away(written, tmp_path / cache)
        source.shards = dict(source.shards) | {
            lost.shard: source.shards[lost.shard][: lost.label_offset + 5]
        }
        split = dataset.split("train", cache, skip_corrupt=True)
        found[cache] = [split.sound(index) is not None for index in range(len(split))]

    assert set(map(tuple, found.values())) == {(True, True, True, False, True, True)}


# What a data set says of itself


def redescribed(written: Written, **fields: Any) -> None:
    (written.root / DATASET_FILE).write_text(replace(written.info, **fields).to_json())


@pytest.mark.parametrize(
    ("size", "said"),
    [
        ((40, 81), r"manifest.parquet has pictures of \d+x\d+, dataset.json says all are 40x81"),
        ((60_000, 60_000), "dataset.json says that pictures are 60000x60000, more than"),
    ],
)
def test_pictures_of_another_size_or_none_are_refused(
    written: Written, size: tuple[int, int], said: str
) -> None:
    redescribed(written, image_size=size)

    with pytest.raises(DataError, match=said):
        open_dataset(written.folder)


OUTSIDE = ["../../x", "/etc/x", "..", ".", "", "a/../../x", "a\0b"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("field", ["generation", "fingerprint"])
def test_a_name_outside_the_folder_is_refused(written: Written, field: str, name: str) -> None:
    """The fingerprint too: it names the folder for copies of shards."""
    redescribed(written, **{field: name})

    with pytest.raises(DataError, match="outside its folder: do not use it"):
        open_dataset(written.folder)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_shard_outside_the_folder_is_refused(written: Written, name: str) -> None:
    records = [*written.records[:-1], written.records[-1]._replace(shard=name)]
    manifest = written.root / written.info.generation / MANIFEST_FILE
    manifest.write_bytes(write_records(records))

    with pytest.raises(DataError, match="outside its folder: do not use it"):
        open_dataset(written.folder)


@pytest.mark.parametrize("name", [DATASET_FILE, MANIFEST_FILE])
def test_a_missing_description_or_manifest_is_reported_by_name(written: Written, name: str) -> None:
    next(written.root.rglob(name)).unlink()

    with pytest.raises(DataError, match=f"{name} is missing"):
        open_dataset(written.folder)


def test_records_read_back_as_they_were_written(written: Written) -> None:
    assert [*read_records(write_records(written.records))] == [*written.records]


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


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_manifest_with_an_empty_field_is_refused(written: Written, name: str) -> None:
    table = records_table(written.records)
    empty = pa.nulls(len(table), SCHEMA.field(name).type)
    sink = io.BytesIO()
    pq.write_table(table.set_column(SCHEMA.get_field_index(name), SCHEMA.field(name), empty), sink)

    with pytest.raises(DataError, match="it has empty fields"):
        read_records(sink.getvalue())


def test_a_manifest_whose_names_are_no_text_is_refused(written: Written) -> None:
    shard = written.records[0].shard.encode()
    sink = io.BytesIO()
    pq.write_table(records_table(written.records), sink, compression="none")
    content = sink.getvalue().replace(shard, b"\xd0" * len(shard))

    with pytest.raises(DataError, match="cannot be read"):
        read_records(content)


def test_a_damaged_manifest_raises_nothing_but_a_data_error(written: Written) -> None:
    """Damage to a value may read as another value: then the sample's sha256 tells."""
    sound = write_records(written.records)
    chance = np.random.default_rng(0)
    for position in chance.choice(len(sound), 200, replace=False):
        content = bytearray(sound)
        content[position] ^= 0xFF
        with suppress(DataError):
            read_records(bytes(content))
