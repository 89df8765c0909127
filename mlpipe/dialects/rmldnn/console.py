"""Console output of `sys.console=rmldnn`: the lines that rmldnn prints."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import mlpipe
from mlpipe import hdf5, kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.sources.listings import sliced_volumes
from mlpipe.data.task import Task
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import VisibleLines
from mlpipe.running.training_log import BatchRow, EpochRow

log = logging.getLogger("mlpipe")

DONE = "All done (return value = 0)."
# Minimum time between lines of batches, because a line for every batch is too much if batches are fast.
_EVERY_SECONDS = 0.2


class Lines:
    """Prints timestamped lines for batches and evaluations.

    Args:
        config: The configuration.
    """

    lists_batches = True

    def __init__(self, config: RunConfig) -> None:
        self._config, self._printed = config, 0.0

    @contextmanager
    def around(self) -> Iterator[None]:
        """Add timestamps to the lines on the terminal, and print a final line at the end."""
        if self._config.mode not in ("train", "evaluate"):
            yield
            return
        before = {handler: handler.formatter for handler in log.handlers}
        for handler in before:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.setFormatter(Stamped("%(message)s"))
        try:
            yield
            log.info(DONE)
        finally:
            for handler, formatter in before.items():
                handler.setFormatter(formatter)

    def introduce(self, task: Task, network: Any, counts: Mapping[str, int]) -> None:
        """Print devices, network, optimizer, loss and data before the training."""
        from mlpipe.learn.machine import description, hardware

        recipe = self._config.recipe
        batch, test_batch = (recipe.sampling.params.get(key) for key in ("batch_size", "eval_batch_size"))
        process_count = hardware.device_count(recipe.trainer) if counts.get("train") else 1
        lines = [
            f"RocketML : {process_count} MPI process{'es' if process_count > 1 else ''} (mlpipe {mlpipe.__version__})"
        ]
        lines += block("Device(s)", {"Name": description.device(recipe)})
        if process_count > 1:
            lines += block("Gradient reducer", description.reducer(recipe))
        lines += self._network_lines(network, getattr(network, "origin", ((), ())))
        if counts.get("train"):
            params = {key: value for key, value in recipe.optimizer.params.items() if value is not None}
            lines += block("Optimizer", {"Type": recipe.optimizer.target.rpartition(".")[2], **params})
            if not recipe.lr_scheduler.is_none:
                schedule = recipe.lr_scheduler
                facts = {"Type": schedule.target.rpartition(".")[2], **schedule.params}
                lines += block("Learning rate scheduler", facts)
        lines += block("Loss", {"Function": recipe.loss.target.rpartition(".")[2], **recipe.loss.params})
        lines += of_task(task)
        its = kinds.of(task.kind)
        if its.has_probabilities and not its.is_dense:
            lines.append(f"Number of class labels: {len(task.classes)}")
        sample_counts = {
            "Number of training samples": counts.get("train", 0),
            "Number of test samples": counts.get("test", 0),
        }
        lines += block("Dataset", {**sample_counts, "Batch size": batch, "Test batch size": test_batch})
        log.info("\n".join(lines))

    def introduce_volume(self, name: str, file: Path, grids: Sequence[Grid], network: Any, origin: Any) -> None:
        """Print the device, the network and the slice sets."""
        from mlpipe.learn.machine import description

        lines = block("Device(s)", {"Name": description.device(self._config.recipe)})
        lines += self._network_lines(network, origin)
        lines += volume_lines(name, file, grids)
        log.info("\n".join(lines))

    def batch(self, row: BatchRow, tick: Any) -> None:
        """Print the line of a batch; that of an epoch's last batch is always printed."""
        now = time.monotonic()
        if tick.batch == tick.batches or now - self._printed >= _EVERY_SECONDS:
            self._printed = now
            log.info(train_line(row, tick.epochs, tick.batches, tick.wait, tick.exchange))

    def epoch(self, row: EpochRow, epochs: int, batches: int) -> None:
        """Print the line of an evaluation."""
        log.info(eval_line(row, epochs, batches))

    def _network_lines(self, network: Any, origin: tuple[Sequence[str], Sequence[str]]) -> list[str]:
        from mlpipe.learn.machine import description

        arch = self._config.recipe.arch.params
        lines = block("Neural Network", description.network(network, str(arch.get("name"))))
        weights = arch.get("weights")
        return lines if weights is None else [*lines, *loading_lines(str(weights), *origin)]


class Stamped(VisibleLines):
    """A formatter that starts every line with the time."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        time = datetime.fromtimestamp(record.created).strftime("[%Y-%b-%d %H:%M:%S.%f]")
        return "\n".join(f"{time} {line}".rstrip() for line in super().format(record).split("\n"))


def train_line(row: BatchRow, epochs: int, batches: int, waited: float, exchanged: float | None = None) -> str:
    """Return the line of a batch.

    Args:
        row: The batch.
        epochs: Total number of epochs.
        batches: Number of batches per epoch.
        waited: Share of the time spent waiting for data.
        exchanged: Share of the time spent waiting for other processes' gradients; None: not measured.
    """
    at = f"Train Epoch [{row.epoch:3d}/{epochs:3d}] : Batch [{row.batch:5d}/{batches:5d}]"
    data = round(100 * waited)
    others = min(round(100 * (exchanged or 0)), 100 - data)
    suffix = "" if exchanged is None else f"; Grad/Comm: {others}%"
    shares = f"Data: {data}%; Compute: {100 - data - others}%{suffix}"
    return f"{at} (Loss = {row.loss:.4f}; |g| = {row.norm:.4f}) [{shares}]"


def eval_line(row: EpochRow, epochs: int, batches: int) -> str:
    """Return the line of an evaluation, as of its last batch.

    Args:
        row: The evaluation.
        epochs: Total number of epochs.
        batches: Number of batches of the evaluation.
    """
    at = f"Eval  Epoch [{row.epoch:3d}/{epochs:3d}] : Batch [{batches:5d}/{batches:5d}]"
    loss = "" if row.loss is None else f" (Loss: {row.loss:.4f})"
    accuracy = "" if row.accuracy is None else f" | Accuracy: {row.accuracy:.3f}"
    return f"{at}{loss}{accuracy}"


def block(title: str, facts: Mapping[str, Any]) -> list[str]:
    """Return a heading, followed by facts with aligned names."""
    width = max(map(len, facts), default=0)
    return [title, *(f"  {name:<{width}} : {value}" for name, value in facts.items())]


def loading_lines(file: str, loaded: Sequence[str], left: Sequence[str]) -> list[str]:
    """Return the lines about loaded weights.

    Args:
        file: Their file.
        loaded: Names (`layer/weight`) of the loaded weights.
        left: Names of the weights that the file lacks.
    """
    kind = "HDF5 file" if Path(file).suffix in (".h5", ".hdf5") else "file"
    layers = {name.partition("/")[0] for name in loaded}
    whole = dict.fromkeys(layer for name in left if (layer := name.partition("/")[0]) not in layers)
    parts = [name.replace("/", ".") for name in left if name.partition("/")[0] in layers]
    return [
        f"Loading model checkpoint from {kind}: {file}",
        *(f"   Skipping layer {layer}: not found in model" for layer in whole),
        *(f"   Skipping parameter {name}: not found in model" for name in parts),
    ]


def volume_lines(name: str, file: Path, grids: Iterable[Grid]) -> list[str]:
    """Return the lines of one volume.

    Args:
        name: Its name in its file.
        file: The file.
        grids: The slices of each set.
    """
    kind = "HDF5" if file.suffix in hdf5.ENDS else "NumPy"
    lines = [f"Slicing dataset '{name}' from {kind} file: {file}"]
    for grid in grids:
        padding = "".join(f"({a},{b})" for a, b in zip(grid.cut.before, grid.cut.after, strict=True))
        facts = {"Sizes": list(grid.cut.sizes), "Padding": f"[{padding}]", "Strides": list(grid.cut.strides)}
        lines += block(f"Slice set {grid.cut.name}", {**facts, "Number of slices": len(grid)})
    return lines


def of_task(task: Task) -> list[str]:
    """Return the lines of every volume of a task of slices; empty for other tasks."""
    base, lines = (task.bases or (task,))[0], list[str]()
    source = base.source
    for part, cuts in sources.open(base).cuts().items():
        place = sliced_volumes.place_of(Path(source[part]), part, source["dataset"], targets=False)
        lines += volume_lines(place.open().name, place.file, cuts.grids)
    return lines
