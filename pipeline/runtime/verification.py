"""Whether a data set is what it says: every shard is read again and compared with the manifest."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby

from pipeline.core.errors import DataError
from pipeline.core.manifest import (
    DATASET_FILE,
    MANIFEST_FILE,
    ClassTable,
    DatasetInfo,
    SampleRecord,
)
from pipeline.learning.folder import Folder, read_bytes
from pipeline.learning.records import Records, read_records, records_table
from pipeline.runtime.indexing import index_pair
from pipeline.runtime.pairs import read_pairs
from pipeline.runtime.parts import Part
from pipeline.runtime.pictures import ChannelSums
from pipeline.runtime.publishing import Progress
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tasks import Run, on_cluster
from pipeline.runtime.totals import Totals

_MOST_TOLD = 5
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class ShardToVerify:
    """A shard and what the manifest says is in it."""

    path: str
    split: str
    records: tuple[SampleRecord, ...]

    @property
    def work(self) -> int:
        """Return how many samples there are to check."""
        return len(self.records)


@dataclass(frozen=True)
class Finding:
    """What is wrong with one shard, the first few of it, and the sums over its pictures."""

    num_wrong: int
    told: tuple[str, ...]
    channels: ChannelSums
    encoding: str


@dataclass(frozen=True)
class Verdict:
    """What was read, and what is wrong with it; the first few things in words."""

    info: DatasetInfo
    num_shards: int
    num_wrong: int
    told: tuple[str, ...]


def verify_dataset(
    uri: str, progress: Progress = lambda done, total: None, run: Run = on_cluster
) -> Verdict:
    """Read every shard of a data set and compare it with what manifest and description say.

    Raises:
        DataError: there is no data set, or its description or manifest cannot be read.
    """
    folder = open_folder(uri, create=False)
    info = DatasetInfo.from_json(read_bytes(folder, DATASET_FILE))
    records = read_records(read_bytes(folder, f"{info.generation}/{MANIFEST_FILE}"))
    findings: dict[str, Finding] = {}
    done = 0
    task = partial(verify_shard, uri, info.classes)
    results = run(task, shards_of(records))
    progress(0, len(records))
    for shard, finding in results:
        findings[shard.path] = finding
        done += shard.work
        progress(done, len(records))
    wrong = [line for path in sorted(findings) for line in findings[path].told]
    num_wrong = sum(finding.num_wrong for finding in findings.values())
    if not wrong:
        wrong = _differences(info, records, findings)
        num_wrong = len(wrong)
    return Verdict(info, len(findings), num_wrong, tuple(wrong[:_MOST_TOLD]))


def shards_of(records: Records) -> Iterator[ShardToVerify]:
    """Yield each shard with its records, in stored order."""
    for (path, split), group in groupby(records, key=lambda record: (record.shard, record.split)):
        yield ShardToVerify(path, split, tuple(group))


def verify_shard(uri: str, classes: ClassTable, shard: ShardToVerify) -> Finding:
    """Return what is wrong with one shard."""
    said = {record.key: record for record in shard.records}
    wrong: list[str] = []
    channels, encoding = ChannelSums(), ""
    try:
        folder = open_folder(uri, create=False)
        with folder.open_input_stream(shard.path, buffer_size=_BUFFER_BYTES) as stream:
            for pair in read_pairs(stream, shard.path):
                record = said.pop(pair.key, None)
                if record is None:
                    wrong.append(f"{shard.path}: sample {pair.key!r} is not in the manifest")
                    continue
                try:
                    found, sums, encoding = index_pair(pair, shard, classes)
                except DataError as error:
                    wrong.append(str(error))
                    continue
                channels += sums
                wrong += _differing(record, found)
        wrong += [f"{shard.path}: sample {key!r} is missing" for key in said]
        if not wrong:
            wrong = _unlike_webdataset(folder, shard)
    except FileNotFoundError:
        wrong.append(f"{shard.path} is missing")
    except (DataError, OSError) as error:
        wrong.append(str(error))
    return Finding(len(wrong), tuple(wrong[:_MOST_TOLD]), channels, encoding)


def _unlike_webdataset(folder: Folder, shard: ShardToVerify) -> list[str]:
    """Return how the samples differ that webdataset's own reader makes of a shard."""
    from webdataset.tariterators import group_by_keys, tar_file_expander  # which import torch

    with folder.open_input_stream(shard.path, buffer_size=_BUFFER_BYTES) as stream:
        members = tar_file_expander([{"url": shard.path, "stream": stream}])
        keys = [sample["__key__"] for sample in group_by_keys(members)]
    if sorted(keys) == sorted({record.key for record in shard.records}):
        return []
    return [f"{shard.path}: webdataset finds {len(keys)} samples, and not those of the manifest"]


def _differing(said: SampleRecord, found: SampleRecord) -> list[str]:
    """Return the first way in which a sample differs from its record: the others follow from it."""
    names = ("sha256", *SampleRecord._fields)
    return [
        f"{said.shard}: sample {said.key!r} has {name} {getattr(found, name)}, the manifest says "
        f"{getattr(said, name)}"
        for name in names
        if getattr(said, name) != getattr(found, name)
    ][:1]


def _differences(info: DatasetInfo, records: Records, findings: Mapping[str, Finding]) -> list[str]:
    """Return where the description differs from what the samples give."""
    totals = Totals(info.classes)
    try:
        for shard in shards_of(records):
            finding = findings[shard.path]
            totals.add(Part(records_table(shard.records), finding.channels, finding.encoding))
        found = totals.describe(info.name, info.generation)
    except DataError as error:
        return [str(error)]
    return [
        f"{DATASET_FILE} says {field.name} {getattr(info, field.name)}, its samples give "
        f"{getattr(found, field.name)}"
        for field in fields(DatasetInfo)
        if getattr(info, field.name) != getattr(found, field.name)
    ]
