"""A study as a report sees it: read from its storage, without its search space or any service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from pipeline.core.errors import UsageError
from pipeline.runtime.about import StudyAbout
from pipeline.runtime.confirmations import scores_by_network
from pipeline.runtime.figures.series import SeedScores, is_paper
from pipeline.runtime.records import State, TrialRecord, as_deployed, front, read_record
from pipeline.runtime.study_storage import reading_storage, study_folder, study_names
from pipeline.runtime.trainings import Training


@dataclass(frozen=True)
class Scored:
    """A network with its figures on val.

    Attributes:
        label: for people.
        num_params: exact.
        scores: mean IoU, 0 to 1, one for each seed.
        class_iou: of one training, or the mean over the seeds where that is known.
        deployed_parameters: without what training killed; 0 where that is not known.
    """

    label: str
    num_params: int
    scores: tuple[float, ...]
    class_iou: tuple[float, ...]
    deployed_parameters: int = 0

    @property
    def mean_iou(self) -> float:
        """Return the mean over the seeds."""
        return sum(self.scores) / len(self.scores)


@dataclass(frozen=True)
class StudyView:
    """All that is written of a study.

    Attributes:
        name: of the study.
        settings: what makes its trials comparable.
        trials: oldest first.
        about: what its last run was; None for studies from before that was kept.
        seeds: scores of networks that were trained again.
    """

    name: str
    settings: Mapping[str, Any]
    trials: list[TrialRecord]
    about: StudyAbout | None = None
    seeds: SeedScores = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Return the most parameters a trial may have."""
        return int(self.settings["budget"])

    @property
    def floor(self) -> float:
        """Return the mean IoU, 0 to 1, above which the hypervolume counts."""
        return float(self.settings.get("floor", 0.0))

    @property
    def dataset(self) -> str:
        """Return the name of the data set."""
        return self.about.dataset if self.about else str(self.settings["dataset"]).split("/")[-1]

    @property
    def champion(self) -> TrialRecord | None:
        """Return the best network within budget; None before the first is complete.

        By its mean over seeds where networks were trained again, else by its score.
        """
        if not (best := front(self.trials)):
            return None
        complete = [trial for trial in self.trials if trial.state is State.COMPLETE]
        again = [trial for trial in complete if trial.architecture.id in self.seeds]
        return max(again, key=lambda trial: self.scored(trial).mean_iou, default=best[-1])

    def scored(self, trial: TrialRecord) -> Scored:
        """Return a complete trial's figures, over its seeds where it was trained again."""
        scores = tuple(self.seeds.get(trial.architecture.id, ())) or (trial.mean_iou,)
        label, classes = trial.architecture.label, trial.results[-1].class_iou
        return Scored(label, trial.num_params, scores, classes, trial.deployed_parameters)

    def paper(self, trainings: list[Training]) -> Scored | None:
        """Return the figures of M3N21: of a trial of this study, else of trainings beside it."""
        for trial in self.trials:
            if trial.state is State.COMPLETE and is_paper(trial.architecture):
                return self.scored(trial)
        alike = [one for one in trainings if one.is_paper]
        if not alike:
            return None
        columns = zip(*(one.class_iou for one in alike), strict=True)
        return Scored(
            label=alike[0].network.label,
            num_params=alike[0].num_params,
            scores=tuple(one.mean_iou for one in alike),
            class_iou=tuple(sum(column) / len(alike) for column in columns),
        )


def read_view(state_dir: Path, name: str | None) -> StudyView:
    """Read a study; the one that was written to last if no name is given.

    Raises:
        UsageError: there is no such study, or none at all, or nothing was ever tried in it.
    """
    if name is None:
        names = study_names(state_dir)
        if not names:
            raise UsageError(
                f"there is no study in {state_dir}: python -m pipeline.search makes one"
            )
        name = names[-1]
    storage = reading_storage(state_dir, name)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        settings = study.user_attrs["settings"]
    except KeyError as cause:
        raise UsageError(f"study {name} in {state_dir} is empty: search again") from cause
    records = [read_record(trial) for trial in study.get_trials(deepcopy=False)]
    about = StudyAbout.read(study_folder(state_dir, name))
    trials = [record for record in records if record]
    if settings.get("budget_on") == "deployed":
        trials = as_deployed(trials)
    return StudyView(name, settings, trials, about, scores_by_network(storage, name))
