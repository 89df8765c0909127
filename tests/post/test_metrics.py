"""Every metric against scikit-learn, ties and absent classes included."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.metrics import f1_score

from mlpipe.post import metrics
from mlpipe.post.measures import class_metrics


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
    predicted, probabilities = logits.argmax(axis=1), np.exp(class_metrics.log_softmax(logits))
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
    assert metrics.compute(class_metrics.METRICS, logits, targets, kind="classification") == pytest.approx(
        expected, abs=1e-12
    )


def test_a_class_that_occurs_nowhere_is_left_out() -> None:
    logits = np.array([[2, 1, -9], [1, 2, -9], [2, 1, -9]], np.float32)
    targets = np.array([0, 1, 1])
    assert class_metrics.balanced_accuracy(logits, targets) == pytest.approx(0.75)
    assert class_metrics.macro_f1(logits, targets) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert class_metrics.average_precision(logits, targets) == pytest.approx(
        np.mean(
            [reference.average_precision_score(targets == k, class_metrics.log_softmax(logits)[:, k]) for k in (0, 1)]
        )
    )


def test_degenerate_rows() -> None:
    one = np.array([[0.0, 1.0]], np.float32)
    assert np.isnan(class_metrics.auroc(one, np.array([1])))
    assert class_metrics.mcc(one, np.array([1])) == 0.0
    assert class_metrics.kappa(one, np.array([1])) == 0.0
    assert metrics.compute(["accuracy"], one, np.array([-1]), kind="classification") == {}
    assert class_metrics.nll(np.array([[0.0, 1e6]], np.float32), np.array([0])) == pytest.approx(-np.log(1e-12))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("weight_loss_kg_r2", "max"),
        ("weight_loss_kg_rmse", "min"),
        ("loss_dice", "min"),
        ("out_loss_own", "min"),
        ("out_dice", "max"),
    ],
)
def test_directions_of_outputs_and_losses(name: str, expected: str) -> None:
    """An output whose name holds `loss_` was minimised, whatever its metric."""
    assert metrics.direction(f"val/{name}") == expected


def test_directions() -> None:
    assert {name: metrics.direction(f"val/{name}") for name in ("loss", "nll", "brier", "accuracy", "auroc")} == {
        "loss": "min", "nll": "min", "brier": "min", "accuracy": "max", "auroc": "max",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(12))
def test_against_scikit_learn_with_a_class_without_images(seed: int) -> None:
    """The class without images may be predicted: it counts in macro F1, not in the means over classes that occur."""
    logits, targets, classes = drawn(seed, absent=True, ties=seed % 2 == 1)
    predicted, probabilities = logits.argmax(axis=1), np.exp(class_metrics.log_softmax(logits))
    there = range(classes - 1)
    areas = [reference.roc_auc_score(targets == k, probabilities[:, k]) for k in there if (targets != k).any()]
    expected = {
        "accuracy": reference.accuracy_score(targets, predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(targets, predicted),
        "macro_f1": reference.f1_score(targets, predicted, average="macro", zero_division=0),
        "mcc": reference.matthews_corrcoef(targets, predicted),
        "kappa": reference.cohen_kappa_score(targets, predicted),
        "average_precision": np.mean(
            [reference.average_precision_score(targets == k, probabilities[:, k]) for k in there]
        ),
        "nll": reference.log_loss(targets, probabilities, labels=range(classes)),
    }
    if np.isnan(expected["kappa"]):
        expected["kappa"] = 0.0
    if areas:
        expected["auroc"] = np.mean(areas)
    assert metrics.compute(expected, logits, targets, kind="classification") == pytest.approx(expected, abs=1e-12)


def test_log_probabilities_and_shifted_logits_give_the_same() -> None:
    logits, targets, _ = drawn(3)
    wide = logits.astype(np.float64)
    expected = metrics.compute(class_metrics.METRICS, wide, targets, kind="classification")
    assert metrics.compute(
        class_metrics.METRICS, class_metrics.log_softmax(wide), targets, kind="classification"
    ) == pytest.approx(expected, abs=1e-9)
    assert metrics.compute(class_metrics.METRICS, wide + 700, targets, kind="classification") == pytest.approx(
        expected, abs=1e-9
    )


def test_each_row_of_the_likelihood_is_clipped_by_itself() -> None:
    logits = np.array([[0.0, 100.0], [0.0, 0.0]], np.float32)
    assert class_metrics.nll(logits, np.array([0, 0])) == pytest.approx((-np.log(1e-12) + np.log(2)) / 2, abs=1e-12)
    assert class_metrics.nll(logits, np.array([1, 0])) == pytest.approx(np.log(2) / 2, abs=1e-12)


def test_rows_without_a_target_are_left_out() -> None:
    logits, targets, _ = drawn(4)
    more = np.concatenate([logits, logits[:5]])
    marked = np.concatenate([targets, np.full(5, -1)])
    assert metrics.compute(class_metrics.METRICS, more, marked, kind="classification") == metrics.compute(
        class_metrics.METRICS, logits, targets, kind="classification"
    )


def test_all_scores_tied() -> None:
    logits, targets = np.zeros((6, 3), np.float32), np.array([0, 1, 2, 0, 1, 2])
    assert class_metrics.auroc(logits, targets) == 0.5
    assert class_metrics.average_precision(logits, targets) == pytest.approx(1 / 3, abs=1e-12)
    assert class_metrics.brier(logits, targets) == pytest.approx(2 / 3, abs=1e-12)


def test_confusion_is_scikit_learns() -> None:
    logits, targets, classes = drawn(5)
    expected = reference.confusion_matrix(targets, logits.argmax(axis=1), labels=range(classes))
    assert np.array_equal(class_metrics.confusion_matrix(logits, targets), expected)


def test_metrics_of_musket_and_keras_by_hand() -> None:
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.1, 0.3, 0.6]]))
    targets = np.array([0, 1, 2])
    p, t = np.exp(logits), np.eye(3)
    found = metrics.compute(
        ["soft_iou", "hard_iou", "elementwise_dice", "top5_accuracy"], logits, targets, kind="classification"
    )
    assert found["soft_iou"] == pytest.approx(np.mean([2 * (p[n, n] + 1) / 3 for n in range(3)]))
    # Of the second image nothing is above one half.
    assert found["hard_iou"] == pytest.approx((4 / 3 + 2 / 2 + 4 / 3) / 3)
    assert found["elementwise_dice"] == pytest.approx(reference.f1_score(t.ravel(), (p > 0.5).ravel()))
    assert found["top5_accuracy"] == 1.0
    drawn = np.random.default_rng(0)
    many, wanted = drawn.normal(size=(200, 12)), drawn.integers(0, 12, 200)
    expected = reference.top_k_accuracy_score(wanted, many, k=5, labels=range(12))
    assert metrics.compute(["top5_accuracy"], many, wanted, kind="classification")["top5_accuracy"] == expected


SAID = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll"]


def said(logits: np.ndarray, targets: np.ndarray, names: list[str], kind: str) -> list[str]:
    return metrics.class_mean_notes(metrics.details(logits, targets, names, kind)["classes"], SAID)


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
    assert metrics.class_mean_notes([], SAID) == []
    numbers = metrics.details(np.zeros((3, 1)), np.ones((3, 1)), ["n"], "regression")["classes"]
    assert metrics.class_mean_notes(numbers, ["rmse"]) == []


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
