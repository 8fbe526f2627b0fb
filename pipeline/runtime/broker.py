"""Between those who want a network trained and the groups that train: one small Ray actor.

A job waits here until a group is free, its results stay here until they are no longer wanted. At a
rung the group waits for the verdict before it trains on, so that no epoch is trained for nothing. A
group that died and came back asks again and is given the job it was on, so nothing else has to know
of the death; whoever follows a job may die too, and another follows it from its start.

What a training does wrong ends its job. What it cannot help, such as an S3 that does not answer, is
waited for, and in the end breaks off everything: a job is as good as new when it is over.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.core.config import EpochResult

MAX_ATTEMPTS = 3
OUTAGE_LIMIT_S = 300.0  # a machine starts again in less
_OUTAGE_PAUSE_S = 2.0  # beside the seconds in which a group starts again
_PATIENCE_S = 2.0  # how long a call waits; idle groups keep each other company between calls


@dataclass(frozen=True)
class Job:
    """A training to be done.

    Attributes:
        id: of the job.
        spec: of the training, as JSON.
        checkpoints: URI of its folder.
        rungs: epochs after which it waits for a verdict.
    """

    id: str
    spec: str
    checkpoints: str
    rungs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Event:
    """What became of a job: an epoch's result, or why there will be none. ``ends`` the job.

    A ``failure`` is the training's own. An ``outage`` is none of its doing; it is waited for unless
    it ends the job. With none of the three the job was stopped by a verdict.
    """

    result: EpochResult | None = None
    failure: str = ""
    outage: str = ""
    ends: bool = False


@dataclass(frozen=True)
class Assignment:
    """What a group is to do next: a job, nothing yet (None), or close."""

    job: Job | None = None
    close: bool = False


@dataclass
class _Group:
    job: Job | None = None
    attempts: int = 0
    began: float = 0.0  # the latest of them, by the broker's clock
    reached: int = 0  # the last epoch whose result was passed on
    last_error: str = ""
    is_out: bool = False  # what it died of last was an outage
    out_since: float | None = None  # the first of those with nothing achieved in between
    judged: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.judged.set()


@dataclass
class _Told:
    """All that is known of a job, for whoever wants to know from which event on."""

    events: list[Event] = field(default_factory=list)
    added: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: Event) -> None:
        self.events.append(event)
        self.added.set()
        self.added = asyncio.Event()


@dataclass
class Broker:
    """The actor's state; all methods run on one event loop, so none needs a lock."""

    clock: Callable[[], float] = time.monotonic
    waiting: asyncio.Queue[Job] = field(default_factory=asyncio.Queue)
    told: dict[str, _Told] = field(default_factory=dict)
    groups: dict[int, _Group] = field(default_factory=lambda: defaultdict(_Group))
    closed: bool = False
    broken: str = ""

    async def submit(self, job: Job) -> None:
        """Queue a job for the next free group, unless it was before."""
        if job.id in self.told:
            return
        self.told[job.id] = _Told()
        if self.broken:
            self.told[job.id].add(Event(outage=self.broken, ends=True))
        else:
            self.waiting.put_nowait(job)

    async def event(self, job_id: str, index: int) -> Event:
        """Return one of the job's events, counted from 0, waiting for it."""
        told = self.told[job_id]
        while len(told.events) <= index:
            await told.added.wait()
        return told.events[index]

    async def forget(self, job_id: str) -> None:
        """Drop a job that no one will follow again; a group that still trains it lets it go."""
        self.told.pop(job_id, None)
        for group in self.groups.values():
            if group.job is not None and group.job.id == job_id:
                self._free(group)

    async def judge(self, job_id: str, epoch: int, goes_on: bool) -> None:
        """Tell the group that waits at this rung of this job whether to train on."""
        for group in self.groups.values():
            if group.job is not None and (group.job.id, group.reached) == (job_id, epoch):
                group.judged.set()
                if not goes_on:
                    self._end(group, Event(ends=True))

    async def next_assignment(self, group_id: int) -> Assignment:
        """Return what a group, whose rank 0 asks, is to do."""
        group = self.groups[group_id]
        if group.is_out:
            await asyncio.sleep(_OUTAGE_PAUSE_S)
        if group.job is not None:  # the group died on it and came back
            group.began = self.clock()
            if group.is_out:
                group.is_out = False
                return Assignment(group.job)
            if group.attempts < MAX_ATTEMPTS:
                group.attempts += 1
                return Assignment(group.job)
            cause = group.last_error or "its worker process died"
            self._end(group, Event(failure=f"{cause} ({MAX_ATTEMPTS} attempts)", ends=True))
        if self.closed:
            return Assignment(close=True)
        try:
            job = await asyncio.wait_for(self.waiting.get(), _PATIENCE_S)
        except TimeoutError:
            return Assignment(close=self.closed)
        if job.id not in self.told:  # forgotten since
            return Assignment()
        group.job = job
        group.attempts, group.began = 1, self.clock()
        group.reached, group.last_error = 0, ""
        group.is_out, group.out_since = False, None
        return Assignment(group.job)

    async def post(self, group_id: int, result: EpochResult) -> bool:
        """Pass on an epoch's result; return whether the group is to go on with the job.

        A group that came back yields its earlier epochs again; they are passed on once.
        """
        group = self.groups[group_id]
        job = group.job
        if job is not None and result.epoch > group.reached:
            group.reached, group.out_since = result.epoch, None
            if result.is_last:
                self._end(group, Event(result=result, ends=True))
            else:
                if result.epoch in job.rungs:
                    group.judged.clear()
                self.told[job.id].add(Event(result=result))
        await group.judged.wait()
        return group.job is not None

    async def fail(self, group_id: int, cause: str) -> None:
        """End the group's job: trying again would fail the same way. The first cause counts."""
        group = self.groups[group_id]
        if group.job is not None:
            self._end(group, Event(failure=cause, ends=True))

    async def note_error(self, group_id: int, cause: str) -> None:
        """Remember why a group is about to die, in case its job never succeeds."""
        self.groups[group_id].last_error = cause

    async def note_leave(self, group_id: int, cause: str) -> None:
        """Have the group's job tried again: a machine of its was taken away, with notice."""
        group = self.groups[group_id]
        if group.job is not None and not group.is_out:
            self.told[group.job.id].add(Event(outage=cause))
        group.is_out = True

    async def note_outage(self, group_id: int, cause: str) -> None:
        """Have the group's job tried again, however often, until the outage has been too long.

        An attempt that trained for that long was over the one before it.
        """
        group, now = self.groups[group_id], self.clock()
        if group.is_out:  # another rank was first
            return
        group.is_out = True
        if group.out_since is None or now - group.began > OUTAGE_LIMIT_S:
            group.out_since = now
            if group.job is not None:
                self.told[group.job.id].add(Event(outage=cause))
        elif now - group.out_since > OUTAGE_LIMIT_S:
            await self.break_off(cause)

    async def close(self) -> None:
        """Have every group end, one that has a job after its current epoch."""
        self.closed = True
        await self.break_off("the search has ended")

    async def break_off(self, cause: str) -> None:
        """End all jobs, now and later, for a reason that is not theirs. The first cause counts."""
        self.broken = self.broken or cause
        for group in self.groups.values():
            if group.job is not None:
                self._end(group, Event(outage=self.broken, ends=True))
        while not self.waiting.empty():
            job = self.waiting.get_nowait()
            if job.id in self.told:
                self.told[job.id].add(Event(outage=self.broken, ends=True))

    def _end(self, group: _Group, event: Event) -> None:
        assert group.job is not None
        self.told[group.job.id].add(event)
        self._free(group)

    def _free(self, group: _Group) -> None:
        group.job = None
        group.judged.set()


def follow(broker: Any, jobs: Iterable[Job]) -> Iterator[tuple[str, Event]]:
    """Have jobs done; yield what becomes of each, under its id, as it comes."""
    awaited = {}
    for job in jobs:
        ray.get(broker.submit.remote(job))
        awaited[broker.event.remote(job.id, 0)] = (job.id, 0)
    while awaited:
        (ready,), _ = ray.wait(list(awaited), num_returns=1)
        (job_id, index), event = awaited.pop(ready), ray.get(ready)
        yield job_id, event
        if not event.ends:
            awaited[broker.event.remote(job_id, index + 1)] = (job_id, index + 1)


def start_broker() -> Any:
    """Start the actor on the driver's node; it needs no CPU of its own.

    Ray would choose a node at random, whose loss would be that of every running trial.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": 1000, "scheduling_strategy": here}
    return ray.remote(Broker).options(**options).remote()
