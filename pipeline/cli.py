"""What every command shares: parsing, one line for an error, the exit code."""

import errno
import logging
import os
import select
import sys
from collections.abc import Callable
from typing import TextIO, TypeVar

import tyro

from pipeline.core.errors import PipelineError, UsageError

Options = TypeVar("Options")

log = logging.getLogger(__name__)

_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_IS_WRONG_PATH = (
    errno.EACCES,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
)


def run_command(name: str, options_type: type[Options], run: Callable[[Options], int]) -> int:
    """Parse the command line and run the command.

    Returns:
        0 when done, 1 for our errors, 2 for usage, 130 when interrupted.
    """
    options = tyro.cli(options_type, prog=f"python -m pipeline.{name}")
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except BrokenPipeError:
        if not _is_read_no_more(sys.stdout):
            raise
        return 1
    except OSError as error:
        if (line := _told(error)) is None:
            raise
        log.info("%s", line, exc_info=True)
        sys.stderr.write(f"error: {line}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


def check_seed(seed: int) -> None:
    """Check what a user has given as a seed.

    Raises:
        UsageError: it is negative.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")


def _told(error: OSError) -> str | None:
    """Return what a user can do about an error of a disk; None if it may be a fault of ours."""
    if error.errno in _IS_FULL:
        place = error.filename or "where --state-dir, --store or the temporary folder is"
        return f"the disk is full: {place}; make room, the same command goes on"
    if error.errno in _IS_WRONG_PATH and error.filename:
        return f"{error.filename} cannot be used ({error.strerror}): give another path, or rights"
    return None


def _is_read_no_more(stream: TextIO) -> bool:
    """Return whether whoever read a pipe is gone; then what is left in ``stream`` is dropped."""
    pipe = select.poll()
    pipe.register(stream, 0)
    if gone := bool(pipe.poll(0)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or exit would fail again
    return gone
