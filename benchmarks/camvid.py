"""CamVid at 360x480 on a local S3 of the benchmarks' own, made by the project's own command."""

import subprocess
import sys
from pathlib import Path

from pipeline.runtime import environment, services

STATE_DIR = Path(".cgnet/benchmarks")
URI = "s3://cgnet/datasets/camvid"


def prepare(source: Path) -> str:
    """Return where the data set is; it is made unless it is there, and the environment is set."""
    environment.configure(STATE_DIR)
    command = ["pipeline.preprocess", "--dataset", "camvid", "--source", str(source)]
    subprocess.run(
        [sys.executable, "-m", *command, "--state-dir", str(STATE_DIR)],
        check=True,
        stdout=sys.stderr,
    )
    services.ensure_environment(STATE_DIR, needs_s3=True, needs_mlflow=False)
    return URI
