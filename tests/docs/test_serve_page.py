"""The page on `mml serve`: its commands and its code run as they stand, its table of limits is that of the program."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="needs the extra serve")

from mlpipe import files
from mlpipe.cli import main
from mlpipe.reports.progress import Display
from mlpipe.running import launch
from mlpipe.running.steps import RunContext
from mlpipe.runs.project import Project

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs" / "serve.md").read_text("utf-8")
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^mml .*$", PAGE, re.MULTILINE)]
QUICK = ["arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sys.threads=1"]


def test_limits_are_those_of_the_program() -> None:
    mode = files.plain_yaml((TOP / "conf" / "mode" / "serve.yaml").read_text("utf-8"))
    rows = re.findall(r"^\| `mode\.(\w+)` \| (\S+) \|", PAGE, re.MULTILINE)
    assert len(rows) == 6 and {name: float(value) for name, value in rows} == {
        name: float(mode[name]) for name, _ in rows
    }
    assert f"({mode['largest_batch']})" in PAGE and f"({mode['longest_wait']:g} ms)" in PAGE
    assert f"mode.host={mode['host']}" in PAGE and f":{mode['port']}" in PAGE


@pytest.mark.program
@pytest.mark.services
def test_the_commands_and_the_code(tmp_path: Path, few_digits: None) -> None:
    train, first, second = COMMANDS
    assert main([*train, *QUICK]) == 0
    (tmp_path / "token").write_text("0123456789abcdef")
    assert main([*second, "--dry-run"]) == 0
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / name)
    config = launch.prepare(launch.Command("serve", [*first[1:], "mode.port=0"])).run_config
    context = RunContext(Project(config.project_dir), Display())
    thread = threading.Thread(target=config.scheduler.build(config, context).run)
    thread.start()
    while "url" not in context.facts:
        assert thread.is_alive()
        time.sleep(0.1)
    address = context.facts["url"]
    known: dict[str, Any] = {}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, known)
    predicted = known["predict"]("a.png", "b.png", address=address, costs=(1 - np.eye(10)).tolist())
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    wanted = json.loads(shown)["predictions"][0]
    assert (
        len(predicted) == 2
        and set(wanted) | {"decision"} == set(predicted[0])
        and set(predicted[0]["probabilities"]) > set("012")
    )
    for line in re.findall(r"^curl .*$", PAGE, re.MULTILINE)[:2]:
        words = shlex.split(line.replace("localhost:8000", address))
        done = subprocess.run([*words, "-sS"], capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["predictions"][0]["problem"] == ""
    context.stop.asked = True
    thread.join(60)
    assert not thread.is_alive()
