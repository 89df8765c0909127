"""The stop by the training loss against Keras's, and the weights of every epoch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mlpipe.errors import ConfigError
from mlpipe.learn.callbacks import best_practice, early
from mlpipe.learn.callbacks.keeper import Keeper


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
def test_the_stop_by_the_training_loss_is_kerass(patience: int, min_delta: float) -> None:
    losses = [1.0, 0.9, 0.95, 0.88, *(0.9 + 0.1 * np.random.default_rng(2).random(20))]
    options: Any = {"patience": patience, "min_delta": min_delta}
    theirs = keras.callbacks.EarlyStopping(monitor="loss", mode="min", **options)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    theirs.set_model(model)
    model.stop_training = False
    theirs.on_train_begin()
    ours: Any = best_practice.early_train("val/loss", "min", **options)
    module: Any = SimpleNamespace(history=[])
    for epoch, loss in enumerate(losses):
        trainer: Any = SimpleNamespace(should_stop=False, current_epoch=epoch, world_size=1)
        module.history.append({"train/loss": loss})
        theirs.on_epoch_end(epoch, {"loss": loss})
        ours.on_validation_end(trainer, module)
        ours.on_train_epoch_end(trainer, module)
        assert trainer.should_stop == bool(model.stop_training)
        if trainer.should_stop:
            return
    pytest.fail("neither stopped")


@pytest.mark.parametrize(("baseline", "patience", "epochs"), [(0.5, 2, 2), (0.95, 2, 4), (0.5, 3, 3), (2.0, 2, 4)])
def test_a_stop_with_a_baseline_waits_for_what_is_better_than_it(baseline: float, patience: int, epochs: int) -> None:
    losses = [1.0, 0.9, 0.9, 0.9, 0.9]
    ours: Any = best_practice.early_train("val/loss", "min", patience=patience, min_delta=0.0, baseline=baseline)
    theirs: Any = early.early("val/loss", "min", patience=patience, baseline=baseline)
    stopped = []
    for epoch, loss in enumerate(losses):
        trainer: Any = SimpleNamespace(should_stop=False, current_epoch=epoch, world_size=1)
        ours.on_train_epoch_end(trainer, SimpleNamespace(history=[{"train/loss": loss}]))
        stopped.append(trainer.should_stop)
        assert theirs._evaluate_stopping_criteria(torch.tensor(loss))[0] == trainer.should_stop
        if trainer.should_stop:
            break
    assert stopped == [False] * (epochs - 1) + [True]


def test_the_stop_may_watch_a_metric_of_training_samples_that_is_measured() -> None:
    ours: Any = best_practice.early_train("val/loss", "min", patience=1, watch="train/accuracy", watch_direction="max")
    trainer: Any = SimpleNamespace(should_stop=False, current_epoch=0, world_size=1)
    for value, stops in ((0.5, False), (0.6, False), (0.6, True)):
        ours.on_train_epoch_end(trainer, SimpleNamespace(history=[{"train/loss": 1.0, "train/accuracy": value}]))
        assert trainer.should_stop == stops
    with pytest.raises(ConfigError, match=r"does not measure this, got 'train/accuracy'; add metrics.while_training"):
        ours.on_train_epoch_end(trainer, SimpleNamespace(history=[{"train/loss": 1.0}]))


def test_weights_of_every_epoch_in_a_folder_of_their_own_or_the_runs(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 1)
    keeper = Keeper("val/loss", "min", tmp_path / "run" / "checkpoints" / "record", keep_best=True)
    for folder, place in ((str(tmp_path / "mine"), "mine"), (None, "run/epochs/record")):
        for epoch in range(2):
            trainer: Any = SimpleNamespace(is_global_zero=True, current_epoch=epoch, checkpoint_callbacks=[keeper])
            callback: Any = best_practice.every_epoch("val/loss", "min", folder=folder)
            callback.on_train_epoch_end(trainer, SimpleNamespace(network=network))
        found = sorted((tmp_path / place / "resume_checkpoints").iterdir())
        assert [file.name for file in found] == ["model_epoch_0001.safetensors", "model_epoch_0002.safetensors"]
        assert torch.equal(load_file(found[1])["weight"], network.weight)
