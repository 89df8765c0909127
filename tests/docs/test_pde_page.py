"""The page on Burgers' equation: every command on it runs, with the network on it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from mlpipe.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "pde.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)


@pytest.mark.program
def test_the_commands_of_the_page_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(COMMANDS) == 4
    (network,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "solver.json").write_text(network)
    values = {f"{number:02}": np.full((1, 32), number / 20, np.float32) for number in range(20)}
    np.savez(tmp_path / "values.npz", **values)  # type: ignore[arg-type]
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        quick = ["trainer.max_epochs=1", "sys.threads=1", "split.folds=2"] if mode == "train" else []
        assert main([mode, *arguments, *quick]) == 0, command
