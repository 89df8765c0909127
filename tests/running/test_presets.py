"""Presets: several recipes within a time, decided once, resumable, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.running.folds.fold_training import FoldTraining
from mlpipe.running.presets import PresetScheduler
from mlpipe.running.time_plan import Pace, Shape
from mlpipe.runs import ensembles, records
from mlpipe.runs.project import Project

TRAIN = ["train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "sys.threads=1", "preprocessing.size=16"]


@pytest.mark.program
@pytest.mark.parametrize(("measured", "seen", "before", "after"), [(5.0, None, 2, 4), (1e-6, 20.0, 4, 2)])
def test_a_plan_is_made_anew_where_an_epoch_takes_another_time(
    measured: float,
    seen: float | None,
    before: int,
    after: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Seconds of an epoch that were measured beforehand, and that the first fold shows; None: as it is, hardly any."""
    real = PresetScheduler._measured
    shapes: list[Shape] = []

    def measure(self: PresetScheduler) -> Shape:
        shapes.append(real(self))
        return shapes[0].at(measured)

    def left(self: PresetScheduler) -> float:
        slow = shapes[0].at(max(measured, seen or 0.0))
        return slow.predicting() + 2.6 * slow.epoch()

    monkeypatch.setattr(PresetScheduler, "_measured", measure)
    monkeypatch.setattr(PresetScheduler, "_left", left)
    monkeypatch.setattr("mlpipe.running.presets._PACE", 0.0)
    if seen is not None:
        monkeypatch.setattr(Pace, "epoch", lambda self, position, epoch, *rest: self._told(seen, epoch + 1))
    assert main([*TRAIN, "preset=fast", "time_limit=10m", "trainer.max_epochs=4"]) == 0
    told = capsys.readouterr().out
    assert f"tuned: {before} of 4 epochs" in told and "so that the plan is made anew" in told
    assert f"tuned: {after} of 4 epochs" in told
    project = Project(tmp_path / "results" / "default")
    _, tuned = records.load_all(project, "digits")
    assert tuned.epochs == after
    run = project.run_dir(tuned.run)
    assert json.loads((run / "preset.json").read_text())["tuned"]["is_final"]
    assert not list((run / "checkpoints").glob("*"))


@pytest.mark.program
def test_fast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=fast", "time_limit=10m", "trainer.max_epochs=2"]) == 0
    told = capsys.readouterr().out
    assert "measured: " in told and "tuned: 2 of 2 epochs" in told and "plan: probe, tuned, 1 fold each" in told
    project = Project(tmp_path / "results" / "default")
    probe, tuned = records.load_all(project, "digits")
    assert probe.epochs == 1 and tuned.epochs == 2 and probe.val_used_for == []
    # Digits come without a test part: a fifth is set aside.
    assert tuned.scores["test"]["accuracy"] > 0.3 and probe.recipe != tuned.recipe  # type: ignore[operator]
    (ensemble,) = ensembles.load_all(project, "digits")
    assert ensemble.scores["test"]["nll"]["value"] <= min(
        float(record.scores["test"]["nll"]) for record in (probe, tuned)  # type: ignore[arg-type]
    ) + 0.05  # fmt: skip


@pytest.mark.program
def test_an_interrupted_preset_goes_on_with_what_it_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = FoldTraining.train

    def stopping(self: FoldTraining, fold: int, run: object) -> None:
        train(self, fold, run)  # type: ignore[arg-type]
        self.folds.context.stop.asked = True

    monkeypatch.setattr(FoldTraining, "train", stopping)
    assert main([*TRAIN, "preset=fast", "time_limit=10m", "trainer.max_epochs=1"]) == 75
    monkeypatch.undo()
    monkeypatch.setenv("MML_RESULTS_PATH", str(tmp_path / "results"))
    monkeypatch.setenv("MML_DATA_PATH", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path / "results" / "default")
    assert len(records.load_all(project, "digits")) == 1
    assert main(["train", "continue=latest"]) == 0
    found = records.load_all(project, "digits")
    assert len(found) == 2 and len({record.run for record in found}) == 1
    stored = json.loads((project.run_dir(found[0].run) / "preset.json").read_text())
    assert list(stored) == ["probe", "tuned"] and stored["tuned"]["epochs"] == 1
    assert len(ensembles.load_all(project, "digits")) == 1


@pytest.mark.program
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["reuse.parameters=default#1"], "reuse.parameters: is for one recipe, a preset trains several"),
        (["hpo=optuna", "search_space=basic"], "hpo: searches for one recipe, a preset trains several"),
    ],
)
def test_what_is_meant_for_one_recipe(given: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=fast", *given]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.program
def test_no_time_for_fine_tuning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=fast", "time_limit=1s"]) == 0
    assert "tuned: left out" in capsys.readouterr().out
    assert len(records.load_all(Project(tmp_path / "results" / "default"), "digits")) == 1


@pytest.mark.program
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "preset=fsat"], "preset: unknown option, got 'fsat'; did you mean 'fast'?"),
        (["train", "preset=fast", "time_limit=soon"], "time_limit: is no time, got 'soon'"),
        (["predict", "preset=fast"], "preset: is for mml train, not for mml predict"),
        (["train", "preset=good", "optimizer.lrr=1"], "optimizer.lrr"),
    ],
)
def test_wrong_inputs(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.program
def test_a_dry_run_says_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "preset=good", "split.folds=3", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "all epochs would take about" in told and "MB on the disk" in told
    assert "tuned: train fold 2" in told and told.splitlines()[-1] == "leaderboard"
    assert not (tmp_path / "results").exists()
