"""A loss that does not fit a task is refused, and what fits is named."""

from __future__ import annotations

import pytest

from mlpipe.errors import ConfigError
from mlpipe.learn.losses.labels import Labels, fitting_kinds
from tests.learn.losses.conftest import CLASSES, LABELS, NUMBERS, build


@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [
        (
            "ce",
            NUMBERS,
            "loss: ce is for classification or segmentation tasks, this task is regression; use auto, mse, mae or huber",
        ),
        (
            "mse",
            CLASSES,
            "loss: mse is for regression or images tasks, this task is classification; use auto, ce, bce or focal",
        ),
        ("asymmetric", CLASSES, "loss: asymmetric is for multilabel tasks"),
        ("ce", LABELS, "use auto, bce, focal or asymmetric"),
    ],
)
def test_a_loss_of_another_kind_is_refused(name: str, labels: Labels, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(name, labels)
    assert sentence in refused.value.problems[0]


def test_kinds_that_a_loss_is_for_are_told_with_dense_ones_last() -> None:
    assert fitting_kinds(lambda its: its.of_numbers) == ["regression", "images"]


def test_keys_of_classes_are_refused_for_labels() -> None:
    with pytest.raises(ConfigError, match=r"loss\.class_weights: is for classification tasks"):
        build("auto", LABELS, class_weights="balanced")
    with pytest.raises(ConfigError, match=r"loss\.alpha: is for multi-label tasks"):
        build("focal", CLASSES, alpha=0.25)
