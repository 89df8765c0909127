"""The paths of a project, one method each, and the numbers of its records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from mlpipe import files


@dataclass(frozen=True)
class Project:
    """A folder of runs, records, predictions and reports; it can be moved.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def name(self) -> str:
        """The project's name, which is its folder's."""
        return self.root.name

    def runs_dir(self) -> Path:
        """Return the folder of all runs."""
        return self.root / "runs"

    def run_dir(self, run: str) -> Path:
        """Return the folder of one run, named `DATE/TIME-SUFFIX`."""
        return self.runs_dir() / run

    def tasks_dir(self) -> Path:
        """Return the folder of all tasks' records."""
        return self.root / "tasks"

    def model_dir(self, task: str, record_id: str) -> Path:
        """Return the folder of one record: record.json, weights.safetensors, metrics.csv, config.yaml."""
        return self._task_dir(task) / "models" / record_id

    def predictions_file(self, task: str, record_id: str) -> Path:
        """Return the file of one record's predictions."""
        return self._task_dir(task) / "predictions" / f"{record_id}.parquet"

    def calibration_file(self, task: str, record_id: str) -> Path:
        """Return the file of the calibration learned from one record's validation predictions."""
        return self._task_dir(task) / "calibrations" / f"{record_id}.json"

    def ensembles_dir(self, task: str) -> Path:
        """Return the folder of a task's ensembles: ID.json with ID.parquet."""
        return self._task_dir(task) / "ensembles"

    def studies_dir(self) -> Path:
        """Return the folder of searches: NAME.log, Optuna's journal."""
        return self.root / "studies"

    def reports_dir(self) -> Path:
        """Return the folder of reports for people."""
        return self.root / "reports"

    def plots_dir(self) -> Path:
        """Return the folder of pictures."""
        return self.reports_dir() / "plots"

    def _task_dir(self, task: str) -> Path:
        """Return a task's folder; `digits+subset=0.1` for a variant `digits+subset?0.1`, valid on every file system."""
        plain = quote(task, safe="+ ,()[]!@#").replace("%3F", "=").replace("%3A", "~") if "?" in task else task
        return self.tasks_dir() / plain

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the project's lock, only for short operations such as numbering a record."""
        with files.locked(self.root / ".lock"):
            yield
