"""Warm times, and memory of a process that does nothing else."""

from collections.abc import Iterator

import pytest
import torch

from pipeline.core.architecture import Architecture
from pipeline.learning.cgnet import CGNet
from pipeline.learning.latency import footprint, processor_name, timed
from pipeline.learning.weights import Deployment, pack_weights


def clock_of(durations: Iterator[float]) -> Iterator[float]:
    now = 0.0
    for duration in durations:
        yield now
        now += duration
        yield now


def test_the_first_calls_are_not_timed() -> None:
    calls: list[int] = []
    readings = clock_of(iter(range(1, 31)))
    timing = timed(lambda: calls.append(1), lambda: next(readings))

    assert (len(calls), timing.runs) == (35, 30)
    assert timing.median_s == 15.5
    assert (timing.fast_s, timing.slow_s) == pytest.approx((3.9, 27.1))


def test_a_network_is_measured_in_a_process_of_its_own() -> None:
    architecture = Architecture(3, num_blocks_2=1, num_blocks_3=1, widths=(4, 8, 16), reduction_3=8)
    deployment = Deployment(architecture, (0.0,) * 3, (1.0,) * 3, ("a", "b", "c"), ((0, 0, 0),) * 3)
    hoard = torch.ones(150 << 20, dtype=torch.uint8)  # ours is not to be counted
    small = footprint(pack_weights(CGNet(architecture), deployment), 240, 320)

    assert len(hoard) == 150 << 20
    assert (small.height, small.width) == (240, 320)
    assert small.threads >= 1
    assert 50 << 20 < small.loaded_bytes < small.peak_bytes
    # At the least the picture as float and the logits at full size.
    assert small.peak_bytes - small.loaded_bytes >= 240 * 320 * (3 + 3) * 4
    assert 0 < small.timing.fast_s <= small.timing.median_s <= small.timing.slow_s


def test_the_processor_has_a_name() -> None:
    assert processor_name()
