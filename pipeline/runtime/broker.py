"""Between those who want a network trained and the groups that train: one small Ray actor.

A job waits here until a group is free, its results wait here until they are fetched. At a rung the
group waits for the verdict before it trains on, so that no epoch is trained for nothing. A group
that died and came back asks again and is given the job it was on, so nothing else has to know of
the death.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline.core.config import EpochResult

MAX_ATTEMPTS = 3
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

    With neither result nor failure it was stopped by a verdict.
    """

    result: EpochResult | None = None
    failure: str = ""
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
    reached: int = 0  # the last epoch whose result was passed on
    last_error: str = ""
    judged: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.judged.set()


@dataclass
class Broker:
    """The actor's state; all methods run on one event loop, so none needs a lock."""

    waiting: asyncio.Queue[Job] = field(default_factory=asyncio.Queue)
    events: dict[str, asyncio.Queue[Event]] = field(
        default_factory=lambda: defaultdict(asyncio.Queue)
    )
    groups: dict[int, _Group] = field(default_factory=lambda: defaultdict(_Group))
    closed: bool = False
    broken: str = ""

    async def submit(self, job: Job) -> None:
        """Queue a job for the next free group."""
        if self.broken:
            self.events[job.id].put_nowait(Event(failure=self.broken, ends=True))
        else:
            self.waiting.put_nowait(job)

    async def next_event(self, job_id: str) -> Event:
        """Return the job's next event, waiting for it."""
        event = await self.events[job_id].get()
        if event.ends:
            del self.events[job_id]
        return event

    async def judge(self, job_id: str, goes_on: bool) -> None:
        """Tell the group that waits at a rung of this job whether to train on."""
        for group in self.groups.values():
            if group.job is not None and group.job.id == job_id:
                group.judged.set()
                if not goes_on:
                    self._end(group, Event(ends=True))

    async def next_assignment(self, group_id: int) -> Assignment:
        """Return what a group, whose rank 0 asks, is to do."""
        group = self.groups[group_id]
        if group.job is not None:  # the group died on it and came back
            if group.attempts < MAX_ATTEMPTS:
                group.attempts += 1
                return Assignment(group.job)
            cause = group.last_error or "its worker process died"
            self._end(group, Event(failure=f"{cause} ({MAX_ATTEMPTS} attempts)", ends=True))
        if self.closed:
            return Assignment(close=True)
        try:
            group.job = await asyncio.wait_for(self.waiting.get(), _PATIENCE_S)
        except TimeoutError:
            return Assignment(close=self.closed)
        group.attempts, group.reached, group.last_error = 1, 0, ""
        return Assignment(group.job)

    async def post(self, group_id: int, result: EpochResult) -> bool:
        """Pass on an epoch's result; return whether the group is to go on with the job.

        A group that came back yields its earlier epochs again; they are passed on once.
        """
        group = self.groups[group_id]
        job = group.job
        if job is not None and result.epoch > group.reached:
            group.reached = result.epoch
            if result.is_last:
                self._end(group, Event(result=result, ends=True))
            else:
                if result.epoch in job.rungs:
                    group.judged.clear()
                self.events[job.id].put_nowait(Event(result=result))
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

    async def close(self) -> None:
        """Have every group end, one that has a job after its current epoch."""
        self.closed = True
        await self.break_off("the search has ended")

    async def break_off(self, cause: str) -> None:
        """End all jobs, now and later: there is no group left to do them."""
        self.broken = cause
        for group in self.groups.values():
            if group.job is not None:
                self._end(group, Event(failure=cause, ends=True))
        while not self.waiting.empty():
            job = self.waiting.get_nowait()
            self.events[job.id].put_nowait(Event(failure=cause, ends=True))

    def _end(self, group: _Group, event: Event) -> None:
        assert group.job is not None
        self.events[group.job.id].put_nowait(event)
        group.job = None
        group.judged.set()


def follow(broker: Any, jobs: Iterable[Job]) -> Iterator[tuple[str, Event]]:
    """Have jobs done; yield what becomes of each, under its id, as it comes."""
    awaited = {}
    for job in jobs:
        ray.get(broker.submit.remote(job))
        awaited[broker.next_event.remote(job.id)] = job.id
    while awaited:
        (ready,), _ = ray.wait(list(awaited), num_returns=1)
        job_id, event = awaited.pop(ready), ray.get(ready)
        yield job_id, event
        if not event.ends:
            awaited[broker.next_event.remote(job_id)] = job_id


def start_broker() -> Any:
    """Start the actor beside the driver; it needs no CPU of its own."""
    return ray.remote(Broker).options(num_cpus=0, max_concurrency=1000).remote()
