"""Stop early when a metric stops improving."""

from __future__ import annotations

from typing import Annotated

import torch
from pytorch_lightning.callbacks import EarlyStopping

from mlpipe.learn.monitoring import Direction, direction_of


def early(
    monitor: str,
    direction: Direction,
    *,
    patience: Annotated[int, ">= 0"] = 5,
    min_delta: Annotated[float, ">= 0"] = 0.0,
    watch: str | None = None,
    watch_direction: Direction | None = None,
    baseline: float | None = None,
) -> EarlyStopping:
    """Stop when metrics.monitor has not improved for some epochs, Lightning's EarlyStopping.

    Args:
        monitor: The metric's key.
        direction: Whether lower (min) or higher (max) values are better.
        patience: Epochs without an improvement before the stop.
        min_delta: The smallest change that counts as an improvement.
        watch: Another metric instead of metrics.monitor: one of metrics.train as `val/NAME`, or `val/loss`.
        watch_direction: Whether lower (min) or higher (max) values are better; None: the usual direction of that metric,
            or metrics.direction for your own function.
        baseline: A value that the first epochs must improve on; None: none.
    """
    watched, mode = watch or monitor, direction_of(watch, watch_direction, direction)
    stop = EarlyStopping(monitor=watched, mode=mode, patience=patience, min_delta=min_delta, check_finite=False)
    begin_at(stop, baseline)
    return stop


def begin_at(stop: EarlyStopping, baseline: float | None) -> None:
    """Set the value that the first epochs must improve on; with None the first value counts as an improvement."""
    if baseline is not None:
        stop.best_score = torch.tensor(float(baseline))
