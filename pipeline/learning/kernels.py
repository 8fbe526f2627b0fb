"""Batch norm and PReLU in channels-last order, there and back, compiled by numba.

They are a handful of operations a number, for which PyTorch goes some twenty times over memory;
these go over it twice in each direction. P pixels of a batch, C channels; arrays are float32,
(P, C) or (C,). What comes out, and its gradient, may have more channels: ours begin with channel
``at``. Each thread has its share of the pixels, so that as many threads give the same sums to the
bit.
"""

import numba
import numpy as np
import torch
from numba import prange
from numpy.typing import NDArray

from pipeline.learning.compiled import compiled, config

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_BLOCK = 128  # pixels that are summed in float32 before their sum joins a float64
_TYPICAL = 64  # pixels, spread over all, by whose mean all are moved near to 0
_MEAN, _VARIANCE, _INVERSE, _SCALE, _SHIFT = range(5)  # rows of what ``forward`` returns


_serial = compiled()
# Contraction alone of what is called fast: a loss that is no number must stay one.
_parallel = compiled(parallel=True, fastmath={"contract"})


def num_threads() -> int:
    """Return how many threads loops are to take from now on: as many as PyTorch does."""
    wanted = torch.get_num_threads()
    threads: int = min(wanted, config.NUMBA_NUM_THREADS)
    numba.set_num_threads(threads)
    if torch.get_num_threads() != wanted:
        # Both use the OpenMP library that PyTorch brings, and numba begins with all cores.
        torch.set_num_threads(wanted)
    return threads


@_serial
def _typical(x: Floats) -> Floats:
    """Return (C,) the mean of a few pixels."""
    pixels, channels = x.shape
    stride = max(1, pixels // _TYPICAL)
    sums = np.zeros(channels, np.float32)
    for p in range(stride // 2, pixels, stride):
        for c in range(channels):
            sums[c] += x[p, c]
    return sums / np.float32(len(range(stride // 2, pixels, stride)))


@_parallel
def _moments(x: Floats, typical: Floats, threads: int) -> Doubles:
    """Return (2, C) sums of x - typical and of its square: near to 0, so that nothing cancels."""
    pixels, channels = x.shape
    sums = np.zeros((threads, 2, channels))
    for thread in prange(threads):
        first = np.zeros(channels, np.float32)
        second = np.zeros(channels, np.float32)
        end = pixels * (thread + 1) // threads
        for begin in range(pixels * thread // threads, end, _BLOCK):
            first[:] = 0
            second[:] = 0
            for p in range(begin, min(begin + _BLOCK, end)):
                for c in range(channels):
                    value = x[p, c] - typical[c]
                    first[c] += value
                    second[c] += value * value
            for c in range(channels):
                sums[thread, 0, c] += first[c]
                sums[thread, 1, c] += second[c]
    total: Doubles = sums.sum(axis=0)
    return total


@_parallel
def _scale_and_bend(
    x: Floats, scale: Floats, shift: Floats, slope: Floats, out: Floats, at: int, threads: int
) -> None:
    """Write y = scale * x + shift into ``out``, times the slope where that is negative."""
    pixels, channels = x.shape
    for thread in prange(threads):
        for p in range(pixels * thread // threads, pixels * (thread + 1) // threads):
            for c in range(channels):
                y = x[p, c] * scale[c] + shift[c]
                out[p, at + c] = y if y > 0 else slope[c] * y


@_serial
def forward(
    x: Floats,
    weight: Floats,
    bias: Floats,
    slope: Floats,
    eps: float,
    out: Floats,
    at: int,
    threads: int,
) -> Floats:
    """Write PReLU(BatchNorm(x)) into ``out``.

    Returns:
        (5, C): mean, unbiased variance, 1 / deviation, and scale and shift of x.
    """
    pixels, channels = x.shape
    typical = _typical(x)
    sums = _moments(x, typical, threads) / pixels
    known = np.empty((5, channels), np.float32)
    for c in range(channels):
        mean = typical[c] + sums[0, c]
        variance = sums[1, c] - sums[0, c] ** 2
        inverse = 1 / np.sqrt(variance + eps)
        known[_MEAN, c] = mean
        known[_VARIANCE, c] = variance * pixels / (pixels - 1)
        known[_INVERSE, c] = inverse
        known[_SCALE, c] = weight[c] * inverse
        known[_SHIFT, c] = bias[c] - mean * weight[c] * inverse
    _scale_and_bend(x, known[_SCALE], known[_SHIFT], slope, out, at, threads)
    return known


@_parallel
def _gradient_sums(
    x: Floats, grad: Floats, at: int, known: Floats, slope: Floats, threads: int
) -> Doubles:
    """Return (3, C) sums of the gradient at y, of that times x - mean, and of the slope's."""
    pixels, channels = x.shape
    mean, scale, shift = known[_MEAN], known[_SCALE], known[_SHIFT]
    sums = np.zeros((threads, 3, channels))
    for thread in prange(threads):
        of_y = np.zeros(channels, np.float32)
        of_x = np.zeros(channels, np.float32)
        of_slope = np.zeros(channels, np.float32)
        end = pixels * (thread + 1) // threads
        for begin in range(pixels * thread // threads, end, _BLOCK):
            of_y[:] = 0
            of_x[:] = 0
            of_slope[:] = 0
            for p in range(begin, min(begin + _BLOCK, end)):
                for c in range(channels):
                    y = x[p, c] * scale[c] + shift[c]
                    g = grad[p, at + c]
                    inner = g if y > 0 else g * slope[c]
                    of_y[c] += inner
                    of_x[c] += inner * (x[p, c] - mean[c])
                    of_slope[c] += np.float32(0) if y > 0 else g * y
            for c in range(channels):
                sums[thread, 0, c] += of_y[c]
                sums[thread, 1, c] += of_x[c]
                sums[thread, 2, c] += of_slope[c]
    total: Doubles = sums.sum(axis=0)
    return total


@_parallel
def _gradient(
    x: Floats,
    grad: Floats,
    at: int,
    known: Floats,
    slope: Floats,
    off: Floats,
    out: Floats,
    threads: int,
) -> None:
    """Write into ``out`` scale * the gradient at y - off[0] - off[1] * (x - mean)."""
    pixels, channels = x.shape
    mean, scale, shift = known[_MEAN], known[_SCALE], known[_SHIFT]
    for thread in prange(threads):
        for p in range(pixels * thread // threads, pixels * (thread + 1) // threads):
            for c in range(channels):
                y = x[p, c] * scale[c] + shift[c]
                g = grad[p, at + c]
                inner = g if y > 0 else g * slope[c]
                out[p, c] = scale[c] * inner - off[0, c] - off[1, c] * (x[p, c] - mean[c])


@_serial
def backward(
    x: Floats, grad: Floats, at: int, known: Floats, slope: Floats, out: Floats, threads: int
) -> Floats:
    """Write the gradient of x into ``out``; return (3, C) those of bias, weight and slope.

    Ioffe and Szegedy (2015), section 3: the gradients through mean and variance are what is taken
    off each pixel's.
    """
    pixels, channels = x.shape
    sums = _gradient_sums(x, grad, at, known, slope, threads)
    off = np.empty((2, channels), np.float32)
    found = np.empty((3, channels), np.float32)
    for c in range(channels):
        scale, inverse = known[_SCALE, c], known[_INVERSE, c]
        off[0, c] = scale * sums[0, c] / pixels
        off[1, c] = scale * inverse**2 * sums[1, c] / pixels
        found[0, c] = sums[0, c]
        found[1, c] = sums[1, c] * inverse
        found[2, c] = sums[2, c]
    _gradient(x, grad, at, known, slope, off, out, threads)
    return found
