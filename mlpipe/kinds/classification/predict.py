"""Predictions of classes: one row per sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.post import decisions
from mlpipe.post.ensembling.member_rows import Array
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.predicting import output_tensors, tables
from mlpipe.predicting.in_hand import InHand, Shown
from mlpipe.predicting.kind import no_places as places
from mlpipe.predicting.new_samples import NewSamples
from mlpipe.predicting.rows import kept as kept
from mlpipe.predicting.rows import mean_of_classes as mean
from mlpipe.predicting.rows import measured as measured
from mlpipe.predicting.rows import score_of_class

__all__ = [
    "NEW", "NOT_EXPORTED", "NOT_IN_HAND", "SCORE", "TABLE", "TENSORS",
    "kept", "mean", "measured", "places", "shown", "write_new",
]  # fmt: skip

NOT_IN_HAND = ""
NOT_EXPORTED = ""
TENSORS = output_tensors.Classes()
NEW = "probabilities"
SCORE = score_of_class


def shown(new: InHand) -> Shown:
    """Return one row per sample."""
    return tables.shown(new, TABLE)


def write_new(new: NewSamples) -> dict[str, Any]:
    """Write a table of probabilities, the most probable class, and the decisions."""
    return tables.write(new, TABLE)


def _columns(classes: Sequence[str], values: Array, decided: Mapping[str, Any]) -> list[tables.Cells]:
    inside, chosen, table = decisions.sets_of(values, decided), decisions.classes_of(values, decided), []
    for number, chance in enumerate(_probabilities(values)):
        best = int(chance.argmax())
        cells: tables.Cells = {"prediction": classes[best], "probability": float(chance[best])}
        if chosen is not None:
            cells["decision"] = classes[int(chosen[number])]
        if inside is not None:
            labels = [name for name, is_in in zip(classes, inside[number], strict=True) if is_in]
            cells["set"] = " | ".join(labels)
        pairs = zip(classes, chance.tolist(), strict=True)
        table.append(cells | {f"p({name})": value for name, value in pairs})
    return table


def _probabilities(values: Array) -> Array:
    """Return the probabilities of the classes."""
    return np.asarray(np.exp(log_softmax(values)))


def _summary(rows: Sequence[tables.Cells]) -> str:
    """Count the samples of each class."""
    column = "decision" if any("decision" in row for row in rows) else "prediction"
    counted = Counter(str(row[column]) for row in rows)
    heading = f" ({column}s): " * (column == "decision") or ": "
    return heading + ", ".join(f"{name} {count}" for name, count in counted.most_common(12))


TABLE = tables.Table(_columns, _probabilities, _summary)
