"""Batches made ahead of the steps that use them.

Which samples a batch holds, and how each is drawn, follow from seed, epoch and rank alone: the
number of loader threads changes nothing but speed. B batch, C channels, H height, W width.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.manifest import SampleRecord
from pipeline.core.partition import evaluation_share, training_batches
from pipeline.learning.decoding import Sample
from pipeline.learning.split import Split

Item = TypeVar("Item")
Result = TypeVar("Result")

View = Callable[[Sample, np.random.Generator], Sample]
Mix = Callable[[Sample, Sample, np.random.Generator], Sample]
_AHEAD = 2  # batches that each thread has made or is making before they are asked for


class Batch(NamedTuple):
    """Pictures, uint8 (B, 3, H, W) in channels-last order, and labels, uint8 (B, H, W)."""

    image_BCHW: Tensor
    label_BHW: Tensor


class TrainLoader:
    """One rank's batches of a train split."""

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        view: View | None = None,
        mix: Mix | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_threads: int = 2,
    ) -> None:
        """Plan the batches.

        Args:
            split: where samples come from.
            batch_size: samples in a global batch, all ranks together.
            seed: of order and views.
            view: makes of a sample what is trained on; None takes it as it is.
            mix: makes of a view and of the one half a batch away what is trained on.
            rank: of this process.
            world_size: processes that train together.
            num_threads: make batches ahead; with 0 each is made when it is asked for.
        """
        self._split = split
        self._batch_size = batch_size
        self._seed = seed
        self._view = view
        self._mix = mix
        self._rank = rank
        self._world_size = world_size
        self._num_threads = num_threads

    def epoch(self, epoch: int, first_step: int = 0) -> Generator[Batch]:
        """Yield the batches of one epoch, counted from 0, from a step on; closed, its threads end.

        Raises:
            CorruptSample: a sample cannot be read and is not to be skipped.
            ServiceUnavailable: the storage does not answer.
        """
        batches = training_batches(
            len(self._split),
            batch_size=self._batch_size,
            seed=self._seed,
            epoch=epoch,
            rank=self._rank,
            world_size=self._world_size,
        )

        remaining = batches[first_step:]
        made = ahead(partial(self._make, epoch), remaining, self._num_threads)
        return fetched(self._split, remaining.ravel(), made, self._num_threads)

    def _make(self, epoch: int, indices: NDArray[np.int64]) -> Batch:
        batch, places = empty_batch(len(indices), self._split.records[int(indices[0])])
        if self._view or self._mix:
            fill(places, self._drawn(epoch, indices))
        else:
            read = self._split.substitute
            fill(places, self._split.at_once(read, indices.tolist(), places))
        return batch

    def _drawn(self, epoch: int, indices: NDArray[np.int64]) -> Iterable[Sample]:
        """Return what chance makes of samples."""
        draws = [np.random.default_rng((self._seed, epoch, int(index))) for index in indices]
        samples = self._split.at_once(self._split.substitute, indices.tolist())
        if self._view:
            samples = map(self._view, samples, draws)
        if self._mix:
            # Half a batch away is the same sample in any number of ranks with an even share each.
            views, half = list(samples), len(indices) // 2
            samples = map(self._mix, views, views[half:] + views[:half], draws)
        return samples


def evaluation_batches(
    split: Split, batch_size: int, *, rank: int = 0, world_size: int = 1, num_threads: int = 2
) -> Iterator[Batch]:
    """Yield one rank's share of a split in order; every sample is on exactly one rank, once.

    Corrupt samples that are to be skipped are missing from their batch; an empty one is left out.
    """
    share = evaluation_share(len(split), rank=rank, world_size=world_size)
    starts = range(0, len(share), batch_size)

    def make(start: int) -> Batch | None:
        indices = share[start : start + batch_size]
        batch, places = empty_batch(len(indices), split.records[indices[0]])
        samples = split.at_once(split.sound, indices, places)
        num_sound = fill(places, (sample for sample in samples if sample is not None))
        return Batch(*(part[:num_sound] for part in batch)) if num_sound else None

    made = fetched(split, np.array(share), ahead(make, starts, num_threads), num_threads)
    return (batch for batch in made if batch is not None)


def empty_batch(size: int, record: SampleRecord) -> tuple[Batch, list[Sample]]:
    """Return memory for samples of the record's size: all of it, and the place of each."""
    images_BHWC = np.empty((size, record.height, record.width, 3), dtype=np.uint8)
    labels_BHW = np.empty((size, record.height, record.width), dtype=np.uint8)
    images_BCHW = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)
    places = list(map(Sample, images_BHWC, labels_BHW))
    return Batch(images_BCHW, torch.from_numpy(labels_BHW)), places


def fill(places: list[Sample], samples: Iterable[Sample]) -> int:
    """Put samples that are not there yet into the first places, each as it comes; return how many.

    A sample may have been decoded into its place, or into a later one, but into no earlier one.
    """
    count = 0
    for place, sample in zip(places, samples, strict=False):
        for there, pixels in zip(place, sample, strict=True):
            if pixels is not there:
                there[...] = pixels
        count += 1
    return count


def fetched(
    split: Split, indices: NDArray[np.int64], batches: Iterator[Result], num_threads: int
) -> Generator[Result]:
    """Yield batches of samples whose shards a thread beside those of the batches fetches.

    A shuffled epoch needs nearly every shard for its first batches: without this its threads
    would wait for one after the other instead of decoding. Without threads there is none here.
    """
    if num_threads == 0 or not len(indices):
        yield from batches
        return
    over = threading.Event()
    fetch = partial(split.fetch, split.missing(indices), over.is_set)
    thread = threading.Thread(target=fetch, name="loader-fetch")
    thread.start()
    try:
        yield from batches
    finally:
        over.set()
        thread.join()


def ahead(
    function: Callable[[Item], Result], items: Iterable[Item], num_threads: int
) -> Generator[Result]:
    """Yield ``function`` of each item in order, computed by threads before it is asked for.

    Whoever stops iterating should close the iterator: that ends the threads.
    """
    if num_threads == 0:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="loader")
    waiting = iter(items)
    try:
        futures: deque[Future[Result]] = deque(
            pool.submit(function, item) for item in islice(waiting, num_threads * _AHEAD)
        )
        while futures:
            result = futures.popleft().result()
            futures.extend(pool.submit(function, item) for item in islice(waiting, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
