"""Mixtures of new samples are of rows of the same samples in the same order."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.post.ensembling import members
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
    models: Any = [(name, [SimpleNamespace(id=name)], 1 / len(given)) for name in given]
    nothing: Any = None
    return NewRows(nothing, "classification", ["a", "b"], None, models, "new", 2, "unlabelled", 0, given)


def test_members_are_mixed_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = mixture(monkeypatch, of(["x", "y"], 0.9), of(["x", "y"], 0.5)).mixed()
    assert rows.ids == ["x", "y"] and np.exp(rows.calibrated) == pytest.approx(np.tile([0.7, 0.3], (2, 1)))


def test_members_of_other_samples_are_not_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProjectError, match="new: the models predicted different images"):
        mixture(monkeypatch, of(["x", "y"], 0.9), of(["x", "z"], 0.5)).mixed()


def test_the_prevalence_of_new_images_rests_on_groups_of_those_that_were_validated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Images of a patient are alike: ten of each of 30 patients tell as much of the error rates as one of each."""
    rng, targets = np.random.default_rng(0), np.repeat(np.arange(30) % 2, 10)
    logits = 3 * np.eye(2)[targets] + np.repeat(rng.normal(0, 1.5, (30, 2)), 10, axis=0)
    val = Rows([f"{row:03d}" for row in range(300)], targets, logits, logits)
    monkeypatch.setattr(members, "validated", lambda project, record: val)
    new = Rows([f"new{row:03d}" for row in range(300)], np.full(300, -1), logits, logits)
    widths = []
    for groups in (None, {name: f"p{row // 10}" for row, name in enumerate(val.ids)}):
        facts: dict[str, Any] = {}
        dataclasses.replace(mixture(monkeypatch, new), groups=groups)._estimated_shares(facts)
        widths.append(facts["prevalence"]["high"][0] - facts["prevalence"]["low"][0])
    assert 1.3 * widths[0] < widths[1]
