"""What the training of folds tells who follows it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mlpipe.config.schema import Stage
from mlpipe.running.folds.fold_training import FoldTraining
from mlpipe.running.steps import Follower
from tests.learn.conftest import job


def test_who_follows_is_told_the_epochs_of_all_stages(tmp_path: Path) -> None:
    """A pruner numbers epochs over folds: with more of them in a fold than it was told, those of two folds were one."""
    recipe = job(tmp_path, "trainer.max_epochs=3").recipe
    told: list[tuple[int, int, int, float]] = []
    follower = Follower(lambda name: None, lambda *facts: told.append(facts))
    for own in (recipe, dataclasses.replace(recipe, stages=(Stage(4), Stage(5)))):
        folds = SimpleNamespace(context=SimpleNamespace(follower=follower), config=SimpleNamespace(recipe=own))
        trainer = cast(Any, SimpleNamespace(folds=folds, chosen=[0, 1]))
        FoldTraining._epoch_follower(trainer, 1)(2, 0.5)
    assert told == [(1, 2, 3, 0.5), (1, 2, 9, 0.5)]
