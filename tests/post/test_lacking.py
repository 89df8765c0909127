"""Means over classes say over which classes they are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mlpipe.post import metrics

SCORES = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll"]


def said(logits: np.ndarray, targets: np.ndarray, names: list[str], kind: str) -> list[str]:
    return metrics.said_of(metrics.details(logits, targets, names, kind)["classes"], SCORES)


def test_a_class_without_rows() -> None:
    logits = np.eye(3)[[0, 0, 1, 1, 2]]
    assert said(logits, np.array([0, 0, 1, 1, 2]), ["a", "b", "c"], "classification") == []
    assert said(logits, np.array([0, 0, 1, 1, 1]), ["a", "b", "c"], "classification") == [
        "balanced_accuracy, auroc: classes that can be judged are 2 of 3, not c",
        "macro_f1: c has no image and was predicted, which counts as 0",
    ]
    assert said(logits[:4], np.array([0, 0, 1, 1]), ["a", "b", "c"], "classification") == [
        "balanced_accuracy, macro_f1, auroc: classes that can be judged are 2 of 3, not c"
    ]


def test_labels_that_no_row_or_every_row_has() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, np.nan]])
    assert said(np.full((3, 3), -1.0), targets, ["x", "y", "z"], "multilabel") == [
        "balanced_accuracy, auroc: labels that can be judged are 1 of 3, not y, z",
        "macro_f1: labels that can be judged are 2 of 3, not y",
    ]
    assert metrics.said_of([], SCORES) == []
    numbers = metrics.details(np.zeros((3, 1)), np.ones((3, 1)), ["n"], "regression")["classes"]
    assert metrics.said_of(numbers, ["rmse"]) == []


@pytest.mark.parametrize("predicted", [[0, 0, 1, 1, 1], [0, 0, 1, 1, 2], [0, 0, 3, 2, 2]])
def test_the_classes_that_a_mean_of_f1_is_over(predicted: list[int]) -> None:
    true, names = [0, 0, 1, 1, 1], ["a", "b", "c", "d"]
    logits = np.eye(4)[predicted] * 9
    # scikit-learn's mean is over the classes that occur or are predicted.
    expected = f1_score(true, predicted, average="macro")
    over = len(set(true) | set(predicted))
    assert metrics.compute(["macro_f1"], logits, np.array(true), kind="classification")["macro_f1"] == pytest.approx(
        expected
    )
    told = [one for one in said(logits, np.array(true), names, "classification") if "macro_f1" in one.split(":")[0]]
    counted = [one for one in told if "can be judged" in one]
    assert (f"are {over} of 4" in counted[0]) if over < 4 else not counted
    assert [one for one in told if "counts as 0" in one] == (
        [
            f"macro_f1: {', '.join(sorted({names[k] for k in predicted} - {'a', 'b'}))} "
            f"{'has no image and was' if over == 3 else 'have no image and were'} predicted, which counts as 0"
        ]
        if over > 2
        else []
    )
