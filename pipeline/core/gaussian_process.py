"""A Gaussian process on points of the unit cube, for accuracies of architectures.

Its kernel is a Matern-5/2 with a length scale for each feature, plus a linear trend.
Hyperparameters maximise the marginal likelihood under weak priors.

Source: Rasmussen and Williams 2006, sections 2.2, 4.2.1 and 5.4.1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

_ROOT_5 = np.sqrt(5.0)
# Log-normal priors of a length scale, the two amplitudes and the noise; values have deviation 1.
_PRIOR_MEAN = {
    "length": np.log(2.0),
    "curve": np.log(0.8),
    "trend": np.log(0.3),
    "noise": np.log(0.22),
}
_PRIOR_SD = 1.0
_BOUND_SDS = 3.5
_MAX_STEPS = 40
_CHUNK = 8192  # rows predicted at a time, so that what is computed stays in the cache


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """Of the kernel, for values of deviation 1: ``lengths`` (d,), amplitudes and noise."""

    lengths: Array
    curve: float
    trend: float
    noise: float

    @classmethod
    def from_logs(cls, logs: Array) -> "Hyperparameters":
        """Read a vector of logarithms: lengths, curve, trend, noise."""
        *lengths, curve, trend, noise = np.exp(logs)
        return cls(np.array(lengths), float(curve), float(trend), float(noise))


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Values that were seen at some points, and what they say of the others."""

    hyper: Hyperparameters
    points: Array  # (n, d)
    values: Array  # (n,) as given
    variances: Array  # (n,) as given, on top of the noise
    shift: float
    scale: float

    def predict(self, points: NDArray[np.floating]) -> tuple[Array, Array]:
        """Return mean and standard deviation (m,) of the noise-free value at points (m, d)."""
        weights, whitening = self._factors
        # Single precision does: what is told apart is far above its 1e-4.
        single = [a.astype(np.float32) for a in (self.points, weights, whitening)]
        pieces = [
            self._predict_chunk(points[i : i + _CHUNK].astype(np.float32), *single)
            for i in range(0, max(len(points), 1), _CHUNK)
        ]
        mean, sd = (np.concatenate(column).astype(float) for column in zip(*pieces, strict=True))
        return self.shift + self.scale * mean, self.scale * sd

    @cached_property
    def _factors(self) -> tuple[Array, Array]:
        """Return the weights of the mean and the inverse Cholesky factor of the covariance."""
        squares = _squares(self.points / self.hyper.lengths, self.points / self.hyper.lengths)
        cov = self._covariance(squares, _centred(self.points), _centred(self.points))
        cov[np.diag_indices_from(cov)] += self.hyper.noise**2 + self.variances / self.scale**2
        factor = np.linalg.cholesky(cov)
        whitening = solve_triangular(factor, np.eye(len(cov)), lower=True)
        target = (self.values - self.shift) / self.scale
        return whitening.T @ (whitening @ target), whitening

    def _covariance(
        self, squares: NDArray[np.floating], a: NDArray[np.floating], b: NDArray[np.floating]
    ) -> Array:
        scaled = _ROOT_5.astype(squares.dtype) * np.sqrt(squares)
        curve = (1 + scaled + scaled * scaled / 3) * np.exp(-scaled)
        cov: Array = self.hyper.curve**2 * curve + self.hyper.trend**2 * (a @ b.T)
        return cov

    def _predict_chunk(
        self,
        chunk: NDArray[np.float32],
        points: NDArray[np.float32],
        weights: NDArray[np.float32],
        whitening: NDArray[np.float32],
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        lengths = self.hyper.lengths.astype(np.float32)
        cross = self._covariance(
            _squares(chunk / lengths, points / lengths), _centred(chunk), _centred(points)
        )
        own = self.hyper.curve**2 + self.hyper.trend**2 * (_centred(chunk) ** 2).sum(axis=1)
        white = cross @ whitening.T
        variance = own - np.einsum("ij,ij->i", white, white)
        return cross @ weights, np.sqrt(np.maximum(variance, 1e-6))

    def believe(self, points: Array) -> "GaussianProcess":
        """Return the process as if its own mean had been seen at ``points`` (m, d)."""
        if not len(points):
            return self
        mean, _ = self.predict(points)
        return GaussianProcess(
            self.hyper,
            np.concatenate((self.points, points)),
            np.concatenate((self.values, mean)),
            np.concatenate((self.variances, np.zeros(len(points)))),
            self.shift,
            self.scale,
        )


def fit(points: Array, values: Array, variances: Array) -> GaussianProcess:
    """Return the process whose hyperparameters explain the values best.

    The result is a function of the arguments alone: no random restarts, no earlier fit.

    Args:
        points: (n, d) in the unit cube.
        values: (n,) seen there.
        variances: (n,) of each value, beyond the noise that all share.
    """
    shift, scale = float(values.mean()), float(values.std()) or 1.0
    target, known = (values - shift) / scale, variances / scale**2
    centre = _prior_means(points.shape[1])
    distances = (points.T[:, :, None] - points.T[:, None, :]) ** 2
    found = minimize(
        negative_log_posterior,
        centre,
        args=(distances, _centred(points) @ _centred(points).T, target, known),
        jac=True,
        method="L-BFGS-B",
        bounds=[(c - _BOUND_SDS * _PRIOR_SD, c + _BOUND_SDS * _PRIOR_SD) for c in centre],
        options={"maxiter": _MAX_STEPS},
    )
    hyper = Hyperparameters.from_logs(found.x)
    return GaussianProcess(hyper, points, values, variances, shift, scale)


def negative_log_posterior(
    logs: Array, distances: Array, products: Array, target: Array, known: Array
) -> tuple[float, Array]:
    """Return what ``fit`` minimises, without its constants, and its gradient.

    Args:
        logs: (d + 3,) logarithms of the hyperparameters.
        distances: (d, n, n) squared, along each feature.
        products: (n, n) of the centred points.
        target: (n,) values, shifted and scaled.
        known: (n,) variances of the values beyond the noise.
    """
    hyper = Hyperparameters.from_logs(logs)
    num_features, n = len(distances), len(target)
    flat = distances.reshape(num_features, -1)
    scaled = _ROOT_5 * np.sqrt((hyper.lengths**-2 @ flat).reshape(n, n))
    decay = hyper.curve**2 * np.exp(-scaled)
    curve = (1 + scaled + scaled**2 / 3) * decay
    trend = hyper.trend**2 * products
    cov = curve + trend
    cov[np.diag_indices(n)] += hyper.noise**2 + known
    factor = np.linalg.cholesky(cov)
    inverse = cho_solve((factor, True), np.eye(n))
    weights = inverse @ target
    slack = inverse - np.outer(weights, weights)
    slopes = flat @ (slack * (1 + scaled) * decay).ravel() * (5 / 6) / hyper.lengths**2
    others = [(slack * curve).sum(), (slack * trend).sum(), hyper.noise**2 * np.trace(slack)]
    off = (logs - _prior_means(num_features)) / _PRIOR_SD
    value = 0.5 * target @ weights + np.log(np.diag(factor)).sum() + 0.5 * off @ off
    return float(value), np.concatenate((slopes, others)) + off / _PRIOR_SD


def _prior_means(num_features: int) -> Array:
    length, *others = _PRIOR_MEAN.values()
    return np.array([length] * num_features + others)


def _centred(points: NDArray[np.floating]) -> Array:
    centred: Array = points - points.dtype.type(0.5)
    return centred


def _squares(a: NDArray[np.floating], b: NDArray[np.floating]) -> Array:
    """Return the squared distances (m, n) of points (m, d) and (n, d)."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    clipped: Array = np.maximum(squares, 0, out=squares)
    return clipped
