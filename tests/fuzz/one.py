"""Fuzz one target in this process: ``python -m tests.fuzz.one TARGET [libFuzzer's words]``.

A file in place of a folder of seeds is replayed.
"""

import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

import atheris
import torch

with atheris.instrument_imports(include=["pipeline", "PIL", "tarfile", "tomllib"]):
    from pipeline.core.errors import PipelineError
    from tests.fuzz.targets import TARGETS

# All of torch would take minutes, and this is what reads its pickles.
atheris.instrument_func(torch._weights_only_unpickler.Unpickler.load)


def main() -> None:
    target = TARGETS[sys.argv.pop(1)]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:

        def read(content: bytes) -> None:
            with suppress(PipelineError):
                target.read(content, Path(scratch))

        options = {"custom_mutator": target.mutator} if target.mutator else {}
        atheris.Setup(sys.argv, read, **options)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
