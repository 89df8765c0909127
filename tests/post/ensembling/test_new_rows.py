"""Mixtures of new samples are of rows of the same samples in the same order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.ensembling.new_rows import NewRows


def of(ids: list[str], probability: float) -> Rows:
    """A model that says the same of every sample."""
    logits = np.log(np.tile([probability, 1 - probability], (len(ids), 1)))
    return Rows(ids, np.full(len(ids), -1), logits, logits)


def mixture(monkeypatch: pytest.MonkeyPatch, *predicted: Rows) -> NewRows:
    """Members of one model each, of equal weights."""
    monkeypatch.setattr(NewRows, "calibration", lambda self, record: None)
    given: dict[str, Any] = {f"model {number}": rows for number, rows in enumerate(predicted)}
    members: Any = [(name, [SimpleNamespace(id=name)], 1 / len(given)) for name in given]
    nothing: Any = None
    return NewRows(nothing, "classification", ["a", "b"], None, members, "new", 2, "unlabelled", 0, given)


def test_members_are_mixed_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixture(monkeypatch, of(["x", "y"], 0.9), of(["x", "y"], 0.5)).mixed()
    assert rows.ids == ["x", "y"] and np.exp(rows.calibrated) == pytest.approx(np.tile([0.7, 0.3], (2, 1)))


def test_members_of_other_samples_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProjectError, match="new: the models predicted different images"):
        mixture(monkeypatch, of(["x", "y"], 0.9), of(["x", "z"], 0.5)).mixed()
