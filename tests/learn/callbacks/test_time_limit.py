"""A training ends when another epoch would take too long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe.learn.callbacks.time_limit import FoldLimit, TimeLimit, WaitingLimits


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
    # A training that is continued is set up a second time, in 4 s.
    now, state = 100.0, fold.state_dict()
    assert (state["taken"], state["setup"]) == (16.0, 6.0)
    again, trainer = FoldLimit(40.5), Trainer()
    again.load_state_dict(state)
    trainer.max_epochs = 9
    now = 104.0
    again.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    now = 114.0
    again.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    # 30 s have passed, 10 of them set up; two epochs took 10 s each, and a third one ends at 40 s.
    assert not trainer.should_stop
    now = 115.0
    again.on_train_epoch_start(trainer, None)  # type: ignore[arg-type]
    again.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert again.state_dict()["setup"] == 10.0
    # Both may stand beside each other: Lightning tells callbacks that save a state apart by their keys.
    assert fold.state_key != plain.state_key


def test_limits_wait_while_a_stage_has_callbacks_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("mlpipe.learn.callbacks.time_limit.time.monotonic", lambda: now)
    limit = TimeLimit(5.0)
    waiting = WaitingLimits({"time_limit": limit})
    now = 10.0
    trainer: Any = SimpleNamespace(should_stop=False, max_epochs=9, world_size=1)
    waiting.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
    waiting.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert not trainer.should_stop
    state = waiting.state_dict()
    assert state == {"time_limit": {"taken": 10.0, "epochs": 1, "setup": 0.0}}
    again = TimeLimit(5.0)
    WaitingLimits({"time_limit": again, "other": TimeLimit(1.0)}).load_state_dict(state)
    now = 12.0
    assert again.state_dict() == {"taken": 12.0, "epochs": 1, "setup": 0.0}
