"""Everything for a report: from the study's storage, and from services where they answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.manifest import ClassTable
from pipeline.learning.folder import read_bytes
from pipeline.learning.segmenter import Segmenter
from pipeline.learning.weights import WEIGHTS_FILE
from pipeline.runtime import datasets
from pipeline.runtime.report.page import Report
from pipeline.runtime.report.pictures import Row, sample_rows
from pipeline.runtime.report.view import StudyView
from pipeline.runtime.s3_shards import open_stored
from pipeline.runtime.storage import open_folder
from pipeline.runtime.study_run import study_address
from pipeline.runtime.study_storage import study_folder
from pipeline.runtime.trainings import Training, comparable_trainings, rivals

# Settings of a study that are options of a training too.
_OPTIONS = ("recipe", "epochs", "batch_size", "learning_rate", "weight_decay", "precision")


@dataclass
class _Missing:
    """Collects what could not be had."""

    lines: list[str] = field(default_factory=list)

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        try:
            yield
        except (PipelineError, OSError) as error:
            reason = str(error).splitlines()[0]
            self.lines.append(f"{what}: {reason}")


def gather(view: StudyView, store: str, state_dir: Path) -> Report:
    """Return the report of a study, saying what is missing of it and why.

    Args:
        view: the study.
        store: where its networks are, and trainings to compare with.
        state_dir: of this machine's services.
    """
    missing = _Missing()
    trainings: list[Training] = []
    pictures: tuple[Row, ...] = ()
    classes: ClassTable | None = None
    with missing.noting("trainings to compare with"):
        datasets.reach(store, state_dir, create=False)
        trainings = comparable_trainings(store, view.dataset, view.settings)
    if view.champion:
        with missing.noting("pictures of the champion at work"):
            pictures, classes = _pictures(view, store, state_dir)
    paper = view.paper(trainings)
    if view.champion and paper is None:
        missing.lines.append(f"M3N21: {_how_to_train_paper(view)} adds it")
    if not view.about:
        missing.lines.append("command, versions and classes: the study is older than their record")
    mlflow = study_address(study_folder(state_dir, view.name), state_dir)
    if not mlflow:
        missing.lines.append("the link to the study in MLflow: MLflow does not answer")
    beside = tuple(rivals(trainings, view.trials))
    return Report(view, paper, beside, pictures, classes, mlflow, tuple(missing.lines))


def _pictures(view: StudyView, store: str, state_dir: Path) -> tuple[tuple[Row, ...], ClassTable]:
    assert view.champion, "the caller has one"
    uri = str(view.settings["dataset"])
    datasets.reach(uri, state_dir, create=False)
    network = f"{store.rstrip('/')}/studies/{view.name}/{view.champion.number:05d}"
    weights = read_bytes(open_folder(network, create=False), WEIGHTS_FILE)
    dataset = open_stored(uri)
    split = dataset.split("val", cache="none")
    classes = dataset.info.classes
    return tuple(sample_rows(Segmenter.from_bytes(weights), split, classes)), classes


def _how_to_train_paper(view: StudyView) -> str:
    settings = view.settings
    words = [
        f"--{name.replace('_', '-')} {settings[name]}" for name in _OPTIONS if name in settings
    ]
    return " ".join((f"python -m pipeline.train --dataset {view.dataset}", *words))
