"""Predictions of several models for new samples, before they are mixed and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpipe.config.schema import Recipe
from mlpipe.data import sources
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Task
from mlpipe.post.ensembling.new_rows import NewRows
from mlpipe.runs.records import ModelRecord


@dataclass(frozen=True)
class Used:
    """A model that has predicted new samples.

    Attributes:
        record: Its record.
        weight: Its weight, all weights summing to one.
        recipe: The recipe that it was trained with.
        preprocessing: The preprocessing of its samples.
    """

    record: ModelRecord
    weight: float
    recipe: Recipe
    preprocessing: Preprocessing


@dataclass(frozen=True)
class NewSamples:
    """The files of new samples, and their places.

    Attributes:
        source: Their location as the user gave it.
        pivot: The task that the models were trained on.
        task: The new samples.
        models: The models.
        rows: Their rows.
        unreadable: Reasons by sample.
        deploy_prior: The prevalence of the samples; `estimate`: estimated from them; None: nothing is moved.
        data_dir: The folder in which the sizes of images are cached.
        after: Called with the number of a sample, counted from 1, before it is written; raising in it stops.
    """

    source: str
    pivot: Task
    task: Task
    models: Sequence[Used]
    rows: NewRows
    unreadable: Mapping[str, str]
    deploy_prior: str | list[float] | None
    data_dir: Path
    after: Callable[[int], None]

    @property
    def folder(self) -> Path:
        """The folder of the samples' files."""
        return self.rows.project.reports_dir() / "predictions" / self.task.name

    @property
    def table(self) -> Path:
        """The file of their table."""
        folder = self.folder
        return folder.with_name(f"{folder.name}.csv")

    @property
    def are_arrays(self) -> bool:
        """Whether the samples are arrays, one per file."""
        return sources.open(self.task).has_arrays

    def sample_title(self, name: str) -> str:
        """Return a sample's name as it is shown to the user."""
        return sources.open(self.task).title(name)
