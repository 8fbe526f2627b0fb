"""The study: every trial of a search, kept by Optuna, and all that a restart goes by.

Only the driver opens it. What is written here survives it: proposals, every epoch's result, why a
trial ended. MLflow and the console are views of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from pipeline.core.config import EpochResult
from pipeline.core.effort import Progress
from pipeline.core.proposer import Observations
from pipeline.core.space import Pool
from pipeline.core.stopping import RULES, Curve, Verdict, rungs
from pipeline.runtime.proposals import make_sampler
from pipeline.runtime.records import (
    EPOCH,
    FAILURE,
    STARTED,
    STATES,
    STOPPED,
    State,
    TrialRecord,
    epoch_to_json,
    front_hypervolume,
    record_of,
)
from pipeline.runtime.samplers import PREDICTION, WARM_START, distributions, warm_observations
from pipeline.runtime.sizes import Sizes
from pipeline.runtime.study_settings import DEFAULT_STRATEGY, Strategy, as_kept, check_same

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """The trials of one search, in Optuna's storage.

    This process alone writes there, so what has been written is also kept in memory.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        pool: Pool,
        settings: Mapping[str, Any],
        seed: int,
        strategy: Strategy = DEFAULT_STRATEGY,
    ) -> None:
        """Open the study of this name, or make it.

        Args:
            storage: Optuna's.
            name: of the study.
            pool: the architectures that may be trained.
            settings: all that makes trials comparable; must be what the study was made with.
            seed: of the proposals.
            strategy: of this run.

        Raises:
            UsageError: the study was made with other settings; says which.
        """
        self.name = name
        self.pool = pool
        self.strategy = strategy
        self._storage = storage
        self._study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
        self._keep_settings(as_kept(settings))
        budget_on = settings.get("budget_on", "built")
        self.sizes = Sizes(pool, self.budget, deployed=budget_on == "deployed")
        self._study.sampler = make_sampler(
            strategy.sampler,
            pool,
            self.sizes,
            seed,
            limit=self.budget + 1,
            floor=self.floor,
            max_candidates=strategy.max_candidates,
        )
        self.progress = Progress((self.budget + 1, -self.floor))
        self._ids: dict[int, int] = {}
        self._records: dict[int, TrialRecord] = {}
        self._ended_curves: dict[int, Curve] = {}
        self._load()

    def _load(self) -> None:
        """Read the trials; a proposal that the driver did not live to write down whole is none."""
        for trial in self._study.get_trials(deepcopy=False):
            self._ids[trial.number] = trial._trial_id
            if trial.params.keys() == self.pool.space.choices.keys():
                self._records[trial.number] = self.sizes.sized(record_of(self.pool, trial))
            elif trial.state is TrialState.RUNNING:
                self._study.tell(trial.number, state=TrialState.FAIL)
        self._date_the_last_proposal()
        records = self._records.values()
        self.progress.epochs = sum(len(record.results) for record in records)
        ended = [record for record in records if record.state is not State.RUNNING]
        for record in sorted(ended, key=lambda r: (r.latest_ms, r.number)):
            self._count_end(record)

    def _date_the_last_proposal(self) -> None:
        """Give the trial that was being proposed when the driver died the time of that."""
        latest = max((r.latest_ms for r in self._records.values()), default=0)
        for record in self.trials():
            if record.started_ms < 0:
                self._start(record, latest)

    def _count_end(self, record: TrialRecord) -> None:
        done = record.state is State.COMPLETE
        self.progress.ended((record.num_params, -record.mean_iou) if done else None)
        if record.state is not State.FAILED:
            self._ended_curves[record.number] = self.sizes.curve(record)
        self.sizes.learn(record)

    def _keep_settings(self, settings: dict[str, Any]) -> None:
        saved = self._study.user_attrs.get("settings")
        if saved is None:
            self._study.set_user_attr("settings", settings)
        else:
            check_same(self.name, saved, settings)

    @property
    def settings(self) -> dict[str, Any]:
        """Return all that makes the trials comparable."""
        return dict(self._study.user_attrs["settings"])

    @property
    def budget(self) -> int:
        """Return the most parameters a trial may have."""
        return int(self.settings["budget"])

    @property
    def is_used_up(self) -> bool:
        """Return whether every network that fits has been tried, and none is being trained."""
        return len(self._records) == self.progress.trials and not self._has_room()

    def _has_room(self) -> bool:
        return self.sizes.has_room(record.row for record in self._records.values())

    @property
    def floor(self) -> float:
        """Return the mean IoU, 0 to 1, that a network must exceed to add to the hypervolume."""
        return float(self.settings.get("floor", 0.0))

    @property
    def hypervolume(self) -> float:
        """Return the area the front dominates above the floor, as a share of budget x 100 %."""
        return front_hypervolume(self.trials(), self.budget, self.floor)

    def trials(self) -> list[TrialRecord]:
        """Return every trial, oldest first."""
        return list(self._records.values())

    def trial(self, number: int) -> TrialRecord:
        """Return one trial."""
        return self._records[number]

    def propose(self, started_ms: int = 0) -> TrialRecord | None:
        """Start a trial of an architecture that is new and fits; None when all have been tried."""
        if not self._has_room():
            return None
        trial = self._study.ask(fixed_distributions=distributions(self.pool.space))
        self._ids[trial.number] = trial._trial_id
        record = record_of(self.pool, self._storage.get_trial(trial._trial_id))
        return self._start(record, started_ms)

    def _start(self, record: TrialRecord, started_ms: int) -> TrialRecord:
        started = {"ms": started_ms, "architecture": record.architecture.to_dict()}
        self._set(record.number, STARTED, started)
        self._records[record.number] = replace(record, started_ms=started_ms)
        return self._records[record.number]

    def add_result(self, number: int, result: EpochResult, reached_ms: int) -> bool:
        """Keep an epoch's result and, at a rung, the verdict on the trial, in one write.

        Returns:
            False if it was there already, as after a restart.
        """
        record = self._records[number]
        if any(known.epoch == result.epoch for known in record.results):
            return False
        reached = record.reached(result, reached_ms, None)
        if result.epoch in rungs(result.epochs):
            reached = record.reached(result, reached_ms, self._judge(reached))
        elif verdict := self.sizes.verdict(result):
            reached = record.reached(result, reached_ms, verdict)
        fields = epoch_to_json(result, reached_ms, reached.verdicts[-1])
        self._set(number, f"{EPOCH}{result.epoch}", fields)
        self._records[number] = reached
        self.progress.epochs += 1
        return True

    def _judge(self, record: TrialRecord) -> Verdict:
        running = {
            other.number: self.sizes.curve(other)
            for other in self._records.values()
            if other.state is State.RUNNING and other.number != record.number
        }
        others = self._ended_curves | running
        rule = RULES[self.strategy.stopping]
        return rule(self.sizes.curve(record), [others[number] for number in sorted(others)])

    def settle(self, number: int) -> bool:
        """End a trial that has reached its last epoch or was judged to stop; False if neither."""
        record = self._records[number]
        if record.is_to_stop:
            self.stop(record)
        elif record.results and record.results[-1].is_last:
            self.complete(record)
        else:
            return False
        return True

    def complete(self, record: TrialRecord) -> None:
        """End a trial with the mean IoU of its last epoch."""
        size = self.sizes.sized(replace(record, state=State.COMPLETE)).num_params
        self._end(record.number, State.COMPLETE, [record.mean_iou, size])

    def stop(self, record: TrialRecord) -> None:
        """End a trial at a rung: what it was predicted to reach informs the proposals."""
        if record.verdict and record.verdict.prediction:
            prediction = record.verdict.prediction
            told = {"mean": prediction.mean, "variance": prediction.variance}
            self._set(record.number, PREDICTION, told)
        if record.verdict:
            self._set(record.number, STOPPED, record.verdict.reason)
        self._end(record.number, State.STOPPED)

    def fail(self, number: int, cause: str) -> None:
        """End a trial without a result; it is on no front and informs no proposal."""
        self._set(number, FAILURE, cause)
        self._records[number] = replace(self._records[number], failure=cause)
        self._end(number, State.FAILED)

    def _end(self, number: int, state: State, values: list[float] | None = None) -> None:
        optuna_state = next(key for key, value in STATES.items() if value is state)
        self._study.tell(number, values, state=optuna_state)
        self._records[number] = self.sizes.sized(replace(self._records[number], state=state))
        self._count_end(self._records[number])

    def _set(self, number: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._ids[number], key, value)

    def warm_start(self, earlier: str, told: Sequence[tuple[dict[str, Any], float, float]]) -> None:
        """Let what another study learnt inform the proposals; its trials are on no front here.

        Kept in this study's storage at the first call, so that the proposals stay a function of it.
        """
        if told and WARM_START not in self._study.user_attrs:
            self._study.set_user_attr(WARM_START, {"study": earlier, "trials": told})

    @property
    def elsewhere(self) -> Observations:
        """Return what another study learnt of this pool, if one informs the proposals."""
        return warm_observations(self._study, self.pool)
