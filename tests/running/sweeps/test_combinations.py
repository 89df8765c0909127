"""The table of a sweep's runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe.running.steps import Stop
from mlpipe.running.sweeps import combinations
from mlpipe.runs.project import Project


def test_a_run_with_a_final_score_shows_it(tmp_path: Path) -> None:
    """A preset's run has records of several recipes, whose mean is nothing."""
    job: Any = SimpleNamespace(project=Project(tmp_path), varied=["seed=1"])
    final = {"where": "out-of-fold", "metric": "accuracy", "value": 0.98125, "images": 300}
    outcomes = [{"job": 1, "error": "", "seconds": 3.0, "facts": {"run": "a", "final": one}} for one in (final, None)]
    shown = combinations.table([job, job], outcomes).splitlines()
    assert "out-of-fold accuracy 0.981" in shown[2] and "done" in shown[3]


def test_no_job_is_told_to_go_on_with_the_run_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, stop = list[str](), Stop()

    def run(prepared: Any, *, stop: Stop, **more: Any) -> dict[str, Any]:
        told.append(stop.go_on)
        stop.go_on = "to go on: mml train continue=RUN"
        return {}

    job: Any = SimpleNamespace(project=Project(tmp_path), varied=["seed=1"], overrides=[], prepared=None)
    monkeypatch.setattr(combinations.launch, "execute", run)
    monkeypatch.setattr(combinations, "_with_share", lambda job, begun, left: job.prepared)
    combinations.execute("train", [job, job], stop=stop)
    assert told == ["run the same command again"] * 2
