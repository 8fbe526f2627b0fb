"""Small disks, to fill: tmpfs, where this user may mount it."""

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

Mount = Callable[..., Path]
READ_ONLY, REMOUNT = 1, 32  # MS_RDONLY, MS_REMOUNT of mount(2)
_MNT_DETACH = 2  # of umount(2)

_libc = ctypes.CDLL(None, use_errno=True)


def mount_tmpfs(path: Path, size: str, flags: int = 0) -> None:
    """Mount a disk, or change how it is mounted; skip the test where that is not allowed."""
    target = str(path).encode()
    if _libc.mount(b"tmpfs", target, b"tmpfs", flags, f"size={size}".encode()):
        reason = os.strerror(ctypes.get_errno())
        pytest.skip(f"a small disk cannot be mounted here: {reason}")


def unmount(path: Path) -> None:
    """Take a disk away, at the latest when the last process lets go of it."""
    assert _libc.umount2(str(path).encode(), _MNT_DETACH) == 0


def fill(disk: Path) -> Path:
    """Take all the room that a disk has; return the file that has it."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return ballast
