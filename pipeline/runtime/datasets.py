"""Data sets by name: where they lie in the store, and how they get there."""

import time
from pathlib import Path

from pipeline.core.config import DataConfig, TrainConfig
from pipeline.core.errors import UsageError
from pipeline.core.layout import Layout
from pipeline.core.manifest import DATASET_FILE, DatasetInfo
from pipeline.core.partition import training_batches
from pipeline.learning.dataset import open_dataset
from pipeline.learning.folder import exists
from pipeline.runtime import cluster, console, services
from pipeline.runtime.indexing import ids_as_stored, index_dataset
from pipeline.runtime.sharding import shard_dataset
from pipeline.runtime.storage import (
    abort_uploads,
    absolute_uri,
    dataset_names,
    is_uri,
    open_folder,
    prepare,
)
from pipeline.runtime.verification import Verdict, verify_dataset
from pipeline.sources.classes import MaskClasses
from pipeline.sources.registry import SOURCES, SourceRequest, open_source
from pipeline.sources.source import Source

DEFAULT_DATASET = "streets"


def dataset_name(source: Source, image_size: tuple[int, int] | None) -> str:
    """Return what a source at a picture size is called: ``camvid``, ``camvid-120x160``."""
    return source.name if image_size is None else f"{source.name}-{image_size[0]}x{image_size[1]}"


def dataset_uri(dataset: str, store: str) -> str:
    """Return where a data set is, from whatever folder: a name lies under the store."""
    uri = dataset if is_uri(dataset) else f"{store.rstrip('/')}/datasets/{dataset}"
    return absolute_uri(uri.rstrip("/"))


def reach(uri: str, state_dir: Path, *, create: bool = True) -> None:
    """Make sure that a place for data can be used, starting the local S3 if it is needed.

    Args:
        uri: the place.
        state_dir: of the local S3.
        create: make the bucket if there is none.

    Raises:
        ServiceUnavailable: S3 does not answer or refuses us.
        UsageError: the URI is no place for data.
    """
    if uri.startswith("s3://"):
        services.ensure_environment(state_dir, needs_s3=True, needs_mlflow=False)
    prepare(uri, create=create)


def make_dataset(source: Source, uri: str, layout: Layout) -> DatasetInfo:
    """Write a source as a data set, on the cluster, telling of the progress.

    Raises:
        DataError: the source is not what it should be.
    """
    if dropped := abort_uploads(uri):
        console.say(f"dropped {dropped} uploads that were never finished")
    with console.Progress("samples", time.monotonic) as progress:
        name = dataset_name(source, layout.image_size)
        return shard_dataset(source, name, uri, layout, progress)


def index_tars(uri: str, classes: MaskClasses) -> DatasetInfo:
    """Make a data set of the tars that others wrote, telling of the progress.

    Raises:
        DataError: the tars, or the classes, are not what they should be.
    """
    with console.Progress("shards", time.monotonic) as progress:
        return index_dataset(uri, classes.name, ids_as_stored(classes), progress)


def check_dataset(uri: str) -> Verdict:
    """Read a whole data set and say what is wrong with it, telling of the progress.

    Raises:
        DataError: there is no data set to be read.
    """
    with console.Progress("samples", time.monotonic) as progress:
        return verify_dataset(uri, progress)


def open_or_make(dataset: str, store: str, state_dir: Path) -> tuple[DataConfig, DatasetInfo]:
    """Return what a training needs to know of a data set; the default one is made if missing.

    Raises:
        UsageError: there is no such data set; says which there are, or how to make it.
        DataError: it is there and cannot be read.
    """
    uri = dataset_uri(dataset, store)
    reach(uri, state_dir)
    folder = open_folder(uri, create=False)
    if not exists(folder, DATASET_FILE):
        if dataset != DEFAULT_DATASET:
            raise UsageError(_unknown(dataset, store))
        console.say(f"making the default data set {dataset} in {uri}")
        cluster.connect()  # for what follows too: preprocessing alone starts less of Ray
        make_dataset(open_source(SourceRequest(dataset)), uri, Layout())
    info = open_dataset(folder).info
    return DataConfig(uri, info.fingerprint), info


def check_batches(info: DatasetInfo, training: TrainConfig) -> None:
    """Make sure that samples, batch and workers go together before anything is started.

    Raises:
        UsageError: too few samples for a batch, or a batch that the workers cannot share.
    """
    training_batches(
        info.num_samples["train"],
        batch_size=training.batch_size,
        seed=0,
        epoch=0,
        world_size=training.num_workers,
    )


def _unknown(dataset: str, store: str) -> str:
    if is_uri(dataset):
        return f"there is no data set at {dataset}: make it with python -m pipeline.preprocess"
    base, _, size = dataset.partition("-")
    if base in SOURCES:
        options = f" --image-size {size}" if size else ""
        return (
            f"data set {dataset} has not been made in {store}: python -m pipeline.preprocess "
            f"--dataset {base} --source DIR{options}"
        )
    known = ", ".join(sorted({*dataset_names(store), DEFAULT_DATASET}))
    return f"no data set {dataset!r} in {store}: there are {known}"
