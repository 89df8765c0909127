"""What a trial is worth: the mean over its folds, whatever else its run has records of."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe.running.sweeps import trials
from mlpipe.runs.project import Project
from tests.build import make_record


def test_heads_of_several_outputs_are_no_folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold's loss is that of all outputs; each head has a record of the run with its own, and the mean was over all."""
    project, run = Project(tmp_path / "p"), "2026-01-01/00-00-00-aaaa"
    for fold, (loss, parts) in enumerate(((3.0, (1.0, 2.0)), (5.0, (1.5, 3.5)))):
        facts: dict[str, Any] = {"run": run, "fold": fold, "config": "seed: 1\n"}
        make_record(project, f"net-f{fold}", pivot="rows", task="rows", scores={"val": {"loss": loss}}, **facts)
        for name, own in zip(("width", "a b"), parts, strict=True):
            pivot = f"rows+head?{name}"
            scores = {"val": {"loss": own, "accuracy": 0.5}}
            make_record(project, f"net-f{fold}-{name}", pivot=pivot, task=pivot, scores=scores, **facts)
    make_record(
        project, "net-refit", pivot="rows", task="rows", run=run, config="seed: 1\n", refit=["net-f0", "net-f1"]
    )
    search: Any = SimpleNamespace(project=project, metrics=("val/loss",), directions=("minimize",))
    search.hpo = SimpleNamespace(pruner="none")
    search.trial = lambda params, number: None
    monkeypatch.setattr(trials.launch, "execute", lambda prepared, **more: {"run": run})
    trial: Any = SimpleNamespace(params={}, number=0, set_user_attr=lambda name, value: None)
    assert trials._measure(search, trial, None, SimpleNamespace(), None) == [4.0]  # type: ignore[arg-type]
