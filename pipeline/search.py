"""`python -m pipeline.search`: the front of mean IoU against size, within a parameter budget."""

import shlex
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from pipeline.cli import check_seed, run_command
from pipeline.core.config import COMPARED, CachePolicy, CorruptPolicy, TrainConfig
from pipeline.core.errors import UsageError
from pipeline.core.units import format_count, parse_count
from pipeline.recipe_options import RecipeOptions
from pipeline.search_options import ConfirmOptions, EffortOptions, StrategyOptions, check_study_name

if TYPE_CHECKING:
    from pipeline.core.space import Pool, SearchSpace
    from pipeline.runtime.search_plan import SearchPlan
    from pipeline.runtime.study import Study
    from pipeline.runtime.summary import Outcome


@dataclass(frozen=True)
class SearchOptions:
    """Search the most accurate CGNet variants that fit a parameter budget."""

    budget: str
    """Most trainable parameters: digits with an optional k or M, such as 0.5M."""
    budget_on: Literal["built", "deployed"] = "built"
    """Whether the budget is of the network as it is built, known before it is trained, or of what
    is left when what training killed is taken out: then networks of up to twice the budget are
    tried if those trained before say that they will fit, and what does not is on no front."""
    dataset: str = "streets"
    """Name of a data set in the store, or the URI of one; streets is made if it is not there."""
    space: str = "cgnet"
    """Which architectures: a name from search_spaces/, or the path of a file like those."""
    effort: Annotated[EffortOptions, tyro.conf.OmitArgPrefixes] = field(
        default_factory=EffortOptions
    )
    strategy: Annotated[StrategyOptions, tyro.conf.OmitArgPrefixes] = field(
        default_factory=StrategyOptions
    )
    after: Annotated[ConfirmOptions, tyro.conf.OmitArgPrefixes] = field(
        default_factory=ConfirmOptions
    )
    epochs: int = 2
    """Passes over the train split in each training."""
    batch_size: int = 8
    """Pictures in a step, all workers of a trial together."""
    how: Annotated[RecipeOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=RecipeOptions)
    workers_per_trial: int = 1
    """DDP workers that share one training."""
    name: str | None = None
    """Name of the study; a study of this name goes on. Else made of data set, space and budget."""
    seed: int = 0
    """Of the proposals and of every training."""
    dry_run: bool = False
    """Say what would be searched and what it would cost, and train nothing."""
    simulate: Path | None = None
    """Search a table of trainings made before (Parquet) on a virtual clock, and train nothing."""
    workers: int = 1
    """Trainings at once in a simulation; a real search takes what the cluster has."""
    cache: CachePolicy = "auto"
    """What workers keep of the data: nothing, shards on disk, or pictures in memory; auto takes
    memory where a split fits, else disk for what is on S3."""
    on_corrupt: CorruptPolicy = "fail"
    """Whether a sample that cannot be read fails a trial or is left out and told."""
    store: str = "s3://cgnet"
    """Where data sets and studies are kept: s3://bucket[/prefix] or a folder."""
    state_dir: Path = Path(".cgnet")
    """Folder of this machine's own services, studies and logs."""
    study_storage: str | None = field(default=None, repr=False)  # it may hold a password
    """Database that has the studies, instead of the state folder: postgresql://user@host/database
    or sqlite:///file. Give the password by PGPASSFILE, PGSERVICEFILE or PGPASSWORD."""


def search(options: SearchOptions) -> int:
    """Search; print the front, where its picture is, and where MLflow shows it."""
    from pipeline.core.space import load_space  # numpy: not needed for --help

    budget = parse_count(options.budget)
    check_study_name("--name", options.name)
    check_study_name("--warm-start", options.strategy.warm_start)
    check_seed(options.seed)
    effort, floor = options.effort.effort(), options.strategy.checked_floor()
    peers = options.after.checked_peers()
    if options.simulate is not None:
        return _simulate(options, options.simulate, budget)
    if options.study_storage is not None:
        from pipeline.runtime.study_database import parse_url

        parse_url(options.study_storage)
    space = load_space(options.space)
    training = _training(options)
    space.pool(num_classes=1).within(budget)  # a sieve: no data set has fewer classes

    # Torch, Ray and MLflow only now, when the words are known to be right.
    from pipeline.runtime import environment

    environment.configure(options.state_dir)
    from pipeline.runtime import console, datasets
    from pipeline.runtime.confirmations import Confirmations
    from pipeline.runtime.search_plan import SearchPlan
    from pipeline.runtime.session import run_search
    from pipeline.runtime.sizes import REACH
    from pipeline.runtime.study import Study
    from pipeline.runtime.study_settings import Strategy
    from pipeline.runtime.study_storage import study_storage
    from pipeline.runtime.warm_start import read_earlier

    datasets.reach(options.store, options.state_dir)
    data, info = datasets.open_or_make(options.dataset, options.store, options.state_dir)
    datasets.check_batches(info, training)
    data = replace(data, cache=options.cache, on_corrupt=options.on_corrupt)
    num_seeds = options.after.num_seeds(generated=info.kind == datasets.DEFAULT_DATASET)
    everything = space.pool(info.classes.num_classes)
    name = options.name or _default_name(info.name, space.name, budget)
    settings = {
        **_settings(options, training, space, budget, floor),
        "dataset": data.uri,
        "fingerprint": data.fingerprint,
        "on_corrupt": data.on_corrupt,
    }
    console.log_to_file(options.state_dir / "logs" / f"{name}.log")
    plan = SearchPlan(
        data=data,
        info=info,
        training=training,
        seed=options.seed,
        effort=effort,
        store=options.store,
        state_dir=options.state_dir,
        num_networks=len(everything),
        num_seeds=num_seeds,
        peers=peers,
    )
    strategy = Strategy(options.strategy.sampler, options.strategy.stopping)
    earlier, place = options.strategy.warm_start, options.study_storage
    told = read_earlier(options.state_dir, earlier, settings, place) if earlier else []
    with study_storage(options.state_dir, name, not options.dry_run, place) as storage:
        pool = everything.within(budget)
        if options.budget_on == "deployed":
            pool = everything.within(budget * REACH)
        study = Study(storage, name, pool, settings, options.seed, strategy)
        if options.dry_run:
            return _preview(plan, study, everything)
        if earlier:
            study.warm_start(earlier, told)
            console.say(f"{len(told)} trials of study {earlier} inform the proposals")
        console.say(
            f"study {name}: {study.sizes.fits.sum():,} networks of space {space.name} fit "
            f"{budget:,} parameters {options.budget_on}; "
            f"hypervolume counts above {floor * 100:g} % mIoU"
        )
        outcome = run_search(plan, study, Confirmations(storage, name))
        return _report(outcome, study, options.state_dir if place is None else None)


def _default_name(dataset: str, space: str, budget: int) -> str:
    name = f"{dataset}-{space}-{format_count(budget)}"
    check_study_name("--name", name)  # a space of the user's may be called anything
    return name


def _training(options: SearchOptions) -> TrainConfig:
    """Return how every network is trained.

    Raises:
        UsageError: a number is out of its range, or the budget counts what nothing will kill.
    """
    training = options.how.training(
        epochs=options.epochs,
        batch_size=options.batch_size,
        num_workers=options.workers_per_trial,
    )
    if options.budget_on == "deployed" and training.optimizer != "adam":
        raise UsageError(
            f"--budget-on deployed counts what training kills, and recipe {options.how.recipe} "
            "kills nothing: choose --recipe sparse"
        )
    return training


def _settings(
    options: SearchOptions, training: TrainConfig, space: "SearchSpace", budget: int, floor: float
) -> dict[str, object]:
    """Return what makes trials of a study comparable, but for the data."""
    return {
        "space": space.name,
        **{f"space_{name}": list(space.labels(name)) for name in space.choices},
        "budget": budget,
        "budget_on": options.budget_on,
        "floor": floor,
        "recipe": options.how.recipe,
        **{name: getattr(training, name) for name in COMPARED},
        "workers_per_trial": options.workers_per_trial,
        "seed": options.seed,
    }


def _simulate(options: SearchOptions, path: Path, budget: int) -> int:
    if options.workers < 1:
        raise UsageError(f"--workers must be at least 1, got {options.workers}")
    if options.budget_on == "deployed":
        raise UsageError("--simulate knows sizes as built alone: leave --budget-on out")
    if options.after.peers:
        raise UsageError("--peers are trained, and --simulate trains nothing: leave one out")
    from pipeline.runtime.study_settings import Strategy
    from pipeline.runtime.table_search import search_table

    lines = search_table(
        path,
        budget,
        floor=options.strategy.checked_floor(),
        strategy=Strategy(options.strategy.sampler, options.strategy.stopping),
        effort=options.effort.effort(),
        workers=options.workers,
        num_seeds=options.after.confirm or 0,
        seed=options.seed,
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _preview(plan: "SearchPlan", study: "Study", everything: "Pool") -> int:
    from pipeline.runtime.preview import Images, preview, preview_confirmation

    images = Images(plan.info.num_samples["train"], *plan.info.image_size)
    lines = (
        preview(study, everything, images, plan.training, plan.effort),
        preview_confirmation(plan.num_seeds, len(plan.peers), plan.training.epochs),
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _report(outcome: "Outcome", study: "Study", state_dir: Path | None) -> int:
    from pipeline.runtime.console import left_out, say
    from pipeline.runtime.records import front
    from pipeline.runtime.summary import outcome_lines

    lines, found = outcome_lines(outcome, study), bool(front(study.trials()))
    if found and state_dir is not None:  # a report is of a study of this machine
        words = ["python", "-m", "pipeline.report", study.name]
        if state_dir != SearchOptions.state_dir:
            words += ["--state-dir", str(state_dir)]
        lines.append(f"next:     {shlex.join(words)}")
    # What goes to stderr comes first: the last line on a terminal is what to type next.
    if corrupt := {what for t in outcome.trials for r in t.results for what in r.corrupt}:
        say(left_out(sorted(corrupt)))
    if outcome.messages_lost:
        say(
            f"warning: MLflow has not taken {outcome.messages_lost} messages; what it did not "
            "refuse is sent by the study's next run"
        )
    interrupted = outcome.ended_by is None
    say(
        "interrupted: the same command with this --name goes on"
        if interrupted
        else f"ended after {outcome.ended_by}"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    if interrupted:
        return 130
    return 0 if found else 1


def main() -> int:
    """Run the command."""
    return run_command("search", SearchOptions, search)


if __name__ == "__main__":
    raise SystemExit(main())
