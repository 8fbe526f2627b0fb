"""The report of a study: from its storage alone, and saying what it could not have."""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import optuna
import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.errors import UsageError
from pipeline.core.manifest import ClassTable
from pipeline.core.space import load_space
from pipeline.runtime.about import StudyAbout, command_line, machine, versions
from pipeline.runtime.confirmations import Confirmations, Retraining
from pipeline.runtime.figures.series import Rival, front_series
from pipeline.runtime.records import State, TrialRecord, front
from pipeline.runtime.report.chart import front_svg, ticks
from pipeline.runtime.report.facts import comparison, percent, spending
from pipeline.runtime.report.page import Report, report_html, report_markdown
from pipeline.runtime.report.pictures import _row, fixed_indices
from pipeline.runtime.report.view import Scored, StudyView, read_view
from pipeline.runtime.study import Study
from pipeline.runtime.study_storage import study_folder, study_storage
from pipeline.runtime.trainings import Training

ABOUT = StudyAbout(
    command="python -m pipeline.search --budget 0.5M",
    store="s3://cgnet",
    dataset="streets",
    image_size=(48, 64),
    num_samples={"train": 8, "val": 4},
    class_names=("dark <&>", "light"),
    networks=100,
    networks_within_budget=60,
    sampler="ehvi",
    stopping="front",
    versions=versions(),
    machine=machine(),
)
SETTINGS = {"budget": 500_000, "floor": 0.0, "space": "smoke", "dataset": "s3://b/datasets/streets"}


def trial(number: int, blocks: int, num_params: int, mean_iou: float, state: State) -> TrialRecord:
    epochs = 1 if state is State.STOPPED else 3
    results = tuple(
        EpochResult(e, 3, 1.0, mean_iou, (mean_iou, math.nan), 1.0, 1.0)
        for e in range(1, epochs + 1)
    )
    architecture = Architecture(2, num_blocks_3=blocks)
    return TrialRecord(number, architecture, num_params, state, results, (1,) * epochs)


VIEW = StudyView(
    "a study",
    SETTINGS,
    [
        trial(0, 2, 300_000, 0.62, State.COMPLETE),
        trial(1, 21, 490_000, 0.6, State.COMPLETE),
        trial(2, 4, 310_000, 0.2, State.STOPPED),
    ],
    ABOUT,
)


def test_a_study_is_read_as_it_was_written_also_while_it_is_searched(tmp_path: Path) -> None:
    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", load_space("smoke").pool(2), SETTINGS, seed=0)
        for _ in range(2):
            one = study.propose(started_ms=5)
            assert one
            study.add_result(one.number, EpochResult(1, 1, 1.0, 0.5, (0.5, 0.5), 1, 1), 9)
            study.settle(one.number)
        study.propose()
        ABOUT.write(study_folder(tmp_path, "s"))
        view = read_view(tmp_path, None)
        written = [dataclasses.replace(one, row=-1) for one in study.trials()]

    assert view.trials == written
    assert (view.name, view.settings, view.about) == ("s", SETTINGS, ABOUT)


def test_networks_that_were_trained_again_are_judged_by_their_seeds(tmp_path: Path) -> None:
    def result(mean_iou: float) -> EpochResult:
        return EpochResult(1, 1, 1.0, mean_iou, (mean_iou, mean_iou), 1, 1)

    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", load_space("smoke").pool(2), SETTINGS, seed=0)
        for score in (0.5, 0.6):
            one = study.propose()
            assert one
            study.add_result(one.number, result(score), 9)
            study.settle(one.number)
        lucky = max(study.trials(), key=lambda trial: trial.mean_iou)
        known = Confirmations(storage, "s")
        for trial in study.trials():
            for seed, score in enumerate((0.4, 0.42) if trial is lucky else (0.5, 0.52), start=1):
                again = Retraining(trial.architecture, trial.num_params, seed)
                known.add_result(again, result(score), 9)
        view = read_view(tmp_path, "s")

    assert view.champion
    assert view.champion.number != lucky.number
    assert view.scored(view.champion).scores == (0.5, 0.52)


def test_a_study_that_is_not_there_is_one_line_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no study in"):
        read_view(tmp_path, None)
    with study_storage(tmp_path, "known") as storage:
        optuna.create_study(storage=storage, study_name="known")
    with pytest.raises(UsageError, match=r"no study 'other' in .*; there are known"):
        read_view(tmp_path, "other")
    with pytest.raises(UsageError, match=r"study known in .* is empty"):
        read_view(tmp_path, "known")


def test_the_answer_compares_size_and_accuracy_with_the_paper() -> None:
    champion, paper = VIEW.scored(VIEW.trials[0]), VIEW.paper([])

    assert paper
    assert comparison(champion, paper) == (
        "The paper's M3N21 has 490,000 parameters and scores 60.00 % (one seed): this one is 39 % "
        "smaller and 2.00 points better."
    )
    assert "nothing beat it" in comparison(paper, paper)
    assert "nothing is compared" in comparison(champion, None)
    assert percent(Scored("x", 1, (0.5, 0.6), ())) == "55.00 ± 7.07 % (2 seeds)"


def test_m3n21_may_come_from_trainings_beside_the_study() -> None:
    view = dataclasses.replace(VIEW, trials=VIEW.trials[:1])
    trainings = [
        Training(Architecture(2), 490_000, iou, (iou, 0.1), seed)
        for seed, iou in enumerate((0.4, 0.6))
    ]
    paper = view.paper(trainings)

    assert view.paper([]) is None
    assert paper
    assert paper.scores == (0.4, 0.6)
    assert paper.class_iou == pytest.approx((0.5, 0.1))


def test_what_stopping_and_the_gate_saved_is_counted() -> None:
    told = dict(spending(VIEW))

    assert told["trials"] == "2 complete, 1 stopped"
    assert told["saved by stopping"].startswith("2 epochs, 22%")
    assert told["saved by the budget gate"].startswith("40 of the space's 100")


def test_the_page_holds_everything_and_asks_for_nothing() -> None:
    page = report_html(Report(VIEW, VIEW.paper([]), missing=("a link: <no> answer",)))

    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "@import" not in page
    assert "url(" not in page
    for text in ("300,000", "M3 N2 d2-4 r8-16", "dark &lt;&amp;&gt;", "&lt;no&gt; answer"):
        assert text in page
    assert all("alt=" in tag for tag in re.findall("<img[^>]*>", page))


@pytest.mark.parametrize("trials", [[], VIEW.trials[2:]], ids=["none", "stopped"])
def test_a_study_without_a_complete_trial_is_reported_too(trials: list[TrialRecord]) -> None:
    report = Report(dataclasses.replace(VIEW, trials=trials, about=None))

    assert "No network has been trained to the end yet" in report_html(report)
    assert "No network has been trained to the end yet" in report_markdown(report)


def test_markdown_has_the_front_and_every_class() -> None:
    text = report_markdown(Report(VIEW, VIEW.paper([])))

    assert "| M3 N2 d2-4 r8-16 | 300,000 | 62.00 % (one seed) |" in text
    assert "| light | - | - |" in text


def test_the_chart_draws_each_network_inside_its_frame() -> None:
    series = front_series(VIEW.trials, rivals=[Rival("A & B", 400_000, 0.5)])
    root = ET.fromstring(front_svg(series, 500_000, 360, 300, 'a "front" & more'))
    places = [
        tuple(map(float, re.findall(r"[\d.]+", node.attrib["transform"])))
        for node in root.iter("g")
        if "transform" in node.attrib
    ]

    assert len(places) == sum(len(one.points) for one in series)
    assert all(0 < x < 360 and 0 < y < 300 for x, y in places)
    assert len(front(VIEW.trials)) == 1


@pytest.mark.parametrize(("low", "high"), [(0.31, 0.37), (60_000, 510_000), (0, 100)])
def test_ticks_are_few_and_within(low: float, high: float) -> None:
    found = ticks(low, high, 5)

    assert 2 <= len(found) <= 6
    assert all(low <= tick <= high for tick in found)


def test_samples_are_spread_over_the_split() -> None:
    assert fixed_indices(96) == [12, 36, 60, 84]
    assert fixed_indices(2) == [0, 1]


def test_the_share_of_right_pixels_leaves_out_the_ignored() -> None:
    classes = ClassTable(("dark", "light"), ((0, 0, 0), (255, 255, 255)), 255)
    label = np.array([[0, 1], [255, 1]], dtype=np.uint8)
    prediction = np.array([[0, 0], [0, 1]], dtype=np.uint8)
    row = _row("k", np.zeros((2, 2, 3), dtype=np.uint8), label, prediction, classes)

    assert row.correct == pytest.approx(2 / 3)
    assert [panel.name for panel in row.panels] == ["picture", "truth", "prediction", "error"]


def test_a_command_is_written_down_without_logins() -> None:
    words = ["--store", "s3://cgnet", "--url", "http://me:secret@host/x", "--name", "a b"]

    assert command_line("pipeline.search", words) == (
        "python -m pipeline.search --store s3://cgnet --url http://host/x --name 'a b'"
    )
