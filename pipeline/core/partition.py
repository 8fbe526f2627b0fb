"""Which sample goes to which rank and step: pure functions of seed, epoch, rank and world size."""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import UsageError


def training_batches(
    num_samples: int, *, batch_size: int, seed: int, epoch: int, rank: int = 0, world_size: int = 1
) -> NDArray[np.int64]:
    """Return (steps, batch per rank) sample indices of one rank's epoch.

    All ranks shuffle the whole split alike and take every ``world_size``-th sample of each global
    batch, so a global batch holds the same samples whatever the world size, and every rank has the
    same steps. Where the ranks do not divide the batch, the first ones have a sample more. The
    samples left over when the split is cut into global batches sit out this epoch.

    Args:
        num_samples: samples in the split.
        batch_size: samples in a global batch, all ranks together.
        seed: of the training.
        epoch: counted from 0.
        rank: of this process.
        world_size: processes that train together.

    Raises:
        UsageError: the batch has no sample for each rank, or the split is less than a batch.
    """
    if batch_size < world_size:
        raise UsageError(
            f"a batch of {batch_size} leaves some of {world_size} workers without a sample: choose "
            f"a --batch-size of at least {world_size}"
        )
    if num_samples < batch_size:
        raise UsageError(
            f"the train split has {num_samples} samples, too few for one batch of {batch_size} "
            f"over {world_size} workers: choose a smaller --batch-size or fewer workers"
        )
    order = np.random.default_rng((seed, epoch)).permutation(num_samples)
    steps = num_samples // batch_size
    return order[: steps * batch_size].reshape(steps, -1)[:, rank::world_size]


def evaluation_share(num_samples: int, *, rank: int = 0, world_size: int = 1) -> range:
    """Return the samples that one rank evaluates: every sample is on exactly one rank."""
    return range(rank, num_samples, world_size)
