"""Training groups: long-lived Ray Train workers through which one training passes after another.

A TorchTrainer started for each training would cost ten seconds or more before its first step. A
group costs that once.
"""

import errno
import functools
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
import torch
import torch.distributed as dist
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.exceptions import RayError
from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.util.state import list_actors
from ray.util.state.exception import RayStateApiException

from pipeline.core.config import DataConfig, EpochResult, TrialSpec
from pipeline.core.errors import (
    DataError,
    MachineLeaves,
    PipelineError,
    ServiceUnavailable,
    TrialFailed,
    one_line,
)
from pipeline.learning.dataset import Dataset
from pipeline.learning.denormals import flush_denormals
from pipeline.learning.folder import Folder
from pipeline.learning.loop import train
from pipeline.learning.split import Split
from pipeline.runtime import console
from pipeline.runtime.broker import Assignment, Job, follow, start_broker
from pipeline.runtime.cluster import has_gpus, num_slots
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder

_COLLECTIVE_TIMEOUT_S = 300
_PATIENCE_S = 10.0
_MOST_GROUPS = 10_000


@dataclass(frozen=True)
class WorkerContext:
    """One rank of a group, as the training loop sees it."""

    rank: int
    world_size: int
    device: torch.device
    checkpoints: Folder

    def dataset(self, spec: TrialSpec) -> tuple[Dataset, Split, Split]:
        """Return the spec's data; pictures read for one training serve the next."""
        return _opened(spec.data)

    def must_leave(self) -> bool:
        """Return whether Ray drains a node of this group."""
        return ray.train.get_preemption_info() is not None


@functools.lru_cache(maxsize=1)
def _opened(data: DataConfig) -> tuple[Dataset, Split, Split]:
    """Open the splits.

    Raises:
        ServiceUnavailable: the data set is gone or another one, which is no fault of a training.
    """
    try:
        dataset = open_stored(data.uri, data)
    except DataError as cause:
        raise ServiceUnavailable(str(cause)) from cause
    train_split, val_split = (
        dataset.split(name, data.cache, skip_corrupt=data.on_corrupt == "skip")
        for name in ("train", "val")
    )
    return dataset, train_split, val_split


@contextmanager
def training_groups(num_groups: int, num_workers: int) -> Iterator[Any]:
    """Run groups of workers; yield the broker that feeds them.

    Args:
        num_groups: trainings at once.
        num_workers: DDP ranks of each.
    """
    broker = start_broker()
    threads = [
        threading.Thread(target=_run_group, args=(i, broker, num_workers), daemon=True)
        for i in range(num_groups)
    ]
    for thread in threads:
        thread.start()
    try:
        yield broker
    finally:
        try:
            ray.get(broker.close.remote())
            _join(threads)
        finally:  # also when Ctrl-C is pressed again
            if any(thread.is_alive() for thread in threads):  # each has its checkpoint
                _kill_controllers()
                _join(threads)


def train_one(spec: TrialSpec, uri: str) -> Iterator[EpochResult]:
    """Train one network in a group of its own; yield its epochs, those before a restart included.

    Args:
        spec: the training.
        uri: folder of its checkpoints and weights.

    Raises:
        TrialFailed: it ended without a result; says why.
        ServiceUnavailable: what it needs was away for too long.
    """
    num_slots(spec.training.num_workers)  # raises when the cluster is too small
    job = Job(spec.id, spec.to_json(), uri)
    with training_groups(1, spec.training.num_workers) as broker:
        for _, event in follow(broker, [job]):
            if event.ends and event.outage:
                raise ServiceUnavailable(f"{event.outage}; the same command goes on")
            if event.outage:
                console.say(f"waits: {event.outage}")
            if event.failure:
                raise TrialFailed(event.failure)
            if event.result:
                yield event.result


def _join(threads: Sequence[threading.Thread]) -> None:
    patience_ends = time.monotonic() + _PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, patience_ends - time.monotonic()))


def _kill_controllers() -> None:
    """End what runs this process's groups, on this machine, and thereby their workers anywhere.

    Else a thread would be inside Ray while Ray shuts down, or ask a Ray that is no more.
    """
    ours: list[tuple[str, str, str | bool | int | float]] = [
        ("job_id", "=", ray.get_runtime_context().get_job_id()),
        ("class_name", "=", "TrainController"),
        ("state", "=", "ALIVE"),
    ]
    with suppress(RayStateApiException):
        for actor in list_actors(filters=ours, limit=_MOST_GROUPS, timeout=int(_PATIENCE_S)):
            if actor.pid:
                with suppress(OSError):
                    os.kill(actor.pid, signal.SIGKILL)


def _run_group(group_id: int, broker: Any, num_workers: int) -> None:
    gpu = has_gpus()
    trainer = TorchTrainer(
        _work,
        train_loop_config={"group_id": group_id, "broker": broker},
        torch_config=TorchConfig(
            backend="nccl" if gpu else "gloo", timeout_s=_COLLECTIVE_TIMEOUT_S
        ),
        scaling_config=ScalingConfig(
            num_workers=num_workers, use_gpu=gpu, resources_per_worker=None if gpu else {"CPU": 1}
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # logging_config is v2's; mypy sees v1's
            name=f"group-{group_id}",
            # A group is never restored from Ray's own state: it is kept where it cannot fail.
            storage_path="ray-train",
            storage_filesystem=PyFileSystem(FSSpecHandler(MemoryFileSystem())),
            failure_config=FailureConfig(max_failures=-1),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        trainer.fit()
    except Exception as cause:  # noqa: BLE001  # whatever it is, trials must not wait for ever
        if not ray.is_initialized():  # this process ends, and a call would start a cluster
            return
        reason = str(cause).strip().splitlines()[-1:] or [type(cause).__name__]
        with suppress(RayError):  # the broker is on this node, whose death ends this process
            ray.get(broker.break_off.remote(f"the training workers cannot run: {reason[0]}"))


def _work(config: dict[str, Any]) -> None:
    """Do one job after another; every rank of a group runs this."""
    flush_denormals()
    group_id, broker = config["group_id"], config["broker"]
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    device = get_device()
    while True:
        assignment = _next_assignment(broker, group_id, rank, world_size)
        if assignment.close:
            return
        if (job := assignment.job) is None:
            continue
        try:
            worker = WorkerContext(rank, world_size, device, open_folder(job.checkpoints))
            _do(job, worker, group_id, broker)
        except Exception as error:
            if isinstance(error, MachineLeaves):
                ray.get(broker.note_leave.remote(group_id, str(error)))
            elif _is_outage(error):
                ray.get(broker.note_outage.remote(group_id, one_line(error)))
            elif isinstance(error, PipelineError):
                _opened.cache_clear()  # the next training looks anew what is there
                ray.get(broker.fail.remote(group_id, str(error)))
                if world_size == 1:
                    continue
                # Other ranks may be waiting for this one: start the group anew.
            else:
                cause = f"{type(error).__name__}: {one_line(error)}"
                ray.get(broker.note_error.remote(group_id, cause))
            raise


def _is_outage(error: Exception) -> bool:
    """Return whether a training met what is none of its doing: a service or a disk that fails."""
    if isinstance(error, OSError):
        return error.errno != errno.ENOMEM  # memory is what the training itself has taken
    return isinstance(error, ServiceUnavailable)


def _do(job: Job, context: WorkerContext, group_id: int, broker: Any) -> None:
    for result in train(TrialSpec.from_json(job.spec), context):
        goes_on = None
        if context.rank == 0:
            goes_on = ray.get(broker.post.remote(group_id, result))
        if not _told_by_rank_0(goes_on, context.world_size):
            return


def _next_assignment(broker: Any, group_id: int, rank: int, world_size: int) -> Assignment:
    assignment = None
    if rank == 0:
        assignment = ray.get(broker.next_assignment.remote(group_id))
    told: Assignment = _told_by_rank_0(assignment, world_size)
    return told


def _told_by_rank_0(value: Any, world_size: int) -> Any:
    if world_size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
