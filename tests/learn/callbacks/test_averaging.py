"""Averaged weights: the numbers themselves, what is validated and kept, and an exact resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from mlpipe.arch import weights as weight_files
from mlpipe.errors import Interrupted
from mlpipe.learn import fit
from mlpipe.learn.callbacks.averaging import Averaging, ema, swa
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.runs import records
from tests.learn.conftest import job


class FakeTrainer:
    def __init__(self) -> None:
        self.state = type("State", (), {"fn": TrainerFn.FITTING})()
        self.current_epoch, self.max_epochs, self.global_step = 0, 4, 0


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1, bias=False)


def put(module: Net, value: float) -> None:
    with torch.no_grad():
        module.net.weight.fill_(value)


def weight(module: Net) -> float:
    return float(module.net.weight)


def test_the_plain_mean_of_the_last_epochs() -> None:
    averaging, trainer, module = swa("val/loss", "min", start=0.5), FakeTrainer(), Net()
    validated: list[float] = []
    previous = weight(module)
    for epoch, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        trainer.current_epoch = epoch
        averaging.on_train_epoch_start(trainer, module)  # type: ignore[arg-type]
        assert weight(module) == previous
        put(module, value)
        averaging.on_validation_start(trainer, module)  # type: ignore[arg-type]
        validated.append(weight(module))
        previous = value
    assert validated == [1.0, 2.0, 4.0, 6.0]


def test_a_share_of_epochs_is_one_of_the_stage_s_own() -> None:
    averaging, trainer, module = swa("val/loss", "min", start=0.5), FakeTrainer(), Net()
    # A second stage of four epochs, after six of the first one.
    trainer.current_epoch, trainer.max_epochs = 6, 10
    averaging.on_train_start(trainer, module)  # type: ignore[arg-type]
    validated: list[float] = []
    for epoch, value in enumerate([1.0, 2.0, 4.0, 8.0]):
        trainer.current_epoch = 6 + epoch
        if epoch == 3:
            # What goes on from a saved state begins in the midst of the stage.
            saved = averaging.state_dict()
            averaging = swa("val/loss", "min", start=0.5)
            averaging.load_state_dict(saved)
            averaging.on_train_start(trainer, module)  # type: ignore[arg-type]
        averaging.on_train_epoch_start(trainer, module)  # type: ignore[arg-type]
        put(module, value)
        averaging.on_validation_start(trainer, module)  # type: ignore[arg-type]
        validated.append(weight(module))
    assert validated == [1.0, 2.0, 4.0, 6.0]


def test_the_exponential_average_against_a_loop() -> None:
    averaging, trainer, module = ema("val/loss", "min", decay=0.9), FakeTrainer(), Net()
    averaging.on_train_start(trainer, module)  # type: ignore[arg-type]
    expected = None
    for step in range(1, 40):
        put(module, step * 1.5)
        # Nothing is averaged while gradients are only accumulated.
        averaging.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
        trainer.global_step = step
        averaging.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
        decay = min(0.9, step / (step + 9))
        expected = step * 1.5 if expected is None else decay * expected + (1 - decay) * step * 1.5
    averaging.on_validation_start(trainer, module)  # type: ignore[arg-type]
    # The first batch of a step of two was counted as a step, and the weights before the first step were averaged.
    assert weight(module) == pytest.approx(expected, rel=1e-6)
    averaging.on_train_epoch_start(trainer, module)  # type: ignore[arg-type]
    assert weight(module) == 39 * 1.5


def test_an_average_that_begins_later_begins_with_a_step() -> None:
    """Two batches make a step; from the third epoch on the weights after each step are averaged."""
    averaging, trainer, module = ema("val/loss", "min", decay=0.9, start=0.5), FakeTrainer(), Net()
    averaging.on_train_start(trainer, module)  # type: ignore[arg-type]
    for step in range(1, 9):
        trainer.current_epoch = (step - 1) // 2
        averaging.on_train_batch_end(trainer, module, None, None, 0)  # type: ignore[arg-type]
        put(module, float(step))
        trainer.global_step = step
        averaging.on_train_batch_end(trainer, module, None, None, 1)  # type: ignore[arg-type]
    expected = 5.0
    for count, value in enumerate((6.0, 7.0, 8.0), start=2):
        decay = count / (count + 9)
        expected = decay * expected + (1 - decay) * value
    averaging.on_validation_start(trainer, module)  # type: ignore[arg-type]
    assert weight(module) == pytest.approx(expected, rel=1e-6) and averaging.state_dict()["count"] == 4


def test_a_validation_of_its_own_changes_nothing() -> None:
    averaging, trainer, module = Averaging(None, 0.0), FakeTrainer(), Net()
    trainer.state.fn = TrainerFn.VALIDATING
    put(module, 3.0)
    averaging.on_validation_start(trainer, module)  # type: ignore[arg-type]
    assert weight(module) == 3.0 and averaging.state_dict()["count"] == 0


def state(of: FoldJob) -> dict[str, torch.Tensor]:
    return weight_files.read(of.files.project.model_dir(of.task.name, of.files.record_id) / records.WEIGHTS_FILE)


class StopAfter:
    def __init__(self, batches: int) -> None:
        self.left = batches

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


# Enough steps of an epoch to stop within the second one.
MORE = "split.test_fraction=0.8"


@pytest.mark.program
@pytest.mark.usefixtures("saves_every_epoch")
@pytest.mark.parametrize("overrides", [["cbs=ema", "cbs.ema.decay=0.9"], ["cbs=swa", "cbs.swa.start=0.3"]])
def test_resumed_is_bit_identical_and_the_average_is_what_is_kept(tmp_path: Path, overrides: list[str]) -> None:
    given: dict[str, Any] = {"store_best": False}
    whole = job(tmp_path / "a", *overrides, MORE, **given)
    record = fit.fit(whole, Watch())
    stopped = job(tmp_path / "b", *overrides, MORE, **given)
    with pytest.raises(Interrupted):
        fit.fit(stopped, Watch(should_stop=StopAfter(25)))
    resumed = fit.fit(stopped, Watch())
    assert resumed.scores == record.scores
    kept = state(whole)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state(stopped).items())
    plain = job(tmp_path / "c", MORE, **given)
    fit.fit(plain, Watch())
    assert any(not torch.equal(tensor, kept[name]) for name, tensor in state(plain).items())
