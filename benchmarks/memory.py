"""Memory of the machine at hand before it is measured."""

import mmap

MEMORY_BYTES = 2 << 30


def use_memory() -> None:
    """Use as much memory as any measurement takes, in large pages, and let go of it.

    A virtual machine that gives back what is free takes up to eighteen times longer for memory
    that nobody has just used than for what was used within seconds.
    """
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # what is shared has small pages alone
    with mmap.mmap(-1, MEMORY_BYTES, flags=private) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for _ in range(MEMORY_BYTES >> 20):
            memory.write(bytes(1 << 20))
