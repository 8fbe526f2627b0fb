"""`python -m pipeline.search`: the front of mean IoU against size, within a parameter budget."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli import run_command
from pipeline.core.config import CachePolicy, CorruptPolicy, TrainConfig
from pipeline.core.errors import UsageError
from pipeline.core.units import format_count, parse_count

if TYPE_CHECKING:
    from pipeline.runtime.session import Outcome


@dataclass(frozen=True)
class SearchOptions:
    """Search the most accurate CGNet variants that fit a parameter budget."""

    budget: str
    """Most trainable parameters: digits with an optional k or M, such as 0.5M."""
    dataset: str = "streets"
    """Name of a data set in the store, or the URI of one; streets is made if it is not there."""
    space: str = "cgnet"
    """Which architectures: a name from search_spaces/."""
    trials: int = 10
    """Trainings that the study is to hold in the end."""
    epochs: int = 2
    """Passes over the train split in each training."""
    batch_size: int = 8
    """Pictures in a step, all workers of a trial together."""
    workers_per_trial: int = 1
    """DDP workers that share one training."""
    name: str | None = None
    """Name of the study; a study of this name goes on. Else made of data set, space and budget."""
    seed: int = 0
    """Of the proposals and of every training."""
    cache: CachePolicy = "auto"
    """What workers keep of the data: nothing, shards on disk, or pictures in memory."""
    on_corrupt: CorruptPolicy = "fail"
    """Whether a sample that cannot be read fails a trial or is left out and told."""
    store: str = "s3://cgnet"
    """Where data sets and studies are kept: s3://bucket[/prefix] or a folder."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services, studies and logs."""


def search(options: SearchOptions) -> int:
    """Search; print the front, where its picture is, and where MLflow shows it."""
    from pipeline.core.space import load_space  # numpy: not needed for --help

    budget = parse_count(options.budget)
    space = load_space(options.space)
    training = TrainConfig(
        epochs=options.epochs,
        batch_size=options.batch_size,
        num_workers=options.workers_per_trial,
    )
    if options.trials < 1:
        raise UsageError(f"--trials must be at least 1, got {options.trials}")
    space.pool(num_classes=1).within(budget)  # a sieve: no data set has fewer classes

    # Torch, Ray and MLflow only now, when the words are known to be right.
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.runtime import console, datasets
    from pipeline.runtime.session import SearchPlan, run_search
    from pipeline.runtime.study import Study, study_storage

    datasets.reach(options.store, options.state_dir)
    data, info = datasets.open_or_make(options.dataset, options.store, options.state_dir)
    datasets.check_batches(info, training)
    data = replace(data, cache=options.cache, on_corrupt=options.on_corrupt)
    pool = space.pool(info.classes.num_classes).within(budget)
    name = options.name or f"{info.name}-{space.name}-{format_count(budget)}"
    settings = {
        "space": space.name,
        "budget": budget,
        "dataset": data.uri,
        "fingerprint": data.fingerprint,
        "on_corrupt": data.on_corrupt,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "workers_per_trial": options.workers_per_trial,
        "seed": options.seed,
    }
    console.log_to_file(options.state_dir / "logs" / f"{name}.log")
    with study_storage(options.state_dir, name) as storage:
        study = Study(storage, name, pool, settings, options.seed)
        console.say(f"study {name}: {len(pool):,} networks of space {space.name} fit {budget:,}")
        plan = SearchPlan(
            data=data,
            info=info,
            training=training,
            seed=options.seed,
            num_trials=options.trials,
            studies_uri=f"{options.store.rstrip('/')}/studies",
            state_dir=options.state_dir,
        )
        outcome = run_search(plan, study)
    return _report(outcome, name, budget)


def _report(outcome: "Outcome", name: str, budget: int) -> int:
    from pipeline.runtime.console import front_table, left_out, say
    from pipeline.runtime.study import State, front, front_hypervolume

    counts = [
        f"{count} {state}"
        for state in State
        if (count := sum(trial.state is state for trial in outcome.trials))
    ]
    best = front(outcome.trials)
    lines = [f"study {name}: {', '.join(counts) or 'no trials'}"]
    lines += [f"  failed {t.number}: {t.failure}" for t in outcome.trials if t.failure][:3]
    if best:
        volume = front_hypervolume(outcome.trials, budget)
        lines += [
            f"front of {len(best)}, hypervolume {volume:.3f} of {budget:,} parameters x 100 % mIoU",
            front_table(outcome.trials),
            f"picture:  {outcome.picture}",
            f"champion: {outcome.champion}",
        ]
    lines.append(f"MLflow:   {outcome.mlflow}")
    sys.stdout.write("\n".join(lines) + "\n")
    if corrupt := {what for t in outcome.trials for r in t.results for what in r.corrupt}:
        say(left_out(sorted(corrupt)))
    if outcome.messages_lost:
        say(f"warning: MLflow did not take {outcome.messages_lost} messages; the study has them")
    if not outcome.finished:
        say("interrupted: the same command with this --name goes on")
        return 130
    return 0 if best else 1


def main() -> int:
    """Run the command."""
    return run_command("search", SearchOptions, search)


if __name__ == "__main__":
    raise SystemExit(main())
