"""Where a training runs, as far as it may know: one rank among others, and its folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.core.config import TrialSpec
from pipeline.learning.dataset import Dataset
from pipeline.learning.folder import Folder
from pipeline.learning.split import Split

_CPU = torch.device("cpu")


class TrainContext(Protocol):
    """What a training may know of where it runs."""

    @property
    def rank(self) -> int:
        """This process among those that train together."""
        ...

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tensors live."""
        ...

    @property
    def checkpoints(self) -> Folder:
        """This training's own folder, the same for all ranks and after a restart."""
        ...

    def dataset(self, spec: TrialSpec) -> tuple[Dataset, Split, Split]:
        """Return the data set of a spec with its train and val splits."""
        ...

    def must_leave(self) -> bool:
        """Return whether a machine of this training is about to be taken away.

        All ranks ask equally often, and all are told the same.
        """
        ...


@dataclass(frozen=True)
class LocalContext:
    """One process on its own."""

    checkpoints: Folder
    data: tuple[Dataset, Split, Split]
    rank: int = 0
    world_size: int = 1
    device: torch.device = _CPU

    def dataset(self, spec: TrialSpec) -> tuple[Dataset, Split, Split]:
        """Return the data this context was made with."""
        return self.data

    def must_leave(self) -> bool:
        """Return False: who takes this machine away asks nobody."""
        return False


def summed(value: Tensor, context: TrainContext) -> Tensor:
    """Return the sum of ``value`` over all ranks."""
    return summed_later(value, context)()


def summed_later(value: Tensor, context: TrainContext) -> Callable[[], Tensor]:
    """Begin to sum ``value`` over all ranks; return what waits for the sum and returns it."""
    if context.world_size == 1:
        return lambda: value
    total = value.detach().clone()
    work = dist.all_reduce(total, async_op=True)

    def finished() -> Tensor:
        work.wait()
        return total

    return finished


def gathered(names: tuple[str, ...], context: TrainContext) -> tuple[str, ...]:
    """Return the names that any rank has, sorted."""
    if context.world_size == 1:
        return tuple(sorted(names))
    of_ranks: list[tuple[str, ...]] = [()] * context.world_size
    dist.all_gather_object(of_ranks, names)
    return tuple(sorted(set().union(*of_ranks)))
