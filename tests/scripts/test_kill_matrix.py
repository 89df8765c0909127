"""A training that is struck anywhere ends as one that is not, at a few of the points that the script has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_matrix.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "shape", "workers"),
    [("kill", "stages", "4"), ("usr1", "one", "1"), ("full", "one", "0"), ("kill", "post", "0")],
)
def test_struck_trainings_end_as_others(mode: str, shape: str, workers: str, tmp_path: Path) -> None:
    words = ["--points", "3", "--mode", mode, "--shapes", shape, "--workers", workers, "--json"]
    command = [sys.executable, str(SCRIPT), *words, "--folder", str(tmp_path / "struck")]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [one["result"] for one in json.loads(done.stdout)] == ["identical"] * 3
