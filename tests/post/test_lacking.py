"""Means over classes say over which classes they are."""

from __future__ import annotations

import numpy as np

from mlpipe.post import metrics

SCORES = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll"]


def said(logits: np.ndarray, targets: np.ndarray, names: list[str], kind: str) -> list[str]:
    return metrics.said_of(metrics.details(logits, targets, names, kind)["classes"], SCORES)


def test_a_class_without_rows() -> None:
    logits = np.eye(3)[[0, 0, 1, 1, 2]]
    assert said(logits, np.array([0, 0, 1, 1, 2]), ["a", "b", "c"], "classification") == []
    assert said(logits, np.array([0, 0, 1, 1, 1]), ["a", "b", "c"], "classification") == [
        "balanced_accuracy, macro_f1, auroc: classes that can be judged are 2 of 3, not c",
        "macro_f1: c has no image and was predicted, which counts as 0",
    ]
    assert said(logits[:4], np.array([0, 0, 1, 1]), ["a", "b", "c"], "classification") == [
        "balanced_accuracy, macro_f1, auroc: classes that can be judged are 2 of 3, not c"
    ]


def test_labels_that_no_row_or_every_row_has() -> None:
    targets = np.array([[1, 0, 1], [0, 0, 1], [1, 0, np.nan]])
    (sentence,) = said(np.full((3, 3), -1.0), targets, ["x", "y", "z"], "multilabel")
    assert sentence.endswith("labels that can be judged are 1 of 3, not y, z")
    assert metrics.said_of([], SCORES) == []
    numbers = metrics.details(np.zeros((3, 1)), np.ones((3, 1)), ["n"], "regression")["classes"]
    assert metrics.said_of(numbers, ["rmse"]) == []
