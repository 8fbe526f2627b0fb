"""Runs in MLflow: found or made, and told what messages say. Only MLflow's calls are here."""

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from pipeline.runtime.outbox import Message
from pipeline.runtime.tracked import TRIAL

_PARENT, _STUDY = "mlflow.parentRunId", "cgnet.study"
# That there is no such run is none: it is what another MLflow says, or one that is being restored.
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
}
_STORE_ERRORS = (Boto3Error, BotoCoreError, ClientError)  # of artifacts that go to S3 from here


def is_refusal(error: Exception) -> bool:
    """Return whether MLflow said no, which it will say again; else it, or its store, comes back."""
    if isinstance(error, MlflowException):
        return error.error_code in _REFUSALS
    return not isinstance(error, (OSError, *_STORE_ERRORS))


class StudyRuns:
    """The run of one study and those of its trials. Every message may be sent twice."""

    def __init__(self, experiment: str, study: str, params: Mapping[str, object]) -> None:
        """Find the study's run, or make it.

        Args:
            experiment: its name.
            study: its name.
            params: of the study's run, if it is made now.

        Raises:
            MlflowException: MLflow refuses or is not there.
        """
        self._client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        self.experiment_id = self._experiment(experiment)
        self.run_id = self._parent(study, params)
        self._children: dict[int, str] | None = None

    def _experiment(self, name: str) -> str:
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        return str(self._client.create_experiment(name))

    def _parent(self, study: str, params: Mapping[str, object]) -> str:
        matching = f"tags.`{_STUDY}` = '{study}'"
        if found := self._client.search_runs([self.experiment_id], matching, max_results=1):
            run_id = str(found[0].info.run_id)
            self._client.update_run(run_id, status="RUNNING")
            return run_id
        run = self._client.create_run(self.experiment_id, run_name=study, tags={_STUDY: study})
        entries = [Param(key, str(value)) for key, value in params.items()]
        self._client.log_batch(run.info.run_id, params=entries)
        return str(run.info.run_id)

    def send(self, message: Message, folder: Path) -> None:
        """Do what a message says.

        Args:
            message: see ``pipeline.runtime.tracked``.
            folder: that files it names are in.
        """
        try:
            match message["do"]:
                case "files":
                    self._files(folder, message["names"])
                case "table":
                    self._table(message["name"], message["rows"])
                case _:
                    self._tell(message)
        except Exception:
            self._children = None  # a run may have been made and the answer lost: look again
            raise

    def _tell(self, message: Message) -> None:
        trial = message["trial"]
        if message["do"] == "start":
            run_id = self._child(trial) or self._make_child(message)
        else:
            run_id = self.run_id if trial is None else self._known_child(trial)
        self._client.log_batch(
            run_id,
            metrics=[Metric(*entry) for entry in message.get("metrics", [])],
            params=[Param(*entry) for entry in message.get("params", {}).items()],
            tags=[RunTag(*entry) for entry in message.get("tags", {}).items()],
        )
        if message["do"] == "end":
            self._client.set_terminated(run_id, message["status"], message.get("end_ms"))

    def _known_child(self, trial: int) -> str:
        run_id = self._child(trial)
        if run_id is None:
            raise MlflowException.invalid_parameter_value(f"trial {trial} has no run")
        return run_id

    def _child(self, trial: int) -> str | None:
        if self._children is None:
            self._children = self._find_children()
        return self._children.get(trial)

    def _make_child(self, message: Message) -> str:
        run = self._client.create_run(
            self.experiment_id,
            start_time=message["start_ms"] or None,
            run_name=message["name"],
            tags={_PARENT: self.run_id, TRIAL: message["tags"][TRIAL]},
        )
        assert self._children is not None, "it was looked for"
        self._children[message["trial"]] = run.info.run_id
        return str(run.info.run_id)

    def _find_children(self) -> dict[int, str]:
        children, token = {}, None
        while True:
            matching = f"tags.`{_PARENT}` = '{self.run_id}'"
            page = self._client.search_runs([self.experiment_id], matching, page_token=token)
            for run in page:
                if TRIAL in run.data.tags:
                    children[int(run.data.tags[TRIAL])] = str(run.info.run_id)
            if not (token := page.token):
                return children

    def _files(self, folder: Path, names: list[str]) -> None:
        for name in names:
            where = str(Path(name).parent)
            self._client.log_artifact(
                self.run_id, str(folder / name), None if where == "." else where
            )

    def _table(self, name: str, rows: list[dict[str, object]]) -> None:
        """Write a table for MLflow's table view; one of that name is replaced, not added to."""
        frame = pd.DataFrame(rows)
        if name in {file.path for file in self._client.list_artifacts(self.run_id)}:
            text = frame.to_json(orient="split", index=False, date_format="iso")
            self._client.log_text(self.run_id, text, name)
        else:
            self._client.log_table(self.run_id, frame, name)
