"""A bound of optimizer steps: where a training ends, what it validates, and how long its schedule is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlpipe.cli import main
from mlpipe.learn.module import FoldModule
from mlpipe.runs import records
from mlpipe.runs.project import Project

# 719 of the digits learn: 23 batches of 32 in an epoch, 6 steps where four are one.
TRAIN = ["train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "sys.threads=1", "preprocessing.size=16"]
FOLDS = ["split.folds=2", "mode.nested=false", "mode.folds=[0]", "lr_scheduler.interval=step"]


@pytest.mark.program
@pytest.mark.parametrize(
    ("given", "epochs", "steps"),
    [
        (["trainer.max_steps=5"], 1, 5),
        (["trainer.max_steps=40"], 2, 40),
        (["trainer.max_steps=40", "trainer.max_epochs=1"], 1, 23),
        (["trainer.max_steps=3", "trainer.accumulate_grad_batches=4"], 1, 3),
        (["trainer.max_steps=4", "stages.list=[{epochs: 2}, {epochs: 1}]"], 2, 8),
    ],
)
def test_a_training_ends_after_its_steps(
    given: list[str], epochs: int, steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    step = FoldModule.optimizer_step

    def stepped(self: FoldModule, epoch: int, batch_idx: int, optimizer: Any, *rest: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        step(self, epoch, batch_idx, optimizer, *rest)

    monkeypatch.setattr(FoldModule, "optimizer_step", stepped)
    assert main([*TRAIN, *FOLDS, *given]) == 0
    (record,) = records.load_all(Project(tmp_path / "results" / "default"), "digits")
    assert (record.epochs, len(rates)) == (epochs, steps) and record.scores["val"]["loss"] is not None
    if steps == 40:
        # The cosine ends with the steps, not with the epochs: the last rate is next to nothing.
        assert rates[-1] < 0.01 * max(rates)


@pytest.mark.program
@pytest.mark.parametrize("steps", ["0", "-3"])
def test_a_bound_that_is_none(steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, f"trainer.max_steps={steps}"]) == 2
    assert f"trainer.max_steps: must be a whole number >= 1, got {steps}" in capsys.readouterr().err
