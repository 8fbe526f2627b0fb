"""Stopping rules on curves made by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.stopping import (
    MIN_FINISHED,
    Curve,
    asha_rule,
    epsilon_net,
    front_rule,
    no_rule,
    non_dominated_layers,
    predict_final,
    priorities,
    rungs,
)

EPOCHS = 9


def rising(num_params: int, final: float, epochs: int = EPOCHS, noise: int = 0) -> Curve:
    """A curve that gains 0.2 over the training; ``noise`` shifts its early part a little."""
    values = [final - 0.2 * (1 - e / EPOCHS) ** 2 for e in range(1, EPOCHS + 1)]
    values = [v + 0.003 * np.sin(7 * noise + e) * (EPOCHS - e) for e, v in enumerate(values, 1)]
    return Curve(num_params, tuple(values[:epochs]), complete=epochs == EPOCHS)


FINISHED = [rising(1000 * i, 0.4 + 0.02 * i, noise=i) for i in range(1, MIN_FINISHED + 1)]


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, ()), (2, ()), (3, (1,)), (8, (2,)), (9, (1, 3)), (10, (1, 3)), (27, (3, 9))],
)
def test_rungs_are_at_a_ninth_and_a_third(epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(epochs) == expected


def test_the_end_of_a_curve_is_told_from_others_like_it() -> None:
    told = predict_final(rising(5000, 0.47, epochs=3), FINISHED)

    assert told is not None
    assert told.mean == pytest.approx(0.47, abs=0.03)
    assert 0 < told.variance < 0.03**2


def test_too_few_finished_curves_tell_nothing_and_stop_nothing() -> None:
    hopeless = rising(5000, 0.0, epochs=3)

    assert predict_final(hopeless, FINISHED[:-1]) is None
    assert not front_rule(hopeless, FINISHED[:-1]).stop


def test_what_a_smaller_network_beats_is_stopped_and_what_is_on_the_front_is_not() -> None:
    assert front_rule(rising(8500, 0.45, epochs=3), FINISHED).stop
    assert not front_rule(rising(8500, 0.60, epochs=3), FINISHED).stop


def test_a_weak_network_smaller_than_all_others_is_not_stopped() -> None:
    assert not front_rule(rising(500, 0.2, epochs=3), FINISHED).stop


def test_trials_that_were_stopped_are_no_rivals() -> None:
    rival = rising(400, 0.9, epochs=3)

    assert not front_rule(rising(500, 0.4, epochs=3), [*FINISHED, rival]).stop


def test_with_stopping_off_it_is_said_what_would_have_been_stopped() -> None:
    curve = rising(8500, 0.45, epochs=3)
    verdict = no_rule(curve, FINISHED)

    assert not verdict.stop
    assert verdict.reason == f"not stopped, as asked: {front_rule(curve, FINISHED).reason}"
    assert no_rule(rising(8500, 0.60, epochs=3), FINISHED).reason == ""


def test_asha_keeps_the_first_third_by_size_and_accuracy() -> None:
    peers = [Curve(size, (value,)) for size, value in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.1))]

    assert asha_rule(Curve(5, (0.05,)), peers).stop, "all others dominate it"
    assert not asha_rule(Curve(2, (0.9,)), peers).stop, "it dominates most"
    assert asha_rule(Curve(5, (0.05,)), peers).reason == "place 5 of 5 after epoch 1"


def test_asha_compares_at_the_same_epoch_and_waits_for_company() -> None:
    ahead = [Curve(1, (0.5, 0.9)), Curve(1, (0.4, 0.8))]
    behind = [Curve(1, (0.9,)), Curve(1, (0.9,)), Curve(1, (0.9,))]

    assert asha_rule(Curve(2, (0.1,)), ahead).stop
    assert not asha_rule(Curve(2, (0.1, 0.1)), [ahead[0], *behind]).stop


def test_layers_are_those_of_repeated_fronts() -> None:
    points = np.array([(1, 3), (3, 1), (2, 2), (2, 4), (4, 4), (2, 2)], dtype=float)

    assert non_dominated_layers(points).tolist() == [0, 0, 0, 1, 2, 0]


def test_an_epsilon_net_takes_the_farthest_next() -> None:
    line = np.array([(0.0, 1.0), (0.1, 0.9), (0.5, 0.5), (1.0, 0.0)])

    assert epsilon_net(line) == [3, 0, 2, 1]


def test_a_point_that_dominates_all_has_the_first_place() -> None:
    """The place is returned, not the order: an inverse permutation that is easy to forget."""
    points = np.array([(5, 5), (4, 6), (6, 4), (1, 1)], dtype=float)

    assert priorities(points)[-1] == 0


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20),
)
@settings(max_examples=50)
def test_nobody_is_placed_before_one_who_dominates_him(points: list[tuple[int, int]]) -> None:
    array = np.array(points, dtype=float)
    places = priorities(array)

    assert sorted(places) == list(range(len(points)))
    for i, one in enumerate(points):
        for j, other in enumerate(points):
            if one != other and one[0] <= other[0] and one[1] <= other[1]:
                assert places[i] < places[j]
