"""MLflow, written by the driver alone: an experiment a data set, a run a study, a child a trial.

MLflow is a view of the study. What it is to be told is kept on disk first and sent by a thread of
its own, in order, whenever MLflow answers: no trial waits for it, and nothing is lost with it.
"""

import logging
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException

from pipeline.core.errors import ServiceUnavailable
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime.mlflow_runs import StudyRuns, is_refusal
from pipeline.runtime.outbox import Outbox
from pipeline.runtime.records import State, TrialRecord
from pipeline.runtime.study import Study
from pipeline.runtime.study_run import note_run, run_address
from pipeline.runtime.tracked import (
    WEIGHTS_TAG,
    child_message,
    effort_message,
    end_message,
    epoch_message,
    flat,
    front_message,
    num_ended,
    num_events,
)

__all__ = ["WEIGHTS_TAG", "StudyTracker", "check_mlflow"]

log = logging.getLogger(__name__)

_FLUSH_S = 60.0
_RETRY_S = 5.0


def check_mlflow() -> str:
    """Return the tracking URI of the environment once it answers.

    Raises:
        ServiceUnavailable: it does not.
    """
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10):
                pass
        except (urllib.error.URLError, TimeoutError, ValueError) as cause:
            raise ServiceUnavailable(
                f"MLflow at {uri} does not answer ({getattr(cause, 'reason', cause)}); check "
                "MLFLOW_TRACKING_URI, or unset it to use the local MLflow"
            ) from cause
    return uri


class StudyTracker:
    """Keeps one study's runs in MLflow up to date; a listener of its trials."""

    def __init__(
        self,
        study: Study,
        info: DatasetInfo,
        params: Mapping[str, Any],
        weights_uri: Callable[[TrialRecord], str],
        folder: Path,
        retry_s: float = _RETRY_S,
    ) -> None:
        """Open the study's run, or make it, and tell it what it has not been told.

        Args:
            study: whose trials are tracked.
            info: of the data set it trains on.
            params: of the study's run.
            weights_uri: of a trial's folder, with its network once it is complete.
            folder: of the study on this machine.
            retry_s: pause before MLflow is asked again when it did not answer.

        Raises:
            ServiceUnavailable: MLflow refuses.
        """
        self._study = study
        self._info = info
        self._weights_uri = weights_uri
        self._folder = folder
        self._retry_s = retry_s
        self._refused = 0
        self._closing = threading.Event()
        try:
            self._runs = StudyRuns(info.name, study.name, params)
        except MlflowException as cause:
            reason = str(cause).splitlines()[0]
            raise ServiceUnavailable(f"MLflow refuses: {reason}") from cause
        self.run_id = self._runs.run_id
        note_run(folder, self._runs.experiment_id, self.run_id)
        self._outbox = Outbox(folder, self.run_id)
        self._tell_all()
        self._thread = threading.Thread(target=self._send, name="mlflow", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Return where a browser finds the study."""
        uri = os.environ["MLFLOW_TRACKING_URI"]
        return run_address(uri, self._runs.experiment_id, self.run_id)

    def started(self, trial: TrialRecord) -> None:
        """Give a trial its child run."""
        message = child_message(trial, self._info, self._weights_uri(trial))
        self._outbox.add(message, f"start/{trial.number}")
        self._add_study()

    def reached(self, trial: TrialRecord) -> None:
        """Send a trial's last epoch, and move the study's own figures on."""
        self._add_epoch(trial, len(trial.results) - 1)
        self._add_study()

    def ended(self, trial: TrialRecord) -> None:
        """Close a trial's run, and move the study's own figures on."""
        self._outbox.add(end_message(trial, self._weights_uri(trial)), f"end/{trial.number}")
        self._add_study()

    def log_files(self, names: list[str]) -> None:
        """Attach files of the study's folder to its run, under the folders they have there."""
        self._outbox.add({"do": "files", "names": names})

    def log_table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Attach rows, an architecture in each, as a table that MLflow shows."""
        if rows:
            self._outbox.add({"do": "table", "name": name, "rows": flat(rows)})

    def tag(self, tags: Mapping[str, str]) -> None:
        """Set tags of the study's run."""
        self._outbox.add({"do": "log", "trial": None, "tags": dict(tags)})

    def close(self, finished: bool) -> int:
        """Send what is left and end the run; return how many messages MLflow did not take.

        Those that it refused are gone; those that it was not there for wait for the study's next
        run.

        Raises:
            OSError: the end cannot be kept on disk; what was kept before has been sent.
        """
        status = RunStatus.to_string(RunStatus.FINISHED if finished else RunStatus.KILLED)
        try:
            self._outbox.add({"do": "end", "trial": None, "status": status})
        finally:
            self._closing.set()
            self._thread.join(_FLUSH_S)
            self._outbox.close()
        return self._refused + self._outbox.pending

    def _tell_all(self) -> None:
        """Tell everything; the outbox knows what it was told before."""
        for trial in self._study.trials():
            message = child_message(trial, self._info, self._weights_uri(trial))
            self._outbox.add(message, f"start/{trial.number}")
            for index in range(len(trial.results)):
                self._add_epoch(trial, index)
            if trial.state is not State.RUNNING:
                message = end_message(trial, self._weights_uri(trial))
                self._outbox.add(message, f"end/{trial.number}")
        self._add_study()

    def _add_epoch(self, trial: TrialRecord, index: int) -> None:
        message = epoch_message(trial, index, self._info)
        self._outbox.add(message, f"epoch/{trial.number}/{trial.results[index].epoch}")

    def _add_study(self) -> None:
        study, trials = self._study, self._study.trials()
        workers = int(study.settings.get("workers_per_trial", 1))
        effort = effort_message(trials, self._info, workers)
        self._outbox.add(effort, f"effort/{num_events(trials)}")
        quality = front_message(trials, study.budget, study.floor)
        self._outbox.add(quality, f"front/{num_ended(trials)}")

    def _send(self) -> None:
        while True:
            message = self._outbox.first(patience_s=0.2)
            if message is None:
                if self._closing.is_set():
                    return
                continue
            try:
                self._runs.send(message, self._folder)
            except Exception as error:  # noqa: BLE001  # one message must not end the thread
                if not is_refusal(error):
                    log.warning("mlflow does not take it yet: %s", str(error).splitlines()[:1])
                    if self._closing.is_set():
                        return
                    self._closing.wait(self._retry_s)
                    continue
                self._refused += 1
                log.warning("mlflow refuses a message: %s", str(error).splitlines()[:1])
            self._outbox.take()
