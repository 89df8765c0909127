"""Which ensemble teaches where none is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.errors import ProjectError
from mlpipe.modes import distill
from mlpipe.runs import ensembles
from mlpipe.runs.ensembles import EnsembleRecord
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from tests.build import make_record

STUDENT, OTHER = "2026-01-02/00-00-00-bbbb", "2026-01-01/00-00-00-aaaa"


def _mix(project: Project, name: str, run: str, members: list[str]) -> None:
    facts: dict[str, Any] = {"classes": ["a", "b"], "mixing": "logits", "way": "search", "select_on": "oof"}
    facts |= {"stage": "none", "calibration": None, "prior": {}, "losses": {}, "scores": {}, "kind": "classification"}
    parts = [{"name": member, "weight": 1.0, "records": [member]} for member in members]
    ensembles.save(project, EnsembleRecord(id=name, created=name, run=run, task="digits", members=parts, **facts))


def test_a_later_mixture_of_a_students_folds_is_no_teacher(tmp_path: Path) -> None:
    """`mml post` after `mml distill` mixes the student too, and the next student learned from the last."""
    project = Project(tmp_path / "p")
    for run, mode in ((OTHER, "train"), (STUDENT, "distill")):
        Run(run, project.run_dir(run)).write_plan(["one"], "", {}, f"mml {mode} task=digits")
        make_record(project, mode, run=run, config="seed: 1\n")
    with pytest.raises(ProjectError, match="has no ensemble of digits to learn from"):
        distill._newest(project, "digits")
    _mix(project, "ens-1", OTHER, ["train"])
    _mix(project, "ens-2", STUDENT, ["distill"])
    _mix(project, "ens-3", "2026-01-03/00-00-00-cccc", ["distill"])
    assert distill._newest(project, "digits") == "ens-1"
    _mix(project, "ens-4", "2026-01-04/00-00-00-dddd", ["train", "distill"])
    assert distill._newest(project, "digits") == "ens-4"
