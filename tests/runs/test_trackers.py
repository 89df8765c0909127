"""What options of `logging` open, and the packages that they need."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mlpipe.runs import trackers
from mlpipe.runs.trackers.tracker import Place


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_missing_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert trackers.missing("none") == trackers.missing("csv") == trackers.missing("my.module.mlflow") == []
    (told,) = trackers.missing(name)
    assert told.startswith(f"logging={name}: the package {name} is not installed; pip install")


def test_a_run_has_the_keys_of_its_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def opens(place: Place, *, project: str | None = None, wandb_mode: str = "auto") -> None:
        opened.append((place, project, wandb_mode))
        raise OSError("no server")

    monkeypatch.setitem(trackers._RUNS, "wandb", opens)
    monkeypatch.setattr("mlpipe.runs.trackers.tracker._GONE", set())
    place = Place("proj", tmp_path, "run", tmp_path)
    run = trackers.run_of("wandb", {"project": "lab", "every_n_steps": 3, "tracking_uri": "x"}, place)
    assert not opened
    run.attempt(lambda run: None)
    run.attempt(lambda run: None)
    assert opened == [(place, "lab", "auto")]
