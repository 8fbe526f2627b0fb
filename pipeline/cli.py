"""What every command shares: parsing, one line for an error, the exit code."""

import errno
import sys
from collections.abc import Callable
from typing import TypeVar

import tyro

from pipeline.core.errors import PipelineError

Options = TypeVar("Options")


def run_command(name: str, options_type: type[Options], run: Callable[[Options], int]) -> int:
    """Parse the command line and run the command.

    Returns:
        0 when done, 1 for our errors, 2 for usage, 130 when interrupted.
    """
    options = tyro.cli(options_type, prog=f"python -m pipeline.{name}")
    try:
        return run(options)
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = error.filename or "where --state-dir, --store or the temporary folder is"
        sys.stderr.write(f"error: the disk is full: {place}; make room, the same command goes on\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
