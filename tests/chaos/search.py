"""A search that is disturbed while it runs, and what its study says before and after."""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.pool import NullPool

from pipeline.core.config import EpochResult
from pipeline.runtime.records import State, TrialRecord, read_record
from pipeline.runtime.study_database import parse_url
from pipeline.runtime.study_storage import reading_storage
from tests.chaos.site import DATASET, Site, wait_until

EPOCHS, BATCH_SIZE = 3, 32
_END_LIMIT_S = 240

Curves = Callable[[TrialRecord], tuple[float, ...]]


@dataclass(frozen=True)
class Row:
    """What the table says of one fault."""

    fault: str
    happened: str = ""
    seconds: float = math.nan
    before: int = 0
    after: int = 0
    lost: int = 0
    repeated: int = 0
    front: str = ""
    cause: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as the table prints it."""
        seconds = "-" if math.isnan(self.seconds) else f"{self.seconds:.1f}"
        counts = (self.before, self.after, self.lost, self.repeated)
        return (self.fault, self.happened, seconds, *map(str, counts), self.front, self.cause)


@dataclass
class Search:
    """`python -m pipeline.search` as a process of its own, started as often as it is needed."""

    site: Site
    name: str
    num_trials: int = 3
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    dataset: str = DATASET
    storage: str | None = None

    def words(self) -> list[str]:
        """Return the command line."""
        words = ["--space", "smoke", "--dataset", self.dataset, "--budget", "25k"]
        words += ["--batch-size", str(BATCH_SIZE), "--epochs", str(EPOCHS), "--stopping", "none"]
        words += ["--name", self.name, "--trials", str(self.num_trials)]
        words += ["--state-dir", str(self.site.state_dir), *self.options]
        words += ["--study-storage", self.storage] if self.storage else []
        return [sys.executable, "-m", "pipeline.search", *words]

    @property
    def log(self) -> Path:
        """Return the file that has what it said on stderr, in all its runs."""
        return self.site.folder / f"{self.name}.log"

    @property
    def out(self) -> Path:
        """Return the file that has what its last run printed."""
        return self.site.folder / f"{self.name}.out"

    def start(self) -> None:
        """Type the command."""
        with self.log.open("a") as err, self.out.open("w") as out:
            self.process = subprocess.Popen(
                self.words(),
                env=self.site.environment | self.environment,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.site.drivers.append(self.process)

    def end(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self.process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the search hangs:\n{self.log.read_text()}") from None

    def trials(self) -> list[TrialRecord]:
        """Return the study's trials as a bystander reads them."""
        records = map(read_record, self.stored())
        return [record for record in records if record is not None]

    def stored(self) -> list[FrozenTrial]:
        """Return what Optuna has of the study."""
        with self._storage() as storage:
            studies = storage.get_all_studies() if storage else []
            found = [one for one in studies if one.study_name == self.name]
            return storage.get_all_trials(found[0]._study_id, deepcopy=False) if found else []

    @contextmanager
    def _storage(self) -> Iterator[BaseStorage | None]:
        if self.storage is None:
            is_there = (self.site.state_dir / "studies" / f"{self.name}.journal").exists()
            yield reading_storage(self.site.state_dir, self.name) if is_there else None
            return
        engine = sqlalchemy.create_engine(parse_url(self.storage), poolclass=NullPool)
        is_there = sqlalchemy.inspect(engine).has_table("alembic_version")
        url = engine.url.render_as_string(hide_password=False)
        yield (
            RDBStorage(url, {"poolclass": NullPool}, skip_table_creation=True) if is_there else None
        )

    def complete(self) -> dict[int, TrialRecord]:
        """Return the trials that came to their end, by number."""
        return {t.number: t for t in self.trials() if t.state is State.COMPLETE}

    def wait_for_training(self) -> None:
        """Wait until a trial is complete and the next one has an epoch behind it."""

        def is_so() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            trials = self.trials()
            under_way = [t for t in trials if t.state is State.RUNNING and t.results]
            return bool(under_way) and any(t.state is State.COMPLETE for t in trials)

        wait_until(is_so, "one trial complete and another in its second epoch")

    def disturb(self, fault: str, strike: Callable[[], float | None]) -> Row:
        """Let a fault happen in the middle of an epoch; return how long until training went on.

        Args:
            fault: for the table.
            strike: makes it happen; may return the moment before which no training counts.
        """
        self.wait_for_training()
        before, known, struck = self.complete(), set(self._began()), time.time()
        since = strike() or struck

        def again() -> float:
            """Return the first beginning after the fault, 0 as long as there is none."""
            new = [began for key, began in self._began().items() if key not in known]
            return min((began for began in new if began > since), default=0.0)

        wait_until(again, f"training after: {fault}")
        return Row(fault, seconds=again() - struck, before=len(before))

    def _began(self) -> dict[tuple[int, int], float]:
        """Return when each epoch began, by the clock of who keeps the study."""
        return {
            (trial.number, result.epoch): reached_ms / 1000 - result.train_s - result.val_s
            for trial in self.trials()
            for result, reached_ms in zip(trial.results, trial.reached_ms, strict=True)
        }

    def check(
        self, row: Row, happened: str, undisturbed: Curves | None = None, failures: int = 0
    ) -> Row:
        """Make sure that nothing was lost, repeated or made up; return the row of the table.

        Args:
            row: what is known so far.
            happened: for the table.
            undisturbed: what a training gives when nothing goes wrong; None where it is not known.
            failures: trials that were to fail.
        """
        trials, log = self.trials(), self.log.read_text()
        complete = [t for t in trials if t.state is State.COMPLETE]
        failed = [t for t in trials if t.state is State.FAILED]
        said = set(re.findall(r"trial (\d+) complete", log))
        lost = said - {str(t.number) for t in complete}
        repeated = len(trials) - len({t.architecture.id for t in trials})
        found = json.loads((self._folder / "front.json").read_text())["front"]
        points = [(point["num_params"], point["mean_iou"]) for point in found]
        equal = points == recomputed_front(complete)
        row = replace(
            row,
            happened=happened,
            after=len(complete),
            lost=len(lost),
            repeated=repeated,
            front="equal" if equal else "differs",
            cause="; ".join(sorted({t.failure for t in failed})) or row.cause,
        )
        assert "Traceback" not in log, log
        assert len(complete) == self.num_trials - failures, row
        assert (len(failed), lost, repeated, equal) == (failures, set(), 0, True), row
        assert all(t.failure and "\n" not in t.failure for t in failed)
        for one in self.stored():
            assert one.values is None or one.state is TrialState.COMPLETE
        for trial in complete:
            assert [result.epoch for result in trial.results] == list(range(1, EPOCHS + 1))
            assert undisturbed is None or curve(trial.results) == undisturbed(trial)
        return row

    @property
    def _folder(self) -> Path:
        return self.site.state_dir / "studies" / self.name


def curve(results: tuple[EpochResult, ...]) -> tuple[float, ...]:
    """Return what must not depend on what went wrong on the way."""
    return tuple(value for one in results for value in (one.train_loss, one.mean_iou))


def recomputed_front(complete: list[TrialRecord]) -> list[tuple[int, float]]:
    """Return the front by its definition: nothing is both as small and better, or smaller."""
    points = {(t.num_params, t.results[-1].mean_iou) for t in complete}
    return sorted(
        p for p in points if not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in points)
    )
