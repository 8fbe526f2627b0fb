"""Planted damage of each kind is found; a whole data set is not suspected."""

import dataclasses
import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import DataError
from pipeline.core.layout import Layout
from pipeline.core.manifest import DatasetInfo, SampleRecord
from pipeline.core.units import ShardSize
from pipeline.learning.records import read_records, write_records
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.tasks import in_process
from pipeline.runtime.verification import Verdict, verify_dataset
from pipeline.sources.source import Source

LAYOUT = Layout(shard_size=ShardSize(2, "samples"))
Records = list[SampleRecord]


@dataclasses.dataclass(frozen=True)
class Written:
    """A data set to be damaged."""

    root: Path
    info: DatasetInfo

    def shard(self, name: str) -> Path:
        return self.root / self.info.generation / name

    def records(self) -> Records:
        return list(read_records(self.shard("manifest.parquet").read_bytes()))

    def keep(self, records: Records) -> None:
        self.shard("manifest.parquet").write_bytes(write_records(records))

    def keep_info(self, **changes: object) -> None:
        changed = dataclasses.replace(self.info, **changes)
        (self.root / "dataset.json").write_text(changed.to_json())


@pytest.fixture
def written(squares: type[Source], out: Path) -> Written:
    source = squares(num_train=5)
    return Written(out, shard_dataset(source, "squares", str(out), LAYOUT, run=in_process))


def verify(written: Written) -> Verdict:
    return verify_dataset(str(written.root), run=in_process)


def test_a_whole_data_set_is_well(written: Written) -> None:
    told: list[tuple[int, int]] = []
    verdict = verify_dataset(
        str(written.root), lambda done, total: told.append((done, total)), in_process
    )

    assert (verdict.num_wrong, verdict.told, verdict.num_shards) == (0, (), 4)
    assert told[-1] == (6, 6)


def flip_a_bit(written: Written) -> None:
    """In the pixels of the second sample, where the headers of tar and picture do not reach."""
    record = written.records()[1]
    shard = written.root / record.shard
    content = bytearray(shard.read_bytes())
    content[content.index(b"IDAT", record.image_offset) + 10] ^= 1
    shard.write_bytes(content)


def swap_labels(written: Written) -> None:
    """Two whole labels under each other's name: the tar is in order, every picture decodes."""
    shard = written.shard("train-000000.tar")
    with tarfile.open(shard) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}
    first, second = "000.label.png", "001.label.png"
    contents[first], contents[second] = contents[second], contents[first]
    with tarfile.open(shard, "w") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def lose_a_shard(written: Written) -> None:
    written.shard("train-000001.tar").unlink()


def cut_a_shard(written: Written) -> None:
    shard = written.shard("train-000001.tar")
    shard.write_bytes(shard.read_bytes()[:700])


def take_another_shard(written: Written) -> None:
    shutil.copy(written.shard("val-000000.tar"), written.shard("train-000002.tar"))


def change(index: int, **fields: object) -> Callable[[Written], None]:
    def damage(written: Written) -> None:
        records = written.records()
        records[index] = records[index]._replace(**fields)
        written.keep(records)

    return damage


def forget_a_sample(written: Written) -> None:
    written.keep(written.records()[:1] + written.records()[2:])


def forget_a_shard(written: Written) -> None:
    written.keep(written.records()[2:])


def double_a_sample(written: Written) -> None:
    written.keep([written.records()[0], *written.records()])


def reverse_the_order(written: Written) -> None:
    records = written.records()
    written.keep(records[2:4] + records[:2] + records[4:])


def describe(**changes: object) -> Callable[[Written], None]:
    return lambda written: written.keep_info(**changes)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_bit, "train-000000.tar: 001.image.png is damaged"),
        (swap_labels, "sample '000' has sha256"),
        (lose_a_shard, "train-000001.tar is missing"),
        (cut_a_shard, "train-000001.tar ends early"),
        (take_another_shard, "train-000002.tar: sample '000' is not in the manifest"),
        (change(2, key="x"), "sample 'x' is missing"),
        (change(0, sha256="0" * 64), "the manifest says " + "0" * 64),
        (change(1, class_pixels=(128, 0, 0)), "has class_pixels (0, 112, 16), the manifest says"),
        (change(1, height=9), "has height 8, the manifest says 9"),
        (change(1, image_offset=0), "has image_offset"),
        (change(1, label_bytes=3), "has label_bytes"),
        (forget_a_sample, "sample '001' is not in the manifest"),
        (forget_a_shard, "says fingerprint"),
        (double_a_sample, "says fingerprint"),
        (reverse_the_order, "says fingerprint"),
        (describe(num_samples={"train": 5, "val": 2}), "dataset.json says num_samples"),
        (describe(mean=(1.0, 2.0, 3.0)), "dataset.json says mean (1.0, 2.0, 3.0), its samples"),
        (describe(std=(1.0, 2.0, 3.0)), "dataset.json says std"),
        (describe(class_pixels=(1, 2)), "dataset.json says class_pixels (1, 2), its samples give"),
        (describe(class_weights=(1.0, 2.0)), "dataset.json says class_weights"),
        (describe(image_size=(9, 16)), "dataset.json says image_size"),
        (describe(image_encoding="webp"), "dataset.json says image_encoding webp"),
    ],
)
def test_damage_is_found(written: Written, damage: Callable[[Written], None], said: str) -> None:
    damage(written)
    verdict = verify(written)

    assert verdict.num_wrong >= 1
    assert any(said in line for line in verdict.told), verdict.told


def test_no_more_than_five_things_are_told_of_many(written: Written) -> None:
    for shard in written.root.rglob("*.tar"):
        shard.unlink()
    written.keep([r._replace(shard=f"gen/{i}.tar") for i, r in enumerate(written.records())])
    verdict = verify(written)

    assert verdict.num_wrong == 6
    assert len(verdict.told) == 5


def test_no_folder_is_made_where_there_is_no_data_set(out: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json is missing"):
        verify_dataset(str(out), run=in_process)
    assert not out.exists()
