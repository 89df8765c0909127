"""The direction of a metric that is watched while training: whether less or more of it is better."""

from __future__ import annotations

from typing import Literal

from mlpipe import kinds
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics

Direction = Literal["min", "max"]


def direction_of(watch: str | None, given: Direction | None, otherwise: Direction) -> Direction:
    """Whether less or more is better of what is watched.

    Args:
        watch: A metric in place of the monitor, such as `val/accuracy`; None: the monitor.
        given: What the configuration says.
        otherwise: The monitor's direction; also that of functions of the user's own.
    """
    if given is not None or watch is None:
        return given or otherwise
    known = {"loss", *(name for one in kinds.names() for name in post_kind.of(one).METRICS)}
    if watch.rpartition("/")[2] not in known:
        return otherwise
    return metrics.direction(watch)
