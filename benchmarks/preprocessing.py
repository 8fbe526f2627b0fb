"""The project's own preprocessing on a local cluster of a chosen size."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from unittest.mock import patch

import psutil
import ray

from pipeline.core.layout import Layout
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime import cluster
from pipeline.runtime.sharding import shard_dataset
from pipeline.sources.source import Source


def cpu_seconds() -> float:
    """Return the processor time so far of this process and those that descend from it."""
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            times = process.cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def local_cluster(workers: int) -> Iterator[None]:
    """Run the project's local cluster with so many workers at once."""
    with patch.object(ray, "init", partial(ray.init, num_cpus=workers)):
        cluster.connect(trains=False)
    try:
        yield
    finally:
        ray.shutdown()


def preprocess(source: Source, uri: str) -> DatasetInfo:
    """Write a source as a data set, as the command does."""
    return shard_dataset(source, source.name, uri, Layout())
