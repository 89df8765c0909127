"""The interval that suits each metric: from predictions and a metric's name to its ends, or to why there are none."""

from __future__ import annotations

import numpy as np

from mlpipe.post import kind as post_kind
from mlpipe.post.intervals.forms import METHODS, Ends, Known, none_because
from mlpipe.post.metrics import statistic


def ends_of(name: str, value: float, known: Known) -> Ends:
    """The interval of a metric.

    Args:
        name: Out of the kind's `METRICS`.
        value: Of all rows.
        known: The rows.

    Raises:
        ConfigError: There is no such metric for this kind, or none with an interval.
    """
    one = statistic(name, known.logits, known.targets, known.kind)
    if np.isnan(value):
        reason = "no class has rows on both sides" if name == "auroc" else "these rows do not determine it"
        return none_because(METHODS.get(name, "none"), reason)
    return post_kind.of(known.kind).ends(name, value, one, known)
