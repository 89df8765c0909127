"""Training curves in files and on tracking servers; a failing logger does not stop the training."""

from __future__ import annotations

import csv as table
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from mlpipe import current_folder, files
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
        place: The run, and the future record of the fold.
        epochs: Epochs done in the saved state of a resumed stage.
        step: Steps done in that state; None: the stage is not resumed.
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
    """No curves; each record has its `metrics.csv` in any case.

    Args:
        folder: The folder of the fold's files (not used).
        fold: The training.
        examples: Number of validation images whose outputs are stored for every epoch, in the record's `examples.json`.
        batches: Stages, counted from 0, whose loss is stored for every batch, in the record's `batches.csv`; None: none.
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
        folder: The folder of the fold's files.
        fold: The training.
        every_n_steps: Steps between two lines.
        examples: Number of validation images whose outputs are stored for every epoch, in the record's `examples.json`.
        batches: Stages, counted from 0, whose loss is stored for every batch, in the record's `batches.csv`; None: none.
    """
    rows = _rows_before(folder / "metrics.csv", fold)
    if (folder / "metrics.csv").is_file():
        # Otherwise Lightning would remove it with a warning.
        (folder / "metrics.csv").unlink()
    logger = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=every_n_steps)
    with warnings.catch_warnings():
        # Other loggers may have written to the folder.
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        logger.experiment.metrics += rows
    logger.save()
    return [logger]


def _rows_before(file: Path, fold: Followed | None) -> list[dict[str, float]]:
    """Return the lines of a resumed fold up to its saved state; later steps are repeated."""
    if fold is None or fold.step is None or not file.is_file():
        return []
    try:
        lines = list(table.DictReader(file.read_text("utf-8").splitlines()))
        rows = [{key: float(value) for key, value in row.items() if value} for row in lines]
    except (OSError, ValueError):
        # A partly written file is dropped: the fold's table of epochs is stored with its record in any case.
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
    """Curves for TensorBoard; `mlpipe.learn.callbacks.tensorboard` writes the other requested data.

    Args:
        folder: The folder of the fold's files.
        fold: The training.
        every_n_steps: Steps between two points.
        examples: Number of validation images whose outputs are stored for every epoch, in the record's `examples.json`.
        batches: Stages, counted from 0, whose loss is stored for every batch, in the record's `batches.csv`; None: none.
        log_dir: Another folder, with a subfolder for each fold; None: the run's folder.
        histograms: Epochs between two histograms of weights, and of the activations of a validation batch; 0: none.
        gradients: Whether to add histograms of gradients.
        filters: Whether to add the filters of the first layer as images.
        graph: Whether to write the graph once.
        embeddings: Epochs between two sets of the features of a validation batch; 0: none.
        samples: Number of validation images for activations and features; None: those of the first batch.
        embedded_layers: Parts of the network, by their names in torch, whose outputs are the features; None: the input of
            the heads.
        embedded_labels: A text file with one line per image as its label; None: the targets.

    Raises:
        ConfigError: When the package tensorboard is not installed.
    """
    if sentence := trackers.missing("tensorboard"):
        raise ConfigError(sentence)
    # The last parts of the folder name the record and its stage.
    place = folder if log_dir is None else current_folder.expanded(log_dir) / Path(*folder.parts[-2:])
    # Readers skip what an attempt before had written after the state that this one resumes from, or all of it.
    step = 0 if fold is None or fold.step is None else fold.step
    purged: dict[str, Any] = {"purge_step": step} if any(place.glob("events.out.tfevents.*")) else {}
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
    """Runs of MLflow: one of all folds, with a child for each.

    Args:
        folder: The folder of the fold's files.
        fold: The training.
        every_n_steps: Steps between two points of the loss of single steps.
        examples: Number of validation images whose outputs are stored for every epoch, in the record's `examples.json`.
        batches: Stages, counted from 0, whose loss is stored for every batch, in the record's `batches.csv`; None: none.
        tracking_uri: The server's address; None: the environment variable MLFLOW_TRACKING_URI, otherwise the file
            `mlflow.db` of the project.
        experiment: The experiment; None: the project's name.
        run_tags: Additional tags of the runs; None: none.
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
        folder: The folder of the fold's files.
        fold: The training.
        every_n_steps: Steps between two points of the loss of single steps.
        examples: Number of validation images whose outputs are stored for every epoch, in the record's `examples.json`.
        batches: Stages, counted from 0, whose loss is stored for every batch, in the record's `batches.csv`; None: none.
        project: The project on the server; None: the name of the local project.
        entity: The team or user; None: that of the API key.
        wandb_mode: `offline` keeps everything in files, which `wandb sync` sends; `auto` does so if there is no API key.
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
    """Several loggers at once, as combined by `logging=[mlflow,csv]`.

    Args:
        folder: The folder of the fold's files.
        fold: The training.
        loggers: Each logger by the name of its option.
        every_n_steps: Steps between two points.
        examples: Number of validation images whose outputs are stored for every epoch, in the record's `examples.json`.
        batches: Stages, counted from 0, whose loss is stored for every batch, in the record's `batches.csv`; None: none.
    """
    return [logger for part in loggers.values() for logger in _loggers_of(part, folder, fold)]


class _Nothing:
    """An experiment whose methods do nothing, for a logger that has failed or writes only through its own methods."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **keywords: None


class TrackedLogger(Logger):
    """A run of a tracking server as a Lightning logger; it is opened with the first point.

    Curves are those of the record: one point for each epoch. Values logged by callbacks and the user's own code are sent
    together with the next point.

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
        """The option of `logging`."""
        return self._option

    @property
    def version(self) -> str:
        """The record's id."""
        return self._fold.place.record

    @property
    def experiment(self) -> _Nothing:
        """An object whose methods do nothing, because everything is written through this logger."""
        return _Nothing()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, because the configuration is known already."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep values of single steps for the next point; an epoch's own values are part of it."""
        values = {key: value for key, value in metrics.items() if key != "epoch" and not key.startswith("val/")}
        renamed = {"train/loss_step" if key == "train/loss" else key: value for key, value in values.items()}
        if renamed:
            self._unsent_rows.append((step or 0, tracker.finite(renamed)))

    def follow(self, history: Sequence[Mapping[str, float]]) -> None:
        """Send epochs, and values of their steps, that were not sent before."""
        waiting, self._unsent_rows = self._unsent_rows, []

        def write(run: Any) -> None:
            self._configure(run)
            if tracker.send_epochs(run, history, run.marks):
                for step, values in waiting:
                    run.points(values, step)

        self._run.attempt(write)

    def judge(self, record: ModelRecord, history: Sequence[Mapping[str, float]]) -> None:
        """Send the scores of the kept weights, and end the run."""
        self.follow(history)
        last = max(0, len(history) - 1)
        self._run.attempt(lambda run: run.points(tracker.final(record.scores), last))
        self._run.close(tracker.FINISHED)

    def leave(self, status: str) -> None:
        """End the run of a stopped or failed training."""
        self._run.close(status)

    def _configure(self, run: Tracked) -> None:
        if not self._is_configured:
            self._is_configured = True
            run.configure(files.plain_yaml(self._fold.pipeline) or {}, self._fold.pipeline)


class FileLogger(Logger):
    """A logger of Lightning or another package whose failure is reported once and has no other effect.

    Args:
        inner: The logger.
    """

    def __init__(self, inner: Logger) -> None:
        super().__init__()
        self.inner, self.is_broken, self._step = inner, False, 0

    def attempt(self, write: Callable[[], Any]) -> Any:
        """Return the result of a call; None if it fails, or an earlier one did."""
        if self.is_broken:
            return None
        try:
            return write()
        except Exception as error:
            self.give_up(error)
            return None

    def give_up(self, error: Exception) -> None:
        """Report the failure, and write nothing more."""
        self.is_broken = True
        log.debug("a logger failed", exc_info=error)
        logger_name, reason = type(self.inner).__name__, tracker.without_password(first_line(error))
        log.warning(f"logging: {logger_name} failed ({reason}); the training goes on without it")

    @property
    def name(self) -> str | None:
        """The name of the inner logger."""
        name: str | None = self.attempt(lambda: self.inner.name)
        return name

    @property
    def version(self) -> int | str | None:
        """The version of the inner logger."""
        version: int | str | None = self.attempt(lambda: self.inner.version)
        return version

    @property
    def save_dir(self) -> str | None:
        """The save_dir of the inner logger."""
        return self.inner.save_dir

    @property
    def log_dir(self) -> str | None:
        """The log_dir of the inner logger."""
        return self.inner.log_dir

    @property
    def root_dir(self) -> str | None:
        """The root_dir of the inner logger."""
        return self.inner.root_dir

    @property
    def __class__(self) -> type:
        """The class of the inner logger, because callbacks look for loggers of a class."""
        return type(self.inner)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("a logger keeps its class")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def log_graph(self, model: Any, input_array: Any = None) -> None:
        """Write the graph, if the inner logger can."""
        self.attempt(lambda: self.inner.log_graph(model, input_array))

    @property
    def experiment(self) -> Any:
        """The experiment of the inner logger; calls of its methods are not guarded."""
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
        """Write the scores of the kept weights at the last step, and close."""
        self.log_metrics(tracker.final(record.scores), self._step)
        self.save()
        self.finalize("success")

    def save(self) -> None:
        """Write buffered values."""
        self.attempt(self.inner.save)

    def finalize(self, status: str) -> None:
        """Write buffered values, and close."""
        self.attempt(lambda: self.inner.finalize(status))


@dataclass
class Loggers:
    """All loggers of a fold: files start anew with each stage, runs of tracking servers span all stages.

    Args:
        component: The section `logging`.
        fold: The training.
    """

    component: Component
    fold: Followed
    tracked: list[TrackedLogger] = field(default_factory=list)
    files: list[FileLogger] = field(default_factory=list)

    def stage_loggers(self, folder: Path, epochs: int, step: int | None) -> list[Logger]:
        """Return the loggers of a stage.

        Args:
            folder: The folder of its files.
            epochs: Epochs done in the saved state.
            step: Steps of the stage done in the saved state; None: it is not resumed.
        """
        fold = Followed(self.fold.place, epochs, step, self.fold.pipeline)
        built = _loggers_of(self.component, folder, fold)
        self.tracked = self.tracked or [logger for logger in built if isinstance(logger, TrackedLogger)]
        self.files = [FileLogger(logger) for logger in built if not isinstance(logger, TrackedLogger)]
        for file_logger in self.files if step is None else ():
            file_logger.log_hyperparams(dict(tracker.flat(files.plain_yaml(self.fold.pipeline) or {})))
        return [*self.files, *self.tracked]

    def follow(self, history: Sequence[Mapping[str, float]]) -> None:
        """Send all epochs so far to the tracking servers."""
        for logger in self.tracked:
            logger.follow(history)

    def judge(self, record: ModelRecord, history: Sequence[Mapping[str, float]]) -> None:
        """Send the scores of the kept weights to all loggers.

        Args:
            record: The fold's record.
            history: All its epochs.
        """
        for tracked in self.tracked:
            tracked.judge(record, history)
        for logger in self.files:
            logger.judge(record)

    def leave(self, status: str) -> None:
        """End the runs of a stopped or failed training."""
        for logger in self.tracked:
            logger.leave(status)


def _loggers_of(component: Any, folder: Path, fold: Followed) -> list[Logger]:
    """Return the loggers built by a component of the section, as a list.

    Raises:
        ConfigError: When it builds something other than Lightning loggers.
    """
    built = component.build(folder, fold)
    loggers = list(built) if isinstance(built, list | tuple) else [built] if built is not None else []
    if wrong := [logger for logger in loggers if not isinstance(logger, Logger)]:
        fix = "return one, or a list of them"
        raise ConfigError(problem("logging", "must make loggers of Lightning", got=type(wrong[0]).__name__, fix=fix))
    return loggers
