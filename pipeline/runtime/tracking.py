"""MLflow, written by the driver alone: an experiment a data set, a run a study, a child a trial.

MLflow is a view of the study and can be drawn again from it. Writing happens on a thread of its
own, so that no trial waits for MLflow; every metric carries the time the study noted, so that
sending it twice changes nothing.
"""

import logging
import math
import os
import queue
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException

from pipeline.core.cost import count_macs
from pipeline.core.errors import ServiceUnavailable
from pipeline.core.manifest import DatasetInfo
from pipeline.runtime.study import State, Study, TrialRecord, front, front_hypervolume

log = logging.getLogger(__name__)

_FLUSH_S = 60.0
_RUN_STATES = {State.COMPLETE: "FINISHED", State.STOPPED: "FINISHED", State.FAILED: "FAILED"}
_PARENT, _STUDY, _TRIAL = "mlflow.parentRunId", "cgnet.study", "cgnet.trial"
WEIGHTS_TAG = "cgnet.weights"  # on a run: the folder with its network


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
    ) -> None:
        """Open the study's run, or make it.

        Args:
            study: whose trials are tracked.
            info: of the data set it trains on.
            params: of the study's run.
            weights_uri: of the folder with a complete trial's network.

        Raises:
            ServiceUnavailable: MLflow refuses.
        """
        self._client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        self._study = study
        self._info = info
        self._weights_uri = weights_uri
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._failures = 0
        try:
            self.experiment_id = self._experiment(info.name)
            self.run_id = self._parent(params)
            self._children = self._find_children()
        except MlflowException as cause:
            reason = str(cause).splitlines()[0]
            raise ServiceUnavailable(f"MLflow refuses: {reason}") from cause
        self._thread = threading.Thread(target=self._write, name="mlflow", daemon=True)
        self._thread.start()
        for trial in study.trials():
            self._draw_again(trial)

    @property
    def address(self) -> str:
        """Return where a browser finds the study."""
        uri = os.environ["MLFLOW_TRACKING_URI"].rstrip("/")
        return f"{uri}/#/experiments/{self.experiment_id}/runs/{self.run_id}"

    def started(self, trial: TrialRecord) -> None:
        """Give a trial its child run."""
        self._queue.put(partial(self._start_child, trial))

    def reached(self, trial: TrialRecord) -> None:
        """Send a trial's last epoch."""
        self._queue.put(partial(self._send_epoch, trial, len(trial.results) - 1))

    def ended(self, trial: TrialRecord) -> None:
        """Close a trial's run and move the study's own figures on."""
        trials = self._study.trials()
        self._queue.put(partial(self._end_child, trial))
        self._queue.put(partial(self._send_front, trials))

    def log_files(self, files: Mapping[str, str | bytes]) -> None:
        """Attach files to the study's run, by name."""
        self._queue.put(partial(self._send_files, files))

    def close(self, finished: bool) -> int:
        """Send what is left and end the run; return how many messages MLflow did not take."""
        status = RunStatus.to_string(RunStatus.FINISHED if finished else RunStatus.KILLED)
        self._queue.put(partial(self._client.set_terminated, self.run_id, status))
        self._queue.put(None)
        self._thread.join(_FLUSH_S)
        return self._failures + self._queue.qsize()

    def _experiment(self, name: str) -> str:
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        return str(self._client.create_experiment(name))

    def _parent(self, params: Mapping[str, Any]) -> str:
        matching = f"tags.`{_STUDY}` = '{self._study.name}'"
        if found := self._client.search_runs([self.experiment_id], matching, max_results=1):
            run_id = str(found[0].info.run_id)
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        run = self._client.create_run(
            self.experiment_id, run_name=self._study.name, tags={_STUDY: self._study.name}
        )
        entries = [Param(key, str(value)) for key, value in params.items()]
        self._client.log_batch(run.info.run_id, params=entries)
        return str(run.info.run_id)

    def _find_children(self) -> dict[int, tuple[str, str]]:
        """Return (run id, status) of each trial that MLflow knows."""
        children, token = {}, None
        while True:
            matching = f"tags.`{_PARENT}` = '{self.run_id}'"
            page = self._client.search_runs([self.experiment_id], matching, page_token=token)
            for run in page:
                children[int(run.data.tags[_TRIAL])] = (run.info.run_id, run.info.status)
            if not (token := page.token):
                return children

    def _draw_again(self, trial: TrialRecord) -> None:
        """Send what MLflow may have missed of a trial from before a restart."""
        if self._children.get(trial.number, ("", ""))[1] in _RUN_STATES.values():
            return
        self.started(trial)
        for index in range(len(trial.results)):
            self._queue.put(partial(self._send_epoch, trial, index))
        if trial.state is not State.RUNNING:
            self.ended(trial)

    def _write(self) -> None:
        while (send := self._queue.get()) is not None:
            try:
                send()
            except Exception as error:  # noqa: BLE001  # no failure of MLflow may end a search
                self._failures += 1
                log.warning("mlflow took no message: %s", str(error).splitlines()[:1])

    def _start_child(self, trial: TrialRecord) -> None:
        if trial.number in self._children:
            self._client.update_run(self._children[trial.number][0], status="RUNNING")
            return
        label = f"{trial.architecture.label} · {trial.num_params / 1e3:.0f}k"
        run = self._client.create_run(
            self.experiment_id,
            run_name=label,
            tags={
                _PARENT: self.run_id,
                _TRIAL: str(trial.number),
                "cgnet.id": trial.architecture.id,
            },
        )
        self._children[trial.number] = (run.info.run_id, "RUNNING")
        architecture = trial.architecture.to_dict()
        macs = count_macs(trial.architecture, *self._info.image_size)
        now = run.info.start_time
        self._client.log_batch(
            run.info.run_id,
            params=[Param(key, str(value)) for key, value in architecture.items()],
            metrics=[
                Metric("num_params", trial.num_params, now, 0),
                Metric("macs", macs, now, 0),
            ],
        )

    def _send_epoch(self, trial: TrialRecord, index: int) -> None:
        result, when = trial.results[index], trial.reached_ms[index]
        values = {
            "train/loss": result.train_loss,
            "val/mean_iou": result.mean_iou,
            "time/train_s": result.train_s,
            "time/val_s": result.val_s,
            "time/data_wait_s": result.data_wait_s,
            "data/corrupt": len(result.corrupt),
        }
        for name, iou in zip(self._info.classes.names, result.class_iou, strict=True):
            if not math.isnan(iou):
                values[f"val/iou/{name}"] = iou
        metrics = [Metric(key, value, when, result.epoch) for key, value in values.items()]
        self._client.log_batch(self._children[trial.number][0], metrics=metrics)

    def _end_child(self, trial: TrialRecord) -> None:
        run_id = self._children[trial.number][0]
        tags = [RunTag("cgnet.state", trial.state)]
        if trial.judgement:
            tags.append(RunTag("cgnet.stopping", trial.judgement))
        if trial.state is State.COMPLETE:
            tags.append(RunTag(WEIGHTS_TAG, self._weights_uri(trial)))
        if trial.failure:
            tags.append(RunTag("cgnet.failure", trial.failure[:5000]))
        self._client.log_batch(run_id, tags=tags)
        self._client.set_terminated(run_id, _RUN_STATES[trial.state])

    def _send_front(self, trials: list[TrialRecord]) -> None:
        step = sum(trial.state is not State.RUNNING for trial in trials)
        now = max((when for trial in trials for when in trial.reached_ms), default=0)
        best = front(trials)
        values = {
            "front/hypervolume": front_hypervolume(trials, self._study.budget, self._study.floor),
            "front/size": len(best),
            "front/best_mean_iou": best[-1].mean_iou if best else 0.0,
        }
        metrics = [Metric(key, value, now, step) for key, value in values.items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def _send_files(self, files: Mapping[str, str | bytes]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            self._client.log_artifacts(self.run_id, folder)
