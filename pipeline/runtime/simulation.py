"""A search on a virtual clock: the study's own code over trainings that are known beforehand.

Nothing is trained and nobody waits, so samplers and stopping rules are compared in seconds, and a
driver of a thousand workers is tried on one.
"""

import heapq
from collections.abc import Callable, Sequence

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.cost import count_parameters
from pipeline.core.effort import Effort
from pipeline.core.errors import UsageError
from pipeline.core.peer import Network
from pipeline.runtime.confirmations import Confirmations, Retraining
from pipeline.runtime.confirming import Confirmation, confirmation_of, plan_confirmation
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.study import Study
from pipeline.runtime.table import TrainingTable

TrainingOf = Callable[[TrialRecord], Sequence[EpochResult]]


def simulate(study: Study, training_of: TrainingOf, *, workers: int, effort: Effort) -> int:
    """Carry the study on until the effort is spent or its space used up.

    A study that was cut short at any point goes on as if it had not been.

    Args:
        study: proposes, judges, and keeps every result.
        training_of: every epoch of a trial's training; its seconds are what the clock counts.
        workers: trainings at once.
        effort: when to start no more of them.

    Returns:
        The milliseconds on the clock at the end.
    """
    now = max((trial.latest_ms for trial in study.trials()), default=0)
    queue: list[tuple[int, int]] = []  # when the next epoch of a trial ends

    def enqueue(number: int) -> None:
        trial = study.trial(number)
        epoch = training_of(trial)[len(trial.results)]
        heapq.heappush(queue, (trial.latest_ms + _duration_ms(epoch), number))

    for trial in study.trials():
        if trial.state is State.RUNNING and not study.settle(trial.number):
            enqueue(trial.number)
    while True:
        while len(queue) < workers and not effort.spent(study.progress, now / 1000, len(queue)):
            if (proposed := study.propose(now)) is None:
                break
            enqueue(proposed.number)
        if not queue:
            return now
        now, number = heapq.heappop(queue)
        trial = study.trial(number)
        study.add_result(number, training_of(trial)[len(trial.results)], now)
        if not study.settle(number):
            enqueue(number)


def _duration_ms(epoch: EpochResult) -> int:
    return max(round((epoch.train_s + epoch.val_s) * 1000), 1)


def simulate_confirmation(
    wanted: Sequence[Retraining],
    known: Confirmations,
    training_of: Callable[[Retraining], Sequence[EpochResult]],
) -> None:
    """Take trainings that are known beforehand for those that are not complete yet."""
    for one in known.pending(wanted):
        for result in training_of(one)[len(one.results) :]:
            known.add_result(one, result, reached_ms=0)


def confirm_from_table(
    study: Study, known: Confirmations, table: TrainingTable, count: int, seed: int
) -> Confirmation:
    """Confirm a search of a table by the table's other trainings of the same networks.

    Args:
        study: the search, ended.
        known: keeps the results.
        table: that was searched.
        count: trainings of each network.
        seed: of the search.

    Raises:
        UsageError: the table has too few trainings of one of them.
    """
    published = Architecture(num_classes=study.pool.num_classes)
    beside: dict[Network, int] = {}
    if published.id in table.trainings:
        beside[published] = count_parameters(published)
    plan = plan_confirmation(study, count, seed, beside)
    for one in plan.retrainings:
        if (found := len(table.trainings[one.network.id])) <= count:
            raise UsageError(
                f"--confirm {count} needs {count + 1} trainings of {one.network.label}, one of "
                f"them the search's; the table has {found}: confirm with fewer"
            )
    simulate_confirmation(
        plan.retrainings, known, lambda one: table.training_of(one.network, one.seed)
    )
    return confirmation_of(plan, study, known)
