"""A linear head is told of beside another model, and not beside itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe import files
from mlpipe.config import rules
from mlpipe.running import leaderboard
from mlpipe.runs.project import Project


@pytest.mark.parametrize(("final", "is_told"), [("ens-1", False), ("ens-2", True), ("", True)])
def test_a_head_is_not_compared_with_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final: str, is_told: bool
) -> None:
    monkeypatch.setattr(rules, "is_exact", lambda tree: True)
    project = Project(tmp_path)
    files.write_text(project.model_dir("t", "r-0") / "config.yaml", "seed: 1\n")
    row = {"task": "t", "metric": "accuracy", "test": None, "out_of_fold": 0.75}
    board = [
        {**row, "recipe": "aaaa", "called": "probe", "ensemble": "", "records": "r-0 r-1"},
        {**row, "recipe": "ens-1", "called": "", "ensemble": "ens-1", "records": "r-0 r-1"},
        {**row, "recipe": "ens-2", "called": "", "ensemble": "ens-2", "records": "r-0 r-1 s-0 s-1"},
    ]
    context: Any = SimpleNamespace(project=project)
    said = leaderboard._head_sentence(
        context, board, {"where": "out-of-fold", "ensemble": final, "recipe": "", "images": 60}
    )
    assert said == ("A head on frozen features alone (probe) has accuracy 0.75." if is_told else "")
