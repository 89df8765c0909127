"""The page on heat maps: its commands run one after another."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main

pytest.importorskip("pytorch_grad_cam", reason="the extra explain is not installed")
PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text("utf-8")


@pytest.mark.program
def test_the_commands(tmp_path: Path) -> None:
    commands = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        _, mode, *words = shlex.split(command)
        assert main([mode, *words, *(["sys.threads=1"] if mode == "train" else [])]) == 0, command
    reports = tmp_path / "results" / "default" / "reports"
    assert len(list((reports / "explain" / "digits").glob("*.png"))) == 2
    assert "Why: heat maps" in (reports / "report.html").read_text("utf-8")
