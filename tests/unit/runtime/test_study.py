"""The study and its gate: nothing over budget, nothing twice, nothing forgotten."""

import math
from pathlib import Path

import optuna
import pytest

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult, TrainConfig
from pipeline.core.effort import Effort
from pipeline.core.errors import UsageError
from pipeline.core.space import Pool, load_space
from pipeline.runtime import session
from pipeline.runtime.preview import Images, preview, preview_confirmation
from pipeline.runtime.proposals import NUM_START, start_rows
from pipeline.runtime.records import State, TrialRecord, front, front_hypervolume
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.study_storage import study_storage
from pipeline.runtime.warm_start import read_earlier

BUDGET = 500_000
SETTINGS = {"budget": BUDGET, "epochs": 2, "space": "cgnet"}


def pool(space: str = "cgnet", budget: int = BUDGET) -> Pool:
    return load_space(space).pool(11).within(budget)


def in_memory() -> optuna.storages.BaseStorage:
    return optuna.storages.InMemoryStorage()


def result(epoch: int, mean_iou: float) -> EpochResult:
    return EpochResult(epoch, 2, 1.0, mean_iou, (mean_iou, math.nan), 1.0, 1.0)


def finish(study: Study, trial: TrialRecord, mean_iou: float) -> TrialRecord:
    for epoch in (1, 2):
        study.add_result(trial.number, result(epoch, mean_iou), reached_ms=epoch)
    study.complete(study.trial(trial.number))
    return study.trial(trial.number)


def invented_iou(architecture: Architecture) -> float:
    """A landscape to climb: depth helps, and dilation 4 in stage 3 does."""
    return 0.3 + 0.01 * architecture.num_blocks_3 + 0.05 * (architecture.dilations_3 == (4,))


def test_no_proposal_is_over_budget_or_repeats_another() -> None:
    study = Study(in_memory(), "s", pool(), SETTINGS, seed=1)
    seen = set()
    for _ in range(40):
        trial = study.propose()
        assert trial is not None
        assert trial.num_params <= BUDGET
        assert trial.architecture.id not in seen
        seen.add(trial.architecture.id)
        finish(study, trial, invented_iou(trial.architecture))


def test_the_gate_holds_while_trials_run_and_after_failures() -> None:
    study = Study(in_memory(), "s", pool("smoke"), SETTINGS, seed=0)
    running = [study.propose() for _ in range(3)]
    failing = study.propose()
    assert failing is not None
    study.fail(failing.number, "no luck")
    later = [study.propose() for _ in range(4)]

    ids = {t.architecture.id for t in (*running, failing, *later) if t}
    assert len(ids) == 8


def test_a_used_up_space_ends_the_search() -> None:
    study = Study(in_memory(), "s", pool("smoke"), SETTINGS, seed=0)
    trials = [study.propose() for _ in range(8)]

    assert None not in trials
    assert study.propose() is None


def test_the_ablation_is_searched_from_the_papers_network_to_its_end() -> None:
    study = Study(in_memory(), "s", pool("ablation", 750_000), SETTINGS | {"space": "ablation"}, 0)
    trials = [study.propose() for _ in range(18)]

    ids = [trial.architecture.id for trial in trials if trial]
    assert ids[0] == Architecture(num_classes=11).id
    assert len(set(ids)) == 18
    assert study.propose() is None


def test_a_study_starts_with_the_papers_network_and_the_smallest() -> None:
    everything = pool()
    first, second, *others = start_rows(everything, NUM_START, seed=3)

    assert everything.architecture(first).id == Architecture(num_classes=11).id
    assert second == 0
    sizes = [everything.num_params[row] for row in others]
    assert sizes == sorted(sizes, reverse=True), "spread over the sizes, largest share first"
    assert len({first, second, *others}) == NUM_START


def test_a_study_without_room_for_the_papers_network_starts_with_the_smallest() -> None:
    assert start_rows(pool(budget=300_000), NUM_START, seed=3)[0] == 0


def test_a_reopened_study_has_everything(tmp_path: Path) -> None:
    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", pool(), SETTINGS, seed=0)
        done, failed, running = (study.propose() for _ in range(3))
        assert done
        assert failed
        assert running
        finish(study, done, 0.5)
        study.fail(failed.number, "the loss is nan")
        study.add_result(running.number, result(1, 0.25), reached_ms=7)
        before = study.trials()
    with study_storage(tmp_path, "s") as storage:
        after = Study(storage, "s", pool(), SETTINGS, seed=0).trials()

    assert repr(before) == repr(after)  # as text: nan is not equal to itself
    assert [t.state for t in after] == [State.COMPLETE, State.FAILED, State.RUNNING]
    assert after[1].failure == "the loss is nan"
    assert after[2].results[0].mean_iou == 0.25
    assert math.isnan(after[2].results[0].class_iou[1])


def test_a_proposal_that_was_cut_short_is_no_trial(tmp_path: Path) -> None:
    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", pool(), SETTINGS, seed=0)
        whole = study.propose()
        assert whole is not None
        half = optuna.load_study(study_name="s", storage=storage).ask()
        half.suggest_int("num_blocks_2", 1, 8)
    with study_storage(tmp_path, "s") as storage:
        study = Study(storage, "s", pool(), SETTINGS, seed=0)

        assert [trial.number for trial in study.trials()] == [whole.number]
        after = study.propose()
        assert after is not None
        assert [trial.number for trial in study.trials()] == [whole.number, after.number]


def test_a_line_that_was_cut_short_costs_nothing_else(tmp_path: Path) -> None:
    """As a full disk leaves it: what comes after must not be written behind it."""
    for numbers in ([0], [0, 1], [0, 1, 2]):
        with study_storage(tmp_path, "s") as storage:
            study = Study(storage, "s", pool(), SETTINGS, seed=0)
            study.propose()
            assert [trial.number for trial in study.trials()] == numbers
        with (tmp_path / "studies" / "s.journal").open("ab") as journal:
            journal.write(b'{"op_code": 4, "worker_id"')


def test_an_interrupted_trial_goes_on_whatever_limit_was_reached() -> None:
    study = Study(in_memory(), "s", pool(), SETTINGS, seed=0)
    trial = study.propose()
    assert trial
    effort = Effort(epochs=1, seconds=1.0)
    assert session._ended_by(effort, study, 2.0) is None

    finish(study, trial, 0.5)
    assert session._ended_by(effort, study, 0.0) == "1 epochs"


def test_a_result_that_comes_again_is_not_kept_twice() -> None:
    study = Study(in_memory(), "s", pool(), SETTINGS, seed=0)
    trial = study.propose()
    assert trial is not None

    assert study.add_result(trial.number, result(1, 0.5), reached_ms=1)
    assert not study.add_result(trial.number, result(1, 0.5), reached_ms=2)
    assert study.trial(trial.number).reached_ms == (1,)


def test_other_settings_under_the_same_name_are_refused_with_the_difference(
    tmp_path: Path,
) -> None:
    with study_storage(tmp_path, "s") as storage:
        Study(storage, "s", pool(), SETTINGS, seed=0)
        with pytest.raises(UsageError, match="epochs 2, now 3: use the same, or another --name"):
            Study(storage, "s", pool(), SETTINGS | {"epochs": 3}, seed=0)


def test_a_study_is_open_in_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        study_storage(tmp_path, "s"),
        pytest.raises(UsageError, match="another process"),
        study_storage(tmp_path, "s"),
    ):
        pass


def test_the_front_holds_complete_trials_only() -> None:
    def trial(number: int, num_params: int, mean_iou: float, state: State) -> TrialRecord:
        results = (result(2, mean_iou),)
        return TrialRecord(number, Architecture(11), num_params, state, results)

    trials = [
        trial(0, 400, 0.6, State.COMPLETE),
        trial(1, 300, 0.4, State.COMPLETE),
        trial(2, 350, 0.3, State.COMPLETE),
        trial(3, 100, 0.9, State.RUNNING),
        trial(4, 100, 0.9, State.FAILED),
    ]

    assert [t.number for t in front(trials)] == [1, 0]
    beyond = 1001 / 1000
    area = (beyond - 0.3) * 0.4 + (beyond - 0.4) * (0.6 - 0.4)
    assert front_hypervolume(trials, 1000) == pytest.approx(area)


def nine(epoch: int, mean_iou: float) -> EpochResult:
    return EpochResult(epoch, 9, 1.0, mean_iou, (mean_iou,), 1.0, 1.0)


def with_finished(storage: optuna.storages.BaseStorage, stopping: str) -> Study:
    """A study of nine networks that were trained out, each as good as it is large."""
    study = Study(storage, "s", pool(), SETTINGS, seed=0, strategy=Strategy("random", stopping))
    for _ in range(9):
        trial = study.propose()
        assert trial
        for epoch in range(1, 10):
            mean_iou = trial.num_params / 1e6 - 0.02 * (9 - epoch)
            study.add_result(trial.number, nine(epoch, mean_iou), reached_ms=epoch)
        assert study.settle(trial.number)
    return study


def test_a_hopeless_trial_is_stopped_at_its_rung_and_is_never_complete(tmp_path: Path) -> None:
    with study_storage(tmp_path, "s") as storage:
        study = with_finished(storage, "front")
        trial = study.propose()
        assert trial
        study.add_result(trial.number, nine(1, 0.01), reached_ms=1)
        assert study.settle(trial.number)
        before = study.trial(trial.number)
        told = optuna.load_study(study_name="s", storage=storage).trials[trial.number]
    with study_storage(tmp_path, "s") as storage:
        after = Study(storage, "s", pool(), SETTINGS, seed=0).trial(trial.number)

    assert before.state is after.state is State.STOPPED
    assert after.verdict == before.verdict
    assert told.state is optuna.trial.TrialState.PRUNED
    assert told.values is None
    assert told.user_attrs["prediction"]["variance"] > 0
    assert told.user_attrs["stopped"].startswith("would reach")


def test_with_stopping_off_a_hopeless_trial_goes_on_and_it_is_noted() -> None:
    study = with_finished(in_memory(), "none")
    trial = study.propose()
    assert trial
    study.add_result(trial.number, nine(1, 0.01), reached_ms=1)

    assert not study.settle(trial.number)
    assert study.trial(trial.number).judgement.startswith("not stopped, as asked: would reach")


def test_a_verdict_is_not_passed_again_when_the_epoch_comes_again() -> None:
    study = with_finished(in_memory(), "front")
    trial = study.propose()
    assert trial
    study.add_result(trial.number, nine(1, 0.01), reached_ms=1)
    verdict = study.trial(trial.number).verdict_at(1)

    assert not study.add_result(trial.number, nine(1, 0.99), reached_ms=2)
    assert study.trial(trial.number).verdict_at(1) == verdict
    assert verdict
    assert verdict.stop


def test_an_earlier_study_informs_the_proposals_of_a_new_one(tmp_path: Path) -> None:
    settings = SETTINGS | {"fingerprint": "f", "batch_size": 8, "scale_range": (0.5, 2.0)}
    with study_storage(tmp_path, "old") as storage:
        old = Study(storage, "old", pool(), settings, seed=0, strategy=Strategy("random"))
        for _ in range(12):
            trial = old.propose()
            assert trial
            finish(old, trial, invented_iou(trial.architecture))
    told = read_earlier(tmp_path, "old", settings)
    cold, warm = (Study(in_memory(), "new", pool(), settings, seed=5) for _ in range(2))
    warm.warm_start("old", told)
    first = warm.propose()

    assert len(told) == 12
    assert cold.propose() != first, "the start is left out: sizes have been spread over"
    assert first
    assert front(warm.trials()) == []
    with pytest.raises(UsageError, match="do not compare: epochs 2, here 3"):
        read_earlier(tmp_path, "old", settings | {"epochs": 3})
    with pytest.raises(UsageError, match="there is no study none"):
        read_earlier(tmp_path, "none", settings)


def test_a_study_that_is_not_to_be_kept_leaves_nothing(tmp_path: Path) -> None:
    with study_storage(tmp_path, "s", keep=False) as storage:
        Study(storage, "s", pool(), SETTINGS, seed=0)
    with study_storage(tmp_path, "s") as storage:
        Study(storage, "s", pool(), SETTINGS | {"epochs": 3}, seed=0)


IMAGES = Images(count=10, height=32, width=48)


def test_a_plan_is_told_with_its_sizes_and_its_cost() -> None:
    everything = load_space("cgnet").pool(11)
    study = Study(in_memory(), "s", everything.within(BUDGET), SETTINGS, seed=0)
    told = preview(study, everything, IMAGES, TrainConfig(epochs=9), Effort(trials=10))

    assert "70,080 networks of 11 classes, 42,240 fit 500,000 parameters" in told
    assert "at most 90 epochs more" in told
    assert "no trial yet to tell the time from" in told
    trial = study.propose()
    assert trial
    finish(study, trial, 0.5)
    told = preview(study, everything, IMAGES, TrainConfig(epochs=9), Effort(trials=10))
    assert "at most 88 epochs more" in told
    assert "3 min one trial at a time (2.0 s an epoch)" in told


def test_a_plan_tells_what_comes_after_the_search() -> None:
    assert preview_confirmation(0, 0, epochs=9) == "then: nothing is trained again"
    told = preview_confirmation(3, 2, epochs=9)
    assert "M3N21, 2 peers are trained again with 3 seeds: at most 243 epochs more" in told
