"""The figures of a study: what is on them, and that they open anywhere."""

import io
import re
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.stopping import Verdict
from pipeline.runtime.figures.choices import varied_choices
from pipeline.runtime.figures.files import DEPLOYED_PICTURE, PICTURE, study_files
from pipeline.runtime.figures.progress import history
from pipeline.runtime.figures.series import Rival, front_series
from pipeline.runtime.records import State, TrialRecord, as_deployed, front_hypervolume

BUDGET = 500_000


def trial(number: int, num_params: int, mean_iou: float, state: State, **more: int) -> TrialRecord:
    results = tuple(EpochResult(e, 9, 1.0, mean_iou, (mean_iou,), 1.0, 1.0) for e in (1, 2, 3))
    architecture = Architecture(11, **{"num_blocks_3": number + 1} | more)
    return TrialRecord(
        *(number, architecture, num_params, state, results, (1, 2, 1000 + number)),
        verdicts=(None, None, Verdict(stop=state is State.STOPPED, reason="too slow")),
    )


TRIALS = [
    trial(0, 400_000, 0.6, State.COMPLETE),
    trial(1, 300_000, 0.4, State.COMPLETE),
    trial(2, 350_000, 0.3, State.COMPLETE),
    trial(3, 100_000, 0.9, State.STOPPED),
    trial(4, 494_000, 0.5, State.COMPLETE, num_blocks_3=21),
]


def names(series_name: str, **more: object) -> list[str]:
    series = {one.name: one for one in front_series(TRIALS, **more)}
    return [point.text for point in series[series_name].points]


def test_every_network_is_in_the_series_that_says_what_it_is() -> None:
    assert names("front") == ["M3 N2 d2-4 r8-16 (trial 1)", "M3 N1 d2-4 r8-16 (trial 0)"]
    assert names("dominated") == ["M3 N3 d2-4 r8-16 (trial 2)", "M3 N21 d2-4 r8-16 (trial 4)"]
    assert names("M3N21 (the paper's)") == ["M3 N21 d2-4 r8-16 (trial 4)"]
    assert names("champion") == ["M3 N1 d2-4 r8-16 (trial 0)"]
    assert names("other networks", rivals=[Rival("ENet", 360_000, 0.45)]) == ["ENet"]
    assert front_series([]) == []


def test_a_network_of_several_seeds_stands_at_their_mean_with_their_deviation() -> None:
    scores = {TRIALS[0].architecture.id: (0.5, 0.6, 0.7)}
    (point,) = {s.name: s for s in front_series(TRIALS, scores)}["champion"].points

    assert (point.mean_iou, point.spread, point.seeds) == (pytest.approx(60), pytest.approx(10), 3)


def test_the_front_by_deployed_size_is_another_and_drawn_beside_the_first() -> None:
    """The largest network lost most: deployed it beats one that was built smaller."""
    last = replace(TRIALS[4].results[-1], deployed_parameters=250_000)
    trials = [*TRIALS[:4], replace(TRIALS[4], results=(*TRIALS[4].results[:-1], last))]
    (line,) = (s for s in front_series(as_deployed(trials)) if s.name == "front")

    assert [(p.num_params, p.mean_iou) for p in line.points] == [(250_000, 50.0), (400_000, 60.0)]
    files = study_files(trials, BUDGET, 0.0, "a study")
    assert files[DEPLOYED_PICTURE] != files[PICTURE]
    assert "<h2>Front as deployed</h2>" in files["figures/figures.html"].decode()
    assert DEPLOYED_PICTURE not in study_files(TRIALS, BUDGET, 0.0, "nothing died")


def test_the_last_moment_has_the_hypervolume_of_the_study() -> None:
    moments = history(TRIALS, BUDGET, 0.1)

    assert [moment.trials for moment in moments] == [1, 2, 3, 4, 5]
    assert moments[-1].hypervolume == pytest.approx(front_hypervolume(TRIALS, BUDGET, 0.1))
    assert moments[0].hours == pytest.approx(1000 / 3.6e6)


def test_a_choice_is_what_differs_between_the_networks() -> None:
    assert varied_choices(TRIALS) == {"num_blocks_3": ["1", "2", "3", "4", "21"]}


def test_the_page_names_every_network_and_holds_plotly_once_and_no_address_to_load() -> None:
    page = study_files(TRIALS, BUDGET, 0.0, "a <study>")["figures/figures.html"].decode()

    assert page.count("plotly.js v") == 1
    assert len(page) < 6_000_000
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "a &lt;study&gt;" in page
    for one in TRIALS:
        assert f"{one.architecture.label} (trial {one.number})" in page
    assert "too slow" in page, "why a trial was stopped"


@pytest.mark.parametrize("trials", [TRIALS, TRIALS[3:4], []], ids=["all", "stopped", "none"])
def test_there_are_figures_whatever_a_study_holds(trials: list[TrialRecord]) -> None:
    files = study_files(
        *(trials, BUDGET, 0.0, "a study"),
        seeds={TRIALS[0].architecture.id: (0.5, 0.7)},
        rivals=[Rival("ENet", 360_000, 0.45)],
    )

    assert Image.open(io.BytesIO(files["figures/front.png"])).size == (1200, 750)
    table = pq.read_table(io.BytesIO(files["front.parquet"])).to_pylist()
    assert [row["num_params"] for row in table] == ([300_000, 400_000] if len(trials) > 1 else [])
