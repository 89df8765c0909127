"""Every metric against scikit-learn, ties and absent classes included."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from mlpipe.post import metrics


def drawn(seed: int, *, absent: bool = False, ties: bool = False) -> tuple[np.ndarray, np.ndarray, int]:
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(20, 200)), int(rng.integers(2, 7))
    logits = rng.normal(size=(n, classes)) * 2
    if ties:
        logits = np.round(logits)
    targets = rng.integers(0, classes - absent, n)
    targets[: classes - absent] = np.arange(classes - absent)
    return logits.astype(np.float32), targets.astype(np.int64), classes


@pytest.mark.parametrize("seed", range(12))
def test_against_scikit_learn(seed: int) -> None:
    logits, targets, classes = drawn(seed, ties=seed % 2 == 0)
    predicted, probabilities = logits.argmax(axis=1), np.exp(metrics.log_softmax(logits))
    onehot = np.eye(classes)[targets]
    areas = [reference.roc_auc_score(onehot[:, k], probabilities[:, k]) for k in range(classes)]
    precisions = [reference.average_precision_score(onehot[:, k], probabilities[:, k]) for k in range(classes)]
    expected = {
        "accuracy": reference.accuracy_score(targets, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
        "macro_f1": reference.f1_score(targets, predicted, average="macro", zero_division=0),
        "mcc": reference.matthews_corrcoef(targets, predicted),
        "kappa": reference.cohen_kappa_score(targets, predicted),
        "auroc": np.mean(areas),
        "average_precision": np.mean(precisions),
        "nll": reference.log_loss(targets, probabilities, labels=range(classes)),
        "brier": ((probabilities - onehot) ** 2).sum(axis=1).mean(),
    }
    assert metrics.compute(metrics.METRICS, logits, targets) == pytest.approx(expected, abs=1e-12)


def test_a_class_that_occurs_nowhere_is_left_out() -> None:
    logits = np.array([[2, 1, -9], [1, 2, -9], [2, 1, -9]], np.float32)
    targets = np.array([0, 1, 1])
    assert metrics.balanced_accuracy(logits, targets) == pytest.approx(0.75)
    assert metrics.macro_f1(logits, targets) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert metrics.average_precision(logits, targets) == pytest.approx(
        np.mean([reference.average_precision_score(targets == k, metrics.log_softmax(logits)[:, k]) for k in (0, 1)])
    )


def test_degenerate_rows() -> None:
    one = np.array([[0.0, 1.0]], np.float32)
    assert np.isnan(metrics.auroc(one, np.array([1])))
    assert metrics.mcc(one, np.array([1])) == 0.0
    assert metrics.kappa(one, np.array([1])) == 0.0
    assert metrics.compute(["accuracy"], one, np.array([-1])) == {}
    assert metrics.nll(np.array([[0.0, 1e6]], np.float32), np.array([0])) == pytest.approx(-np.log(1e-12))


def test_directions() -> None:
    assert {name: metrics.direction(f"val/{name}") for name in ("loss", "nll", "brier", "accuracy", "auroc")} == {
        "loss": "min", "nll": "min", "brier": "min", "accuracy": "max", "auroc": "max",
    }  # fmt: skip
