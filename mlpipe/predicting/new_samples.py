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
        recipe: How it was trained.
        preprocessing: What happened to the samples before it saw them.
    """

    record: ModelRecord
    weight: float
    recipe: Recipe
    preprocessing: Preprocessing


@dataclass(frozen=True)
class NewSamples:
    """The files of new samples, and their places.

    Attributes:
        source: Where they were said to be.
        pivot: The task that the models were trained on.
        task: The new samples.
        models: The models.
        rows: Their rows.
        unreadable: Reasons by sample.
        deploy_prior: The prevalence where they are from; `estimate`: by themselves; None: nothing is moved.
        data_dir: Where it is remembered how large images are.
        after: Told the number of a sample, counted from 1, before it is written; raising in it ends all.
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
        """Whether they are arrays in files, one by one."""
        return sources.open(self.task).has_arrays

    def sample_title(self, name: str) -> str:
        """A sample's name as a person knows it."""
        return sources.open(self.task).title(name)
