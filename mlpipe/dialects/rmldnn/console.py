"""What a training measures batch by batch, for the lines of `sys.console=rmldnn` and the tables of `sys.outfile`."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlpipe
from mlpipe import files
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.dialects.rmldnn import files as layout
from mlpipe.dialects.rmldnn import slice_lines
from mlpipe.dialects.rmldnn.files import BatchRow, EpochRow
from mlpipe.errors import problem
from mlpipe.runs import maps
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_LINES = "batches.jsonl"
# A line for every batch is too much where batches are quick.
_EVERY_SECONDS = 0.2


def wanted(config: RunConfig) -> bool:
    """Whether anything of it is asked for."""
    return config.sys.console == "rmldnn" or config.sys.outfile is not None


def problems(config: RunConfig, folds: int) -> list[str]:
    """A sentence for everything that is in the way of it.

    Args:
        config: The configuration.
        folds: How many folds are trained.
    """
    found = []
    outfile = config.sys.outfile
    if outfile is not None and not layout.paths(outfile)[0].absolute().parent.is_dir():
        fix = "make the folder first, or name a file in one that is there"
        found.append(problem("sys.outfile", "its folder is not there", got=outfile, fix=fix))
    if wanted(config) and folds != 1:
        fix = "use split=on_test, split=given or mode.cv=false"
        key = "sys.outfile" if outfile is not None else "sys.console"
        found.append(problem(key, f"is for one fold, {folds} are trained", fix=fix))
    return found


@contextmanager
def stamped(config: RunConfig) -> Iterator[None]:
    """Put the time in front of every line on the terminal, where the console asks for it."""
    if config.sys.console != "rmldnn" or config.mode not in ("train", "evaluate"):
        yield
        return
    before = {handler: handler.formatter for handler in log.handlers}
    for handler in before:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setFormatter(layout.Stamped("%(message)s"))
    try:
        yield
        log.info(layout.DONE)
    finally:
        for handler, formatter in before.items():
            handler.setFormatter(formatter)


class Trace:
    """Prints lines and writes tables while a fold is trained; a continued run goes on with those of before.

    Args:
        config: The configuration.
        run: The run.
        record_id: The record's name.
        validated: How many images are validated.
    """

    def __init__(self, config: RunConfig, run: Run, record_id: str, validated: int) -> None:
        self._config, self._batches = config, list[BatchRow]()
        self._file = run.folder / "logs" / record_id / _LINES
        self._eval_batches = math.ceil(validated / int(config.recipe.sampling.params.get("eval_batch_size", 256)))
        self._epochs = int(config.recipe.trainer["max_epochs"])
        self._kept: dict[int, tuple[list[BatchRow], EpochRow]] = _read(self._file)
        spent = max((row.seconds for _, row in self._kept.values()), default=0.0)
        self._started, self._printed = time.monotonic() - spent, 0.0

    def batch(self, tick: Any) -> None:
        """A batch was learned from."""
        norm = math.nan if tick.norm is None else float(tick.norm)
        row = BatchRow(tick.epoch + 1, tick.batch, self._seconds(), float(tick.batch_loss), norm)
        self._batches.append(row)
        now = time.monotonic()
        is_last = tick.batch == tick.batches
        if self._config.sys.console == "rmldnn" and (is_last or now - self._printed >= _EVERY_SECONDS):
            self._printed = now
            log.info(layout.train_line(row, tick.epochs, tick.batches, tick.wait, tick.exchange))

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """An epoch ended and was evaluated."""
        row = EpochRow(epoch + 1, self._seconds(), values.get("loss"), accuracy(values))
        self._kept[row.epoch] = (self._batches, row)
        plain = {"epoch": vars(row), "batches": [vars(one) for one in self._batches]}
        self._batches = []
        self._file.parent.mkdir(parents=True, exist_ok=True)
        files.append_line(self._file, json.dumps(plain))
        if self._config.sys.console == "rmldnn" and self._eval_batches:
            log.info(layout.eval_line(row, self._epochs, self._eval_batches))
        if self._config.sys.outfile is not None:
            epochs = [self._kept[number] for number in sorted(self._kept) if number <= row.epoch]
            write(
                self._config.sys.outfile,
                [one for batches, _ in epochs for one in batches],
                [one for _, one in epochs] if self._eval_batches else [],
            )

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def accuracy(values: Mapping[str, float]) -> float | None:
    """What stands in the column of accuracies: the share of right answers, of masks Dice, of images PSNR; None where none is."""
    return next((values[name] for name in ("accuracy", "foreground_dice", "dice", "psnr") if name in values), None)


def write(outfile: str, batches: list[BatchRow], epochs: list[EpochRow]) -> None:
    """Write the tables; one that would have no line is left out."""
    train, test = layout.paths(outfile)
    for path, text in ((train, layout.train_table(batches)), (test, layout.test_table(epochs))):
        if text:
            files.write_text(path, text)


def introduce(config: RunConfig, task: Task, network: Any, parts: Mapping[str, int]) -> None:
    """Print what is about to happen, where the console asks for it.

    Args:
        config: The configuration.
        task: The task.
        network: The network.
        parts: How many samples are trained on and evaluated.
    """
    if config.sys.console != "rmldnn":
        return
    from mlpipe.learn import description, hardware

    recipe = config.recipe
    batch, test_batch = (recipe.sampling.params.get(key) for key in ("batch_size", "eval_batch_size"))
    many = hardware.device_count(recipe.trainer) if parts.get("train") else 1
    lines = [f"RocketML : {many} MPI process{'es' if many > 1 else ''} (mlpipe {mlpipe.__version__})"]
    lines += layout.block("Device(s)", {"Name": description.device(recipe)})
    if many > 1:
        lines += layout.block("Gradient reducer", description.reducer(recipe))
    lines += layout.block("Neural Network", description.network(network, str(recipe.arch.params.get("name"))))
    weights = recipe.arch.params.get("weights")
    if weights is not None:
        lines += layout.loading_lines(str(weights), *getattr(network, "origin", ((), ())))
    if parts.get("train"):
        params = {key: value for key, value in recipe.optimizer.params.items() if value is not None}
        lines += layout.block("Optimizer", {"Type": recipe.optimizer.target.rpartition(".")[2], **params})
        if not recipe.lr_scheduler.is_none:
            schedule = recipe.lr_scheduler
            lines += layout.block(
                "Learning rate scheduler", {"Type": schedule.target.rpartition(".")[2], **schedule.params}
            )
    lines += layout.block("Loss", {"Function": recipe.loss.target.rpartition(".")[2], **recipe.loss.params})
    lines += slice_lines.of_task(task)
    if task.kind not in maps.KINDS:
        lines.append(f"Number of class labels: {len(task.classes)}")
    shown = {"Number of training samples": parts.get("train", 0), "Number of test samples": parts.get("test", 0)}
    lines += layout.block("Dataset", {**shown, "Batch size": batch, "Test batch size": test_batch})
    log.info("\n".join(lines))


def _read(path: Path) -> dict[int, tuple[list[BatchRow], EpochRow]]:
    """What a run that goes on had written; epochs that were learned again replace those of before."""
    if not path.is_file():
        return {}
    text = path.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        # A crash cut the last line short: its epoch is learned again.
        files.write_text(path, whole)
    found = {}
    for line in whole.splitlines():
        plain = json.loads(line)
        found[plain["epoch"]["epoch"]] = ([BatchRow(**one) for one in plain["batches"]], EpochRow(**plain["epoch"]))
    return found
