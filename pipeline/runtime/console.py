"""What a person sees of a search: a live table on a terminal, plain lines anywhere else."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.core.units import format_duration
from pipeline.runtime.records import State, TrialRecord, any_shrank, front, front_hypervolume

_TABLE_ROWS = 12  # the whole summary is to fit a terminal of 25 lines
_QUIET = ("ray", "mlflow", "optuna", "alembic", "botocore", "urllib3", "httpx", "matplotlib")


def log_to_file(path: Path) -> None:
    """Send this process's log to a file; the terminal belongs to the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def say(text: str) -> None:
    """Print a line about what is going on, to stderr: stdout is for results."""
    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


class Progress:
    """Shows how far a job is: one line that rewrites itself, or a line now and then in a log."""

    _SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, unit: str, clock: Callable[[], float]) -> None:
        self._unit = unit
        self._clock = clock
        self._started = self._said = 0.0
        self._text = ""
        self._out = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=lambda: Text(self._text),
            console=self._out,
            refresh_per_second=4,
            transient=True,
        )

    def __enter__(self) -> "Progress":
        if self._out.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def __call__(self, done: int, total: int) -> None:
        """Tell that so much of the work is done; 0 starts the clock."""
        now = self._clock()
        if not done:
            self._started = self._said = now
            self._text = f"0/{total} {self._unit}"
            return
        rate = done / max(now - self._started, 1e-9)
        self._text = f"{done}/{total} {self._unit}, {rate:.{0 if rate >= 10 else 1}f}/s"
        if done < total:
            self._text += f", about {format_duration((total - done) / rate)} left"
        due = done == total or now - self._said >= self._SECONDS_BETWEEN_LINES
        if due and not self._live.is_started:
            self._said = now
            say(self._text)


class SearchConsole:
    """Shows a search; a listener of its trials."""

    def __init__(
        self,
        trials: list[TrialRecord],
        num_trials: int | None,
        budget: int,
        clock: Callable[[], float],
        floor: float = 0.0,
    ) -> None:
        self._trials = {trial.number: trial for trial in trials}
        self._num_trials = num_trials
        self._budget = budget
        self._floor = floor
        self._clock = clock
        self._started = clock()
        self._epochs_seen = 0
        self._out = Console(stderr=True, highlight=False)
        self._live = Live(
            get_renderable=self._render, console=self._out, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> "SearchConsole":
        if self._out.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def started(self, trial: TrialRecord) -> None:
        """Show a trial as running."""
        self._trials[trial.number] = trial

    def reached(self, trial: TrialRecord) -> None:
        """Show a trial's progress."""
        self._trials[trial.number] = trial
        self._epochs_seen += 1

    def ended(self, trial: TrialRecord) -> None:
        """Show what became of a trial."""
        self._trials[trial.number] = trial
        if not self._out.is_terminal:
            ended = sum(t.state is not State.RUNNING for t in self._trials.values())
            say(
                f"[{ended}{self._of_all('/')}] trial {trial.number} {trial.state}: "
                f"{trial.architecture.label}, {trial.num_params:,} parameters, {_outcome(trial)}"
                f"{self._time_left()}"
            )

    def _render(self) -> Group:
        trials = sorted(self._trials.values(), key=lambda trial: trial.number)
        best = front(trials)
        counts = {state: sum(t.state is state for t in trials) for state in State}
        states = ", ".join(f"{counts[s]} {s}" for s in State if counts[s] or s is State.COMPLETE)
        summary = f"{states}{self._of_all(' of ')} trials{self._time_left()}"
        if best:
            summary += (
                f"\nbest {best[-1].mean_iou * 100:.1f} % mIoU, front of {len(best)}, "
                f"hypervolume {front_hypervolume(trials, self._budget, self._floor):.3f}"
            )
        running = Table(
            "trial", "network", "parameters", "epoch", "mIoU %", box=None, pad_edge=False
        )
        for trial in trials:
            if trial.state is State.RUNNING:
                running.add_row(
                    str(trial.number),
                    trial.architecture.label,
                    f"{trial.num_params:,}",
                    _epoch(trial),
                    "-" if math.isnan(trial.mean_iou) else f"{trial.mean_iou * 100:.1f}",
                )
        return Group(Text(summary), running)

    def _of_all(self, joint: str) -> str:
        return "" if self._num_trials is None else f"{joint}{self._num_trials}"

    def _time_left(self) -> str:
        """Return an estimate from the epochs seen since the start, empty before the first."""
        if not self._epochs_seen or self._num_trials is None:
            return ""
        epochs = max(t.results[-1].epochs for t in self._trials.values() if t.results)
        open_trials = self._num_trials - sum(
            t.state is not State.RUNNING for t in self._trials.values()
        )
        done = sum(len(t.results) for t in self._trials.values() if t.state is State.RUNNING)
        left = max(open_trials * epochs - done, 0)
        seconds = left * (self._clock() - self._started) / self._epochs_seen
        return f", about {format_duration(seconds)} left" if left else ""


def front_table(trials: list[TrialRecord]) -> str:
    """Return the front as text, smallest network first; of a long one a spread of its rows."""
    best = front(trials)
    shown = [best[i] for i in _spread(len(best), _TABLE_ROWS)]
    shrank = any_shrank(best)
    rows = [("parameters", *(["deployed"] if shrank else []), "mIoU %", "trial", "network")]
    rows += [
        (
            f"{trial.num_params:,}",
            *([f"{trial.deployed_parameters:,}"] if shrank else []),
            f"{trial.mean_iou * 100:.2f}",
            str(trial.number),
            trial.architecture.label,
        )
        for trial in shown
    ]
    *numbers, _ = zip(*rows, strict=True)
    widths = [max(map(len, column)) for column in numbers]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=False))
        + f"  {row[-1]}"
        for row in rows
    ]
    if len(shown) < len(best):
        lines.append(f"({len(best) - len(shown)} more between these: see the picture)")
    return "\n".join(lines)


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many of ``range(count)``, both ends among them, evenly spaced."""
    if count <= most:
        return list(range(count))
    return [round(k * (count - 1) / (most - 1)) for k in range(most)]


def _outcome(trial: TrialRecord) -> str:
    if trial.failure:
        return trial.failure
    reached = f"mIoU {trial.mean_iou * 100:.1f} %"
    if trial.state is State.STOPPED:
        return f"{reached} after epoch {_epoch(trial)}: {trial.judgement}"
    return reached


def left_out(corrupt: Sequence[str]) -> str:
    """Return the warning that samples were skipped, with the first of the reasons."""
    return (
        f"warning: samples that could not be read and were left out: {len(corrupt)}, such as: "
        f"{corrupt[0]}"
    )


def _epoch(trial: TrialRecord) -> str:
    if not trial.results:
        return "-"
    return f"{trial.results[-1].epoch}/{trial.results[-1].epochs}"
