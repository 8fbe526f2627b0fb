"""Command: start, stop or look at the local S3 and MLflow; say what is wrong with any."""

import shlex
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from pipeline.cli import run_command

if TYPE_CHECKING:
    from pipeline.runtime.services import ServiceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicesOptions:
    """Start, stop or look at the S3 and MLflow of this machine.

    Both listen on this machine only. They go on running after the command, and keep their data
    and keys when stopped.
    """

    action: tyro.conf.Positional[Literal["up", "down", "status", "doctor"]]
    """Start what does not run, stop what runs, or only look. doctor tries out S3, MLflow, Ray and
    the study storage, wherever the environment says that they are, and says what to mend."""

    state_dir: Path = Path(".cgnet")
    """Folder with their data, logs and keys."""

    store: str = "s3://cgnet"
    """What doctor tries out as the --store of other commands."""

    study_storage: str | None = field(default=None, repr=False)  # it may hold a password
    """What doctor tries out as the --study-storage of a search."""


def main() -> int:
    """Run the command; return its exit code."""
    return run_command("services", ServicesOptions, _run)


def _run(options: ServicesOptions) -> int:
    # After parsing, so that --help and a mistyped word are answered at once.
    from pipeline.runtime import services

    if options.action == "doctor":
        return _examine(options)
    if options.action == "up":
        services.start(options.state_dir)
    elif options.action == "down":
        services.stop(options.state_dir)
    lines = _table(services.status(options.state_dir))
    if options.action == "up":
        shell_file = services.shell_file(options.state_dir)
        lines.append(f"to use them from a shell:  . {shlex.quote(str(shell_file))}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _examine(options: ServicesOptions) -> int:
    from pipeline.runtime import environment, services

    environment.configure(options.state_dir)
    services.find(options.state_dir)
    from pipeline.runtime.doctor import examine

    findings = examine(options.store, options.study_storage, options.state_dir, time.time)
    for finding in findings:
        mark = "ok   " if finding.is_well else "wrong"
        sys.stdout.write(f"{mark}  {finding.part:7}  {finding.says}\n")
    return 0 if all(finding.is_well for finding in findings) else 1


def _table(statuses: "list[ServiceStatus]") -> list[str]:
    rows = [
        (s.name, s.address or "-", f"pid {s.pid}" if s.pid else "-", s.detail) for s in statuses
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


if __name__ == "__main__":
    raise SystemExit(main())
