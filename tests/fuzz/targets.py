"""What is fuzzed: each reader of bytes that we did not write, or that lay where others can write.

A target gives the bytes to the reader and to what uses its result next. Errors of ours are the
right answer to bad bytes; the one that calls a target lets them pass.
"""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from pipeline.core.cost import count_macs
from pipeline.core.errors import PipelineError
from pipeline.core.manifest import DATASET_FILE, MANIFEST_FILE
from pipeline.learning.checkpoint import CHECKPOINT_FILE, load_checkpoint
from pipeline.learning.dataset import open_dataset
from pipeline.learning.decoding import decode
from pipeline.learning.normalisation import normalise
from pipeline.learning.official import official_weights
from pipeline.learning.records import SCHEMA, read_records
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import load_provenance
from pipeline.runtime.about import ABOUT_FILE, StudyAbout
from pipeline.runtime.indexing import TarShard, index_pair
from pipeline.runtime.outbox import Outbox
from pipeline.runtime.pairs import read_pairs
from pipeline.runtime.parts import read_parts
from pipeline.runtime.pictures import decode_image, decode_label
from pipeline.runtime.service_state import ServiceFolder
from pipeline.runtime.storage import open_folder
from pipeline.runtime.study_run import RUN_FILE, noted_run
from pipeline.runtime.table import read_table
from pipeline.sources.classes import read_classes
from pipeline.sources.pictures import read_image, read_label, read_mask
from tests.fuzz import seeds
from tests.fuzz.changes import changed_json, with_png_checksums, with_tar_checksums

# What makes rows that Parquet cannot hold: then there is nothing to read.
_NO_TABLE = (AttributeError, LookupError, OverflowError, TypeError, ValueError, pa.ArrowException)

Reader = Callable[[bytes, Path], object]
Mutator = Callable[[bytes, int, int], bytes]


@dataclass(frozen=True)
class Target:
    """A reader of bytes, with a folder to put them in where it wants a file.

    Attributes:
        read: raises nothing but errors of ours.
        seeds: valid bytes to start from.
        mutator: what changes them; None for libFuzzer's own ways.
    """

    read: Reader
    seeds: Callable[[], list[bytes]]
    mutator: Mutator | None = None


def _tar(content: bytes, folder: Path) -> None:
    for pair in read_pairs(io.BytesIO(with_tar_checksums(content)), "train-0.tar"):
        index_pair(pair, TarShard("train-0.tar", "train"), seeds.CLASSES)


def _picture(content: bytes, folder: Path) -> None:
    content = with_png_checksums(content)
    path = folder / "picture"
    path.write_bytes(content)
    (record,) = seeds.records()[:1]
    for read in (
        *(partial(read, path) for read in (read_image, read_label, read_mask)),
        *(partial(read, content, "picture") for read in (decode_image, decode_label)),
        partial(decode, record, content, seeds.LABEL, known=True),
        partial(decode, record, seeds.IMAGE, content, known=True),
    ):
        with suppress(PipelineError):
            read()


def _dataset(content: bytes, folder: Path) -> None:
    (folder / DATASET_FILE).write_bytes(content)
    _write_manifest(folder, seeds.manifest())
    info = open_dataset(open_folder(str(folder))).info
    normalise(torch.zeros(3, 4, 4), info.mean, info.std)
    torch.tensor(info.class_weights, dtype=torch.float32)
    count_macs(seeds.NETWORK, *info.image_size)


def _manifest(content: bytes, folder: Path) -> None:
    records = read_records(content)
    records.shard_sizes()
    list(records)


def _manifest_rows(content: bytes, folder: Path) -> None:
    try:
        table = pa.Table.from_pylist(json.loads(content), schema=SCHEMA)
    except _NO_TABLE:
        return
    (folder / DATASET_FILE).write_text(seeds.info().to_json())
    (folder / "one").mkdir(exist_ok=True)
    (folder / "one" / "train-0.tar").write_bytes(seeds.IMAGE + seeds.LABEL)
    _write_manifest(folder, seeds.parquet(table))
    split = open_dataset(open_folder(str(folder))).split("train", skip_corrupt=True)
    split.substitute(0)


def _part(content: bytes, folder: Path) -> None:
    (folder / "a.parquet").write_bytes(content)
    for part in read_parts(open_folder(str(folder)), ["a.parquet"]):
        assert part.sizes is not None


def _checkpoint(content: bytes, folder: Path) -> None:
    (folder / CHECKPOINT_FILE).write_bytes(content)
    load_checkpoint(open_folder(str(folder)), seeds.SPEC)


def _weights(content: bytes, folder: Path) -> None:
    load_provenance(content)
    Segmenter.from_bytes(content).label(np.zeros((1, 16, 16, 3), np.uint8))


def _official(content: bytes, folder: Path) -> None:
    official_weights(content, quirk=False)


def _table(content: bytes, folder: Path) -> None:
    path = folder / "table.parquet"
    path.write_bytes(content)
    read_table(path)


def _table_rows(content: bytes, folder: Path) -> None:
    try:
        table = pa.Table.from_pylist(json.loads(content))
    except _NO_TABLE:
        return
    with suppress(pa.ArrowException):
        content = seeds.parquet(table)
    _table(content, folder)


def _classes(content: bytes, folder: Path) -> None:
    path = folder / "classes.toml"
    path.write_bytes(content)
    read_classes(path)


def _study(content: bytes, folder: Path) -> None:
    (folder / ABOUT_FILE).write_bytes(content)
    if about := StudyAbout.read(folder):
        about.params()


def _study_run(content: bytes, folder: Path) -> None:
    (folder / RUN_FILE).write_bytes(content)
    noted_run(folder)


def _outbox(content: bytes, folder: Path) -> None:
    (folder / "mlflow.outbox").write_bytes(content)
    outbox = Outbox(folder, "mlflow")
    while outbox.pending:
        outbox.first(0.0)
        outbox.take()
    outbox.close()


def _services(content: bytes, folder: Path) -> None:
    for name in ("credentials.json", "state.json"):
        (folder / name).write_bytes(content)
    services = ServiceFolder(folder)
    for read in (services.credentials, services.records):
        with suppress(PipelineError):
            read()


def _description() -> Target:
    """Return the target of what a weights file says, beside the tensors of one and of another."""
    files = seeds.weights()

    def read(content: bytes, folder: Path) -> None:
        for weights in files:
            with suppress(PipelineError):
                _weights(seeds.described(weights, content), folder)

    return Target(read, lambda: list(map(seeds.description, files)), changed_json)


def _pickle(read: Reader, archive: Callable[[], bytes]) -> Target:
    """Return the target of the pickle within a file of torch, whose checksum random bytes break."""
    members = seeds.members_of(archive())
    return Target(
        lambda content, folder: read(seeds.with_pickle(members, content), folder),
        lambda: [content for name, content in members.items() if name.endswith(".pkl")],
    )


def _write_manifest(folder: Path, content: bytes) -> None:
    generation = folder / seeds.info().generation
    generation.mkdir(exist_ok=True)
    (generation / MANIFEST_FILE).write_bytes(content)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


_CLASSES_TOML = b"""name = "rooms"
ignore = 255
ignore_colours = [[0, 0, 0]]
[[classes]]
name = "floor"
colour = [128, 64, 128]
id = 1
"""


_SERVICES = (
    {"access_key": "a", "secret_key": "b"},
    {
        "s3": {
            "ports": {"http": 1},
            "processes": [{"pid": 1, "created_s": 1.0, "boot": "b"}],
            "is_ready": True,
            "upstream": "",
        }
    },
)
_MESSAGES = b'{"to": "mlflow"}\n{"key": "a", "message": {"x": 1}}\n{"key": "", "message": {}}\n'

TARGETS: Mapping[str, Target] = {
    "tar": Target(_tar, lambda: [seeds.shard()]),
    "picture": Target(_picture, seeds.pictures),
    "dataset": Target(_dataset, lambda: [seeds.info().to_json().encode()], changed_json),
    "manifest": Target(_manifest, lambda: [seeds.manifest()]),
    "manifest-rows": Target(
        _manifest_rows,
        lambda: [_json([record._asdict() for record in seeds.records()])],
        changed_json,
    ),
    "part": Target(_part, lambda: [seeds.part()]),
    "checkpoint": Target(_checkpoint, lambda: [seeds.checkpoint()]),
    "checkpoint-pickle": _pickle(_checkpoint, seeds.checkpoint),
    "weights": Target(_weights, seeds.weights),
    "weights-description": _description(),
    "official": Target(_official, lambda: [seeds.official()]),
    "official-pickle": _pickle(_official, seeds.official),
    "table": Target(_table, lambda: [seeds.parquet(pa.Table.from_pylist(seeds.training_rows()))]),
    "table-rows": Target(_table_rows, lambda: [_json(seeds.training_rows())], changed_json),
    "classes": Target(_classes, lambda: [_CLASSES_TOML]),
    "study": Target(_study, lambda: [_json(asdict(seeds.study_about()))], changed_json),
    "study-run": Target(_study_run, lambda: [b'{"experiment": "1", "run": "a"}'], changed_json),
    "outbox": Target(_outbox, lambda: [_MESSAGES]),
    "services": Target(_services, lambda: list(map(_json, _SERVICES)), changed_json),
}
