"""The driver at 10,000 simulated trials and 1,000 workers: time per proposal, and memory.

    python -m benchmarks.driver_scale [TRIALS] [WORKERS]

Searches the synthetic table on a virtual clock with the default sampler and stopping.
"""

import resource
import sys
import time
from collections.abc import Sequence

import optuna

from benchmarks.synthetic import BUDGET, FLOOR, NUM_CLASSES, SPACE, Landscape
from pipeline.core.config import EpochResult
from pipeline.core.effort import Effort
from pipeline.runtime.records import TrialRecord
from pipeline.runtime.simulation import simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy


class TimedStudy(Study):
    """A study that notes how long each proposal took."""

    seconds: list[float]

    def propose(self, started_ms: int = 0) -> TrialRecord | None:
        """Start a trial, and note the time that took."""
        started = time.process_time()
        proposed = super().propose(started_ms)
        self.seconds.append(time.process_time() - started)
        return proposed


def main() -> None:
    """Search, and print time and memory along the way."""
    defaults = ("10000", "1000")
    given = sys.argv[1:]
    trials, workers = (int(word) for word in (*given, *defaults[len(given) :]))
    pool = SPACE.pool(NUM_CLASSES).within(BUDGET)
    landscape = Landscape(0, pool)

    def training_of(trial: TrialRecord) -> Sequence[EpochResult]:
        return landscape.training(trial.row, 0)

    settings = {"budget": BUDGET, "floor": FLOOR}
    storage = optuna.storages.InMemoryStorage()
    study = TimedStudy(storage, "s", pool, settings, 0, Strategy(max_candidates=2048))
    study.seconds = []
    print("trials  CPU ms a proposal (mean of the last tenth)  peak MiB")
    for share in (0.02, 0.1, 0.25, 0.5, 1.0):
        goal = round(trials * share)
        simulate(study, training_of, workers=workers, effort=Effort(trials=goal))
        last = study.seconds[-max(goal // 10, 20) :]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{goal:6d}  {1000 * sum(last) / len(last):8.1f}  {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
