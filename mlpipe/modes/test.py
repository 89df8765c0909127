"""`mml test`: evaluate every stored model of a cross-validation on its own test images."""

from __future__ import annotations

from mlpipe.modes.train import TrainingScheduler


class TestScheduler(TrainingScheduler):
    """Scores each fold's model; what it has not predicted yet, it predicts first.

    It takes the keys of `mml train`, of whose subroutines `conf/mode/test.yaml` chooses `test`.
    """
