"""What every command makes of an error: one line and a code, or the trace of a fault of ours."""

import errno
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from pipeline.cli import run_command
from pipeline.core.errors import DataError, UsageError


@dataclass(frozen=True)
class _None:
    """No options."""


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def command(_: _None) -> int:
        raise error

    monkeypatch.setattr(sys, "argv", ["any"])
    return run_command("any", _None, command)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("a word is wrong"), 2, "error: a word is wrong\n"),
        (DataError("a file is wrong"), 1, "error: a file is wrong\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/here/file"),
            1,
            "error: the disk is full: /here/file; make room, the same command goes on\n",
        ),
        (
            OSError(errno.EDQUOT, "Disk quota exceeded"),
            1,
            "error: the disk is full: where --state-dir, --store or the temporary folder is; "
            "make room, the same command goes on\n",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "/a/file/in"),
            1,
            "error: /a/file/in cannot be used (Not a directory): give another path, or rights\n",
        ),
    ],
)
def test_an_error_is_a_line_and_a_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert raising(error, monkeypatch) == code
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "broken"),
        FileNotFoundError(errno.ENOENT, "of no file"),
        BrokenPipeError(errno.EPIPE, "not stdout's"),
        ZeroDivisionError(),
    ],
)
def test_a_fault_of_ours_keeps_its_trace(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(type(error)):
        raising(error, monkeypatch)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_seen_enough_is_no_fault(unbuffered: str) -> None:
    program = (
        "import sys\n"
        "from tests.unit.test_cli import _None\n"
        "from pipeline.cli import run_command\n"
        "run_command('any', _None, lambda _: [print(i) for i in range(100_000)])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
