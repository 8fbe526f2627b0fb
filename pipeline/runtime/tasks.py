"""The same function over many items: on the Ray cluster, or one by one in this process."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Protocol, TypeVar

import ray

from pipeline.core.errors import PipelineError, ServiceUnavailable
from pipeline.runtime import cluster

Item = TypeVar("Item")
Result = TypeVar("Result")

_IN_FLIGHT_PER_CPU = 3  # enough that no worker waits for the driver


class Run(Protocol):
    """How items are worked on. Yields (item, result) as they end; the first failure ends all."""

    def __call__(
        self, task: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Call ``task`` with each item."""
        ...


def in_process(
    task: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Work on one item after the other, here."""
    return ((item, task(item)) for item in items)


def on_cluster(
    task: Callable[[Item], Result], items: Iterable[Item], *, in_flight: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Work on the items in Ray tasks of one CPU each; connects to Ray before it returns.

    Items are drawn as tasks end, so neither their number nor their size matters; what the task
    itself carries is sent once.

    Args:
        task: picklable.
        items: likewise.
        in_flight: most tasks at a time; by default a few for each CPU.

    Raises:
        Exception: what the task raised.
        ServiceUnavailable: a worker of the cluster died again and again.
    """
    cluster.connect(trains=False)
    return _as_they_end(task, iter(items), in_flight or _IN_FLIGHT_PER_CPU * cluster.num_cpus())


def _as_they_end(
    task: Callable[[Item], Result], remaining: Iterator[Item], limit: int
) -> Iterator[tuple[Item, Result]]:
    remote: Any = ray.remote(num_cpus=1, max_retries=3)(_call)
    shared = ray.put(task)
    pending: dict[ray.ObjectRef[Result], Item] = {}
    try:
        while True:
            for item in islice(remaining, limit - len(pending)):
                pending[remote.remote(shared, item)] = item
            if not pending:
                return
            (ready, *_), _ = ray.wait(list(pending), num_returns=1)
            yield pending.pop(ready), _result(ready)
    finally:
        for other in pending:
            ray.cancel(other)


def _call(task: Callable[[Item], Result], item: Item) -> Result:
    return task(item)


def _result(reference: "ray.ObjectRef[Result]") -> Result:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PipelineError):
            raise error.cause from None
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise ServiceUnavailable(f"Ray: a worker died ({reason}); run the command again") from error
