"""Progress of a fold's training: facts on the display, and one log line per epoch."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlpipe.post.figures import number, setting
from mlpipe.reports.progress import Display, Fact

if TYPE_CHECKING:
    from mlpipe.learn.callbacks.progress import Tick

log = logging.getLogger("mlpipe")


class FoldProgress:
    """Show the progress of a fold's training, batch by batch and epoch by epoch.

    Args:
        display: Shows progress.
        title: The name of the fold for people.
        metric: The score to show, without `val/`; if epochs lack it, the monitor.
        monitor: The metric that chooses the epoch.
        direction: Whether a lower or higher monitor is better.
        validated: The number of validation images, which determines the digits of scores.
        position: The position of the fold among those trained in sequence.
        count: The number of folds trained in sequence.
    """

    def __init__(
        self,
        display: Display,
        title: str,
        *,
        metric: str,
        monitor: str,
        direction: str,
        validated: int,
        position: int = 0,
        count: int = 1,
    ) -> None:
        self._display, self._title = display, title
        self._metric, self._monitor, self._direction = metric, monitor, direction
        self._validated, self._position, self._count = validated, position, count
        self._row_count: int | None = None
        self._best: Mapping[str, float] | None = None
        self._scores: list[Fact] = []
        self._tick: Tick | None = None
        self._began = self._epoch_began = time.perf_counter()
        self._first = 0

    def batch(self, tick: Tick) -> None:
        """Report a training batch."""
        whole, at = tick.epochs * tick.batches, tick.epoch * tick.batches + tick.batch
        position = self._position * whole + at
        # A training that restarts with another plan restarts the clock.
        if self._tick is None or at <= self._first or tick.epochs != self._tick.epochs:
            self._began, self._first = time.perf_counter(), at
            self._display.start(self._title, self._count * whole, position)
        self._tick = tick
        if self._display.is_due(is_milestone=False):
            self._show(is_milestone=False)

    def epochs(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Report the epochs that have ended since the last call.

        Args:
            rows: All epochs so far, as in the record's table; those of the first call were trained before.
        """
        ended = [] if self._row_count is None or len(rows) < self._row_count else rows[self._row_count :]
        if self._row_count is None or len(rows) < self._row_count:
            self._best = None
            for row in rows:
                self._compare(row)
        for row in ended:
            self._compare(row)
            log.debug(self._sentence(row))
        self._row_count, self._epoch_began = len(rows), time.perf_counter()
        if rows:
            self._scores = self._score_facts(rows[-1])
        if ended and self._tick is not None and self._display.is_due():
            self._show(is_milestone=True)

    def _show(self, *, is_milestone: bool) -> None:
        tick = self._tick
        assert tick is not None
        whole, at = tick.epochs * tick.batches, tick.epoch * tick.batches + tick.batch
        learned = at - self._first
        left = (time.perf_counter() - self._began) / learned * (whole - at) if learned else None
        facts = [
            Fact(f"epoch {tick.epoch + 1}/{tick.epochs}", 0),
            Fact(f"loss {number(tick.loss) or tick.loss}", 5),
            *self._scores,
            Fact(f"{tick.images_per_s:.0f} images/s", 6),
            Fact(f"data wait {100 * tick.wait:.0f} %", 7),
            *_memory(),
        ]
        position = self._position * whole + at
        self._display.update(position, self._title, facts, left=left, is_milestone=is_milestone)

    def _compare(self, row: Mapping[str, float]) -> None:
        """Keep the best epoch by the monitor; NaN is never better than a number."""
        value = row.get(self._monitor, float("nan"))
        best = float("nan") if self._best is None else self._best[self._monitor]
        is_better = value < best if self._direction == "min" else value > best
        if value == value and (best != best or is_better):
            self._best = row

    def _score_text(self, row: Mapping[str, float]) -> tuple[str, str]:
        """Return the score of an epoch with its name; empty if nothing was validated."""
        for key in (f"val/{self._metric}", self._monitor):
            if key in row:
                name = key.removeprefix("val/")
                name = "validation loss" if name == "loss" else name
                return name, number(row[key], self._validated) or "NaN"
        return "", ""

    def _score_facts(self, row: Mapping[str, float]) -> list[Fact]:
        name, value = self._score_text(row)
        if not name:
            return []
        if self._best is None:
            return [Fact(f"{name} {value}", 2)]
        # If another metric chooses the epoch, its score need not be the best one.
        is_chooser = self._monitor == f"val/{self._metric}" or f"val/{self._metric}" not in row
        words = "best" if is_chooser else f"best epoch {int(self._best['epoch']) + 1}:"
        return [Fact(f"{name} {value}", 2), Fact(f"{words} {self._score_text(self._best)[1]}", 3)]

    def _sentence(self, row: Mapping[str, float]) -> str:
        """Return an epoch as one line."""
        tick, (name, value) = self._tick, self._score_text(row)
        epochs = "" if tick is None else f"/{tick.epochs}"
        parts = [f"{self._title} epoch {int(row['epoch']) + 1}{epochs}"]
        losses = (("loss", "train/loss"), ("validation loss", "val/loss"))
        parts += [f"{label} {number(row[key]) or row[key]}" for label, key in losses if key in row]
        if name and name != "validation loss":
            parts.append(f"{name} {value}")
        if self._best is not None:
            parts.append(f"best epoch so far {int(self._best['epoch']) + 1}")
        if row.get("lr"):
            parts.append(f"learning rate {setting(row['lr'])}")
        if tick is not None:
            parts.append(f"{tick.images_per_s:.0f} images/s, data wait {100 * tick.wait:.0f} %")
        parts.append(f"{time.perf_counter() - self._epoch_began:.1f} s")
        return ", ".join(parts)


def _memory() -> list[Fact]:
    """Return the GPU memory that this process uses; empty if none."""
    # A training process has imported torch; this module has not, because progress of stored folds does not need it.
    import torch

    cuda: Any = torch.cuda
    held = cuda.memory_reserved() if cuda.is_initialized() else 0
    return [Fact(f"GPU {held / 1e9:.1f} GB", 8)] if held else []
