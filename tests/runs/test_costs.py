"""Costs are kept beside their records, and summed over those that predict."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.runs import costs
from mlpipe.runs.costs import Cost
from mlpipe.runs.project import Project
from tests.build import make_record


def test_costs_are_kept_and_summed(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "p")
    first, second = (make_record(project, name, config="") for name in ("a", "b"))
    costs.save(project, first, Cost(1, 2, 3, 4, 5.5, 6.5, [3, 8, 8], "cpu"))
    assert costs.records_without_cost(project, [first, second]) == [second]
    costs.save(project, second, Cost(1, 2, 3, 4, 1.5, 6.5, [3, 8, 8], "cpu"))
    assert costs.milliseconds(project, [first, second]) == 7.0
    path = project.model_dir("digits", "b") / costs.FILE
    for content in ({"ms_1": 1}, [], {**files.read_json(path), "ms_1": "x"}):
        files.write_json(path, content)
        with pytest.raises(ProjectError, match="delete it"):
            costs.load(project, second)
