"""What is stored of a result: its keys, its words, and tables of classes, labels and numbers against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

from mlpipe.post import comparison, conformal, learning_curve, metrics, paired_tests, prior
from mlpipe.post.calibration import calibrate
from mlpipe.post.calibration import labels as label_calibrate
from mlpipe.post.ensembling import ensemble
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.intervals import by_metric
from mlpipe.post.measures import mask_metrics

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(90, 3))
KNOWN = np.where(RNG.random(90) < 0.6, LOGITS.argmax(1), RNG.integers(0, 3, 90))
BETTER = LOGITS + 2.0 * np.eye(3)[KNOWN]
RIGHT, BETTER_RIGHT = LOGITS.argmax(1) == KNOWN, BETTER.argmax(1) == KNOWN


def test_who_is_better_is_said_in_a_sentence() -> None:
    drawn = paired_tests.paired_bootstrap("accuracy", LOGITS, BETTER, KNOWN, kind="classification")
    difference = RIGHT.mean() - BETTER_RIGHT.mean()
    # The interval of what is won is told, whoever comes first.
    numbers = f"95 % interval {-drawn.high:.2f} to {-drawn.low:.2f}"
    assert drawn.test == "paired, few rows"
    assert drawn.sentence == f"The second is better than the first by {-difference:.2f} in accuracy ({numbers})."
    # Less of a loss is better.
    assert paired_tests.paired_bootstrap("nll", BETTER, LOGITS, KNOWN, kind="classification").sentence.startswith(
        "The first is better than the second by "
    )
    assert paired_tests.paired_bootstrap("nll", LOGITS, BETTER, KNOWN, kind="classification").sentence.startswith(
        "The second is better than the first by "
    )
    named = paired_tests.paired_bootstrap(
        "nll", LOGITS, BETTER, KNOWN, kind="classification", names=("probe", "the ensemble")
    ).sentence
    assert named.startswith("The ensemble is better than probe by ")
    same = paired_tests.paired_bootstrap("accuracy", LOGITS, LOGITS, KNOWN, kind="classification").sentence
    assert same.startswith(
        "The rows do not tell the first and the second apart by accuracy: the first minus the second is 0.00 (95 % interval "
    )


def test_what_has_no_interval_is_compared_by_its_values() -> None:
    """Features of normal samples: the distance is that of their means where they are shifted copies of each other."""
    features = np.random.default_rng(0).normal(size=(40, 3))
    near, far = (np.column_stack([np.zeros((40, 2)), features, features + shift]) for shift in (0.1, 1.0))
    names, ones = [str(row) for row in range(40)], np.ones((40, 1))
    both = Rows(names, ones, far, far), Rows(names, ones, near, near)
    (told,) = comparison.paired(*both, "generation", None, 0, ("gan", "larger"))
    assert told.difference == pytest.approx(3.0 - 0.03) and (told.low, told.high, told.p) == (None, None, None)
    which = "it is 3.00 of gan, 0.030 of larger"
    assert told.sentence == f"The rows do not tell gan and larger apart by frechet, which has no interval: {which}."


def test_rows_of_one_model_only_are_counted() -> None:
    found = paired_tests.mcnemar(RIGHT, BETTER_RIGHT)
    assert (found.test, found.low, found.high) == ("McNemar, exact", None, None)
    alone = int((BETTER_RIGHT & ~RIGHT).sum())
    expected = (
        f"Only the first is right on 0 rows, only the second on {alone}: equally good models differ as much or more"
    )
    assert found.sentence == f"{expected} in less than 1 % of such comparisons (McNemar's test, p = {found.p:.2g})."
    assert paired_tests.mcnemar([1, 0], [1, 0]).sentence == "Both are right on the same rows."


def test_none_is_called_better_where_the_test_of_the_same_difference_does_not() -> None:
    # Four rows of 24 on which only the first is right: p = 2 / 2 ** 4.
    first, second = np.ones(24, bool), np.arange(24) >= 4
    test = paired_tests.mcnemar(first, second)
    assert test.p == pytest.approx(0.125) and "in 12 % of such comparisons (McNemar's test, p = 0.12)" in test.sentence
    apart = paired_tests.Comparison("any", 4 / 24, 0.083, 0.375, None, "The first is better by 0.17 in accuracy.")
    told = paired_tests.agreeing_comparison(apart, test, "accuracy", 0.95, 24).sentence
    begun = "The rows do not tell the first and the second apart by accuracy: the first minus the second is 0.17 "
    assert told == f"{begun}(95 % interval 0.083 to 0.38)."
    sure = paired_tests.mcnemar(first, np.arange(24) >= 6)
    assert (
        sure.p == pytest.approx(2 / 2**6)
        and paired_tests.agreeing_comparison(apart, sure, "accuracy", 0.95, 24) == apart
    )


def test_a_comparison_over_folds() -> None:
    found = paired_tests.corrected_t([0.8, 0.82, 0.79], [0.7, 0.71, 0.70], n_train=100, n_test=50, name="accuracy")
    numbers = "95 % interval 0.061 to 0.139, p = 0.0082"
    assert found.test == "corrected resampled t"
    assert found.sentence == f"The first is better than the second by 0.100 in accuracy over 3 folds ({numbers})."
    same = paired_tests.corrected_t([0.8, 0.8], [0.8, 0.8], n_train=100, n_test=50)
    assert (same.difference, same.low, same.high, same.p) == (0, None, None, 1)
    assert same.sentence.startswith("The 2 folds do not tell the first and the second apart by the metric: ")


def test_of_folds_the_one_with_the_smaller_error_is_better() -> None:
    """The words behind the name hid that less is better: the worse of two recipes for numbers was named."""
    errors = [0.50, 0.55, 0.52], [0.80, 0.84, 0.83]
    told = paired_tests.corrected_t(*errors, n_train=100, n_test=50, name="rmse", names=("small", "large"))
    assert told.difference < 0 and told.high is not None and told.high < 0
    assert told.sentence.startswith("small is better than large by 0.300 in rmse over 3 folds (95 % interval 0.")


@pytest.mark.parametrize(("first", "second"), [([0.85, 0.9], [0.8, 0.85]), ([0.75, 0.5, 0.25], [0.5, 0.25, 0.0])])
def test_folds_that_all_differ_by_one_step_tell_nothing(first: list[float], second: list[float]) -> None:
    """Two folds of 20 images with one more right answer each are no certainty, whether the difference is rounded or not."""
    found = paired_tests.corrected_t(first, second, n_train=20, n_test=20, name="accuracy")
    assert found.difference == pytest.approx(first[0] - second[0])
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.sentence.startswith(f"The {len(first)} folds do not tell the first and the second apart by accuracy: ")
    assert paired_tests.corrected_t(second, first, n_train=20, n_test=20).p is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "the true class is in the set with a chance of at least 0.9"),
        ({"alpha": 0.2, "class_conditional": True}, "each class is in its rows' sets with a chance of at least 0.8"),
        (
            {"prior": [0.2, 0.3, 0.5]},
            "the true class is in the set with a chance of at least 0.9 at the given prior",
        ),
    ],
)
def test_prediction_sets_say_what_they_guarantee(given: dict[str, Any], said: str) -> None:
    found = conformal.conformal(LOGITS, KNOWN, **given)
    assert found.guarantee == said
    plain = found.as_plain()
    assert list(plain) == ["score", "alpha", "cuts", "penalty", "free_rank", "guarantee", "rows"]
    assert (plain["score"], plain["penalty"], plain["free_rank"], plain["rows"]) == ("lac", 0.0, 5, 90)
    assert conformal.conformal(LOGITS, KNOWN, score="raps").penalty == 0.01


def test_calibrations_are_stored_by_name() -> None:
    twice = np.where(KNOWN == 2, 0, KNOWN)
    plain = calibrate.calibrate(LOGITS, twice).as_plain()
    assert list(plain) == ["method", "prior", "parameters", "rows", "notes", "scores"]
    assert list(plain["parameters"]) == ["scale", "bias"]
    assert plain["notes"] == ["no labelled rows of class numbers 2: their share is set to 0.011"]
    truth = np.stack([(KNOWN == 0).astype(float), np.ones(90)], 1)
    labels = label_calibrate.calibrate_labels(LOGITS[:, :2], truth, names=["a", "b"]).as_plain()
    assert list(labels) == ["labels", "notes"] and labels["labels"][1] is None
    assert labels["notes"] == ["label b: only one answer among 90 labelled rows, left as it is"]


def test_prevalences_are_stored_by_name() -> None:
    listed = prior.prior([1, 2, 5], 3, val_targets=KNOWN).as_plain()
    assert listed == {"kind": "list", "values": [0.125, 0.25, 0.625], "low": None, "high": None, "notes": []}
    counted = prior.prior("val", 3, val_targets=KNOWN)
    assert counted.as_plain()["kind"] == "val" and counted.values == tuple(np.bincount(KNOWN) / 90)
    tested = prior.prior("test", 3, val_targets=KNOWN, test_targets=[0, 0, 1, -1])
    assert tested.as_plain()["kind"] == "test" and tested.values[0] == pytest.approx(2 / 3, rel=1e-3)


def test_ensembles_and_curves_are_stored_by_name() -> None:
    plain = ensemble.select([LOGITS, BETTER], KNOWN, kind="classification").as_plain()
    assert list(plain) == [
        "members", "weights", "mixing", "way", "loss", "single_losses", "held_out_loss", "tried", "gap", "notes",
    ]  # fmt: skip
    assert (plain["way"], plain["mixing"], plain["members"], plain["weights"]) == ("search", "logits", [1], [1.0])
    curve = learning_curve.fit_learning_curve([10, 20, 40], [0.3, 0.2, 0.15], variances=[0.01] * 3, draws=10).as_plain()
    assert list(curve) == ["family", "level", "held_out_errors", "parameters", "notes"]
    assert curve["notes"] == ["three sizes are too few to choose a family: power is used"]
    # 0.1 + 2 / n goes through the three points.
    assert curve["parameters"] == pytest.approx([0.1, 2.0, 1.0], rel=1e-3)


def test_intervals_say_how_they_were_made() -> None:
    found = by_metric.metric_intervals(
        ["accuracy", "nll", "auroc"], LOGITS, KNOWN, resamples=100, kind="classification"
    )
    assert {name: one.method for name, one in found.items()} == {
        "accuracy": "wilson", "nll": "one row more", "auroc": "delong",
    }  # fmt: skip
    assert list(by_metric.wilson(3, 7).as_plain()) == ["value", "low", "high", "level", "method", "note"]


def test_a_table_of_classes_is_that_of_scikit_learn() -> None:
    # The last class is true, but never predicted.
    logits = np.hstack([LOGITS, np.full((90, 1), -9.0)])
    truth = KNOWN.copy()
    truth[:5], truth[5:8] = 3, -1
    found = metrics.details(logits, truth, ["a", "b", "c", "d"], "classification")
    known = truth >= 0
    predicted, true = logits[known].argmax(1), truth[known]
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        true, predicted, labels=range(4), zero_division=np.nan
    )
    assert list(found) == ["classes", "confusion"]
    assert found["confusion"] == sk.confusion_matrix(true, predicted, labels=range(4)).tolist()
    for number, row in enumerate(found["classes"]):
        assert list(row) == ["class", "images", "precision", "recall", "f1", "auroc"]
        assert row["class"] == "abcd"[number] and row["images"] == support[number]
        np.testing.assert_allclose(
            [row["precision"], row["recall"], row["f1"]], [precision[number], recall[number], f1[number]]
        )
    assert np.isnan(found["classes"][3]["precision"]) and found["classes"][3]["recall"] == 0
    assert metrics.details(logits, np.full(90, -1), ["a"] * 4, "classification") == {}


def test_a_table_of_labels_is_that_of_scikit_learn() -> None:
    truth = (RNG.random((90, 3)) < 0.4).astype(float)
    truth[:10, 1], truth[:, 2] = np.nan, 0
    (first, second, third) = metrics.details(LOGITS, truth, ["a", "b", "c"], "multilabel")["classes"]
    for number, row in ((0, first), (1, second)):
        known = ~np.isnan(truth[:, number])
        said, true = LOGITS[known, number] > 0, truth[known, number]
        expected = sk.precision_recall_fscore_support(true, said, average="binary")[:3]
        assert list(row) == ["class", "images", "positive", "precision", "recall", "f1", "auroc"]
        assert (row["images"], row["positive"]) == (known.sum(), true.sum())
        np.testing.assert_allclose([row["precision"], row["recall"], row["f1"]], expected)
        assert row["auroc"] == pytest.approx(sk.roc_auc_score(true, LOGITS[known, number]))
    assert third["positive"] == 0 and np.isnan(third["recall"]) and np.isnan(third["auroc"])


def test_a_table_of_numbers_is_that_of_scikit_learn() -> None:
    truth = LOGITS + RNG.normal(size=LOGITS.shape)
    truth[:4, 0], truth[:, 2] = np.nan, np.nan
    (first, _, third) = metrics.details(LOGITS, truth, ["a", "b", "c"], "regression")["classes"]
    assert list(first) == ["class", "images", "rmse", "mse", "mae", "r2", "pearson", "spearman"]
    assert first["images"] == 86 and first["mae"] == pytest.approx(sk.mean_absolute_error(truth[4:, 0], LOGITS[4:, 0]))
    assert third["images"] == 0 and np.isnan(third["rmse"])


def test_a_table_of_masks_is_of_all_pixels() -> None:
    true, said = RNG.integers(0, 2, (4, 6, 6)), RNG.integers(0, 2, (4, 6, 6))
    true[0] = 0

    def per_class(masks: Any) -> Any:
        return np.stack([[(mask == number).sum() for number in range(3)] for mask in masks]).astype(float)

    hits = np.stack([[((a == n) & (b == n)).sum() for n in range(3)] for a, b in zip(true, said, strict=True)])
    rows = mask_metrics.table(np.hstack([per_class(said), hits]), per_class(true), ["back", "front", "never"])
    precision, recall, f1, _ = sk.precision_recall_fscore_support(true.ravel(), said.ravel())
    for number, row in enumerate(rows[:2]):
        assert list(row) == ["class", "images", "pixels", "dice", "iou", "precision", "recall"]
        assert row["pixels"] == pytest.approx((true == number).mean())
        np.testing.assert_allclose(
            [row["precision"], row["recall"], row["dice"], row["iou"]],
            [precision[number], recall[number], f1[number], f1[number] / (2 - f1[number])],
        )
    assert [row["images"] for row in rows] == [4, 3, 0] and np.isnan(rows[2]["dice"]) and rows[2]["pixels"] == 0


def test_of_many_classes_only_the_cells_that_are_not_empty_are_stored() -> None:
    rng = np.random.default_rng(3)
    truth, logits = rng.integers(0, 150, 400), rng.normal(size=(400, 150))
    logits[np.arange(400), truth] += rng.integers(0, 5, 400)
    found = metrics.details(logits, truth, [str(number) for number in range(150)], "classification")
    assert list(found) == ["classes", "confused_pairs"]
    matrix = np.zeros((150, 150), int)
    for true, predicted, images in found["confused_pairs"]:
        matrix[true, predicted] = images
    assert np.array_equal(matrix, sk.confusion_matrix(truth, logits.argmax(1), labels=range(150)))
