"""Importance of choices on made data, where the answer is known."""

import numpy as np
import pytest

from pipeline.core.importance import importance


def made(num: int, noise: float) -> tuple[dict[str, list[int]], np.ndarray, np.ndarray]:
    """Accuracy is of the size, of ``strong`` (4 times the variance of ``weak``), never of ``idle``.

    ``size`` sets the size alone, so that it looks decisive to whoever forgets to hold that fixed.
    """
    rng = np.random.default_rng(0)
    choices = {name: rng.integers(0, 3, num).tolist() for name in ("strong", "weak", "idle")}
    choices["size"] = rng.integers(1, 9, num).tolist()
    num_params = 60_000 * np.array(choices["size"]) + rng.integers(0, 3000, num)
    accuracy = 0.1 * np.log(num_params) - 0.9
    accuracy += 0.02 * np.array(choices["strong"]) + 0.01 * np.array(choices["weak"])
    return choices, num_params, accuracy + noise * rng.standard_normal(num)


def test_importances_are_the_shares_of_the_variance_that_was_made() -> None:
    told = importance(*made(400, noise=0.002))

    assert list(told)[:2] == ["strong", "weak"]
    assert told["strong"] == pytest.approx(0.8, abs=0.06)
    assert told["weak"] == pytest.approx(0.2, abs=0.04)
    assert told["idle"] < 0.01
    assert told["size"] < 0.02, "what size explains is no merit of the choice that sets it"


def test_where_all_is_noise_no_choice_matters() -> None:
    choices, num_params, _ = made(200, noise=0.0)
    accuracy = np.random.default_rng(1).standard_normal(200)

    assert max(importance(choices, num_params, accuracy).values()) < 0.1


def test_nothing_is_said_of_too_few_networks_or_of_one_value() -> None:
    choices, num_params, accuracy = made(8, noise=0.0)
    one = {"same": [1] * 30}

    assert importance(choices, num_params, accuracy) == {}
    assert importance(one, np.arange(1, 31), np.linspace(0, 1, 30)) == {}


def test_equal_sizes_and_equal_accuracies_are_no_division_by_zero() -> None:
    told = importance({"a": [0, 1] * 10}, np.full(20, 1000), np.full(20, 0.5))

    assert told == {"a": 0.0}
