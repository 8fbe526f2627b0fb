"""The Gaussian process against its closed form, its gradient against differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

from pipeline.core.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    fit,
    negative_log_posterior,
)

HYPER = Hyperparameters(np.array([0.5, 2.0]), curve=0.8, trend=0.6, noise=0.3)


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By the book, one pair at a time."""
    rows = []
    for x in a:
        row = []
        for y in b:
            r = np.sqrt(5 * (((x - y) / HYPER.lengths) ** 2).sum())
            curve = HYPER.curve**2 * (1 + r + r * r / 3) * np.exp(-r)
            row.append(curve + HYPER.trend**2 * (x - 0.5) @ (y - 0.5))
        rows.append(row)
    return np.array(rows)


def drawn(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, 2))


def test_mean_and_deviation_are_those_of_the_closed_form() -> None:
    seen, asked = drawn(7), drawn(5, seed=1)
    values, variances = np.sin(6 * seen[:, 0]), np.linspace(0, 0.1, 7)
    process = GaussianProcess(HYPER, seen, values, variances, shift=0.2, scale=2.0)
    cov = kernel(seen, seen) + np.diag(HYPER.noise**2 + variances / 4)
    cross = kernel(asked, seen)
    expected = 0.2 + 2 * cross @ np.linalg.solve(cov, (values - 0.2) / 2)
    spread = kernel(asked, asked) - cross @ np.linalg.solve(cov, cross.T)

    mean, sd = process.predict(asked)
    np.testing.assert_allclose(mean, expected, atol=1e-4)
    np.testing.assert_allclose(sd, 2 * np.sqrt(np.diag(spread)), rtol=1e-3)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_the_gradient_is_that_of_the_value(seed: int) -> None:
    g = np.random.default_rng(seed)
    points, target, known = g.uniform(size=(9, 3)), g.normal(size=9), g.uniform(size=9) * 0.1
    distances = (points.T[:, :, None] - points.T[:, None, :]) ** 2
    products = (points - 0.5) @ (points - 0.5).T

    def value(logs: np.ndarray) -> float:
        return negative_log_posterior(logs, distances, products, target, known)[0]

    def gradient(logs: np.ndarray) -> np.ndarray:
        return negative_log_posterior(logs, distances, products, target, known)[1]

    logs = g.normal(size=6) * 0.5
    assert check_grad(value, gradient, logs) < 1e-4 * (1 + np.linalg.norm(gradient(logs)))


def test_a_fit_tells_a_feature_that_matters_from_one_that_does_not() -> None:
    points = drawn(40)
    process = fit(points, np.sin(6 * points[:, 0]), np.zeros(40))
    asked = drawn(20, seed=1)
    mean, _ = process.predict(asked)

    assert process.hyper.lengths[0] < process.hyper.lengths[1]
    np.testing.assert_allclose(mean, np.sin(6 * asked[:, 0]), atol=0.1)


def test_a_value_of_great_variance_counts_for_less() -> None:
    points = np.array([[0.1, 0.5], [0.5, 0.5], [0.9, 0.5]])
    values = np.array([0.0, 1.0, 0.0])
    sure, unsure = (
        GaussianProcess(HYPER, points, values, np.array([0, v, 0]), 0.0, 1.0).predict(points[1:2])
        for v in (0.0, 1.0)
    )

    assert unsure[0] < sure[0]
    assert unsure[1] > sure[1]


def test_believing_narrows_the_deviation_and_moves_no_mean() -> None:
    points = drawn(10)
    process = GaussianProcess(HYPER, points, points[:, 0], np.zeros(10), 0.0, 1.0)
    believed = process.believe(np.array([[0.5, 0.5]]))
    asked = np.array([[0.5, 0.5], [0.4, 0.6]])

    np.testing.assert_allclose(believed.predict(asked)[0], process.predict(asked)[0], atol=1e-3)
    assert (believed.predict(asked)[1] < process.predict(asked)[1]).all()


@pytest.mark.parametrize("values", [[0.4, 0.4, 0.4], [0.4]])
def test_values_without_spread_can_be_fitted(values: list[float]) -> None:
    mean, sd = fit(drawn(len(values)), np.array(values), np.zeros(len(values))).predict(drawn(4))

    np.testing.assert_allclose(mean, 0.4, atol=1e-5)
    assert np.isfinite(sd).all()
