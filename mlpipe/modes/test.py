"""`mml test`: evaluate every stored model of a cross-validation on its own test images."""

from __future__ import annotations

from mlpipe.modes.train import TrainingScheduler


class TestScheduler(TrainingScheduler):
    """Score each fold's model, after any missing predictions.

    It takes the keys of `mml train`, of whose subroutines `conf/mode/test.yaml` chooses `test`.
    """
