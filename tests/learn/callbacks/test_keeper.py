"""The best epoch is kept, and the state saved as often as it is cheap."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mlpipe.learn.callbacks.keeper import Keeper
from tests.learn.callbacks.conftest import FakeTrainer


def epochs(keeper: Keeper, scores: list[float]) -> tuple[FakeTrainer, nn.Linear]:
    """Tell a keeper of epochs with these scores; the weights of an epoch are its number."""
    trainer, module = FakeTrainer(max_epochs=len(scores)), nn.Linear(1, 1)
    for epoch, score in enumerate(scores):
        trainer.current_epoch = epoch
        trainer.callback_metrics = {"val/x": torch.tensor(score)}
        with torch.no_grad():
            module.weight.fill_(epoch)
        keeper.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    return trainer, module


@pytest.mark.parametrize(
    ("direction", "scores", "best"),
    [
        ("min", [3.0, 1.0, 2.0], 1),
        ("max", [1.0, 3.0, 2.0], 1),
        ("max", [0.5, 0.5, 0.5], 0),
        ("min", [math.nan, 2.0, math.nan, 3.0], 1),
        ("max", [math.nan, -1.0, -2.0], 1),
        ("min", [math.inf, 2.0], 1),
    ],
)
def test_the_best_epoch_is_kept(direction: Any, scores: list[float], best: int, tmp_path: Path) -> None:
    keeper = Keeper("val/x", direction, tmp_path, keep_best=True)
    epochs(keeper, scores)
    assert (keeper.best_epoch, keeper.best_score) == (best, scores[best])
    assert keeper.best_state["weight"].item() == best


@pytest.mark.parametrize("direction", ["min", "max"])
def test_of_scores_that_are_no_numbers_the_last_epoch_is_kept(direction: Any, tmp_path: Path) -> None:
    keeper = Keeper("val/x", direction, tmp_path, keep_best=True)
    epochs(keeper, [math.nan, math.nan, math.nan])
    assert keeper.best_epoch == 2 and keeper.best_state["weight"].item() == 2
    assert keeper.missing == [0, 1, 2]
    again = Keeper("val/x", direction, tmp_path, keep_best=True)
    again.load_state_dict(keeper.state_dict())
    assert again.missing == [0, 1, 2]
    # A number, however bad, is better than none.
    epochs(again, [1e9 if direction == "min" else -1e9, math.nan])
    assert again.best_epoch == 0


def test_nothing_is_kept_when_the_last_epoch_is_wanted(tmp_path: Path) -> None:
    keeper = Keeper("val/x", "min", tmp_path, keep_best=False)
    epochs(keeper, [1.0, 2.0])
    assert keeper.best_epoch is None


def test_what_is_kept_survives_a_restart(tmp_path: Path) -> None:
    first, second = (Keeper("val/x", "min", tmp_path, keep_best=True) for _ in range(2))
    epochs(first, [3.0, 1.0])
    second.load_state_dict(first.state_dict())
    epochs(second, [2.0])
    assert (second.best_epoch, second.best_score, second.best_state["weight"].item()) == (1, 1.0, 1.0)


def test_the_state_is_saved_after_every_epoch_but_the_last(saves_every_epoch: None, tmp_path: Path) -> None:
    trainer, module = epochs(Keeper("val/x", "min", tmp_path, keep_best=True), [1.0] * 4)
    assert trainer.saved == [0, 1, 2]
    stopped = FakeTrainer(should_stop=True, callback_metrics={"val/x": torch.tensor(1.0)})
    Keeper("val/x", "min", tmp_path, keep_best=True).on_train_epoch_end(stopped, module)  # type: ignore[arg-type]
    assert stopped.saved == []


def test_the_state_is_saved_as_often_as_it_costs_a_twentieth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    keeper, trainer = Keeper("val/x", "min", tmp_path, keep_best=False), FakeTrainer(max_epochs=1000)

    def save(folder: Path) -> None:
        trainer.saved.append(trainer.current_epoch)
        clock[0] += 1.0

    trainer.save_checkpoint = save
    for epoch in range(100):
        trainer.current_epoch = epoch
        clock[0] += 2.0
        keeper.on_train_epoch_end(trainer, nn.Linear(1, 1))  # type: ignore[arg-type]
    assert trainer.saved == list(range(0, 100, 10))


def test_a_stage_that_keeps_its_own_keeps_its_best_though_an_earlier_one_was_better(tmp_path: Path) -> None:
    keeper = Keeper("val/x", "max", tmp_path, keep_best=True)
    keeper.begin(0, keep=True)
    epochs(keeper, [3.0, 9.0])
    keeper.begin(1, keep=True)
    trainer = FakeTrainer(max_epochs=9)
    module = nn.Linear(1, 1, bias=False)
    for epoch, score in ((2, 4.0), (3, 5.0)):
        nn.init.constant_(module.weight, epoch)
        trainer.current_epoch, trainer.callback_metrics = epoch, {"val/x": torch.tensor(score)}
        keeper.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    restored = Keeper("val/x", "max", tmp_path, keep_best=True)
    restored.begin(1, keep=True)
    restored.load_state_dict(keeper.state_dict())
    trainer.current_epoch, trainer.callback_metrics = 4, {"val/x": torch.tensor(4.5)}
    restored.on_train_epoch_end(trainer, module)  # type: ignore[arg-type]
    assert {stage: state["weight"].item() for stage, state in restored.of_stages.items()} == {0: 1.0, 1: 3.0}
    assert (restored.best_epoch, restored.best_state["weight"].item()) == (1, 1.0)
