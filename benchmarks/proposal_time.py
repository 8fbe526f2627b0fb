"""CPU time of one proposal by the candidates it chooses among and the trials the study holds.

    OMP_NUM_THREADS=1 python -m benchmarks.proposal_time

The whole of it is timed, as a search pays for it: Optuna's ask, the gate, the model and the choice.
"""

import time

import numpy as np
import optuna

from benchmarks.synthetic import BUDGET, FLOOR, NUM_CLASSES, SPACE, Landscape
from pipeline.core.space import Pool
from pipeline.runtime.proposals import NUM_START
from pipeline.runtime.samplers import distributions
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy

REPEATS = 5


def filled(pool: Pool, num_trials: int) -> optuna.storages.BaseStorage:
    """Return a storage with a study of so many complete trials."""
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=storage, study_name="s", directions=["maximize", "minimize"]
    )
    draw = np.random.default_rng(0)
    final = Landscape(0, pool).final / 100
    rows = draw.choice(len(pool), num_trials, replace=False)
    trials = [
        optuna.trial.create_trial(
            params=dict(pool.labels(int(row))),
            distributions=distributions(pool.space),
            values=[final[row] + 0.0045 * draw.normal(), pool.num_params[row]],
            user_attrs={"started": {"ms": 0}},
        )
        for row in rows
    ]
    study.add_trials(trials)
    return storage


def main() -> None:
    """Time and print."""
    pool = SPACE.pool(NUM_CLASSES).within(BUDGET)
    print("trials  candidates  CPU ms a proposal (median)")
    for num_trials in (100, 1000, 10_000):
        for candidates in (2048, 20_000, len(pool)):
            settings = {"budget": BUDGET, "floor": FLOOR}
            strategy = Strategy(max_candidates=candidates)
            study = Study(filled(pool, num_trials), "s", pool, settings, 0, strategy)
            for _ in range(NUM_START + 1):  # the start needs no model; what is read once is read
                study.propose()
            taken = []
            for _ in range(REPEATS):
                started = time.process_time()
                study.propose()
                taken.append(time.process_time() - started)
            print(f"{num_trials:6d}  {candidates:10d}  {1000 * np.median(taken):8.0f}", flush=True)


if __name__ == "__main__":
    main()
