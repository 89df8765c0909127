"""`mml info mode.subroutines=[cost]` measures a model once, and `mml post mode.most_ms=` goes by what it measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.api import load
from mlpipe.cli import main
from mlpipe.runs import costs, records
from mlpipe.runs.project import Project


def test_a_cost_is_measured_once_and_bounds_ensembles(trained_digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(trained_digits / "results" / "default")
    (record,) = records.load_all(project, "digits")
    assert main(["post", "mode.most_ms=5", "mode.report=false"]) == 2
    assert "the times of" in (told := capsys.readouterr().err) and "mode.subroutines=[cost] measures them" in told
    assert main(["info", "mode.subroutines=[cost]"]) == 0
    cost = costs.load(project, record)
    assert cost is not None and cost.parameters == record.parameters and cost.ms_1 > cost.ms_32 / 10
    path = project.model_dir("digits", record.id) / costs.FILE
    files.write_json(path, {**files.read_json(path), "ms_1": 7.5})
    assert main(["info", "mode.subroutines=[cost]"]) == 0
    assert costs.milliseconds(project, [record]) == 7.5
    assert load().card()["models"][0]["cost"]["ms_1"] == 7.5
    capsys.readouterr()
    assert main(["post", "mode.most_ms=5", "mode.report=false"]) != 0
    assert "the quickest member takes 7.5 ms for an image, got 5" in capsys.readouterr().err
    assert main(["post", "mode.most_ms=8", "mode.report=false", "mode.budget=10"]) == 0
