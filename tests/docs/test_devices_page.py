"""The page on devices: every command on it runs, those for Slurm where there is one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.program.test_cluster import MISSING

PAGE = (Path(__file__).parents[2] / "docs" / "devices.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
QUICK = [
    "arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=1", "sys.threads=1", "mode.nested=false",
    "preprocessing.size=16", "split.test_fraction=0.8",
]  # fmt: skip


def run(command: str, *extra: str) -> None:
    arguments = [sys.executable, "-m", "mlpipe.cli", *shlex.split(command)[1:], *QUICK, *extra]
    done = subprocess.run(arguments, env=os.environ, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_page_has_commands() -> None:
    assert [("hydra/launcher=slurm" in command) for command in COMMANDS] == [False, False, True, True]


@pytest.mark.program
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", [command for command in COMMANDS if "slurm" not in command])
def test_a_command_of_the_page(command: str) -> None:
    run(command, "split.folds=2", *(["mode.folds=[0]"] if "devices" in command else []))


@pytest.mark.services
@pytest.mark.timeout(1800)
@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("command", [command for command in COMMANDS if "slurm" in command])
def test_a_command_for_slurm(command: str, tmp_path: Path) -> None:
    extra = [] if "mode.folds" in command else ["split.folds=2", "mode.folds=[0]"]
    run(command, f"hydra.launcher.submitit_folder={tmp_path / 'queue'}", *extra)
