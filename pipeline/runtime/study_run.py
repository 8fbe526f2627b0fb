"""Where in MLflow a study is: noted beside its journal, read without asking MLflow."""

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

from pipeline.core.fields import text
from pipeline.runtime import services
from pipeline.runtime.about import without_logins
from pipeline.runtime.mlflow_server import NAME

RUN_FILE = "mlflow.json"


def note_run(folder: Path, experiment_id: str, run_id: str) -> None:
    """Write down a study's run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUN_FILE).write_text(json.dumps({"experiment": experiment_id, "run": run_id}))


def noted_run(folder: Path) -> tuple[str, str]:
    """Return the experiment and run that were written down last; empty where none can be read."""
    path = folder / RUN_FILE
    try:
        fields = json.loads(path.read_text()) if path.exists() else {}
        return text(fields.get("experiment", "")), text(fields.get("run", ""))
    except (AttributeError, RecursionError, TypeError, ValueError):  # it only helps to find a page
        return "", ""


def run_address(uri: str, experiment_id: str, run_id: str) -> str:
    """Return where a browser finds a run; a login in the address is no one's to read."""
    return f"{without_logins(uri).rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def study_address(folder: Path, state_dir: Path) -> str:
    """Return where a browser finds a study now; empty where no MLflow answers."""
    experiment_id, run_id = noted_run(folder)
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        local = [one for one in services.status(state_dir) if one.name == NAME and one.healthy]
        uri = local[0].address if local else ""
    if not (run_id and uri.startswith(("http://", "https://"))):
        return ""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5):
            return run_address(uri, experiment_id, run_id)
    except (urllib.error.URLError, TimeoutError, ValueError):
        return ""
