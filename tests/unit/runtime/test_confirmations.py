"""After the search: what is trained again, that none is lost or made twice, and what it tells."""

import json
import math
import multiprocessing
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend

from pipeline.core.architecture import Architecture
from pipeline.core.config import EpochResult
from pipeline.core.cost import count_parameters
from pipeline.core.effort import Effort
from pipeline.core.front import hypervolume
from pipeline.core.peer import Peer
from pipeline.core.space import Pool, load_space
from pipeline.runtime.confirmation_table import confirmation_json, confirmation_lines
from pipeline.runtime.confirmations import Confirmations, Retraining
from pipeline.runtime.confirming import (
    Confirmation,
    ConfirmationPlan,
    confirmation_of,
    plan_confirmation,
)
from pipeline.runtime.members import Members, choose_members, expected_iou
from pipeline.runtime.records import TrialRecord, front
from pipeline.runtime.simulation import simulate, simulate_confirmation
from pipeline.runtime.study import Study
from pipeline.runtime.study_settings import Strategy
from pipeline.runtime.study_storage import study_storage
from tests.unit.runtime.test_simulation import KillingBackend

BUDGET, EPOCHS = 500_000, 3
SETTINGS = {"budget": BUDGET, "floor": 0.2}
PUBLISHED = Architecture(num_classes=11)
OTHERS = {PUBLISHED: count_parameters(PUBLISHED), Peer("enet", 11): 600_000}


@pytest.fixture(scope="module")
def pool() -> Pool:
    return load_space("cgnet").pool(11).within(BUDGET)


def true_iou(network: Architecture | Peer) -> float:
    """What a network is worth: depth pays."""
    if isinstance(network, Peer):
        return 0.9
    depth = 0.1 * math.log(network.num_blocks_3) - 0.02 * abs(network.num_blocks_2 - 3)
    return 0.3 + depth + 0.02 * (network.dilations_3 == (4,))


def training(network: Architecture | Peer, seed: int, noise: float = 0.03) -> list[EpochResult]:
    """A training whose luck is a function of network and seed."""
    luck = np.random.default_rng((*network.id.encode(), seed)).normal() * noise
    final = true_iou(network) + luck
    return [
        EpochResult(e, EPOCHS, 1.0, final - 0.1 * (EPOCHS - e), (final,), 1.0, 0.0)
        for e in range(1, EPOCHS + 1)
    ]


def again(one: Retraining) -> list[EpochResult]:
    return training(one.network, one.seed)


def search(storage: BaseStorage, pool: Pool, trials: int, seed: int = 1) -> Study:
    strategy = Strategy("random", "none")
    study = Study(storage, "s", pool, SETTINGS, seed=seed, strategy=strategy)

    def training_of(trial: TrialRecord) -> Sequence[EpochResult]:
        return training(trial.architecture, seed)

    simulate(study, training_of, workers=1, effort=Effort(trials=trials))
    return study


def confirmed(storage: BaseStorage, pool: Pool, seeds: int = 3) -> Confirmation:
    study = search(storage, pool, 20)
    known = Confirmations(storage, "s")
    plan = plan_confirmation(study, seeds, 1, OTHERS)
    simulate_confirmation(plan.retrainings, known, again)
    return confirmation_of(plan, study, known)


def test_the_front_is_trained_again_with_other_seeds_beside_the_published_and_the_peers(
    pool: Pool,
) -> None:
    confirmation = confirmed(InMemoryStorage(), pool)
    members = {trial.architecture for trial in confirmation.plan.members.chosen}

    assert confirmation.plan.seeds == (2, 3, 4)
    assert {one.network for one in confirmation.networks} == members | {*OTHERS}
    for one in confirmation.networks:
        scores = [training(one.network, seed)[-1].mean_iou for seed in (2, 3, 4)]
        assert [run.mean_iou for run in one.runs] == scores
        assert one.mean_iou == pytest.approx(np.mean(scores))
        assert one.spread == pytest.approx(np.std(scores, ddof=1))
        assert one.best_run.mean_iou == max(scores)


def test_the_champion_is_the_best_mean_that_fits_and_no_peer(pool: Pool) -> None:
    confirmation = confirmed(InMemoryStorage(), pool)
    best = confirmation.best_within(BUDGET)
    tiny = confirmation.best_within(300_000)

    assert max(confirmation.networks, key=lambda one: one.mean_iou).is_peer
    ours = [one for one in confirmation.networks if not one.is_peer]
    assert best == max(ours, key=lambda one: one.mean_iou)
    assert tiny
    assert tiny.num_params <= 300_000


def test_who_has_not_finished_every_seed_is_no_champion(pool: Pool) -> None:
    storage = InMemoryStorage()
    study = search(storage, pool, 20)
    known = Confirmations(storage, "s")
    plan = plan_confirmation(study, 2, 1, {})
    best = max(plan.retrainings, key=lambda one: true_iou(one.network))
    for one in plan.retrainings:
        if one.network == best.network and one.seed == 3:
            known.fail(one, "the loss is nan")
        else:
            simulate_confirmation([one], known, again)
    confirmation = confirmation_of(plan, study, known)
    champion = confirmation.best_within(BUDGET)

    assert champion
    assert champion.network != best.network
    assert "1 of 2 seeds" in "\n".join(confirmation_lines(confirmation, BUDGET))
    (left,) = known.pending(plan.retrainings)
    assert (left.network, left.seed, left.results) == (best.network, 3, ())
    simulate_confirmation(plan.retrainings, known, again)
    reopened = Confirmations(storage, "s")
    assert confirmation_of(plan, study, reopened).networks == tuple(
        known.confirmed(plan.retrainings)
    )
    assert len(reopened.confirmed(plan.retrainings)[-1].runs) == 2


def test_confirming_adds_no_trial_and_changes_no_proposal(pool: Pool) -> None:
    plain, storage = search(InMemoryStorage(), pool, 20), InMemoryStorage()
    confirmed(storage, pool)
    strategy = Strategy("ehvi", "none", 256)
    study = Study(storage, "s", pool, SETTINGS, seed=1, strategy=strategy)
    other = Study(plain._storage, "s", pool, SETTINGS, seed=1, strategy=strategy)

    assert study.trials() == plain.trials()
    assert study.progress == plain.progress
    assert study.propose() == other.propose()


def _drive(path: Path, pool: Pool, kill: tuple[int, bool]) -> None:
    storage = JournalStorage(KillingBackend(str(path), *kill))
    confirmed(storage, pool)


def outcome(storage: BaseStorage) -> list[Any]:
    study = optuna.load_study(study_name="s/confirmations", storage=storage)
    return [(t.state, t.values, json.loads(json.dumps(t.user_attrs))) for t in study.trials]


def test_a_confirmation_killed_twelve_times_is_as_one_that_was_not(
    pool: Pool, tmp_path: Path
) -> None:
    """Every training is there once, with each of its epochs."""
    whole = InMemoryStorage()
    expected = confirmed(whole, pool)
    (tmp_path / "studies").mkdir()
    journal = tmp_path / "studies" / "s.journal"
    search(JournalStorage(JournalFileBackend(str(journal))), pool, 20)
    chance, fork = random.Random(0), multiprocessing.get_context("fork")
    for _ in range(12):
        kill = (chance.randint(3, 12), chance.random() < 0.5)
        driver = fork.Process(target=_drive, args=(journal, pool, kill))
        driver.start()
        driver.join(60)
        assert driver.exitcode == -signal.SIGKILL, "it was at work when it was killed"
    with study_storage(tmp_path, "s") as storage:
        found = confirmed(storage, pool)

        assert found == expected
        assert outcome(storage) == outcome(whole)
        assert len(outcome(storage)) == len(found.plan.retrainings)


def true_volume(trials: Sequence[TrialRecord]) -> float:
    points = [(trial.num_params, -true_iou(trial.architecture)) for trial in trials]
    return hypervolume(points, (BUDGET + 1, -0.2)) / BUDGET


def test_the_model_sees_through_luck_that_the_scores_take_for_skill(pool: Pool) -> None:
    """Winner's curse: a noisy front claims more than it is worth, the expected front less so."""
    claimed, worth, expected = [], [], []
    for seed in range(8):
        study = search(InMemoryStorage(), pool, 40, seed)
        claimed.append(study.hypervolume)
        worth.append(true_volume(front(study.trials())))
        expected.append(true_volume(choose_members(study, most=40).chosen))

    assert np.mean(claimed) > np.mean(worth) + 0.005
    assert np.mean(expected) > np.mean(worth)


def test_the_curse_is_printed(pool: Pool) -> None:
    """The claim of the members falls when they are trained again, and both are told."""
    confirmation = confirmed(InMemoryStorage(), pool)
    members = confirmation.plan.members.chosen
    means = {one.network: one.mean_iou for one in confirmation.networks}
    points = [(trial.num_params, -means[trial.architecture]) for trial in members]
    again = hypervolume(points, (BUDGET + 1, -0.2)) / BUDGET
    text = "\n".join(confirmation_lines(confirmation, BUDGET))

    assert confirmation.confirmed == pytest.approx(again)
    assert f"claimed {confirmation.claimed:.3f}, confirmed {again:.3f}" in text
    for trial in members:
        score = f"{means[trial.architecture] * 100:.2f} ± "
        assert f"{trial.mean_iou * 100:.2f}  {score}" in text
    assert "ENet (peer, over budget)" in text
    fields = confirmation_json(confirmation)
    assert fields["hypervolume"]["confirmed"] == confirmation.confirmed
    assert len(fields["networks"]) == len(confirmation.networks)


def test_of_a_long_front_what_adds_least_is_left_out_and_told(pool: Pool) -> None:
    study = search(InMemoryStorage(), pool, 40)
    few, all_of_them = choose_members(study, most=3), choose_members(study, most=40)
    expected = expected_iou(study)

    assert len(few.chosen) == 3
    assert few.chosen[-1] == all_of_them.chosen[-1], "the most accurate stays"
    assert {*few.chosen, *few.left_out} == {*all_of_them.chosen}
    scores = [expected[trial.number] for trial in all_of_them.chosen]
    assert scores == sorted(scores)
    plan = ConfirmationPlan(few, (2,))
    confirmation = Confirmation(plan, (), 0.0, 0.0)
    told = ", ".join(str(trial.number) for trial in few.left_out)
    assert confirmation_lines(confirmation, BUDGET)[-1].endswith(f"trials {told}")


def test_without_enough_trials_for_a_model_scores_decide(pool: Pool) -> None:
    study = search(InMemoryStorage(), pool, 3)

    assert choose_members(study) == Members(tuple(front(study.trials())))
