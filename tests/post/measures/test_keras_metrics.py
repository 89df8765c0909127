"""Keras's metrics against Keras itself, on classes, labels and numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from mlpipe.post.measures.keras_metrics import METRICS

RNG = np.random.default_rng(3)
ROWS = 60
_RAW = RNG.normal(size=(ROWS, 4))
PROBABILITIES = (np.exp(_RAW) / np.exp(_RAW).sum(1, keepdims=True)).astype(np.float32)
CLASSES = RNG.integers(0, 4, ROWS)
ONE_HOT = np.eye(4, dtype=np.float32)[CLASSES]
# What Keras is given: outputs and targets; classes have a one in each row.
CASES = {
    "classes": (PROBABILITIES, ONE_HOT),
    "one label": (RNG.uniform(size=(ROWS, 1)).astype(np.float32), RNG.integers(0, 2, (ROWS, 1)).astype(np.float32)),
    "labels": (RNG.uniform(size=(ROWS, 3)).astype(np.float32), RNG.integers(0, 2, (ROWS, 3)).astype(np.float32)),
    "numbers": (RNG.normal(size=(ROWS, 2)).astype(np.float32), RNG.normal(size=(ROWS, 2)).astype(np.float32)),
}
ANY = ("classes", "one label", "labels")
OF_ALL = (*ANY, "numbers")
# Name here, Keras's class, its parameters, the cases that it is for.
TABLE: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("equal_values", "Accuracy", {}, OF_ALL),
    ("binary_accuracy", "BinaryAccuracy", {}, ANY),
    ("binary_accuracy", "BinaryAccuracy", {"threshold": 0.2}, ANY),
    ("categorical_accuracy", "CategoricalAccuracy", {}, ("classes", "labels")),
    ("top_k_categorical_accuracy", "TopKCategoricalAccuracy", {"k": 2}, ("classes",)),
    ("top_k_categorical_accuracy", "TopKCategoricalAccuracy", {"k": 4}, ("classes",)),
    ("categorical_crossentropy", "CategoricalCrossentropy", {}, ("classes", "labels")),
    ("categorical_crossentropy", "CategoricalCrossentropy", {"label_smoothing": 0.2}, ("classes",)),
    ("binary_crossentropy", "BinaryCrossentropy", {}, ANY),
    ("binary_crossentropy", "BinaryCrossentropy", {"label_smoothing": 0.3}, ANY),
    ("crossentropy", "CategoricalCrossentropy", {}, ("classes", "labels")),
    ("crossentropy", "BinaryCrossentropy", {}, ("one label",)),
    ("mean_squared_error", "MeanSquaredError", {}, OF_ALL),
    ("root_mean_squared_error", "RootMeanSquaredError", {}, OF_ALL),
    ("mean_absolute_error", "MeanAbsoluteError", {}, OF_ALL),
    ("mean_absolute_percentage_error", "MeanAbsolutePercentageError", {}, ("numbers", "labels")),
    ("mean_squared_logarithmic_error", "MeanSquaredLogarithmicError", {}, OF_ALL),
    ("log_cosh", "LogCoshError", {}, OF_ALL),
    ("cosine_similarity", "CosineSimilarity", {}, ("numbers", "classes")),
    ("kl_divergence", "KLDivergence", {}, ANY),
    ("poisson", "Poisson", {}, ANY),
    ("hinge", "Hinge", {}, OF_ALL),
    ("squared_hinge", "SquaredHinge", {}, OF_ALL),
    ("categorical_hinge", "CategoricalHinge", {}, ("classes", "numbers")),
    ("r2_score", "R2Score", {}, ("numbers", "labels")),
    ("r2_score", "R2Score", {"class_aggregation": "variance_weighted_average", "num_regressors": 3}, ("numbers",)),
    ("pearson_correlation", "PearsonCorrelation", {}, ("numbers", "classes")),
    ("pearson_correlation", "PearsonCorrelation", {"axis": 0}, ("numbers", "classes")),
    ("concordance_correlation", "ConcordanceCorrelation", {}, ("numbers", "classes")),
    ("concordance_correlation", "ConcordanceCorrelation", {"axis": 0}, ("numbers",)),
    ("true_positives", "TruePositives", {}, ANY),
    ("false_positives", "FalsePositives", {"thresholds": 0.3}, ANY),
    ("true_negatives", "TrueNegatives", {"thresholds": 0.3}, ANY),
    ("false_negatives", "FalseNegatives", {}, ANY),
    ("precision", "Precision", {}, ANY),
    ("precision", "Precision", {"thresholds": 0.7}, ANY),
    ("precision", "Precision", {"top_k": 2}, ("classes", "labels")),
    ("precision", "Precision", {"class_id": 1}, ("classes", "labels")),
    ("precision", "Precision", {"thresholds": 1.0}, ANY),
    ("recall", "Recall", {}, ANY),
    ("recall", "Recall", {"thresholds": 0.1, "class_id": 2}, ("classes", "labels")),
    ("recall", "Recall", {"top_k": 2, "class_id": 0}, ("classes", "labels")),
    ("recall", "Recall", {"top_k": 2, "thresholds": 0.4}, ("classes",)),
    ("fbeta_score", "FBetaScore", {"average": "macro", "beta": 2.0}, ("classes", "labels")),
    ("fbeta_score", "FBetaScore", {"average": "weighted", "beta": 0.5, "threshold": 0.4}, ("classes", "labels")),
    ("f1_score", "F1Score", {"average": "micro"}, ("classes", "labels")),
    ("f1_score", "F1Score", {"average": "weighted"}, ("classes",)),
    ("auc", "AUC", {}, ANY),
    ("auc", "AUC", {"num_thresholds": 7}, ANY),
    ("auc", "AUC", {"curve": "PR"}, ANY),
    ("auc", "AUC", {"curve": "PR", "summation_method": "majoring", "num_thresholds": 20}, ANY),
    ("auc", "AUC", {"summation_method": "minoring", "num_thresholds": 20}, ANY),
    ("auc", "AUC", {"thresholds": [0.2, 0.9, 0.5]}, ANY),
    ("auc", "AUC", {"multi_label": True}, ("classes", "labels")),
    ("auc", "AUC", {"multi_label": True, "label_weights": [1.0, 2.0, 0.5], "curve": "PR"}, ("labels",)),
    ("auc", "AUC", {"label_weights": [1.0, 2.0, 0.5]}, ("labels",)),
    ("sensitivity_at_specificity", "SensitivityAtSpecificity", {"specificity": 0.6}, ANY),
    ("specificity_at_sensitivity", "SpecificityAtSensitivity", {"sensitivity": 0.6, "num_thresholds": 30}, ANY),
    ("precision_at_recall", "PrecisionAtRecall", {"recall": 0.7}, ANY),
    ("recall_at_precision", "RecallAtPrecision", {"precision": 0.4}, ANY),
    ("recall_at_precision", "RecallAtPrecision", {"precision": 0.3, "class_id": 1}, ("classes", "labels")),
    ("binary_io_u", "BinaryIoU", {}, ANY),
    ("binary_io_u", "BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, ANY),
    ("io_u", "IoU", {"num_classes": 2, "target_class_ids": [0]}, ("labels",)),
    ("mean_io_u", "MeanIoU", {"num_classes": 4, "sparse_y_true": False, "sparse_y_pred": False}, ("classes",)),
    ("one_hot_io_u", "OneHotIoU", {"num_classes": 4, "target_class_ids": [0, 2]}, ("classes",)),
    ("one_hot_mean_io_u", "OneHotMeanIoU", {"num_classes": 4, "ignore_class": 1}, ("classes",)),
]


@pytest.mark.parametrize(
    ("name", "theirs", "params", "case"),
    [(name, theirs, params, case) for name, theirs, params, cases in TABLE for case in cases],
)
def test_a_metric_is_keras_s(name: str, theirs: str, params: dict[str, Any], case: str) -> None:
    outputs, targets = CASES[case]
    oracle = getattr(keras.metrics, theirs)(**params)
    oracle.update_state(targets, outputs)
    value = METRICS[name](outputs.astype(np.float64), targets.astype(np.float64), **params)
    assert value == pytest.approx(float(oracle.result()), rel=2e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "theirs", "params"),
    [
        ("sparse_categorical_accuracy", "SparseCategoricalAccuracy", {}),
        ("sparse_top_k_categorical_accuracy", "SparseTopKCategoricalAccuracy", {"k": 2}),
        ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy", {}),
    ],
)
def test_metrics_of_class_numbers(name: str, theirs: str, params: dict[str, Any]) -> None:
    oracle = getattr(keras.metrics, theirs)(**params)
    oracle.update_state(CLASSES, PROBABILITIES)
    value = METRICS[name](PROBABILITIES.astype(np.float64), ONE_HOT, **params)
    assert value == pytest.approx(float(oracle.result()), rel=1e-5)


OF_ENTRIES: list[tuple[str, str, dict[str, Any]]] = [
    ("binary_focal_crossentropy", "BinaryFocalCrossentropy", {}),
    (
        "binary_focal_crossentropy",
        "BinaryFocalCrossentropy",
        {"apply_class_balancing": True, "alpha": 0.7, "gamma": 1.0},
    ),
    ("binary_focal_crossentropy", "BinaryFocalCrossentropy", {"label_smoothing": 0.1}),
    ("categorical_focal_crossentropy", "CategoricalFocalCrossentropy", {}),
    ("categorical_focal_crossentropy", "CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.3, 0.4], "gamma": 0.5}),
    ("categorical_focal_crossentropy", "CategoricalFocalCrossentropy", {"label_smoothing": 0.1}),
    ("categorical_generalized_cross_entropy", "CategoricalGeneralizedCrossEntropy", {"q": 0.3}),
    ("dice", "Dice", {}),
    ("tversky", "Tversky", {"alpha": 0.2, "beta": 0.7}),
]


@pytest.mark.parametrize(("name", "theirs", "params"), OF_ENTRIES)
def test_losses_of_probabilities_are_metrics_too(name: str, theirs: str, params: dict[str, Any]) -> None:
    truth = CLASSES if theirs == "CategoricalGeneralizedCrossEntropy" else ONE_HOT
    expected = float(getattr(keras.losses, theirs)(**params)(truth, PROBABILITIES))
    assert METRICS[name](PROBABILITIES.astype(np.float64), ONE_HOT, **params) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "theirs", "params"), [("huber", "Huber", {"delta": 0.3}), ("log_cosh", "LogCosh", {}),
                                                      ("negative_cosine_similarity", "CosineSimilarity", {})])  # fmt: skip
def test_losses_are_metrics_too(name: str, theirs: str, params: dict[str, Any]) -> None:
    outputs, targets = CASES["numbers"]
    expected = float(getattr(keras.losses, theirs)(**params)(targets, outputs))
    assert METRICS[name](outputs.astype(np.float64), targets, **params) == pytest.approx(expected, rel=1e-5)


def test_relative_errors_are_tensorflows() -> None:
    # The example of tf.keras.metrics.MeanRelativeError's documentation gives 1.25.
    outputs, targets = np.array([[2.0, 4, 6, 8]]), np.array([[1.0, 3, 2, 3]])
    relative = METRICS["mean_relative_error"]
    assert relative(outputs, targets, normalizer=[1.0, 3.0, 2.0, 3.0]) == pytest.approx(1.25)
    # By hand: errors 1, 1, 4, 5; an error over 0 counts as 0.
    assert relative(outputs, targets, normalizer=2.0) == pytest.approx(11 / 8)
    assert relative(outputs, targets, normalizer=[0.0, 1.0, 2.0, 5.0]) == pytest.approx((0 + 1 + 2 + 1) / 4)


def test_accuracy_is_chosen_by_the_shape_as_keras_chooses() -> None:
    for case, theirs in (("one label", "BinaryAccuracy"), ("labels", "CategoricalAccuracy")):
        outputs, targets = CASES[case]
        oracle = getattr(keras.metrics, theirs)()
        oracle.update_state(targets, outputs)
        assert METRICS["accuracy"](outputs, targets) == pytest.approx(float(oracle.result()))


def test_no_positive_and_no_negative_entry() -> None:
    outputs = CASES["one label"][0]
    for targets in (np.zeros_like(outputs), np.ones_like(outputs)):
        for name, theirs, params in (
            ("auc", "AUC", {}), ("auc", "AUC", {"curve": "PR"}), ("precision", "Precision", {}),
            ("recall", "Recall", {}), ("recall_at_precision", "RecallAtPrecision", {"precision": 0.9}),
        ):  # fmt: skip
            oracle = getattr(keras.metrics, theirs)(**params)
            oracle.update_state(targets, outputs)
            assert METRICS[name](outputs, targets, **params) == pytest.approx(float(oracle.result()), abs=1e-6)


def test_every_metric_is_compared() -> None:
    compared = {name for name, *_ in (*TABLE, *OF_ENTRIES)} | {
        "accuracy", "huber", "mean_relative_error", "negative_cosine_similarity", "sparse_categorical_accuracy",
        "sparse_top_k_categorical_accuracy", "sparse_categorical_crossentropy",
    }  # fmt: skip
    assert set(METRICS) == compared
