"""What is wrong with numbers that are given is said in one sentence, word for word; defaults are those that are written down."""

# ruff: noqa: E501  (sentences as they are printed)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mlpipe.errors import ConfigError, DataError, MlpipeError
from mlpipe.post import conformal, learning_curve, metrics, paired_tests, prior, quantify, rows, threshold
from mlpipe.post.calibration import calibrate, errors, labels
from mlpipe.post.ensembling import ensemble, mixing, random_search, weights
from mlpipe.post.intervals import by_metric

LOGITS = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [1, 0, 0]])
CLASSES = np.array([0, 1, 2, 0])
NOBODY = np.full(4, -1)
TWO = np.array([[1.0, -1], [-1, 1], [2, 0], [0, 2]])
LABELS = np.array([[1.0, 0], [0, 1], [1, 1], [0, 0]])
GAPS = np.array([[np.nan, 0], [1, 0]])
RNG = np.random.default_rng(0)
MANY = RNG.normal(size=(90, 3))
KNOWN = np.where(RNG.random(90) < 0.6, MANY.argmax(1), RNG.integers(0, 3, 90))
SCORES, YES = MANY[:, 0], (KNOWN == 0).astype(float)
# The second model is the better one, so that an order of models is not that of the list.
OTHER = MANY + 2.0 * np.eye(3)[KNOWN]


def searched(**numbers: float) -> object:
    return random_search.random_search(
        [LOGITS, LOGITS], CLASSES, mixing.cross_entropy, np.random.default_rng(0), **numbers
    )  # type: ignore[arg-type]


def of_classes() -> calibrate.Calibration:
    return calibrate.calibrate(np.tile(LOGITS, (5, 1)), np.tile(CLASSES, 5))


WRONG: list[tuple[Callable[[], object], type[MlpipeError], str]] = [
    (
        lambda: of_classes().apply(LOGITS[:, :2]),
        DataError,
        "predictions: 3 classes needed, got 2; apply a calibration to predictions of the same classes",
    ),
    (
        lambda: calibrate.calibrate(LOGITS, CLASSES, method="affin"),
        ConfigError,
        "mode.calibrator: unknown method, got 'affin'; did you mean 'affine'?",
    ),
    (
        lambda: calibrate.calibrate(LOGITS, CLASSES, method="xxxxxxx"),
        ConfigError,
        "mode.calibrator: unknown method, got 'xxxxxxx'; methods: none, temperature, bias, affine, vector, beta, histogram, isotonic, matrix, auto",
    ),
    (
        lambda: calibrate.calibrate(LOGITS, np.full(4, 1)),
        DataError,
        "calibration: all labelled rows are of one class, got 1; calibrate on rows of two classes or more, or set mode.calibrator=none",
    ),
    (
        lambda: calibrate.calibrate(LOGITS, CLASSES % 2, prior=[0.3, 0.3, 0.4]),
        DataError,
        "mode.prior: class number 2 is given a share of 0.4 but has no labelled row to fit it to; use mode.prior=val, or add labelled rows of that class",
    ),
    (
        lambda: paired_tests.mcnemar([True], [True, False]),
        DataError,
        "comparison: the same rows are needed, got [(1,), (2,)]; align them",
    ),
    (
        lambda: paired_tests.mcnemar([], []),
        DataError,
        "comparison: the same rows are needed, got [(0,), (0,)]; align them",
    ),
    (
        lambda: paired_tests.corrected_t([0.5, 0.6], [0.5, 0.6, 0.7], n_train=10, n_test=5),
        DataError,
        "comparison: finite scores of the same two or more folds are needed, got [[0.5, 0.6], [0.5, 0.6, 0.7]]; compare models of the same folds",
    ),
    (
        lambda: paired_tests.corrected_t([0.5], [0.5], n_train=10, n_test=5),
        DataError,
        "comparison: finite scores of the same two or more folds are needed, got [[0.5], [0.5]]; compare models of the same folds",
    ),
    (
        lambda: paired_tests.corrected_t([0.5, np.nan], [0.5, 0.6], n_train=10, n_test=5),
        DataError,
        "comparison: finite scores of the same two or more folds are needed, got [[0.5, nan], [0.5, 0.6]]; compare models of the same folds",
    ),
    (
        lambda: paired_tests.paired_bootstrap("accuracy", LOGITS, LOGITS[:2], CLASSES, kind="classification"),
        DataError,
        "comparison: predictions of one shape are needed, got [(4, 3), (2, 3)]; compare predictions of the same rows",
    ),
    (
        lambda: paired_tests.paired_bootstrap("accuracy", LOGITS, LOGITS, NOBODY, kind="classification"),
        DataError,
        "comparison: no row has a target; use a split with labels",
    ),
    (
        lambda: conformal.residual_halfwidths(LOGITS, CLASSES),
        DataError,
        "predictions: targets of the shape (4, 3), got (4,); give one target for each prediction, NaN for unknown",
    ),
    (
        lambda: conformal.conformal(LOGITS, CLASSES, score="ap"),
        ConfigError,
        "mode.conformal.score: unknown score, got 'ap'; did you mean 'aps'?",
    ),
    (
        lambda: conformal.conformal(
            LOGITS, CLASSES, score="zzzzz", alpha=1.0, class_conditional=True, prior=[0.2, 0.3, 0.5]
        ),
        ConfigError,
        "mode.conformal.score: unknown score, got 'zzzzz'; scores: lac, aps, raps\nmode.conformal.alpha: must be inside 0 and 1, got 1.0; change it\nmode.conformal: a prior and classes by themselves do not go together; leave the prior out: sets for each class by itself do not depend on it",
    ),
    (
        lambda: conformal.conformal(LOGITS, CLASSES, alpha=0.0),
        ConfigError,
        "mode.conformal.alpha: must be inside 0 and 1, got 0.0; change it",
    ),
    (
        lambda: conformal.conformal(LOGITS, CLASSES % 2, prior=[0.2, 0.3, 0.5]),
        DataError,
        "prior: class numbers 2 have no calibration row to be weighted; add rows, or leave the prior out",
    ),
    (
        lambda: ensemble.select([GAPS, GAPS], [0, 1], kind="classification"),
        DataError,
        "ensemble: no model has finite predictions for all rows; predict again",
    ),
    (
        lambda: ensemble.select([LOGITS, LOGITS], CLASSES, way="gredy", kind="classification"),
        ConfigError,
        "mode.search: no such way for classification, got 'gredy'; did you mean 'greedy'?",
    ),
    (
        lambda: ensemble.select([LOGITS, LOGITS], LOGITS, way="certified", kind="regression"),
        ConfigError,
        "mode.search: no such way for regression, got 'certified'; ways: search, greedy, auto",
    ),
    (
        lambda: ensemble.select([LOGITS, LOGITS[:2]], CLASSES, kind="classification"),
        DataError,
        "ensemble: predictions of one shape are needed, got [(2, 3), (4, 3)]; give every model the same rows and outputs",
    ),
    (
        lambda: ensemble.select([LOGITS, LOGITS], NOBODY, kind="classification"),
        DataError,
        "ensemble: no row has a target; use a split with labels",
    ),
    (
        lambda: ensemble.select([LOGITS, LOGITS], CLASSES, eval_frac=0.1, kind="classification"),
        ConfigError,
        "mode.eval_frac: both parts need a row, got 0.1; with 4 rows give a share from 0.25 to 0.75",
    ),
    (lambda: by_metric.wilson(0, 0), DataError, "interval: a share needs a row, got 0; use a split with labels"),
    (
        lambda: by_metric.labelled_rows(LOGITS, CLASSES[:2], None),
        DataError,
        "predictions: 4 rows need as many targets, got 2; give one target for each row",
    ),
    (
        lambda: by_metric.labelled_rows(LOGITS, CLASSES, CLASSES[:2]),
        DataError,
        "predictions: 4 rows need as many groups, got 2; give one group for each row",
    ),
    (
        lambda: labels.calibrate_labels(TWO, LABELS).apply(LOGITS),
        DataError,
        "predictions: 2 labels needed, got 3; apply a calibration to predictions of the same labels",
    ),
    (
        lambda: labels.calibrate_labels(LOGITS, CLASSES[:, None]),
        DataError,
        "predictions: targets of the shape (4, 3), got (4, 1); give one target for each logit, NaN for unknown",
    ),
    (
        lambda: labels.calibrate_labels(LOGITS, np.ones((4, 3))),
        DataError,
        "calibration: no label has both answers among the labelled rows; use a split with labels",
    ),
    (
        lambda: labels.calibrate_labels(TWO, LABELS, prior=[0.5, 1.0]),
        DataError,
        "mode.prior: each share must be below 1, got [0.5, 1.0]; give the share of yes of each label",
    ),
    (
        lambda: learning_curve.fit_learning_curve([1, 2, 3], [0.3, 0.2, 0.1], variances=[1, 1, 1], families=["powr"]),
        ConfigError,
        "families: unknown family, got ['powr']; did you mean 'power'?",
    ),
    (
        lambda: learning_curve.fit_learning_curve([1, 2, 3], [0.3, 0.2, 0.1], variances=[1, 1, 1], families=[]),
        ConfigError,
        "families: unknown family, got []; families: power, log, arctan",
    ),
    (
        lambda: learning_curve.fit_learning_curve([1, 2, 2], [0.3, 0.2, 0.1], variances=[1, 1, 1]),
        DataError,
        "learning curve: three different positive sizes needed, got [1.0, 2.0, 2.0]; train on n/8, n/4, n/2, 3n/4 and n images",
    ),
    (
        lambda: learning_curve.fit_learning_curve([0, 1, 2], [0.3, 0.2, 0.1], variances=[1, 1, 1]),
        DataError,
        "learning curve: three different positive sizes needed, got [0.0, 1.0, 2.0]; train on n/8, n/4, n/2, 3n/4 and n images",
    ),
    (
        lambda: learning_curve.fit_learning_curve([1, 2, 3], [0.3, 0.2], variances=[1, 1, 1]),
        DataError,
        "learning curve: finite errors of each size needed, got (2,); give one error for each size",
    ),
    (
        lambda: learning_curve.fit_learning_curve([1, 2, 3], [0.3, 0.2, 0.1]),
        DataError,
        "learning curve: mean errors need their variances; give `variances`, or the errors of each test row",
    ),
    (
        lambda: learning_curve.fit_learning_curve([1, 2, 3], [0.3, 0.2, 0.1], variances=[1, 0, 1]),
        DataError,
        "learning curve: variances must be positive, got [1.0, 0.0, 1.0]; one for each size",
    ),
    (
        lambda: prior.prior("tset", 3, val_targets=CLASSES),
        ConfigError,
        "mode.prior: unknown prior, got 'tset'; use val, test, quantify or a list of 3 numbers",
    ),
    (
        lambda: prior.prior("test", 3, val_targets=CLASSES),
        ConfigError,
        "mode.prior: test needs test labels, which are not there, got 'test'; use mode.prior=val, or a task with a test split",
    ),
    (
        lambda: prior.prior("test", 3, val_targets=CLASSES, test_targets=NOBODY),
        DataError,
        "mode.prior: no test row has a target; give mode.prior as a list",
    ),
    (
        lambda: prior.prior("val", 3, val_targets=NOBODY),
        DataError,
        "mode.prior: no validation row has a target; give mode.prior as a list",
    ),
    (
        lambda: prior.prior("quantify", 3, val_targets=CLASSES),
        ConfigError,
        "mode.prior: quantify needs predictions of an unlabelled split, which are not there, got 'quantify'; use mode.prior=val, or give the task such a split",
    ),
    (
        lambda: prior.prior("quantify", 3, val_targets=CLASSES, unlabelled_logits=LOGITS),
        ConfigError,
        "mode.prior: quantify needs predictions of labelled rows, which are not there, got 'quantify'; predict the validation or test split first",
    ),
    (
        lambda: prior.expected_performance(LOGITS, CLASSES, [0.5, 0.5]),
        DataError,
        "prevalence: not a prevalence of the classes, got [0.5, 0.5]; give 3 shares, none negative",
    ),
    (
        lambda: prior.expected_performance(LOGITS, CLASSES % 2, [0.2, 0.3, 0.5]),
        DataError,
        "prevalence: class numbers 2 have a share but no labelled row; add labelled rows of them, or set their share to 0",
    ),
    (
        lambda: quantify.quantify(LOGITS, CLASSES, LOGITS, method="em2"),
        ConfigError,
        "mode.quantifier: unknown method, got 'em2'; did you mean 'em'?",
    ),
    (
        lambda: rows.finite(CLASSES),
        DataError,
        "predictions: logits must have the shape (rows, classes), got (4,); give one row for each sample and one column for each class",
    ),
    (
        lambda: rows.finite(GAPS),
        DataError,
        "predictions: 1 of 2 rows hold values that are not finite (0); predict again, or leave out the model that made them",
    ),
    (
        lambda: rows.finite(GAPS, ids=["a", "b"], key="k"),
        DataError,
        "k: 1 of 2 rows hold values that are not finite (a); predict again, or leave out the model that made them",
    ),
    (
        lambda: rows.labelled(LOGITS, CLASSES[:2]),
        DataError,
        "predictions: 4 rows need as many targets, got (2,); give one target for each row, -1 for none",
    ),
    (lambda: rows.labelled(LOGITS, NOBODY), DataError, "predictions: no row has a target; use a split with labels"),
    (
        lambda: rows.labelled(LOGITS[:, :2], CLASSES),
        DataError,
        "predictions: targets must be below 2, got 2; check the order of the classes",
    ),
    (
        lambda: rows.shares([0.5], 3),
        DataError,
        "mode.prior: wrong number of entries, got [0.5]; give 3 numbers, one for each class in the task's order",
    ),
    (
        lambda: rows.shares([0.5, 0.5, 0], 3),
        DataError,
        "mode.prior: every share must be positive, got [0.5, 0.5, 0.0]; a class that cannot occur gets a small share, such as 1e-6",
    ),
    (
        lambda: searched(budget=0, weights_budget=-1, max_ensemble_size=0, temperature=2.0, weights_temperature=-1.0),
        ConfigError,
        "mode.budget: must be 1 or more, got 0; change it\nmode.weights_budget: must be 0 or more, got -1; change it\nmode.max_ensemble_size: must be 1 or more, got 0; change it\nmode.temperature: must be from 0 to 1, got 2.0; change it\nmode.weights_temperature: must be from 0 to 1, got -1.0; change it",
    ),
    (
        lambda: metrics.statistic("acuracy", LOGITS, CLASSES, "classification"),
        ConfigError,
        "metrics.final: no such metric for classification, got 'acuracy'; did you mean 'accuracy'?",
    ),
    (
        lambda: metrics.statistic("nonsense", LOGITS, CLASSES, "classification"),
        ConfigError,
        "metrics.final: no such metric for classification, got 'nonsense'; metrics: accuracy, balanced_accuracy, macro_f1, mcc, kappa, auroc, average_precision, nll, brier",
    ),
    (
        lambda: threshold.best_threshold([0.1, 0.2], [0, 1], criterion="yuden"),
        ConfigError,
        "mode.threshold: unknown criterion, got 'yuden'; did you mean 'youden'?",
    ),
    (
        lambda: threshold.best_threshold([0.1, 0.2], [0, 1], criterion="cost", false_positive=-1.0),
        ConfigError,
        "mode.threshold: costs must not be negative, got [-1.0, 1.0]; change them",
    ),
    (
        lambda: threshold.best_threshold([0.1, np.nan], [0, 1]),
        DataError,
        "threshold: scores must be finite; predict again",
    ),
    (
        lambda: threshold.best_threshold([0.1, 0.2], [1, 1]),
        DataError,
        "threshold: rows with yes and with no are needed, got 2; choose thresholds on rows that hold both",
    ),
    (
        lambda: threshold.decide(LOGITS, np.zeros((2, 2))),
        ConfigError,
        "costs: not a table of costs, got (2, 2); give 3 rows (true classes) of finite numbers, one for each decision",
    ),
]


@pytest.mark.parametrize(("call", "kind", "said"), WRONG, ids=map(str, range(len(WRONG))))
def test_what_is_wrong_is_said(call: Callable[[], object], kind: type[MlpipeError], said: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == said


DEFAULTS: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = [
    (calibrate.calibrate, (MANY, KNOWN), {"prior": None, "method": "affine", "seed": 0}),
    (errors.expected_calibration_error, (MANY, KNOWN), {"bins": 15}),
    (errors.adaptive_calibration_error, (MANY, KNOWN), {"bins": 15}),
    (errors.classwise_calibration_error, (MANY, KNOWN), {"bins": 15, "scheme": "width"}),
    (errors.debiased_error, (MANY, KNOWN), {"bins": 15}),
    (errors.binned_error, (np.abs(np.tanh(SCORES)), YES), {"bins": 15, "scheme": "width"}),
    (
        errors.reliability_bins,
        (np.abs(np.tanh(SCORES)), YES),
        {"bins": 15, "scheme": "width", "level": 0.95},
    ),
    (
        paired_tests.paired_bootstrap,
        ("accuracy", MANY, OTHER, KNOWN),
        {"kind": "classification", "groups": None, "resamples": 2000, "level": 0.95, "seed": 0},
    ),
    (
        conformal.conformal,
        (MANY, KNOWN),
        {"alpha": 0.1, "score": "lac", "class_conditional": False, "prior": None},
    ),
    (conformal.conformal, (MANY, KNOWN), {"penalty": 0.01, "free_rank": 5, "noise": None}),
    (conformal.residual_halfwidths, (MANY, OTHER), {"alpha": 0.1}),
    (
        ensemble.select,
        ([MANY, OTHER], KNOWN),
        {"kind": "classification", "way": "search", "eval_frac": None, "budget": 1000, "weights_budget": 10}
        | {"max_ensemble_size": 5, "temperature": 0.3, "weights_temperature": 0.5, "include_single": True, "seed": 0},
    ),
    (by_metric.wilson, (3, 7), {"level": 0.95}),
    (
        by_metric.metric_intervals,
        (["accuracy", "nll", "auroc"], MANY, KNOWN),
        {"kind": "classification", "groups": None, "resamples": 2000, "level": 0.95, "seed": 0},
    ),
    (
        labels.calibrate_labels,
        (TWO.repeat(9, 0), np.vstack([LABELS.repeat(8, 0), 1 - LABELS])),
        {"prior": None, "method": "affine", "names": None, "seed": 0},
    ),
    (
        learning_curve.fit_learning_curve,
        ([10, 20, 40, 80], RNG.random((30, 4)) * [0.4, 0.3, 0.25, 0.2]),
        {"variances": None, "families": ("power", "log", "arctan"), "level": 0.9, "draws": 500, "seed": 0},
    ),
    (metrics.compute, (["accuracy", "nll"], MANY, KNOWN), {"kind": "classification", "own": None}),
    (
        quantify.quantify,
        (MANY, KNOWN, OTHER),
        {"method": "acc", "base": None, "draws": 0, "level": 0.95, "seed": 0},
    ),
    (threshold.best_threshold, (SCORES, YES), {"criterion": "f1", "false_positive": 1.0, "false_negative": 1.0}),
    (threshold.class_thresholds, (MANY, KNOWN), {"criterion": "f1"}),
    (threshold.label_thresholds, (TWO, LABELS), {"criterion": "f1"}),
    (weights.greedy, ([MANY, OTHER], KNOWN), {"kind": "classification", "size": 40, "decimals": 6}),
    (weights.certified_weights, ([MANY, OTHER], KNOWN), {"kind": "classification", "smoothing": None, "seed": 0}),
]


@pytest.mark.parametrize(("function", "given", "written"), DEFAULTS)
def test_defaults_are_those_that_are_written_down(
    function: Callable[..., object], given: tuple[Any, ...], written: dict[str, Any]
) -> None:
    def shown(value: object) -> object:
        return value.as_plain() if hasattr(value, "as_plain") else value

    # The kind of the task has no default.
    kind = {name: value for name, value in written.items() if name == "kind"}
    np.testing.assert_equal(repr(shown(function(*given, **kind))), repr(shown(function(*given, **written))))


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (threshold.best_threshold, (SCORES, YES)),
        (threshold.class_thresholds, (MANY, KNOWN)),
        (threshold.label_thresholds, (MANY, np.eye(3)[KNOWN])),
    ],
)
def test_costs_of_a_threshold_are_one_each(function: Callable[..., object], given: tuple[Any, ...]) -> None:
    same = function(*given, criterion="cost", false_positive=1.0, false_negative=1.0)
    assert function(*given, criterion="cost") == same
    assert function(*given, criterion="cost", false_negative=2.0) != same
