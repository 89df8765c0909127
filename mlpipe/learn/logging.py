"""Training curves in files and on tracking servers: a fold's loggers, none of which stops the training when it fails."""

from __future__ import annotations

import csv as table
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from mlpipe import files
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError, first_line, problem
from mlpipe.runs import trackers
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.trackers import tracker
from mlpipe.runs.trackers.tracker import Place, Tracked

log = logging.getLogger("mlpipe")


@dataclass(frozen=True)
class Followed:
    """The training that a logger follows.

    Attributes:
        place: The run, and the record that the fold will have.
        epochs: Epochs of the stage that a saved state has behind it.
        step: Its steps; None: the stage is not gone on with.
        pipeline: The configuration, as YAML.
    """

    place: Place
    epochs: int = 0
    step: int | None = None
    pipeline: str = ""


def none(
    folder: Path,
    fold: Followed | None = None,
    *,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
) -> list[Logger]:
    """Nothing; each record has its `metrics.csv` anyway.

    Args:
        folder: Where the fold's files would go.
        fold: The training.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
    """
    return []


def csv(
    folder: Path,
    fold: Followed | None = None,
    *,
    every_n_steps: Annotated[int, ">= 1"] = 10,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
) -> list[Logger]:
    """A line of CSV every few steps.

    Args:
        folder: Where the fold's files go.
        fold: The training.
        every_n_steps: Steps between two lines.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
    """
    rows = _rows_before(folder / "metrics.csv", fold)
    if (folder / "metrics.csv").is_file():
        # Lightning would remove it, and warn of that.
        (folder / "metrics.csv").unlink()
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=every_n_steps)
    with warnings.catch_warnings():
        # Other loggers may have written there.
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        logger.experiment.metrics += rows
    logger.save()
    return [logger]


def _rows_before(file: Path, fold: Followed | None) -> list[dict[str, float]]:
    """The lines of a fold that is gone on with, up to its saved state; what came after is learned again."""
    if fold is None or fold.step is None or not file.is_file():
        return []
    try:
        lines = list(table.DictReader(file.read_text("utf-8").splitlines()))
        rows = [{key: float(value) for key, value in row.items() if value} for row in lines]
    except (OSError, ValueError):
        # Half written: the fold's table of epochs lies with its record anyway.
        return []
    saved_rows = [row for row in rows if row.get("epoch", 0.0) < fold.epochs or row.get("step", 0.0) < fold.step]
    return [{**row, "step": int(row["step"])} for row in saved_rows if "step" in row]


def tensorboard(
    folder: Path,
    fold: Followed | None = None,
    *,
    every_n_steps: Annotated[int, ">= 1"] = 10,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
    log_dir: str | None = None,
    histograms: Annotated[int, ">= 0"] = 0,
    gradients: bool = False,
    filters: bool = False,
    graph: bool = False,
    embeddings: Annotated[int, ">= 0"] = 0,
    samples: Annotated[int, ">= 1"] | None = None,
    embedded_layers: list[str] | None = None,
    embedded_labels: str | None = None,
) -> list[Logger]:
    """Curves for TensorBoard; `mlpipe.learn.callbacks.tensorboard` writes the rest of what is asked for.

    Args:
        folder: Where the fold's files go.
        fold: The training.
        every_n_steps: Steps between two points.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
        log_dir: Another folder, in which each fold has one of its own; None: the run's.
        histograms: Epochs between two histograms of weights, and of the activations of a validation batch; 0: none.
        gradients: Whether histograms of gradients come with them.
        filters: Whether the filters of the first layer come with them as images.
        graph: Whether the graph is written once.
        embeddings: Epochs between two sets of the features of a validation batch; 0: none.
        samples: Validation images whose activations and features are written; None: those of the first batch.
        embedded_layers: Parts of the network, by their names in torch, whose outputs are the features; None: what the heads
            are given.
        embedded_labels: A text file with a label of each of these images in a line; None: their targets.

    Raises:
        ConfigError: When the package tensorboard is not installed.
    """
    if sentence := trackers.missing("tensorboard"):
        raise ConfigError(sentence)
    # The last parts of the folder name the record and its stage.
    place = folder if log_dir is None else Path(log_dir).expanduser() / Path(*folder.parts[-2:])
    # Readers leave out what a training that was stopped had written after the state that it goes on from.
    purged: dict[str, Any] = {} if fold is None or fold.step is None else {"purge_step": fold.step}
    return [TensorBoardLogger(place, name="", version="", default_hp_metric=False, **purged)]


def mlflow(
    folder: Path,
    fold: Followed,
    *,
    every_n_steps: Annotated[int, ">= 1"] = 50,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    run_tags: dict[str, Any] | None = None,
) -> list[Logger]:
    """Runs of MLflow: one of all folds, and a child for each.

    Args:
        folder: Where the fold's files go.
        fold: The training.
        every_n_steps: Steps between two points of the loss of single steps.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
        tracking_uri: The server's address; None: the environment's MLFLOW_TRACKING_URI, else the file `mlflow.db` of the
            project.
        experiment: The experiment; None: the project's name.
        run_tags: Further tags of the runs; None: none.
    """
    params = {"tracking_uri": tracking_uri, "experiment": experiment, "run_tags": run_tags}
    return [TrackedLogger("mlflow", params, fold)]


def wandb(
    folder: Path,
    fold: Followed,
    *,
    every_n_steps: Annotated[int, ">= 1"] = 50,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
    project: str | None = None,
    entity: str | None = None,
    wandb_mode: Literal["auto", "online", "offline"] = "auto",
    wandb_tags: list[str] | None = None,
) -> list[Logger]:
    """Runs of Weights & Biases: a group for a training, with a run for each fold and one for the result.

    Args:
        folder: Where the fold's files go.
        fold: The training.
        every_n_steps: Steps between two points of the loss of single steps.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
        project: The project there; None: the project's name here.
        entity: The team or user; None: the key's own.
        wandb_mode: `offline` keeps all in files, which `wandb sync` sends; `auto` does so where there is no key.
        wandb_tags: Tags of the runs; None: none.
    """
    params = {"project": project, "entity": entity, "wandb_mode": wandb_mode, "wandb_tags": wandb_tags}
    return [TrackedLogger("wandb", params, fold)]


def several(
    folder: Path,
    fold: Followed,
    *,
    loggers: dict[str, Any],
    every_n_steps: Annotated[int, ">= 1"] = 10,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
) -> list[Logger]:
    """Several loggers at once, as `logging=[mlflow,csv]` puts them together.

    Args:
        folder: Where the fold's files go.
        fold: The training.
        loggers: Each by the name of its option.
        every_n_steps: Steps between two points.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
    """
    return [logger for part in loggers.values() for logger in _loggers_of(part, folder, fold)]


class _Nothing:
    """What is called of a logger that writes no other way than through its own methods, or no more: nothing happens."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **keywords: None


class TrackedLogger(Logger):
    """A run of a tracking server as Lightning's trainers know loggers; it is opened by the first point.

    Curves are those of the record: one point for each epoch. What callbacks and a user's own code log goes along with the next
    of them.

    Args:
        option: The option of `logging`, `mlflow` or `wandb`.
        params: Its keys.
        fold: The training.
    """

    def __init__(self, option: str, params: Mapping[str, Any], fold: Followed) -> None:
        super().__init__()
        self._option, self._fold = option, fold
        self._run = trackers.run_of(option, params, fold.place)
        self._is_configured = False
        self._unsent_rows: list[tuple[int, dict[str, float]]] = []

    @property
    def name(self) -> str:
        """The option."""
        return self._option

    @property
    def version(self) -> str:
        """The record."""
        return self._fold.place.record

    @property
    def experiment(self) -> _Nothing:
        """Nothing: what is written goes through here."""
        return _Nothing()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is known."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep what is measured in single steps for the next point; an epoch's own values come with it."""
        values = {key: value for key, value in metrics.items() if key != "epoch" and not key.startswith("val/")}
        renamed = {"train/loss_step" if key == "train/loss" else key: value for key, value in values.items()}
        if renamed:
            self._unsent_rows.append((step or 0, tracker.finite(renamed)))

    def follow(self, history: Sequence[Mapping[str, float]]) -> None:
        """Send the epochs, and what was measured in their steps, that were not sent before."""
        waiting, self._unsent_rows = self._unsent_rows, []

        def write(run: Any) -> None:
            self._configure(run)
            if tracker.send_epochs(run, history, run.marks):
                for step, values in waiting:
                    run.points(values, step)

        self._run.attempt(write)

    def judge(self, record: ModelRecord, history: Sequence[Mapping[str, float]]) -> None:
        """Send the scores of what is kept, and end the run."""
        self.follow(history)
        last = max(0, len(history) - 1)
        self._run.attempt(lambda run: run.points(tracker.final(record.scores), last))
        self._run.close(tracker.FINISHED)

    def leave(self, status: str) -> None:
        """End the run of a training that was stopped or failed."""
        self._run.close(status)

    def _configure(self, run: Tracked) -> None:
        if not self._is_configured:
            self._is_configured = True
            run.configure(files.plain_yaml(self._fold.pipeline) or {}, self._fold.pipeline)


class FileLogger(Logger):
    """A logger of Lightning's, or of another package, whose failures are told once and end nothing else.

    Args:
        inner: The logger.
    """

    def __init__(self, inner: Logger) -> None:
        super().__init__()
        self.inner, self.is_broken, self._step = inner, False, 0

    def attempt(self, write: Callable[[], Any]) -> Any:
        """The result of a call; None where it failed, or one before did."""
        if self.is_broken:
            return None
        try:
            return write()
        except Exception as error:
            self.give_up(error)
            return None

    def give_up(self, error: Exception) -> None:
        """Tell a person what failed, and write nothing more."""
        self.is_broken = True
        log.debug("a logger failed", exc_info=error)
        logger_name, reason = type(self.inner).__name__, tracker.without_password(first_line(error))
        log.warning(f"logging: {logger_name} failed ({reason}); the training goes on without it")

    @property
    def name(self) -> str | None:
        """The inner logger's."""
        name: str | None = self.attempt(lambda: self.inner.name)
        return name

    @property
    def version(self) -> int | str | None:
        """The inner logger's."""
        version: int | str | None = self.attempt(lambda: self.inner.version)
        return version

    @property
    def save_dir(self) -> str | None:
        """The inner logger's."""
        return self.inner.save_dir

    @property
    def log_dir(self) -> str | None:
        """The inner logger's."""
        return self.inner.log_dir

    @property
    def root_dir(self) -> str | None:
        """The inner logger's."""
        return self.inner.root_dir

    @property
    def __class__(self) -> type:
        """The inner logger's: callbacks look for loggers of a kind."""
        return type(self.inner)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("a logger keeps its class")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Write the graph, where the inner logger does."""
        self.attempt(lambda: self.inner.log_graph(model, input_array))

    @property
    def experiment(self) -> Any:
        """The inner logger's; what is called of it is not guarded."""
        experiment = self.attempt(lambda: self.inner.experiment)  # type: ignore[attr-defined]
        return _Nothing() if experiment is None else experiment

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write values."""
        self._step = self._step if step is None else step
        self.attempt(lambda: self.inner.log_metrics(metrics, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Write the configuration."""
        self.attempt(lambda: self.inner.log_hyperparams(params, *args, **kwargs))

    def judge(self, record: ModelRecord) -> None:
        """Write the scores of what is kept, at the last step, and close."""
        self.log_metrics(tracker.final(record.scores), self._step)
        self.save()
        self.finalize("success")

    def save(self) -> None:
        """Write what waits."""
        self.attempt(self.inner.save)

    def finalize(self, status: str) -> None:
        """Write what waits, and close."""
        self.attempt(lambda: self.inner.finalize(status))


@dataclass
class Loggers:
    """All loggers of a fold: files begin anew with each stage, runs of tracking servers last over all.

    Args:
        component: The section `logging`.
        fold: The training.
    """

    component: Component
    fold: Followed
    tracked: list[TrackedLogger] = field(default_factory=list)
    files: list[FileLogger] = field(default_factory=list)

    def stage_loggers(self, folder: Path, epochs: int, step: int | None) -> list[Logger]:
        """The loggers of a stage.

        Args:
            folder: Where its files go.
            epochs: Epochs that a saved state of it has behind it.
            step: Its steps; None: it is not gone on with.
        """
        fold = Followed(self.fold.place, epochs, step, self.fold.pipeline)
        built = _loggers_of(self.component, folder, fold)
        self.tracked = self.tracked or [logger for logger in built if isinstance(logger, TrackedLogger)]
        self.files = [FileLogger(logger) for logger in built if not isinstance(logger, TrackedLogger)]
        for file_logger in self.files if step is None else ():
            file_logger.log_hyperparams(dict(tracker.flat(files.plain_yaml(self.fold.pipeline) or {})))
        return [*self.files, *self.tracked]

    def follow(self, history: Sequence[Mapping[str, float]]) -> None:
        """Tell the tracking servers all epochs so far."""
        for logger in self.tracked:
            logger.follow(history)

    def judge(self, record: ModelRecord, history: Sequence[Mapping[str, float]]) -> None:
        """Tell all of them the scores of what is kept.

        Args:
            record: The fold's.
            history: All its epochs.
        """
        for tracked in self.tracked:
            tracked.judge(record, history)
        for logger in self.files:
            logger.judge(record)

    def leave(self, status: str) -> None:
        """End what was begun of a training that was stopped or failed."""
        for logger in self.tracked:
            logger.leave(status)


def _loggers_of(component: Any, folder: Path, fold: Followed) -> list[Logger]:
    """What a component of the section makes, as a list.

    Raises:
        ConfigError: When it is no logger of Lightning.
    """
    built = component.build(folder, fold)
    loggers = list(built) if isinstance(built, list | tuple) else [built] if built is not None else []
    if wrong := [logger for logger in loggers if not isinstance(logger, Logger)]:
        fix = "return one, or a list of them"
        raise ConfigError(problem("logging", "must make loggers of Lightning", got=type(wrong[0]).__name__, fix=fix))
    return loggers
