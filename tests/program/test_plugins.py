"""A small wheel with the entry point is built, installed and used: a loss, a task and a mode of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe import testing
from mlpipe.cli import main
from tests.build import SMALL

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "mlpipe-few"
version = "0.3"
[project.entry-points."mlpipe.plugins"]
few = "mlpipe_few"
"""
PARTS = """
import logging
from typing import Annotated

import torch

from mlpipe.data import sources, task
from mlpipe.data.task import Row
from mlpipe.running import tasks
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import Step

log = logging.getLogger("mlpipe")


def few(*, every: Annotated[int, ">= 1"] = 10):
    whole = sources.digits().samples
    rows = [Row(name, "train", int(target), digest)
            for name, target, digest in zip(whole.ids, whole.targets, whole.digests)]
    return task.make(f"few-{every}", [str(n) for n in range(10)], rows[::every], channels=1, source={"type": "digits"})


def squared(outputs, targets, *, scale: Annotated[float, "> 0"] = 1.0):
    true = torch.nn.functional.one_hot(targets, outputs.shape[1])
    return scale * (outputs.softmax(1) - true).square().sum(1).mean()


class CountScheduler(Scheduler):
    def __init__(self, run_config, context, *, least: Annotated[int, ">= 0"]):
        super().__init__(run_config, context)
        self._least = least

    def plan(self):
        self._task = tasks.resolve(self.run_config.task, self.run_config.data_dir)
        return [Step("count", self._count, in_project=False)]

    def _count(self, run):
        self.context.facts["images"] = len(self._task.samples)
        log.info(f"{len(self._task.samples)} images")
"""
CONF = {
    "task/few": "# @package _global_\n# Few digits: mml train task=few\ntask:\n  _target_: mlpipe_few.parts.few\n  every: 10\n",
    "loss/few_squares": "# Squares: mml train loss=few_squares\n_target_: mlpipe_few.parts.squared\nscale: 1.0\n",
    "mode/tally": "# Count images: mml tally task=few\nscheduler:\n  _target_: mlpipe_few.parts.CountScheduler\nleast: 0\n",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source, site = tmp_path / "source", tmp_path / "site"
    for name, text in CONF.items():
        (source / "mlpipe_few/conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "mlpipe_few/conf" / f"{name}.yaml").write_text(text)
    (source / "mlpipe_few/__init__.py").write_text("")
    (source / "mlpipe_few/parts.py").write_text(PARTS)
    (source / "pyproject.toml").write_text(PROJECT)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("mlpipe_few-0.3-*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, cwd=tmp_path)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    return site


def test_a_plugin_from_its_wheel_to_a_training(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    testing.check_plugin("few")
    capsys.readouterr()
    assert main(["info", "plugins", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["plugins"]
    assert told == {
        "plugin": "few", "installed": "mlpipe-few 0.3", "package": "mlpipe_few",
        "brings": ["loss=few_squares", "mode=tally", "task=few"],
    }  # fmt: skip
    assert main(["tally", "task=few", "task.every=100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 18
    assert main(["tally", "task=few", "mode.least=-1"]) == 2
    assert "mode.least: must be a whole number >= 0" in capsys.readouterr().err
    assert (
        main(["train", "task=few", "loss=few_squares", "loss.scale=2", "mode.cv=false", "mode.nested=false", *SMALL])
        == 0
    )
    (record,) = (site.parent / "results").rglob("record.json")
    assert "mlpipe_few.parts.squared" in (record.parent / "config.yaml").read_text()
    assert main(["train", "task=few", "loss=few_squares", "loss.scale=-2", *SMALL]) == 2
    assert "loss.scale: must be a number > 0" in capsys.readouterr().err
    # Without the package the record's configuration names code that nothing installed.
    sys.path.remove(str(site))
    assert main(["train", "task=few", "loss=few_squares", *SMALL]) == 2
