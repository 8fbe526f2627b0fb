"""Which trials of a study are worth training again: the front as the model sees it.

The scores of a search are noisy, and its front is where luck collects. The model shares what it has
seen among neighbours, so its front holds fewer trials that were merely lucky.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.core.encoding import encode
from pipeline.core.front import pareto_front, thinned_front
from pipeline.core.proposer import Proposer
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.samplers import MIN_SEEN, as_observations
from pipeline.runtime.study import Study

MAX_MEMBERS = 6  # of a front; what the others add is less than what their trainings cost


@dataclass(frozen=True)
class Members:
    """The front, smallest network first: what is trained again, and what adds too little."""

    chosen: tuple[TrialRecord, ...]
    left_out: tuple[TrialRecord, ...] = ()


def choose_members(study: Study, most: int = MAX_MEMBERS) -> Members:
    """Return the front by expected mean IoU, no more of it than the ``most`` that matter."""
    expected = expected_iou(study)
    trials = [study.trial(number) for number in expected]
    points = [(trial.num_params, -expected[trial.number]) for trial in trials]
    kept = thinned_front(points, (study.budget + 1, -study.floor), most)
    left_out = [i for i in pareto_front(points) if i not in kept]
    return Members(tuple(trials[i] for i in kept), tuple(trials[i] for i in left_out))


def expected_iou(study: Study) -> dict[int, float]:
    """Return what each complete trial, by number, is expected to score when trained again.

    Its own score where there are too few trials for a model.
    """
    complete = [trial for trial in study.trials() if trial.state is State.COMPLETE]
    own = as_observations(
        [(trial.row, *told) for trial in study.trials() if (told := _told(trial)) is not None]
    )
    if len(own) + len(study.elsewhere) < MIN_SEEN:
        return {trial.number: trial.mean_iou for trial in complete}
    pool = study.pool
    sizes = pool.num_params.astype(float)
    proposer = Proposer(encode(pool), sizes, study.budget + 1, study.floor)
    rows = np.array([trial.row for trial in complete], dtype=np.int64)
    mean, _ = proposer.model(own, study.elsewhere).predict(proposer.features[rows])
    return {trial.number: float(iou) for trial, iou in zip(complete, mean, strict=True)}


def _told(trial: TrialRecord) -> tuple[float, float] | None:
    """Return a trial's accuracy and its variance beyond the noise; None if it tells nothing."""
    if trial.state is State.COMPLETE:
        return trial.mean_iou, 0.0
    prediction = trial.verdict.prediction if trial.verdict else None
    if trial.state is State.STOPPED and prediction:
        return prediction.mean, prediction.variance
    return None
