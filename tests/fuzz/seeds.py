"""Small valid files that the fuzzer starts from, by the code that writes real ones."""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from PIL import Image

from pipeline.core.architecture import Architecture
from pipeline.core.config import DataConfig, EpochResult, TrainConfig, TrialSpec
from pipeline.core.manifest import ClassTable, DatasetInfo, SampleRecord
from pipeline.learning.cgnet import CGNet
from pipeline.learning.checkpoint import CHECKPOINT_FILE, Checkpoint, save_checkpoint
from pipeline.learning.compact.compaction import compact
from pipeline.learning.provenance import Provenance
from pipeline.learning.records import records_table, write_records
from pipeline.learning.weights import Deployment, pack_weights
from pipeline.runtime.about import StudyAbout
from pipeline.runtime.pictures import ChannelSums
from pipeline.runtime.storage import open_folder
from pipeline.runtime.tars import end_tar, write_member
from pipeline.sources import png
from tests.unit.learning.test_official_weights import official_state

HEIGHT, WIDTH = 4, 6
CLASSES = ClassTable(("ground", "sky"), ((1, 2, 3), (4, 5, 6)), 255)
NETWORK = Architecture(2, 2, 2, widths=(2, 4, 4), reduction_2=2, reduction_3=2)
SPEC = TrialSpec(NETWORK, DataConfig("data", "f00d"), TrainConfig(epochs=2), seed=1)
RESULT = EpochResult(1, 2, 1.0, 0.5, (0.5, 0.25), 1.0, 1.0)

_PIXELS = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
IMAGE = png.encode(_PIXELS)
LABEL = png.encode(_PIXELS[:, :, 0] % 2)


def shard() -> bytes:
    stream = io.BytesIO()
    for key in ("a", f"{'long/' * 30}b"):
        write_member(stream, f"{key}.png", IMAGE)
        write_member(stream, f"{key}.label.png", LABEL)
    end_tar(stream)
    return stream.getvalue()


def pictures() -> list[bytes]:
    """Return pictures of each format, with palette, EXIF and text."""
    picture = Image.fromarray(_PIXELS)
    turned = Image.Exif()
    turned[0x0112] = 6
    return [
        *(IMAGE, LABEL),
        _saved(picture.quantize(4), "PNG"),
        *(_saved(picture, kind, exif=turned) for kind in ("PNG", "JPEG", "WEBP")),
        _saved(picture, "PNG", save_all=True, append_images=[picture]),
    ]


def info() -> DatasetInfo:
    return DatasetInfo(
        name="rooms-4x6",
        fingerprint="f00d",
        generation="one",
        classes=CLASSES,
        num_samples={"train": 1, "val": 1},
        image_size=(HEIGHT, WIDTH),
        mean=(1.0, 2.0, 3.0),
        std=(1.0, 2.0, 3.0),
        class_pixels=(12, 12),
        class_weights=(1.0, 1.0),
    )


def records() -> list[SampleRecord]:
    return [
        SampleRecord(
            *(f"{split}/a", split, "one/train-0.tar", 0, len(IMAGE), len(IMAGE), len(LABEL)),
            *(HEIGHT, WIDTH, (12, 12, 0), f"{at:064x}"),
        )
        for at, split in enumerate(("train", "val"))
    ]


def manifest() -> bytes:
    return write_records(records())


def part() -> bytes:
    said = {"channels": asdict(ChannelSums(24)), "encoding": "png"}
    return parquet(records_table(records()).replace_schema_metadata({"part": json.dumps(said)}))


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def training_rows() -> list[dict[str, Any]]:
    """Return a table of trainings: two networks, one epoch each."""
    told = {"seed": 0, "epoch": 1, "mean_iou": 0.5, "train_loss": 1.0, "train_s": 1.0, "val_s": 1.0}
    return [Architecture(2, num_blocks_3=n).to_dict() | told for n in (3, 5)]


def checkpoint() -> bytes:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1)).backward()
    optimizer.step()
    state = Checkpoint(SPEC.id, (RESULT,), model.state_dict(), optimizer.state_dict())
    with TemporaryDirectory() as folder:
        save_checkpoint(open_folder(folder), state)
        return Path(folder, CHECKPOINT_FILE).read_bytes()


def study_about() -> StudyAbout:
    return StudyAbout(
        *("search", "store", "rooms-4x6", (HEIGHT, WIDTH), {"train": 1}, CLASSES.names, 2, 1),
        *("ehvi", "front", {"torch": "2"}, {"cpu": "one"}),
    )


def official() -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": official_state(Architecture(11, 2, 2, widths=(2, 8, 16)))}, buffer)
    return buffer.getvalue()


def weights() -> list[bytes]:
    """Return the weights file of a network, and of the same one compacted."""
    model = CGNet(NETWORK).eval()
    deployment = Deployment(NETWORK, (1.0,) * 3, (1.0,) * 3, CLASSES.names, CLASSES.palette)
    provenance = Provenance.of(SPEC, info(), RESULT)
    small = compact(model, NETWORK).network
    return [pack_weights(one, deployment, provenance) for one in (model, small)]


def description(weights_file: bytes) -> bytes:
    """Return what a weights file says of its network, as JSON."""
    header = json.loads(weights_file[8 : 8 + int.from_bytes(weights_file[:8], "little")])
    return str(header["__metadata__"]["deployment"]).encode()


def described(weights_file: bytes, said: bytes) -> bytes:
    """Return a weights file with another description and the same tensors."""
    metadata = {"deployment": said.decode("utf-8", "replace")}
    return bytes(safetensors.torch.save(safetensors.torch.load(weights_file), metadata=metadata))


def with_pickle(members: Mapping[str, bytes], content: bytes) -> bytes:
    """Return a file of torch with another pickle; the checksums are right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, old in members.items():
            packed.writestr(name, content if name.endswith(".pkl") else old)
    return buffer.getvalue()


def members_of(archive: bytes) -> dict[str, bytes]:
    """Return the files in a file of torch."""
    with zipfile.ZipFile(io.BytesIO(archive)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()
