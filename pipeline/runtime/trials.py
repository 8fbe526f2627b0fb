"""Ray Tune runs the trials of a study: placement, concurrency, a clean end on Ctrl-C.

Tune's own record of them is thrown away: the study is the one that a restart goes by. A trial that
was running when the driver died is handed out again under its number and goes on from its
checkpoint.
"""

import logging
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune

from pipeline.core.errors import ServiceUnavailable
from pipeline.runtime.broker import Job, follow
from pipeline.runtime.searcher import (
    ACTOR_DEATHS,
    EVENT,
    CheckpointsOf,
    Listener,
    SpecOf,
    StudySearcher,
)
from pipeline.runtime.study import Study


def run_trials(
    study: Study,
    spec_of: SpecOf,
    broker: Any,
    listeners: list[Listener],
    *,
    is_spent: Callable[[int], bool],
    concurrency: int,
    checkpoints: CheckpointsOf,
    scratch: Path,
) -> None:
    """Train trials of the study, those left running first, until it is spent or its space used up.

    Ctrl-C ends it early; what is running then stays so in the study. So it does when what trainings
    need is away for too long.

    Args:
        study: proposes, and keeps every result.
        spec_of: what training a trial means.
        broker: of the training groups.
        listeners: told of everything.
        is_spent: whether, with so many trials running, no other is to be started.
        concurrency: trainings at once.
        checkpoints: URI of a trial's own folder.
        scratch: folder on this machine for Tune's own record.

    Raises:
        ServiceUnavailable: what trainings need is away; says what.
        OSError: the study cannot be written.
    """
    searcher = StudySearcher(study, spec_of, broker, listeners, checkpoints, is_spent)
    trainable = tune.with_parameters(_trial, broker=broker)
    # It would print the trace of an actor that died, though another follows the trial.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    tuner = tune.Tuner(
        # A trial waits for a training group, so it needs no CPU but a place in the queue.
        tune.with_resources(trainable, {"cpu": 0, "memory": 1}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=concurrency,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(scratch.resolve()),
            failure_config=tune.FailureConfig(max_failures=ACTOR_DEATHS),
            verbose=0,
        ),
    )
    with keeping_signals():
        try:
            tuner.fit()
        finally:
            if searcher.error:
                raise searcher.error
    shutil.rmtree(scratch / study.name, ignore_errors=True)
    if searcher.outage:
        raise ServiceUnavailable(f"{searcher.outage}; the same command goes on")


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Take the handlers back that Tune leaves behind: a later Ctrl-C would do nothing."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _trial(config: dict[str, Any], broker: Any) -> None:
    """Hand the job to a group and pass on what comes back: all that a Tune trial does."""
    job = Job(config["id"], config["spec"], config["checkpoints"], config["rungs"])
    for _, event in follow(broker, [job]):
        tune.report({EVENT: event})
