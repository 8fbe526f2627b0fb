"""A user's shell: commands in processes of their own, on services and data of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_OURS = ("AWS_", "MLFLOW_", "RAY_", "TUNE_")


@dataclass(frozen=True)
class Shell:
    """Runs `python -m pipeline.<command>` with a state folder that no other user shares."""

    state_dir: Path
    environment: dict[str, str]

    def words(self, command: str, *words: str) -> list[str]:
        module = f"pipeline.{command}"
        return [sys.executable, "-m", module, *words, "--state-dir", str(self.state_dir)]

    def start(self, command: str, *words: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.words(command, *words),
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, command: str, *words: str, timeout_s: float = 240, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        process = self.start(command, *words, **environment)
        try:
            out, err = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def check(self, command: str, *words: str) -> str:
        done = self.run(command, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
    shell = Shell(tmp_path_factory.mktemp("e2e") / "state", environment)
    yield shell
    shell.run("services", "down")


@pytest.fixture(scope="session")
def dataset(shell: Shell) -> str:
    """A small data set on the shell's S3: generated streets at 32x48."""
    out = shell.check("preprocess", "--image-size", "32x48")

    assert "s3://cgnet/datasets/streets-32x48: 1536 train, 96 val samples of 32x48" in out
    return "streets-32x48"
