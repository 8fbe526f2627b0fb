"""Both gradients of a 3x3 channel-wise convolution in channels-last order, compiled by numba.

What comes in is read once for both, row by row. B batch, H height, W width, C channels; arrays are
float32. Each thread has its share of the rows, so that as many threads give the same sums to the
bit.
"""

import numpy as np
from numba import prange
from numpy.typing import NDArray

from pipeline.learning.compiled import compiled

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_serial = compiled()
_contracted = compiled(fastmath={"contract"})
_parallel = compiled(parallel=True, fastmath={"contract"})


@_contracted
def _add_taps(row: Floats, taps: Floats, step: int, out: Floats) -> None:
    """Add to a row (W, C) what three taps (3, C), ``step`` pixels apart, see of another."""
    width, channels = row.shape
    for j in range(width):
        has_left, has_right = j >= step, j < width - step
        if has_left and has_right:  # all in one: what is added to is read and written once
            for c in range(channels):
                out[j, c] += (
                    row[j - step, c] * taps[0, c]
                    + row[j, c] * taps[1, c]
                    + row[j + step, c] * taps[2, c]
                )
            continue
        for c in range(channels):
            out[j, c] += row[j, c] * taps[1, c]
        if has_left:
            for c in range(channels):
                out[j, c] += row[j - step, c] * taps[0, c]
        if has_right:
            for c in range(channels):
                out[j, c] += row[j + step, c] * taps[2, c]


@_contracted
def _add_products(a: Floats, b: Floats, out: Floats) -> None:
    """Add to (C,) the sum of a * b over pixels, four at a time for the same reason."""
    pixels, channels = a.shape
    fours = pixels - pixels % 4
    for j in range(0, fours, 4):
        for c in range(channels):
            out[c] += (
                a[j, c] * b[j, c]
                + a[j + 1, c] * b[j + 1, c]
                + a[j + 2, c] * b[j + 2, c]
                + a[j + 3, c] * b[j + 3, c]
            )
    for j in range(fours, pixels):
        for c in range(channels):
            out[c] += a[j, c] * b[j, c]


@_contracted
def _gradients_of(
    rows: tuple[int, int],
    x: Floats,
    grad: Floats,
    mirrored: Floats,
    dilation: int,
    out: Floats,
    sums: Doubles,
) -> None:
    """Write the gradient of x into some rows of ``out``, and add what they give to ``sums``."""
    height, width, channels = x.shape[1:]
    of_row = np.empty((3, 3, channels), np.float32)
    for row in range(*rows):
        b, i = divmod(row, height)
        out[b, i] = 0
        of_row[:] = 0
        for ky in range(3):
            other = i + (ky - 1) * dilation
            if not 0 <= other < height:
                continue
            _add_taps(grad[b, other], mirrored[ky], dilation, out[b, i])
            for kx in range(3):
                shift = (kx - 1) * dilation
                begin, end = max(0, -shift), min(width, width - shift)
                if begin < end:
                    seen = x[b, other, begin + shift : end + shift]
                    _add_products(grad[b, i, begin:end], seen, of_row[ky, kx])
        sums += of_row


@_parallel
def _gradients(
    x: Floats, grad: Floats, mirrored: Floats, dilation: int, out: Floats, sums: Doubles
) -> None:
    """Write the gradient of x into ``out``, and each thread's part of the weight's into ``sums``.

    ``sums`` is (threads, 3, 3, C).
    """
    rows, threads = x.shape[0] * x.shape[1], len(sums)
    for thread in prange(threads):
        own = rows * thread // threads, rows * (thread + 1) // threads
        _gradients_of(own, x, grad, mirrored, dilation, out, sums[thread])


@_serial
def backward(
    x: Floats, grad: Floats, weight: Floats, dilation: int, out: Floats, threads: int
) -> Floats:
    """Write the gradient of x into ``out``; return that of the weight.

    The first is the convolution of the output's gradient with the mirrored kernel.

    Args:
        x: (B, H, W, C) what was convolved.
        grad: (B, H, W, C) of the output.
        weight: (C, 3, 3).
        dilation: of the kernel.
        out: (B, H, W, C).
        threads: to take.
    """
    channels = len(weight)
    mirrored = np.empty((3, 3, channels), np.float32)
    for c in range(channels):
        for ky in range(3):
            for kx in range(3):
                mirrored[ky, kx, c] = weight[c, 2 - ky, 2 - kx]
    sums = np.zeros((threads, 3, 3, channels))
    _gradients(x, grad, mirrored, dilation, out, sums)
    found = np.zeros((channels, 3, 3), np.float32)
    for c in range(channels):
        for thread in range(threads):
            found[c] += sums[thread, :, :, c]
    return found
