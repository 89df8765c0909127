"""Use mlpipe from Python: run any mode with the same configuration, and read a project as pandas frames.

from mlpipe.api import run, load_project

run("train", "task=digits", "mode.nested=false", "mode.subroutines=[train,predict,test]")
project = load_project()
project.leaderboard()
project.predictions(task="digits", split="test")
project.out_of_fold("digits")
"""

from __future__ import annotations

import html
import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from mlpipe import current_folder, limits, parquet
from mlpipe.api.commands import run
from mlpipe.api.estimators import ImageClassifier, ImageRegressor, ImageSegmenter
from mlpipe.config.environment import base_folder
from mlpipe.data.creator import TaskCreator
from mlpipe.errors import ProjectError, problem
from mlpipe.reports import out_of_fold, tables
from mlpipe.running.loaded_model import Model, load
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

# Without ipywidgets, tqdm advises to install them as soon as any library imports it in a notebook. The progress of a run is
# shown without them.
warnings.filterwarnings("ignore", message="IProgress not found")

__all__ = [
    "ImageClassifier",
    "ImageRegressor",
    "ImageSegmenter",
    "Model",
    "ProjectFrames",
    "ReportPage",
    "TaskCreator",
    "load",
    "load_project",
    "run",
]


@dataclass(frozen=True)
class ReportPage:
    """The HTML report of a project, as a notebook shows it.

    Attributes:
        file: The page.
    """

    file: Path

    def _repr_html_(self) -> str:
        # The page goes into a frame of its own because it has its own style and script. The frame is sandboxed because a project
        # may come from anybody, and a page without a sandbox can run its code in the notebook's kernel.
        page = html.escape(limits.text(self.file))
        style = "width: 100%; height: 40rem; border: 1px solid"
        return f'<iframe sandbox="allow-scripts" srcdoc="{page}" title="Report" style="{style}"></iframe>'


class ProjectFrames:
    """A project's records and predictions as pandas frames.

    Args:
        project: The project.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self._project.root

    def records(self, task: str | None = None) -> pd.DataFrame:
        """Return one row per record, in the order of creation; scores are columns such as `val/accuracy`.

        Args:
            task: Only records of this pivot task.
        """
        rows = []
        for record in records.load_all(self._project, task):
            row = {key: value for key, value in vars(record).items() if key not in ("scores", "timings", "counts")}
            for split, scores in record.scores.items():
                row |= {f"{split}/{name}": value for name, value in scores.items()}
            row |= {f"images/{split}": count for split, count in record.counts.items()}
            rows.append(row | dict(record.timings))
        return pd.DataFrame(rows)

    def metrics(self, record_id: str) -> pd.DataFrame:
        """Return the history of one record, one row per epoch.

        Args:
            record_id: The record's id.

        Raises:
            ProjectError: When there is no such record.
        """
        record = self._record(record_id)
        return pd.read_csv(self._project.model_dir(record.pivot, record.id) / records.METRICS_FILE)

    def predictions(
        self, record_id: str | None = None, *, task: str | None = None, split: str | None = None
    ) -> pd.DataFrame:
        """Return predictions with the id of their record, one row each; `logits` holds an array per row.

        Args:
            record_id: Only the predictions of this record; None: those of all records.
            task: Only rows of this task (nested tasks are named `name+nested?k`).
            split: Only `val`, `test` or `unlabelled`.

        Raises:
            ProjectError: When there is no such record.
        """
        selection = [self._record(record_id)] if record_id else records.load_all(self._project)
        chosen = [(column, "==", value) for column, value in (("task", task), ("split", split)) if value is not None]
        frames = []
        for record in selection:
            path = self._project.predictions_file(record.pivot, record.id)
            if path.is_file():
                with parquet.opened(path):
                    frame = pq.read_table(path, filters=chosen or None, partitioning=None).to_pandas()
                frames.append(frame.assign(record=record.id))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def out_of_fold(self, task: str | None = None) -> pd.DataFrame:
        """Return out-of-fold predictions, one row per recipe, repeat and image.

        Each image is predicted by the model that did not learn from it. The columns are those of
        `mlpipe.reports.out_of_fold.rows`: the origin of the row, the target, and the predictions `raw` and `calibrated`.
        Tasks with different outputs have different columns, which are empty in the rows of other tasks.

        Args:
            task: Only this task; None: all tasks of the project.

        Raises:
            ProjectError: When a record or predictions are damaged.
        """
        names = [task] if task else dict.fromkeys(record.pivot for record in records.load_all(self._project))
        return pd.DataFrame([row for name in names for row in out_of_fold.rows(self._project, name)])

    def leaderboard(self, task: str | None = None) -> pd.DataFrame:
        """Return one row for each cross-validation and each ensemble with all figures, the best first.

        `mml info`, the report and a notebook's view of the project show an ensemble of a single recipe in the recipe's row.

        Args:
            task: Only this task.
        """
        return pd.DataFrame(tables.leaderboard(self._project, task))

    def report(self) -> ReportPage:
        """Return the report that `mml post` wrote last; a notebook displays it.

        Raises:
            ProjectError: When there is no report yet.
        """
        file = self._project.reports_dir() / "report.html"
        if not file.is_file():
            fix = f"mml info proj={self._project.name} mode.subroutines=[report] writes it"
            raise ProjectError(problem("report", f"project {self._project.name} has none yet", fix=fix))
        return ReportPage(file)

    def _repr_html_(self) -> str:
        return tables.as_html(tables.for_people(tables.leaderboard(self._project), self._project))

    def _record(self, record_id: str) -> ModelRecord:
        for record in records.load_all(self._project):
            if record.id == record_id:
                return record
        raise ProjectError(problem("record", f"project {self._project.name} has no such record", got=record_id))


def load_project(name: str = "default", out_dir: str | Path | None = None) -> ProjectFrames:
    """Open a project.

    Args:
        name: The project's name, as in `proj=NAME`.
        out_dir: The folder of all projects; None: MML_RESULTS_PATH if it is set, else ./results.

    Raises:
        ProjectError: When there is no such project.
    """
    base = current_folder.expanded(base_folder("out_dir", str(out_dir or "")))
    if not (base / name).is_dir():
        raise ProjectError(
            problem("proj", "there is no such project", got=str(base / name), fix="train something first")
        )
    return ProjectFrames(Project(base / name))
