"""A training ends when another epoch would take too long."""

from __future__ import annotations

from mlpipe.learn.callbacks.time_limit import TimeLimit


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
