"""Out-of-fold beside test scores: those of the stored predictions."""

from __future__ import annotations

import re

import numpy as np

from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import overview


def test_out_of_fold_beside_test(two_classes: TaskFacts) -> None:
    text = str(overview.both(two_classes).body())
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)
    shown = two_classes.shown
    assert shown is not None and shown.held_out is not None and shown.test is not None
    accuracies = [(rows.raw.argmax(axis=1) == rows.targets).mean() for rows in (shown.held_out, shown.test)]
    place = cells.index("accuracy")
    assert cells[place + 1] == f"{accuracies[0]:.3f}" and cells[place + 3] == f"{accuracies[1]:.2f}"
    briers = [
        ((np.exp(rows.raw) / np.exp(rows.raw).sum(axis=1, keepdims=True) - np.eye(2)[rows.targets]) ** 2)
        .sum(axis=1)
        .mean()
        for rows in (shown.held_out, shown.test)
    ]
    place = cells.index("brier")
    assert np.allclose([float(cells[place + 1]), float(cells[place + 3])], briers, atol=6e-3)
