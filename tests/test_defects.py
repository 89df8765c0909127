"""Defects of mml-core that are never to come back: each has a test that names it; here are those without another home."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mlpipe import files
from mlpipe.cli import main
from mlpipe.config import blueprint
from mlpipe.data import archives
from mlpipe.errors import ConfigError, DataError, ProjectError
from mlpipe.reports import tables
from mlpipe.running import reuse
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.references import Located
from tests.data.test_archives import make_zip
from tests.runs.test_records import made

IDS = [f"F{number}" for number in range(1, 29)]


def test_every_defect_has_a_test_that_names_it() -> None:
    texts = [path.read_text("utf-8") for path in Path(__file__).parent.rglob("test_*.py")]
    # A test's own first line: `F7: ...` in its docstring.
    named = {name for text in texts for name in re.findall(r'\) -> None:\n    """(F\d+): ', text)}
    assert sorted(named, key=lambda name: int(name[1:])) == IDS


def test_a_mean_over_folds_counts_those_of_earlier_runs(tmp_path: Path) -> None:
    """F7: after a restart the mean was over the folds that followed it."""
    project = Project(tmp_path / "p")
    for fold, (run, accuracy) in enumerate((("before", 0.5), ("before", 0.75), ("after", 1.0))):
        scores = {"val": {"accuracy": accuracy}}
        records.save(project, made(f"r-{fold}", run=run, fold=fold, scores=scores))
    (row,) = tables.leaderboard(project)
    assert row["folds"] == 3 and row["val"] == pytest.approx(0.75)


def test_no_password_is_given_to_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F18: a password for `unzip` was in the list of processes."""
    path = make_zip(tmp_path / "a.zip", {"x.txt": b"x"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(content))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **given: pytest.fail("a program was started"))
    with pytest.raises(DataError, match="is encrypted; unpack it yourself"):
        archives.unpacked(path, tmp_path / "below")


def test_a_blueprint_changes_a_copy(tmp_path: Path) -> None:
    """F19: a configuration kept the blueprint's values when the training raised."""
    tree: dict[str, Any] = {"optimizer": {"lr": 0.1}, "mode": {"cv": True}}
    changed, _ = blueprint.applied(tree, {"optimizer": {"lr": 0.5}, "mode": {"cv": False}}, ["optimizer", "mode"])
    assert changed["optimizer"] == {"lr": 0.5} and changed["mode"] == {"cv": False}
    with pytest.raises(ConfigError):
        blueprint.applied(tree, {"optimizer": {"lr": 0.5}, "nonsense": 1}, ["optimizer"])
    assert tree == {"optimizer": {"lr": 0.1}, "mode": {"cv": True}}


@pytest.mark.parametrize("loss", [float("inf"), float("nan"), None])
def test_a_score_that_is_no_number_is_never_a_large_one(loss: float | None, tmp_path: Path) -> None:
    """F20: an infinite score became 1e5, and one that is not a number passed through."""
    bad = Located(Project(tmp_path), made("bad", number=1, scores={"val": {"loss": loss}}))
    good = Located(Project(tmp_path), made("good", number=2, scores={"val": {"loss": 1e6}}))
    assert reuse.choose([bad, good], "performance", 0) is good
    with pytest.raises(ProjectError, match="no model has a finite validation loss"):
        reuse.choose([bad], "performance", 0)
    assert files.json_text({"loss": loss}) == '{\n "loss": null\n}\n'


def test_a_module_that_cannot_be_imported_stops_nothing_that_does_not_need_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F22: one plug-in that could not be imported stopped every command."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('broken')\n")
    assert main(["--help"]) == 0
    assert main(["train", "--cfg", "job"]) == 0
    capsys.readouterr()
    assert main(["train", "--cfg", "job", "loss._target_=broken.loss"]) == 2
    assert "there is no such function or class, got 'broken.loss'" in capsys.readouterr().err
