"""Training curves on disk: Lightning's own loggers, each fold's in a folder of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from mlpipe.errors import ConfigError, not_installed


def none(folder: Path, *, examples: Annotated[int, ">= 0"] = 0, batches: list[int] | None = None) -> list[Logger]:
    """Nothing; each record has its `metrics.csv` anyway.

    Args:
        folder: Where the fold's files would go.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
    """
    return []


def csv(
    folder: Path,
    *,
    every_n_steps: Annotated[int, ">= 1"] = 10,
    examples: Annotated[int, ">= 0"] = 0,
    batches: list[int] | None = None,
) -> list[Logger]:
    """A line of CSV every few steps.

    Args:
        folder: Where the fold's files go.
        every_n_steps: Steps between two lines.
        examples: Validation images whose outputs each record keeps for every epoch, in its `examples.json`.
        batches: Stages, counted from 0, of which each record keeps the loss of every batch, in its `batches.csv`; None: none.
    """
    return [CSVLogger(folder, name="", version="", flush_logs_every_n_steps=every_n_steps)]


def tensorboard(
    folder: Path,
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
    if found := problems("tensorboard"):
        raise ConfigError(found)
    # The last parts of the folder name the record and its stage.
    place = folder if log_dir is None else Path(log_dir).expanduser() / Path(*folder.parts[-2:])
    return [TensorBoardLogger(place, name="", version="", default_hp_metric=False)]


def problems(name: str) -> list[str]:
    """A sentence where an option of `logging` needs a package that is not installed, to be told before anything is read.

    Args:
        name: The option's name.
    """
    is_missing = name == "tensorboard" and importlib.util.find_spec("tensorboard") is None
    return [not_installed("logging=tensorboard", "tensorboard")] if is_missing else []
