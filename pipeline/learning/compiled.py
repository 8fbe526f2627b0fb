"""Functions compiled by numba when they are first called, and kept on disk for the next process."""

import hashlib
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
import torch
from llvmlite import binding
from numba.core.caching import FunctionCache

from pipeline.learning.disk_cache import default_cache_dir

Function = TypeVar("Function", bound=Callable[..., Any])

config: Any = numba.config  # made from environment variables, which no type tells
_naming = threading.Lock()  # kernels are imported by threads of the loader and by the step's


class _Kept(FunctionCache):
    """Code on disk. What cannot be read is compiled, what cannot be written is not kept."""

    def load_overload(self, *args: Any) -> Any:
        with suppress(Exception):  # damaged files fail as they please
            return super().load_overload(*args)
        with suppress(OSError):
            self.flush()  # so that what is compiled now can be kept
        return None

    def save_overload(self, *args: Any) -> None:
        with suppress(OSError):
            super().save_overload(*args)


def compiled(**options: Any) -> Callable[[Function], Function]:
    """Decorate a function, with options of ``numba.njit``."""

    def decorated(function: Function) -> Function:
        found: Any = numba.njit(nogil=True, **options)(function)
        with _keeping_in(_folder(function)), suppress(RuntimeError):  # no folder can be written
            found._cache = _Kept(function)
        kept: Function = found
        return kept

    return decorated


def num_threads() -> int:
    """Return how many threads loops are to take from now on: as many as PyTorch does."""
    wanted = torch.get_num_threads()
    threads: int = min(wanted, config.NUMBA_NUM_THREADS)
    numba.set_num_threads(threads)
    if torch.get_num_threads() != wanted:
        # Both use the OpenMP library that PyTorch brings, and numba begins with all cores.
        torch.set_num_threads(wanted)
    return threads


@contextmanager
def _keeping_in(folder: Path) -> Iterator[None]:
    """Have caches that are made here keep code in a folder, unless the user has named one."""
    with _naming:
        given = config.CACHE_DIR
        config.CACHE_DIR = given or str(folder)
        try:
            yield
        finally:
            config.CACHE_DIR = given


def _folder(function: Callable[..., Any]) -> Path:
    """Return where the code of a file's functions is kept.

    numba itself tells neither processors nor states of a file apart safely: of two that write at
    once, or of one that is killed, the next process may get the code of another.
    """
    parts = (
        Path(inspect.getfile(function)).read_bytes(),
        numba.__version__.encode(),
        binding.get_host_cpu_name().encode(),
        binding.get_host_cpu_features().flatten().encode(),
    )
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    # Beside the copies of shards, which go to the limit of the disk and make room for each other.
    return default_cache_dir().with_name("cgnet-search-compiled") / digest[:12]
