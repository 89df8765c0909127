"""The command that shows figures leads to the project of the run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlpipe.running import next_command
from mlpipe.runs.project import Project


def test_further_words_keep_the_project(tmp_path: Path) -> None:
    config: Any = SimpleNamespace(given=frozenset({"out_dir"}), out_dir=tmp_path)
    said = next_command.info_command(config, Project(tmp_path / "clinic"), "mode.subroutines=[report]")
    assert said == f"mml info mode.subroutines=[report] proj=clinic out_dir={tmp_path}"
    assert next_command.info_command(SimpleNamespace(given=None), Project(tmp_path / "default")) == "mml info"  # type: ignore[arg-type]
