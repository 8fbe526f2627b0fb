"""Trainings made after a search to see what its claims are worth, kept beside its trials.

They are a study of their own in the same storage: as lasting as trials, yet none of them, so that
no sampler, front or table sees them. The network and the seed name one, so none is made twice.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.peer import Network, Peer, network_from_dict
from pipeline.runtime.records import EPOCH, FAILURE, epoch_from_json, epoch_to_json

_ABOUT = "network"  # user attribute of a trial: what is trained, how large it is, the seed
_TEST = "test/"  # user attributes of the study: scores on test by the weights' SHA-256


@dataclass(frozen=True)
class Retraining:
    """A network trained from scratch with a seed that the search did not use."""

    network: Network
    num_params: int
    seed: int
    results: tuple[EpochResult, ...] = ()
    failure: str = ""

    @property
    def key(self) -> str:
        """Return its name among the study's, fit for a folder."""
        return f"{self.network.id}-{self.seed}"

    @property
    def is_complete(self) -> bool:
        """Return whether it was trained to its last epoch."""
        return bool(self.results) and self.results[-1].is_last

    @property
    def mean_iou(self) -> float:
        """Return the last epoch's mean IoU on val."""
        return self.results[-1].mean_iou


@dataclass(frozen=True)
class Confirmed:
    """A network and what it scored when it was trained again: a named point of the figures.

    Attributes:
        network: a CGNet, or a peer.
        num_params: of it.
        runs: complete trainings, by seed; at least one.
        num_wanted: trainings that were to be made.
    """

    network: Network
    num_params: int
    runs: tuple[Retraining, ...]
    num_wanted: int

    @property
    def is_peer(self) -> bool:
        """Return whether it is no CGNet."""
        return isinstance(self.network, Peer)

    @property
    def is_published(self) -> bool:
        """Return whether it is CGNet as the paper has it, M3N21."""
        return self.network == Architecture(num_classes=self.network.num_classes)

    @property
    def deployed_parameters(self) -> int:
        """Return the most that a training left alive; the size where that is not known."""
        return max(run.results[-1].deployed_parameters or self.num_params for run in self.runs)

    @property
    def mean_iou(self) -> float:
        """Return the mean over seeds of the mean IoU on val."""
        return statistics.fmean(run.mean_iou for run in self.runs)

    @property
    def spread(self) -> float | None:
        """Return the standard deviation over seeds; None of a single one."""
        scores = [run.mean_iou for run in self.runs]
        return statistics.stdev(scores) if len(scores) > 1 else None

    @property
    def score(self) -> str:
        """Return the mean IoU in per cent with its spread, for people."""
        spread = "" if self.spread is None else f" ± {self.spread * 100:.2f}"
        return f"{self.mean_iou * 100:.2f}{spread}"

    @property
    def best_run(self) -> Retraining:
        """Return the training that scored highest on val."""
        return max(self.runs, key=lambda run: run.mean_iou)


@dataclass(frozen=True)
class HeldOutScore:
    """What a network scored on the test split; None for a class that is not in it."""

    mean_iou: float
    class_iou: tuple[float | None, ...]
    num_pictures: int


class Confirmations:
    """The trainings after one search. This process alone writes them, as it does the trials."""

    def __init__(self, storage: BaseStorage, study_name: str) -> None:
        """Open those of the study of this name."""
        self._storage = storage
        self._study = optuna.create_study(
            storage=storage,
            study_name=_beside(study_name),
            direction="maximize",
            load_if_exists=True,
        )
        self._ids: dict[str, int] = {}
        self._records: dict[str, Retraining] = {}
        for trial in self._study.get_trials(deepcopy=False):
            self._take_up(trial)

    def _take_up(self, trial: FrozenTrial) -> None:
        record = _record_of(trial)
        self._ids[record.key], self._records[record.key] = trial._trial_id, record
        if trial.state is TrialState.RUNNING and (record.is_complete or record.failure):
            self._end(record)  # the driver died between its last word and the end of it

    def pending(self, wanted: Iterable[Retraining]) -> list[Retraining]:
        """Return those that are not complete, as far as they have come; failed ones begin again."""
        known = [(one, self._records.get(one.key, one)) for one in wanted]
        return [one if has.failure else has for one, has in known if not has.is_complete]

    def add_result(self, of: Retraining, result: EpochResult, reached_ms: int) -> bool:
        """Keep an epoch's result; False if it was there already, as after a restart."""
        record = self._open(of)
        if any(known.epoch == result.epoch for known in record.results):
            return False
        entry = epoch_to_json(result, reached_ms, None)
        self._set(record, f"{EPOCH}{result.epoch}", entry)
        self._records[of.key] = replace(record, results=(*record.results, result))
        if result.is_last:
            self._end(self._records[of.key])
        return True

    def fail(self, of: Retraining, cause: str) -> None:
        """End a training without a result; it is begun again by the next run of the search."""
        record = replace(self._open(of), failure=cause)
        self._set(record, FAILURE, cause)
        self._records[of.key] = record
        self._end(record)

    def confirmed(self, wanted: Sequence[Retraining]) -> list[Confirmed]:
        """Return the networks that have been trained again, smallest first."""
        by_network: dict[str, list[Retraining]] = {}
        for one in wanted:
            by_network.setdefault(one.network.id, []).append(self._records.get(one.key, one))
        found = [
            Confirmed(runs[0].network, runs[0].num_params, complete, len(runs))
            for runs in by_network.values()
            if (complete := tuple(run for run in runs if run.is_complete))
        ]
        return sorted(found, key=lambda one: one.num_params)

    def retrainings(self) -> list[Retraining]:
        """Return every training that has begun, for those who look at a study afterwards."""
        return list(self._records.values())

    def test_score(self, digest: str) -> HeldOutScore | None:
        """Return what the network with these weights scored on test, if it was scored."""
        fields = self._study.user_attrs.get(f"{_TEST}{digest}")
        return fields and HeldOutScore(**fields | {"class_iou": tuple(fields["class_iou"])})

    def keep_test_score(self, digest: str, score: HeldOutScore) -> None:
        """Write down what the network with these weights scored on test."""
        self._study.set_user_attr(f"{_TEST}{digest}", asdict(score))

    def _open(self, of: Retraining) -> Retraining:
        """Return the record of a training that goes on; it is made when there is none."""
        known = self._records.get(of.key)
        if known is None or known.failure:
            about = {"network": of.network.to_dict(), "num_params": of.num_params, "seed": of.seed}
            template = create_trial(state=TrialState.RUNNING, user_attrs={_ABOUT: about})
            self._ids[of.key] = self._storage.create_new_trial(self._study._study_id, template)
            self._records[of.key] = Retraining(of.network, of.num_params, of.seed)
        return self._records[of.key]

    def _end(self, record: Retraining) -> None:
        state = TrialState.COMPLETE if record.is_complete else TrialState.FAIL
        values = [record.mean_iou] if record.is_complete else None
        self._storage.set_trial_state_values(self._ids[record.key], state, values)

    def _set(self, record: Retraining, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._ids[record.key], key, value)


def scores_by_network(storage: BaseStorage, study_name: str) -> dict[str, tuple[float, ...]]:
    """Return what each network scored that was trained again, by its id; nothing is written."""
    try:
        study = optuna.load_study(study_name=_beside(study_name), storage=storage)
    except KeyError:
        return {}
    scores: dict[str, tuple[float, ...]] = {}
    for one in map(_record_of, study.get_trials(deepcopy=False)):
        if one.is_complete:
            scores[one.network.id] = (*scores.get(one.network.id, ()), one.mean_iou)
    return scores


def _beside(study_name: str) -> str:
    return f"{study_name}/confirmations"


def _record_of(trial: FrozenTrial) -> Retraining:
    about = trial.user_attrs[_ABOUT]
    epochs = (epoch_from_json(v)[0] for k, v in trial.user_attrs.items() if k.startswith(EPOCH))
    return Retraining(
        network=network_from_dict(about["network"]),
        num_params=about["num_params"],
        seed=about["seed"],
        results=tuple(sorted(epochs, key=lambda result: result.epoch)),
        failure=trial.user_attrs.get(FAILURE, ""),
    )
