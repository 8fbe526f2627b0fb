"""The broker's rules, on its own event loop: who gets a job, and what a death costs."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from pipeline.core.config import EpochResult
from pipeline.runtime import broker as broker_module
from pipeline.runtime.broker import MAX_ATTEMPTS, OUTAGE_LIMIT_S, Assignment, Broker, Event, Job

JOB = Job("a", "{}", "folder")


def result(epoch: int, epochs: int = 2) -> EpochResult:
    return EpochResult(epoch, epochs, 1.0, 0.5, (0.5,), 1.0, 1.0)


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))


def test_a_job_goes_to_one_group_and_its_results_come_back_in_order() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)

        assert await broker.next_assignment(0) == Assignment(JOB)
        assert await broker.post(0, result(1))
        assert not await broker.post(0, result(2))
        assert await broker.event("a", 0) == Event(result=result(1))
        assert await broker.event("a", 1) == Event(result=result(2), ends=True)

    play(scene())


def test_a_group_that_came_back_is_given_its_job_again_and_no_other_group_is() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        await broker.submit(Job("b", "{}", "folder"))

        assert await broker.next_assignment(0) == Assignment(JOB)
        assert await broker.next_assignment(0) == Assignment(JOB)
        assert (await broker.next_assignment(1)).job == Job("b", "{}", "folder")

    play(scene())


def test_the_epochs_that_a_group_repeats_are_passed_on_once() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        await broker.next_assignment(0)
        assert await broker.post(0, result(1))
        await broker.next_assignment(0)
        assert await broker.post(0, result(1))
        assert not await broker.post(0, result(2))

        assert await broker.event("a", 0) == Event(result=result(1))
        assert await broker.event("a", 1) == Event(result=result(2), ends=True)

    play(scene())


def test_a_job_that_kills_its_group_every_time_fails_with_the_last_cause() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        for _ in range(MAX_ATTEMPTS):
            assert (await broker.next_assignment(0)).job == JOB
            await broker.note_error(0, "MemoryError: no room")
        await broker.submit(Job("b", "{}", "folder"))

        assert (await broker.next_assignment(0)).job == Job("b", "{}", "folder")
        event = await broker.event("a", 0)
        assert event.ends
        assert event.failure == f"MemoryError: no room ({MAX_ATTEMPTS} attempts)"

    play(scene())


def test_only_the_first_failure_of_a_job_is_told() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        await broker.next_assignment(0)
        await broker.fail(0, "the loss is nan")
        await broker.fail(0, "the other rank went away")

        assert await broker.event("a", 0) == Event(failure="the loss is nan", ends=True)
        assert not await broker.post(0, result(1)), "the job is over"

    play(scene())


RUNG_JOB = Job("r", "{}", "folder", rungs=(1,))


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_group_waits_at_a_rung_for_the_verdict(goes_on: bool) -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(RUNG_JOB)
        await broker.next_assignment(0)
        posted = asyncio.create_task(broker.post(0, result(1)))

        assert await broker.event("r", 0) == Event(result=result(1))
        await asyncio.sleep(0)
        assert not posted.done()
        await broker.judge("r", 1, goes_on)
        assert await posted is goes_on
        if not goes_on:
            assert await broker.event("r", 1) == Event(ends=True)

    play(scene())


def test_a_group_that_came_back_to_a_rung_waits_there_again() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(RUNG_JOB)
        await broker.next_assignment(0)
        lost = asyncio.create_task(broker.post(0, result(1)))
        await broker.event("r", 0)
        lost.cancel()
        assert await broker.next_assignment(0) == Assignment(RUNG_JOB)
        again = asyncio.create_task(broker.post(0, result(1)))
        await asyncio.sleep(0)
        assert not again.done()
        await broker.judge("r", 1, goes_on=False)

        assert not await again
        assert await broker.event("r", 1) == Event(ends=True)

    play(scene())


def test_the_verdict_of_an_earlier_rung_frees_no_group() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(Job("r", "{}", "folder", rungs=(1, 2)))
        await broker.next_assignment(0)
        await broker.judge("r", 1, goes_on=True)
        posted = [asyncio.create_task(broker.post(0, result(1, 3)))]
        await broker.event("r", 0)
        await broker.judge("r", 1, goes_on=True)
        assert await posted[0]
        posted = [asyncio.create_task(broker.post(0, result(2, 3)))]
        await broker.event("r", 1)
        await broker.judge("r", 1, goes_on=True)
        await asyncio.sleep(0)

        assert not posted[0].done()
        await broker.judge("r", 2, goes_on=False)
        assert not await posted[0]

    play(scene())


def test_who_follows_a_job_anew_is_told_all_and_it_is_done_once() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        await broker.next_assignment(0)
        dead = asyncio.create_task(broker.event("a", 0))
        await asyncio.sleep(0)
        await broker.submit(JOB)
        await broker.post(0, result(1))
        await broker.post(0, result(2))

        assert await dead == await broker.event("a", 0) == Event(result=result(1))
        assert await broker.event("a", 1) == Event(result=result(2), ends=True)
        assert broker.waiting.empty()
        await broker.forget("a")
        assert not broker.told

    play(scene())


@pytest.fixture
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "_OUTAGE_PAUSE_S", 0.0)


@pytest.mark.usefixtures("without_pauses")
def test_an_outage_costs_a_job_no_attempt_and_is_told_once() -> None:
    async def scene() -> None:
        broker = Broker(clock=lambda: 0.0)
        await broker.submit(JOB)
        await broker.next_assignment(0)
        for _ in range(10 * MAX_ATTEMPTS):
            await broker.note_outage(0, "S3 does not answer")
            await broker.note_outage(0, "S3 does not answer")  # by another rank
            assert (await broker.next_assignment(0)).job == JOB
        await broker.post(0, result(1))
        for _ in range(MAX_ATTEMPTS - 1):
            assert (await broker.next_assignment(0)).job == JOB
        assert (await broker.next_assignment(0)).job is None

        assert await broker.event("a", 0) == Event(outage="S3 does not answer")
        assert await broker.event("a", 1) == Event(result=result(1))
        assert (await broker.event("a", 2)).failure

    play(scene())


@pytest.mark.usefixtures("without_pauses")
def test_an_outage_without_end_breaks_off_everything_and_fails_nothing() -> None:
    async def scene() -> None:
        now = 0.0
        broker = Broker(clock=lambda: now)
        await broker.submit(JOB)
        await broker.submit(Job("b", "{}", "folder"))
        await broker.next_assignment(0)
        while now <= OUTAGE_LIMIT_S + 60:
            await broker.note_outage(0, "S3 does not answer")
            await broker.next_assignment(0)
            now += 60

        for job, index in (("a", 1), ("b", 0)):
            over = Event(outage="S3 does not answer", ends=True)
            assert await broker.event(job, index) == over

    play(scene())


@pytest.mark.usefixtures("without_pauses")
def test_outages_with_long_training_in_between_break_off_nothing() -> None:
    async def scene() -> None:
        now = 0.0
        broker = Broker(clock=lambda: now)
        await broker.submit(JOB)
        for _ in range(10 * MAX_ATTEMPTS):
            assert (await broker.next_assignment(0)).job == JOB
            now += OUTAGE_LIMIT_S + 1  # of an epoch that takes longer
            await broker.note_outage(0, "gone")

        assert broker.told[JOB.id].events == 10 * MAX_ATTEMPTS * [Event(outage="gone")]
        assert not broker.broken

    play(scene())


@pytest.mark.usefixtures("without_pauses")
def test_machines_that_leave_break_off_nothing_nor_bring_an_outage_nearer() -> None:
    async def scene() -> None:
        now = 0.0
        broker = Broker(clock=lambda: now)
        await broker.submit(JOB)
        for _ in range(10 * MAX_ATTEMPTS):
            assert (await broker.next_assignment(0)).job == JOB
            await broker.note_leave(0, "leaves")
            await broker.note_leave(0, "leaves")  # by another rank
            now += OUTAGE_LIMIT_S + 1  # until there is another machine
        assert (await broker.next_assignment(0)).job == JOB
        await broker.note_outage(0, "S3 does not answer")

        leaves = 10 * MAX_ATTEMPTS * [Event(outage="leaves")]
        assert broker.told[JOB.id].events == [*leaves, Event(outage="S3 does not answer")]
        assert not broker.broken

    play(scene())


def test_a_job_that_is_forgotten_frees_the_group_that_trains_it() -> None:
    async def scene() -> None:
        broker = Broker()
        waits = Job("b", "{}", "folder")
        for job in (RUNG_JOB, waits, JOB):
            await broker.submit(job)
        await broker.next_assignment(0)
        posted = asyncio.create_task(broker.post(0, result(1)))
        await broker.event("r", 0)
        await broker.forget("r")
        await broker.forget("b")

        assert not await posted
        assert (await broker.next_assignment(0)).job is None  # it was the forgotten one's turn
        assert (await broker.next_assignment(0)).job == JOB
        await broker.submit(waits)
        await broker.forget("b")
        await broker.close()

    play(scene())


def test_closing_frees_a_group_that_waits_for_a_verdict() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(RUNG_JOB)
        await broker.next_assignment(0)
        posted = asyncio.create_task(broker.post(0, result(1)))
        await broker.event("r", 0)
        await broker.close()

        assert not await posted

    play(scene())


def test_closing_ends_a_running_job_after_its_epoch() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        await broker.next_assignment(0)
        await broker.close()

        assert not await broker.post(0, result(1))
        assert await broker.next_assignment(0) == Assignment(close=True)

    play(scene())


def test_an_idle_group_is_told_so_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "_PATIENCE_S", 0.01)

    async def scene() -> None:
        assert await Broker().next_assignment(0) == Assignment()

    play(scene())


def test_when_no_group_is_left_every_job_is_broken_off_now_and_later() -> None:
    async def scene() -> None:
        broker = Broker()
        await broker.submit(JOB)
        await broker.submit(Job("b", "{}", "folder"))
        await broker.next_assignment(0)
        await broker.break_off("no workers")
        await broker.submit(Job("c", "{}", "folder"))

        for job in "abc":
            assert await broker.event(job, 0) == Event(outage="no workers", ends=True)

    play(scene())
