"""A search of a table of trainings made before, from the file to what is told of it."""

from pathlib import Path

from optuna.storages import InMemoryStorage

from pipeline.core.effort import Effort
from pipeline.core.units import format_duration
from pipeline.runtime.confirmation_table import confirmation_lines
from pipeline.runtime.confirmations import Confirmations
from pipeline.runtime.simulation import confirm_from_table, simulate
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.summary import counts, front_lines
from pipeline.runtime.table import read_table


def search_table(
    path: Path,
    budget: int,
    *,
    floor: float,
    strategy: Strategy,
    effort: Effort,
    workers: int,
    num_seeds: int,
    seed: int,
) -> list[str]:
    """Search on a virtual clock; return the front and what it took, for people.

    Args:
        path: of the table, Parquet.
        budget: most parameters of a network.
        floor: mean IoU, 0 to 1, above which a network counts.
        strategy: of the search.
        effort: when it ends.
        workers: trainings at once.
        num_seeds: other trainings of the table with which the front is confirmed; 0 for none.
        seed: of the proposals, and of the trainings that are taken.

    Raises:
        DataError: it is no such table.
        UsageError: no network fits, or the table has too few trainings to confirm.
    """
    table, storage = read_table(path), InMemoryStorage()
    settings = {"budget": budget, "floor": floor}
    study = Study(storage, path.stem, table.pool.within(budget), settings, seed, strategy)
    clock_ms = simulate(
        study,
        lambda trial: table.training_of(trial.architecture, seed),
        workers=workers,
        effort=effort,
    )
    took = f"{study.progress.epochs} epochs in {format_duration(clock_ms / 1000)}"
    lines = [f"simulated {path.name}: {counts(study.trials())}; {took} of {workers} workers"]
    lines += front_lines(study)
    if num_seeds:
        known = Confirmations(storage, study.name)
        confirmation = confirm_from_table(study, known, table, num_seeds, seed)
        lines += confirmation_lines(confirmation, budget)
    return lines
