"""What fixed numbers give stays what it was: a calibration that was reported once comes out again in the next version.

That these results are right is shown in the other files of this folder, against independent libraries. Where one is meant to
change, `python -m tests.post.test_unchanged` writes `unchanged.json` anew; the difference of that file is what changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from mlpipe.post import conformal, learning_curve, metrics, paired_tests, prior, quantify, rows, sums, threshold
from mlpipe.post import kind as post_kind
from mlpipe.post.calibration import calibrate, labels
from mlpipe.post.calibration import errors as calibration_error
from mlpipe.post.ensembling import ensemble, mixing, random_search, simplex, weights
from mlpipe.post.intervals import by_metric
from mlpipe.post.measures import class_metrics, ranks

STORED = Path(__file__).with_name("unchanged.json")
RNG = np.random.default_rng(7)
N = 60
LOGITS = RNG.normal(size=(N, 3)) * 1.5
CLASSES = np.where(RNG.random(N) < 0.6, LOGITS.argmax(1), RNG.integers(0, 3, N))
OTHER = LOGITS + RNG.normal(size=(N, 3)) + 0.8 * np.eye(3)[CLASSES]
THIRD = RNG.normal(size=(N, 3)) + 0.4 * np.eye(3)[CLASSES]
SOME = np.where(np.arange(N) % 7 == 3, -1, CLASSES)
NO_LAST = np.where(CLASSES == 2, 0, CLASSES)
TIED = LOGITS.round(0)
LABELS = (LOGITS + RNG.normal(size=(N, 3)) > 0.3).astype(float)
GAPPED = np.where(RNG.random((N, 3)) < 0.1, np.nan, LABELS)
NUMBERS = 1e4 + np.array([1.0, 50.0, 3.0])[None] * LOGITS
TRUE = NUMBERS + RNG.normal(size=(N, 3)) * [0.5, 30.0, 4.0]
TRUE[:9, 0], TRUE[30:32, 2] = np.nan, np.nan
PIXELS = np.stack([RNG.multinomial(64, [0.5, 0.3, 0.2]) for _ in range(N)]).astype(float)
PREDICTED = np.stack([RNG.multinomial(64, [0.4, 0.4, 0.2]) for _ in range(N)]).astype(float)
COUNTS = np.hstack([PREDICTED, np.minimum(PIXELS, PREDICTED) * 0.7])
GROUPS = np.arange(N) // 4
PRIOR = [0.2, 0.3, 0.5]
BY_KIND: dict[str, tuple[Any, Any, Any]] = {
    "classification": (LOGITS, OTHER, SOME),
    "multilabel": (LOGITS, OTHER, GAPPED),
    "regression": (NUMBERS, NUMBERS + OTHER, TRUE),
    "segmentation": (COUNTS, COUNTS, PIXELS),
}


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """Every call by name."""
    yield from of_calibration()
    yield from of_errors()
    yield from of_kinds()
    yield from of_sets()
    yield from of_ensembles()
    yield from of_prevalence()
    yield from of_curves()
    yield from of_thresholds()
    yield from of_parts()


def of_calibration() -> Iterator[tuple[str, Callable[[], object]]]:
    for method in get_args(calibrate.Method):
        for name, given in {
            "": (SOME, None),
            " for a prior": (SOME, PRIOR),
            " without a class": (NO_LAST, None),
        }.items():

            def fitted(method: str = method, given: Any = given) -> object:
                one = calibrate.calibrate(LOGITS, given[0], given[1], method=method)
                again = calibrate.Calibration.from_plain(one.as_plain())
                return one, one.apply(OTHER[:5]), again.apply(OTHER[:2])

            yield f"calibrate {method}{name}", fitted
        yield (
            f"calibrate labels {method}",
            lambda method=method: [
                (one, one.apply(OTHER[:3]))
                for one in [labels.calibrate_labels(LOGITS, GAPPED, method=method, names=["a", "b", "c"])]
            ],
        )
    yield (
        "calibrate labels for a prior",
        lambda: labels.calibrate_labels(LOGITS, LABELS, prior=[0.1, 0.5, 0.9]),
    )


def of_errors() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "confidences", lambda: calibration_error.confidences(LOGITS, SOME)
    for name in ("expected", "adaptive", "classwise"):
        call: Any = getattr(calibration_error, f"{name}_calibration_error")
        yield f"{name} error", lambda call=call: [call(LOGITS, SOME), call(TIED, SOME, bins=4)]
    for scheme in get_args(calibration_error.Scheme):
        sure, hits = np.exp(class_metrics.log_softmax(TIED)).max(1), (TIED.argmax(1) == CLASSES).astype(float)
        yield (
            f"bins of {scheme}",
            lambda scheme=scheme, sure=sure, hits=hits: (
                calibration_error.reliability_bins(sure, hits, bins=5, scheme=scheme, level=0.8),
                calibration_error.binned_error(sure, hits, bins=3, scheme=scheme),
                calibration_error.classwise_calibration_error(LOGITS, SOME, bins=6, scheme=scheme),
            ),
        )
    yield (
        "other errors",
        lambda: (
            calibration_error.debiased_error(LOGITS, SOME),
            calibration_error.root_brier(LOGITS, SOME),
        ),
    )


# Metrics that came later; they are tested against Keras.
_NEWER = {
    "classification": ("top1_accuracy",),
    "multilabel": ("top1_accuracy", "top5_accuracy"),
    "regression": ("top1_accuracy", "top5_accuracy"),
}


def of_kinds() -> Iterator[tuple[str, Callable[[], object]]]:
    drawn = RNG.multinomial(N, np.full(N, 1 / N), 3).astype(float)
    for kind, (one, other, truth) in BY_KIND.items():
        names = [name for name in post_kind.of(kind).METRICS if name not in _NEWER.get(kind, ())]
        yield f"metrics of {kind}", lambda k=kind, n=names, o=one, t=truth: metrics.compute(n, o, t, k)
        yield f"table of {kind}", lambda k=kind, o=one, t=truth: metrics.details(o, t, ["a", "b", "c"], k)
        drawable = [name for name in names if has_interval(name, kind)]
        for group, members in (("", None), (" of groups", GROUPS)):
            yield (
                f"intervals of {kind}{group}",
                lambda k=kind, n=drawable, o=one, t=truth, m=members: by_metric.metric_intervals(
                    n, o, t, kind=k, groups=m, resamples=60, level=0.9, seed=3
                ),
            )
            yield (
                f"bootstrap of {kind}{group}",
                lambda k=kind, n=drawable, o=one, p=other, t=truth, m=members: paired_tests.paired_bootstrap(
                    n[0], o, p, t, kind=k, groups=m, resamples=60
                ),
            )
        for name in drawable:
            yield (
                f"sums of {kind} {name}",
                lambda k=kind, n=name, o=one, t=truth: [
                    metrics.statistic(n, *known(o, t), k).of_weights(w, u) for w, u in [weighted(t, drawn)]
                ],
            )
    yield (
        "areas without",
        lambda: (
            by_metric.metric_intervals(["auroc"], LOGITS, np.zeros(N, int), kind="classification")["auroc"],
            by_metric.metric_intervals(["auroc"], np.eye(3)[CLASSES], CLASSES, kind="classification")["auroc"],
            by_metric.metric_intervals(["accuracy"], LOGITS, np.full(N, -1), kind="classification"),
        ),
    )
    yield (
        "Wilson",
        lambda: [by_metric.wilson(hits, n, level=0.9) for hits, n in ((0, 1), (0, 9), (5, 9), (9, 9), (1, 1))],
    )
    yield (
        "folds",
        lambda: [
            paired_tests.corrected_t([0.7, 0.75, 0.71], [0.7, 0.72, 0.73], n_train=80, n_test=20, level=0.9),
            paired_tests.corrected_t([0.9, 0.9], [0.9, 0.8], n_train=80, n_test=20, name="nll"),
            paired_tests.mcnemar(LOGITS.argmax(1) == CLASSES, OTHER.argmax(1) == CLASSES),
        ],
    )


def of_sets() -> Iterator[tuple[str, Callable[[], object]]]:
    for score in get_args(conformal.Score):
        for name, given in {
            "": {}, " by class": {"class_conditional": True}, " for a prior": {"prior": PRIOR},
            " with noise": {"noise": np.linspace(0, 1, N), "alpha": 0.3, "penalty": 0.2, "free_rank": 1},
        }.items():  # fmt: skip

            def sets(score: str = score, given: Any = given) -> object:
                one = conformal.conformal(LOGITS, CLASSES, score=score, **given)
                again = conformal.ConformalSets.from_plain(one.as_plain())
                return one, one.sets(OTHER[:9]), again.sets(OTHER[:9], noise=np.full(9, 0.5))

            yield f"sets {score}{name}", sets
    yield "half-widths", lambda: [conformal.residual_halfwidths(NUMBERS, TRUE, alpha=alpha) for alpha in (0.1, 0.5)]


def of_ensembles() -> Iterator[tuple[str, Callable[[], object]]]:
    broken = LOGITS.copy()
    broken[3, 1] = np.nan
    parts = {"classification": ([THIRD, LOGITS, OTHER], SOME), "multilabel": ([THIRD, LOGITS, OTHER], GAPPED),
             "regression": ([NUMBERS + THIRD, NUMBERS, NUMBERS + 3 * OTHER], TRUE)}  # fmt: skip
    for kind, (models, truth) in parts.items():
        for way in get_args(ensemble.Way):
            if (way, kind) == ("certified", "regression"):
                continue

            def chosen(kind: str = kind, way: str = way, models: Any = models, truth: Any = truth) -> object:
                one = ensemble.select(models, truth, kind=kind, way=way, budget=40)
                held = ensemble.select(models, truth, kind=kind, way=way, budget=40, eval_frac=0.5, seed=2)
                return one, one.apply([m[:4] for m in models], kind), held

            yield f"ensemble {way} of {kind}", chosen
        yield (
            f"weights of {kind}",
            lambda k=kind, m=models, t=truth: (
                weights.greedy(m, np.nan_to_num(t) if k != "classification" else np.abs(t), kind=k, size=12),
                mixing.combine(m, [0.5, 0.2, 0.3], k, post_kind.weighted(k)),
            ),
        )
    yield (
        "ensembles of few",
        lambda: (
            ensemble.select([broken, OTHER], SOME, kind="classification"),
            ensemble.select(
                [LOGITS, OTHER], SOME, include_single=False, budget=30, weights_budget=0, kind="classification"
            ),
            ensemble.select(
                [LOGITS, OTHER, THIRD],
                SOME,
                temperature=1.0,
                weights_temperature=1.0,
                budget=30,
                max_ensemble_size=2,
                kind="classification",
            ),
        ),
    )
    yield (
        "certified weights",
        lambda: [
            weights.certified_weights(
                [THIRD, LOGITS, OTHER], CLASSES, smoothing=smoothing, seed=1, kind="classification"
            )
            for smoothing in (None, 0.0, 3.0)
        ],
    )
    yield "combinations", lambda: [random_search.combination(rank, 6, 3) for rank in range(20)]
    yield (
        "mixing",
        lambda: (
            mixing.mixed([LOGITS, OTHER], [0.3, 0.7])[:4],
            mixing.cross_entropy(LOGITS, CLASSES),
            mixing.column_cross_entropy(np.exp(LOGITS), CLASSES)
            if False
            else mixing.binary_cross_entropy(LOGITS, LABELS),
            mixing.squared_error(NUMBERS, np.nan_to_num(TRUE, nan=1e4)),
        ),
    )


def of_prevalence() -> Iterator[tuple[str, Callable[[], object]]]:
    for method in get_args(quantify.Quantifier):
        yield f"quantify {method}", lambda method=method: (
            quantify.quantify(LOGITS, CLASSES, OTHER, method=method, draws=15, level=0.8, seed=2),
            quantify.quantify(TIED, SOME, THIRD, method=method, base=PRIOR),
            prior.prior(
                "quantify", 3, val_targets=SOME, rates_logits=LOGITS, rates_targets=SOME, unlabelled_logits=THIRD,
                method=method, draws=15, seed=1,
            ),
        )  # fmt: skip
    yield (
        "priors",
        lambda: (
            prior.prior("val", 3, val_targets=SOME),
            prior.prior("test", 3, val_targets=SOME, test_targets=NO_LAST),
            prior.prior([1, 2, 2], 3, val_targets=SOME),
            prior.move_prior(class_metrics.log_softmax(LOGITS[:5]), [1 / 3] * 3, PRIOR),
            prior.expected_performance(LOGITS, SOME, PRIOR),
            prior.expected_performance(LOGITS, SOME, [0.0, 0.5, 0.5]),
        ),
    )
    counted, sure = np.eye(3)[LOGITS.argmax(1)], np.exp(class_metrics.log_softmax(LOGITS))
    yield (
        "shares",
        lambda: (
            [quantify.error_rates(votes[SOME >= 0], SOME[SOME >= 0]) for votes in (counted, sure)],
            quantify.correct_counts(quantify.error_rates(counted, CLASSES), np.array([0.9, 0.05, 0.05])),
            quantify.importance_shares(np.array([[0.3, 0.1], [0.1, 0.5]]), np.array([0.6, 0.4])),
        ),
    )


def of_curves() -> Iterator[tuple[str, Callable[[], object]]]:
    sizes = np.array([20, 40, 80, 160, 320])
    errors = 0.05 + 3 / sizes**0.9
    for n in (3, 4, 5):

        def fitted(n: int = n) -> object:
            one = learning_curve.fit_learning_curve(sizes[:n], errors[:n], variances=errors[:n] / 50, draws=20, seed=1)
            return one.as_plain(), one.predict([640, 1000]), one.band([640, 1000])

        yield f"curve of {n} sizes", fitted
    each = (np.random.default_rng(2).random((40, 5)) < errors).astype(float)
    for family in get_args(learning_curve.Family):
        yield (
            f"curve {family}",
            lambda family=family: (
                learning_curve.fit_learning_curve(sizes, each, families=[family], draws=20, level=0.5).as_plain(),
                learning_curve.fit_learning_curve(sizes, each, families=[family], draws=20, level=0.5).band([500]),
            ),
        )


def of_thresholds() -> Iterator[tuple[str, Callable[[], object]]]:
    for criterion in ("f1", "balanced_accuracy", "youden", "cost"):
        for name, numbers in {"": LOGITS, " with ties": TIED}.items():
            yield (
                f"threshold {criterion}{name}",
                lambda c=criterion, z=numbers: (
                    threshold.best_threshold(1 / (1 + np.exp(-z[:, 0])), GAPPED[:, 0], criterion=c, false_negative=3.0),
                    threshold.class_thresholds(z, SOME, criterion=c, false_positive=2.0),
                    threshold.label_thresholds(z, GAPPED, criterion=c, false_positive=2.0),
                ),
            )
    costs = [[0, 1, 5, 0.3], [2, 0, 1, 0.3], [9, 3, 0, 0.3]]
    yield (
        "costs",
        lambda: (
            threshold.decide(class_metrics.log_softmax(LOGITS), costs),
            threshold.expected_cost(class_metrics.log_softmax(LOGITS), SOME, costs),
        ),
    )


def of_parts() -> Iterator[tuple[str, Callable[[], object]]]:
    yield (
        "ranks",
        lambda: (
            ranks.midranks(TIED[:, 0]),
            ranks.area_under_roc(TIED[:, 0], CLASSES == 0),
            ranks.average_precision_of(TIED[:, 0], CLASSES == 0),
        ),
    )
    yield (
        "rows",
        lambda: (
            rows.counts_of(SOME, 4),
            rows.stratified_folds(CLASSES, 4, 3),
            rows.labelled(LOGITS[:9], SOME[:9], ids=[str(row) for row in range(9)]),
            rows.shares([1, 3, 4], 3),
        ),
    )
    likely = np.exp(OTHER)
    yield (
        "simplex",
        lambda: (
            simplex.most_likely(likely),
            simplex.most_likely(likely, row_weights=np.linspace(1, 3, N), start=np.array(PRIOR), gap=1e-6),
            simplex.expected_shares(likely, np.array(PRIOR), np.ones(N) / N),
            simplex.least_quadratic(likely.T @ likely / N, likely.sum(0) / N),
        ),
    )
    statistic = metrics.statistic("nll", LOGITS, CLASSES, "classification")
    yield (
        "leave out",
        lambda: (
            sums.leave_out(statistic, GROUPS, 15),
            by_metric.units_of(GROUPS, N),
            statistic.unit_contributions(GROUPS, 15),
        ),
    )


def has_interval(name: str, kind: str) -> bool:
    """Whether a metric can be drawn."""
    try:
        metrics.statistic(name, *known(BY_KIND[kind][0], BY_KIND[kind][2]), kind)
    except Exception as error:
        assert "has no interval" in str(error)
        return False
    return True


def known(logits: Any, targets: Any) -> tuple[Any, Any]:
    """The rows with a target."""
    values, truth, _ = by_metric.labelled_rows(logits, targets, None)
    return values, truth


def weighted(targets: Any, drawn: Any) -> tuple[Any, Any]:
    """Weights of the rows with a target, one row a unit."""
    there = targets >= 0 if targets.ndim == 1 else ~np.isnan(targets).all(axis=1)
    return drawn[:, : int(there.sum())], np.arange(int(there.sum()))


def plain(value: Any) -> Any:
    """Numbers, lists and dicts; numbers that are none as text, since JSON has none."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.10g}") if np.isfinite(value) else repr(value)
    return value


def same(one: Any, other: Any, place: str) -> None:
    """Compare two of them."""
    if isinstance(one, dict) and isinstance(other, dict):
        assert list(one) == list(other), place
        for key in one:
            same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other), place
        for number, pair in enumerate(zip(one, other, strict=True)):
            same(*pair, f"{place}[{number}]")
    elif isinstance(one, float) and isinstance(other, float | int):
        # What a minimiser finds is as exact as its end is flat.
        assert one == pytest.approx(other, rel=1e-5, abs=1e-7), place
    else:
        assert one == other, place


CASES = dict(cases())
# These choose among many calibrations, each by cross-validation.
LONG = (
    "calibrate labels auto",
    "calibrate auto for a prior",
    "calibrate auto without a class",
    "calibrate matrix without a class",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.program) if name in LONG else name for name in CASES]
)
def test_fixed_numbers_give_what_they_gave(name: str) -> None:
    stored = json.loads(STORED.read_text("utf-8"))
    same(plain(CASES[name]()), stored[name], name)


def test_nothing_is_stored_that_is_not_tried() -> None:
    assert list(json.loads(STORED.read_text("utf-8"))) == list(CASES)


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(plain(call()))}" for name, call in CASES.items()]
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
