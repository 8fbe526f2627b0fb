"""What every benchmark prints: a table, and how it was run."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata

from pipeline.learning.latency import processor_name


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table, padded for the terminal."""
    lines = [header, ["---"] * len(header), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
    print()


def print_setting(*notes: str) -> None:
    """Print the command, the machine with its load, the versions that matter, and notes."""
    packages = ("torch", "pillow", "numpy", "ray", "webdataset")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    load = ", ".join(f"{level:.1f}" for level in os.getloadavg())
    module = sys.modules["__main__"].__spec__
    command = f"python -m {module.name if module else '?'} {' '.join(sys.argv[1:])}"
    print(f"`{command.strip()}`: {os.cpu_count()} cores of {processor_name()}, ", end="")
    print(f"load {load} (1, 5, 15 minutes), Python {platform.python_version()}, {versions}.")
    for note in notes:
        print(note)
    print()


def say(text: str) -> None:
    """Tell how far it is, on stderr."""
    print(text, file=sys.stderr, flush=True)
