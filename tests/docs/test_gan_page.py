"""The page on drawing images: every command on it runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "gan.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = [
    "trainer.max_epochs=1", "sys.threads=1", "arch.width=4", "sampling=subset", "sampling.sample_count=96",
    "arch.features=pixels",
]  # fmt: skip


@pytest.mark.program
def test_the_commands_of_the_page_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) == 3
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        assert main([mode, *arguments, *(QUICK if mode == "train" else [])]) == 0, command
    reports = tmp_path / "results" / "default" / "reports"
    assert (reports / "samples" / "fashion_mini-seed1" / "grid.png").is_file()
    page = (reports / "report.html").read_text("utf-8")
    assert "Drawn images" in page and "drawn in epoch 1" in page
