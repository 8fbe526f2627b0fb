"""Batch norm and PReLU in channels-last order, there and back, compiled by numba.

They are a handful of operations a number, for which PyTorch goes some twenty times over memory;
these go over it twice in each direction. P pixels of a batch, C channels; arrays are float32,
(P, C) or (C,). All but x and its gradient may have more channels: those of x begin with channel
``at``. Each thread has its share of the pixels, so that as many threads give the same sums to the
bit. A pixel's channels are taken out of an array before they are looped over: an index with an
offset in it, or a branch with work in it, would not become vector code.
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from pipeline.learning.compiled import compiled

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_BLOCK = 128  # pixels that are summed in float32 before their sum joins a float64
_TYPICAL = 64  # pixels, spread over all, by whose mean all are moved near to 0
_MEAN, _INVERSE, _SCALE, _SHIFT = range(4)  # rows of what ``forward`` finds
NUM_KNOWN = 4


_serial = compiled()
# Contraction alone of what is called fast: a loss that is no number must stay one.
_parallel = compiled(parallel=True, fastmath={"contract"})


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
    x: Floats, at: int, known: Floats, slope: Floats, out: Floats, threads: int
) -> None:
    """Write y = scale * x + shift into ``out``, times the slope where that is negative."""
    pixels, channels = x.shape
    scale, shift, own_slope = known[_SCALE, at:], known[_SHIFT, at:], slope[at:]
    for thread in prange(threads):
        for p in range(pixels * thread // threads, pixels * (thread + 1) // threads):
            x_C, out_C = x[p], out[p, at:]
            for c in range(channels):
                y = x_C[c] * scale[c] + shift[c]
                below = own_slope[c] * y
                out_C[c] = y if y > 0 else below


@_serial
def forward(
    x: Floats,
    at: int,
    values: tuple[Floats, Floats, Floats, Floats, Floats],
    momentum: float,
    eps: float,
    out: Floats,
    known: Floats,
    threads: int,
) -> None:
    """Write PReLU(BatchNorm(x)) into ``out``, and move the running moments.

    Args:
        x: of some channels.
        at: the first of them among all.
        values: weight, bias, slope, and running mean and variance.
        momentum: of these two.
        eps: joins the variance.
        out: of all channels.
        known: (4, all C) for ``backward``: mean, 1 / deviation, and scale and shift of x.
        threads: to take.
    """
    pixels, channels = x.shape
    weight, bias, slope, running_mean, running_variance = values
    typical = _typical(x)
    sums = _moments(x, typical, threads) / pixels
    for c in range(channels):
        k = at + c
        mean = typical[c] + sums[0, c]
        variance = sums[1, c] - sums[0, c] ** 2
        inverse = 1 / np.sqrt(variance + eps)
        running_mean[k] += momentum * (mean - running_mean[k])
        unbiased = variance * pixels / (pixels - 1)
        running_variance[k] += momentum * (unbiased - running_variance[k])
        known[_MEAN, k] = mean
        known[_INVERSE, k] = inverse
        known[_SCALE, k] = weight[k] * inverse
        known[_SHIFT, k] = bias[k] - mean * weight[k] * inverse
    _scale_and_bend(x, at, known, slope, out, threads)


@_parallel
def _gradient_sums(
    x: Floats, grad: Floats, at: int, known: Floats, slope: Floats, threads: int
) -> Doubles:
    """Return (3, C) sums of the gradient at y, of that times x - mean, and of the slope's."""
    pixels, channels = x.shape
    mean, scale, shift = known[_MEAN, at:], known[_SCALE, at:], known[_SHIFT, at:]
    own_slope = slope[at:]
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
                x_C, grad_C = x[p], grad[p, at:]
                for c in range(channels):
                    y = x_C[c] * scale[c] + shift[c]
                    g = grad_C[c]
                    below = g * own_slope[c]
                    inner = g if y > 0 else below
                    of_y[c] += inner
                    of_x[c] += inner * (x_C[c] - mean[c])
                    of_slope[c] += g * (np.float32(0) if y > 0 else y)
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
    mean, scale, shift = known[_MEAN, at:], known[_SCALE, at:], known[_SHIFT, at:]
    own_slope = slope[at:]
    for thread in prange(threads):
        for p in range(pixels * thread // threads, pixels * (thread + 1) // threads):
            x_C, grad_C, out_C = x[p], grad[p, at:], out[p]
            for c in range(channels):
                y = x_C[c] * scale[c] + shift[c]
                g = grad_C[c]
                below = g * own_slope[c]
                inner = g if y > 0 else below
                out_C[c] = scale[c] * inner - off[0, c] - off[1, c] * (x_C[c] - mean[c])


@_serial
def backward(
    x: Floats,
    grad: Floats,
    at: int,
    known: Floats,
    slope: Floats,
    out: Floats,
    found: Floats,
    threads: int,
) -> None:
    """Write the gradient of x into ``out``, and those of bias, weight and slope into ``found``.

    Ioffe and Szegedy (2015), section 3: the gradients through mean and variance are what is taken
    off each pixel's.
    """
    pixels, channels = x.shape
    sums = _gradient_sums(x, grad, at, known, slope, threads)
    off = np.empty((2, channels), np.float32)
    for c in range(channels):
        scale, inverse = known[_SCALE, at + c], known[_INVERSE, at + c]
        off[0, c] = scale * sums[0, c] / pixels
        off[1, c] = scale * inverse**2 * sums[1, c] / pixels
        found[0, at + c] = sums[0, c]
        found[1, at + c] = sums[1, c] * inverse
        found[2, at + c] = sums[2, c]
    _gradient(x, grad, at, known, slope, off, out, threads)
