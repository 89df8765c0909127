"""A training ends when another epoch would take too long."""

from __future__ import annotations

import pytest

from mlpipe.learn.callbacks.time_limit import FoldLimit, TimeLimit


def test_a_time_limit_ends_a_training_and_survives_a_resume() -> None:
    class Trainer:
        should_stop, max_epochs, world_size = False, 10, 1

    limit, trainer = TimeLimit(1e-9), Trainer()
    limit.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop
    patient, trainer = TimeLimit(1000.0), Trainer()
    patient.load_state_dict({"taken": 900.0, "epochs": 3})
    patient.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop and patient.state_dict()["epochs"] == 4


def test_what_is_set_up_is_no_part_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six seconds of setup and two epochs of ten fit into 27 s: begun and ended."""

    class Trainer:
        should_stop, max_epochs, world_size = False, 2, 1

    now, trainer = 0.0, Trainer()
    monkeypatch.setattr("mlpipe.learn.callbacks.time_limit.time.monotonic", lambda: now)
    fold, plain = FoldLimit(27.0), TimeLimit(27.0)
    now = 6.0
    fold.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    now = 16.0
    fold.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert not trainer.should_stop
    plain.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop
    # Both may stand beside each other: Lightning tells callbacks that save a state apart by their keys.
    assert fold.state_key != plain.state_key
