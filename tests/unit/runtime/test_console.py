"""What a person reads of a search, and the picture of its front."""

import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.stopping import Verdict
from pipeline.runtime.console import Progress, SearchConsole, front_table
from pipeline.runtime.records import State, TrialRecord


def trial(number: int, num_params: int, mean_iou: float, state: State) -> TrialRecord:
    results = (EpochResult(2, 2, 1.0, mean_iou, (mean_iou,), 1.0, 1.0),)
    failure = "the loss is nan" if state is State.FAILED else ""
    architecture = Architecture(11, num_blocks_3=number + 1)
    return TrialRecord(number, architecture, num_params, state, results, (1,), failure)


TRIALS = [
    trial(0, 400_000, 0.6, State.COMPLETE),
    trial(1, 300_000, 0.4, State.COMPLETE),
    trial(2, 350_000, 0.3, State.COMPLETE),
    trial(3, 100_000, 0.9, State.FAILED),
]


def test_the_front_is_a_table_from_small_to_large() -> None:
    assert front_table(TRIALS).splitlines() == [
        "parameters  mIoU %  trial  network",
        "   300,000   40.00      1  M3 N2 d2-4 r8-16",
        "   400,000   60.00      0  M3 N1 d2-4 r8-16",
    ]


def test_without_a_terminal_every_end_is_one_plain_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seconds = iter((0.0, 10.0, 10.0))
    console = SearchConsole([], num_trials=3, budget=500_000, clock=lambda: next(seconds))
    with console:
        console.started(trial(0, 400_000, 0.6, State.RUNNING))
        console.reached(trial(0, 400_000, 0.6, State.RUNNING))
        console.ended(TRIALS[0])
        console.ended(TRIALS[3])
    first, second = capsys.readouterr().err.splitlines()

    assert first == (
        "[1/3] trial 0 complete: M3 N1 d2-4 r8-16, 400,000 parameters, mIoU 60.0 %, about 40 s left"
    )
    assert second.startswith("[2/3] trial 3 failed: M3 N4 d2-4 r8-16, 100,000 parameters, the loss")


def test_a_stopped_trial_is_said_to_be_so_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    results = (EpochResult(3, 9, 1.0, 0.2, (0.2,), 1.0, 1.0),)
    stopped = TrialRecord(
        *(0, Architecture(11), 400_000, State.STOPPED, results, (1,)),
        verdicts=(Verdict(stop=True, reason="would reach 30.0 % mIoU at best"),),
    )
    SearchConsole([], num_trials=None, budget=500_000, clock=lambda: 0.0).ended(stopped)

    assert capsys.readouterr().err == (
        "[1] trial 0 stopped: M3 N21 d2-4 r8-16, 400,000 parameters, "
        "mIoU 20.0 % after epoch 3/9: would reach 30.0 % mIoU at best\n"
    )


def test_a_long_front_is_a_table_of_its_ends_and_a_spread_between() -> None:
    many = [trial(n, 100_000 + n, 0.3 + n / 1000, State.COMPLETE) for n in range(40)]
    table = front_table(many).splitlines()

    assert len(table) == 14
    assert [line.split()[0] for line in (table[1], table[-2])] == ["100,000", "100,039"]
    assert table[-1] == "(28 more between these: see the picture)"


def test_progress_in_a_log_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    seconds = iter((100.0, 104.0, 112.0, 113.0, 120.0))
    with Progress("samples", lambda: next(seconds)) as progress:
        for done in (0, 40, 120, 130, 200):
            progress(done, 200)

    assert capsys.readouterr().err.splitlines() == [
        "120/200 samples, 10/s, about 8 s left",
        "200/200 samples, 10/s",
    ]
