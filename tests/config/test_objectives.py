"""Which losses are the same: what `val/loss` is a value of."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.config import objectives

CE = {"_target_": "mlpipe.learn.losses.cross_entropy.ce", "label_smoothing": 0.0, "class_weights": None}
FOCAL = {"_target_": "mlpipe.learn.losses.focal.focal", "gamma": 2.0, "class_weights": None}


def tree(loss: Any = CE, stages: list[dict[str, Any]] | None = None, folds: int = 5) -> dict[str, Any]:
    return {"loss": loss, "stages": {"list": stages or []}, "split": {"folds": folds}, "optimizer": {"lr": folds}}


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (tree(), tree(folds=3), False),
        (tree(), tree(FOCAL), True),
        (tree(), tree({**CE, "label_smoothing": 0.1}), True),
        (tree(), tree({**CE, "class_weights": [1, 2]}), True),
        (tree(), tree({**CE, "trust": ["x"]}), False),
        (tree(), tree(stages=[{"epochs": 1}, {"epochs": 2}]), False),
        (tree(), tree(stages=[{"epochs": 1}, {"epochs": 2, "loss": FOCAL}]), True),
        (tree(FOCAL), tree(stages=[{"epochs": 1, "loss": FOCAL}]), False),
        # The weights of classes are counted in the training part.
        (tree({**CE, "class_weights": "balanced"}), tree({**CE, "class_weights": "balanced"}, folds=3), True),
        (tree({**CE, "class_weights": "balanced"}), tree({**CE, "class_weights": "balanced"}), False),
    ],
)
def test_what_makes_another_loss(one: dict[str, Any], other: dict[str, Any], differ: bool) -> None:
    assert objectives.have_different_losses([one, other]) is differ
    assert not objectives.have_different_losses([one]) and not objectives.have_different_losses([])


def test_what_is_a_value_of_the_loss() -> None:
    assert objectives.is_by_the_loss("val/loss") and objectives.is_by_the_loss("equation_loss")
    assert not objectives.is_by_the_loss("val/nll") and not objectives.is_by_the_loss("val/a_loss")
    assert objectives.is_by_the_loss("val/a_loss", tree({"parts": [{"name": "a"}]}))
