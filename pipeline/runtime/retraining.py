"""The trainings that confirm a search, on the groups that did its trials."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.core.config import TrialSpec
from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime.broker import Job, follow
from pipeline.runtime.confirmations import Confirmations, Retraining


def train_again(
    wanted: Sequence[Retraining],
    known: Confirmations,
    broker: Any,
    *,
    spec_of: Callable[[Retraining], TrialSpec],
    checkpoints: Callable[[Retraining], str],
    say: Callable[[str], None],
) -> None:
    """Train what is not complete yet, as the trials were but to the end; Ctrl-C breaks it off.

    Args:
        wanted: trainings.
        known: keeps every result.
        broker: of the training groups.
        spec_of: what a training is.
        checkpoints: URI of a training's own folder.
        say: told of every training that has ended.

    Raises:
        ServiceUnavailable: what trainings need is away; says what.
    """
    pending = {one.key: one for one in known.pending(wanted)}
    ended = len(wanted) - len(pending)
    jobs = [Job(key, spec_of(one).to_json(), checkpoints(one)) for key, one in pending.items()]
    for key, event in follow(broker, jobs):
        one = pending[key]
        if event.ends and event.outage:
            raise ServiceUnavailable(f"{event.outage}; the same command goes on")
        if event.result:
            known.add_result(one, event.result, int(time.time() * 1000))
        elif event.failure:
            known.fail(one, event.failure)
        else:
            say(f"{one.network.label}, seed {one.seed}, waits: {event.outage}")
        if event.ends:
            ended += 1
            what = f"mIoU {event.result.mean_iou * 100:.1f} %" if event.result else event.failure
            say(f"[{ended}/{len(wanted)}] {one.network.label}, seed {one.seed}: {what}")
