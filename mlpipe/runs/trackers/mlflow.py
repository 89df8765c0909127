"""MLflow runs: a parent for all folds of a training, a child for each, on a server or in a file of the project."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from mlpipe import files, sqlite
from mlpipe.errors import ConfigError, not_installed, problem
from mlpipe.runs.trackers.tracker import FAILED, FINISHED, STOPPED, Marks, Place, flat

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

# The server's limits of one request and of one value.
_MOST_POINTS, _MOST_PARAMS, _MOST_LETTERS = 500, 100, 500
# The folder, beside a project's file, with the files of its runs.
_FILES = "mlflow_files"
_STATUS = {FINISHED: "FINISHED", FAILED: "FAILED", STOPPED: "KILLED"}
# A training neither waits minutes for its server, as MLflow does by default, nor sends telemetry.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class MlflowRun:
    """An MLflow run, resumed if it exists.

    Args:
        place: The fold or run that it tracks; a fold's run is a child of the run of all folds.
        tracking_uri: The server; None: the environment variable MLFLOW_TRACKING_URI, else a SQLite file in the project.
        experiment: The experiment's name; None: the project's.
        run_tags: Further tags.

    Raises:
        Exception: Any error of MLflow if it cannot connect.
    """

    def __init__(
        self,
        place: Place,
        *,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        run_tags: Mapping[str, Any] | None = None,
    ) -> None:
        address = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default_address(place.store)
        # A project may come from somebody else, and so may its file.
        own = _file_of(address) if address == default_address(place.store) else None
        if own is not None and own.exists():
            require_tables(own)
        self._client = _client(address)
        self._experiment = _experiment(self._client, experiment or place.project, address)
        self._tags = {str(name): str(value) for name, value in (run_tags or {}).items()}
        self.marks = Marks(place.folder / "mlflow.json")
        place.folder.mkdir(parents=True, exist_ok=True)
        if own is not None:
            require_inside(self._client.get_experiment(self._experiment).artifact_location, own)
        # Parallel folds create the run of all folds at the same moment.
        with files.locked(place.logs / ".mlflow.lock"):
            parent = self._id(place.of(""), Marks(place.logs / "mlflow.json"), {})
            if own is not None:
                require_inside(self._client.get_run(parent).info.artifact_uri, own)
            self._client.update_run(parent, status="RUNNING")
        self.id = self._parent = parent
        if place.record:
            self.id = self._id(place, self.marks, {"mlflow.parentRunId": parent})
            if own is not None:
                require_inside(self._client.get_run(self.id).info.artifact_uri, own)
            self._client.update_run(self.id, status="RUNNING")

    def _id(self, place: Place, marks: Marks, tags: Mapping[str, str]) -> str:
        stored = marks.known.get("id")
        own = {"mml.project": place.project, "mml.run": place.run, "mml.record": place.record or "all"}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in own.items())
        run_ids = [run.info.run_id for run in self._client.search_runs([self._experiment], query)]
        if isinstance(stored, str) and stored in run_ids:
            return stored
        if place.record:
            # The run of a training that was restarted, of which nothing counts.
            for run_id in run_ids:
                self._client.delete_run(run_id)
        elif run_ids:
            marks.keep(id=run_ids[0])
            return str(run_ids[0])
        new_run = self._client.create_run(
            self._experiment, tags={**self._tags, **own, **tags}, run_name=place.record or place.run
        )
        marks.keep(id=new_run.info.run_id, epochs=0)
        return str(new_run.info.run_id)

    def configure(self, tree: Mapping[str, Any], text: str) -> None:
        """Store every key as a parameter, and the configuration as a file."""
        from mlflow.entities import Param

        params = [Param(_name(key), str(value)[:_MOST_LETTERS]) for key, value in flat(tree)]
        known_params = self._client.get_run(self.id).data.params
        for some in _chunks([param for param in params if param.key not in known_params], _MOST_PARAMS):
            self._client.log_batch(self.id, params=some)
        self._client.log_text(self.id, text, "config.yaml")

    def points(self, values: Mapping[str, float], step: int) -> None:
        """Store a point of each curve."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        for some in _chunks([Metric(_name(key), value, now, step) for key, value in values.items()], _MOST_POINTS):
            self._client.log_batch(self.id, metrics=some)

    def file(self, path: Path) -> None:
        """Store a copy of a file as an artifact."""
        self._client.log_artifact(self.id, str(path))

    def close(self, status: str) -> None:
        """End the run, and the run of all folds if one of them failed."""
        self._client.set_terminated(self.id, _STATUS[status])
        if status != FINISHED and self._parent != self.id:
            self._client.set_terminated(self._parent, _STATUS[status])


def default_address(store: Path) -> str:
    """Return the address of the file with a project's runs, if no server is named."""
    return f"sqlite:///{quote(str((store / 'mlflow.db').absolute()))}"


def problems(tracking_uri: str | None) -> list[str]:
    """Return a sentence for every problem of an address that can be found without connecting."""
    if tracking_uri is None or "://" in tracking_uri:
        return []
    fix = "write the address of a server, such as http://127.0.0.1:5000, or of a file: sqlite:///runs.db"
    return [problem("logging.tracking_uri", "is no address", got=tracking_uri, fix=fix)]


def _client(address: str) -> MlflowClient:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ConfigError(not_installed("logging=mlflow", "mlflow")) from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if (file := _file_of(address)) is not None:
        # The tables of a new file are created once, however many folds start.
        with files.locked(file.with_name(f".{file.name}.lock")):
            return MlflowClient(address)
    return MlflowClient(address)


def _file_of(address: str) -> Path | None:
    return Path(unquote(address.removeprefix("sqlite:///"))) if address.startswith("sqlite:///") else None


_OWN_TABLES = ("secrets", "spans")


def require_tables(file: Path) -> None:
    """Refuse a project's file with views or triggers, because reading its tables would run them, perhaps endlessly.

    MLflow itself has a trigger on one table and a computed column in another, to which no training writes.

    Raises:
        ConfigError: When it has one.
    """
    if (odd := sqlite.computed_in(file, own=_OWN_TABLES)) is not None:
        wrong = f"{file} is none that a training wrote: {odd}"
        raise ConfigError(problem("logging=mlflow", wrong, fix="move it away"))


def require_inside(place: str, file: Path) -> None:
    """Refuse a folder for files of runs, named in a project's file, outside the one beside that file.

    Args:
        place: The folder, as an address.
        file: The project's file.

    Raises:
        ConfigError: When it lies elsewhere.
    """
    parts = urlsplit(place)
    home = (file.parent / _FILES).resolve()
    if parts.scheme not in ("", "file") or not Path(unquote(parts.path)).resolve().is_relative_to(home):
        wrong = f"{file} keeps files of runs elsewhere"
        raise ConfigError(problem("logging=mlflow", wrong, got=place, fix="move it away, and a new one is made"))


def _experiment(client: MlflowClient, name: str, address: str) -> str:
    from mlflow.exceptions import MlflowException

    if (experiment := client.get_experiment_by_name(name)) is not None:
        return str(experiment.experiment_id)
    file = _file_of(address)
    # By default, MLflow would put files of runs into the current folder.
    beside = None if file is None else (file.parent / _FILES / files.safe_name(name)).absolute().as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=beside))
    except MlflowException:
        # Another fold was faster.
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            raise
        return str(experiment.experiment_id)


def _name(key: str) -> str:
    """Return a name that MLflow accepts."""
    return re.sub(r"[^\w./: -]", "_", key)[:250]


def _chunks(values: Sequence[Any], most: int) -> list[list[Any]]:
    return [list(values[start : start + most]) for start in range(0, len(values), most)]
