"""Calibrations that are held at the identity: where they lie between it and the bare fit, and that the unit does not matter."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from mlpipe.errors import ConfigError
from mlpipe.post.calibration import shrunk_fit
from mlpipe.post.calibration.calibrate import Calibration, calibrate, unit_of
from mlpipe.post.calibration.calibrators import prepared
from mlpipe.post.calibration.labels import calibrate_labels
from mlpipe.post.measures import class_metrics
from mlpipe.post.measures.class_metrics import log_softmax
from tests.post.drawing import drawn

HELD = ["temperature", "bias", "affine", "vector", "beta", "matrix"]
CURVES = ["isotonic", "histogram"]


def network(seed: int, n: int, classes: int, scale: float, bias: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits of true probabilities, distorted, and labels drawn from them."""
    rng = np.random.default_rng(seed)
    true = rng.normal(0, 2, (n, classes))
    chances = np.exp(log_softmax(true))
    targets = (chances.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(0, classes - 1)
    return scale * true + bias * np.random.default_rng(99).normal(size=classes), targets


@pytest.mark.parametrize("prior", [None, [0.5, 0.2, 0.2, 0.1]])
@pytest.mark.parametrize("strength", [0.5, 20.0])
def test_the_minimum_is_that_of_another_solver(strength: float, prior: list[float] | None) -> None:
    logits, targets = network(0, 80, 4, 3, 0.5)
    shares = np.bincount(targets) / 80
    weights = np.ones(80) if prior is None else (np.array(prior) / shares)[targets]
    weights, offset = weights / weights.sum(), np.zeros(4) if prior is None else np.log(np.array(prior) / shares)

    def loss(parameters: np.ndarray) -> float:
        logs = log_softmax(np.exp(parameters[0]) * log_softmax(logits) + offset + parameters[1:])
        held = strength * (parameters**2).sum() / 160
        return float(-(weights * logs[np.arange(80), targets]).sum() + held)

    other = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9})
    mine = calibrate(logits, targets, prior, shrinkage=strength)
    expected = log_softmax(np.exp(other.x[0]) * log_softmax(logits) + offset + other.x[1:])
    assert np.abs(np.exp(mine.apply(logits)) - np.exp(expected)).max() < 1e-5


def test_labels_are_held_as_a_ridge_holds_a_logistic_regression() -> None:
    """With the scale fixed the log-odds of yes move by b1 - b0, held by half the precision of each."""
    logits, targets = network(1, 60, 2, 1, 2)
    margin = logits[:, 1] - logits[:, 0]

    def loss(shift: np.ndarray) -> float:
        odds = margin + shift[0]
        return float(np.logaddexp(0, odds).sum() - odds[targets == 1].sum() + 5 * shift[0] ** 2 / 4)

    shift = minimize(loss, [0.0], tol=1e-12).x[0]
    out = calibrate_labels(margin[:, None], targets[:, None], method="bias", shrinkage=5.0).apply(margin[:, None])
    assert out[:, 0] - margin == pytest.approx(shift, abs=1e-5)


@pytest.mark.parametrize("method", HELD)
@pytest.mark.parametrize("prior", [None, [0.5, 0.3, 0.2]])
def test_held_for_good_is_the_identity_at_the_prior(method: str, prior: list[float] | None) -> None:
    logits, targets = network(2, 200, 3, 2, 1)
    held = calibrate(logits, targets, prior, method=method, shrinkage=1e11).apply(logits)
    moved = calibrate(logits, targets, prior, method="none").apply(logits)
    assert np.exp(held) == pytest.approx(np.exp(moved), abs=1e-6)


@pytest.mark.parametrize("method", HELD)
def test_not_held_is_the_bare_fit(method: str) -> None:
    logits, targets = drawn(3, 150, 3)
    bare = calibrate(logits, targets, method=method)
    for shrinkage in ("none", 0):
        again = calibrate(logits, targets, method=method, shrinkage=shrinkage)
        assert again.as_plain() == bare.as_plain()
    if method != "matrix":
        hardly = calibrate(logits, targets, method=method, shrinkage=1e-7).apply(logits)
        assert np.exp(hardly) == pytest.approx(np.exp(bare.apply(logits)), abs=1e-4)


@pytest.mark.parametrize("method", [*HELD, *CURVES, "auto"])
def test_json_brings_it_back(method: str) -> None:
    logits, targets = network(4, 120, 3, 2e5, 0)
    fitted = calibrate(logits, targets, [0.5, 0.3, 0.2], method=method, shrinkage="cv")
    again = Calibration.from_plain(json.loads(json.dumps(fitted.as_plain(), allow_nan=False)))
    assert np.array_equal(again.apply(logits), fitted.apply(logits))


@pytest.mark.parametrize("method", [*HELD, *CURVES])
@pytest.mark.parametrize("shrinkage", ["none", pytest.param("cv", marks=pytest.mark.program)])
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 99), st.sampled_from([-9, -4, -3, 2, 3, 4, 6, 12]))
def test_the_unit_of_logits_does_not_matter(method: str, shrinkage: str, seed: int, power: int) -> None:
    """F17: affine and vector stayed at scale 1 for logits of ten thousand, beta went wrong from a thousand on."""
    logits, targets = drawn(seed, 150, 3)
    logits = logits / unit_of(logits) * 10.0 ** -np.floor(np.log10(np.sqrt(np.var(logits, axis=1).mean()) / 0.5))
    one = calibrate(logits, targets, method=method, shrinkage=shrinkage).apply(logits)
    large = logits * 10.0**power
    other = calibrate(large, targets, method=method, shrinkage=shrinkage)
    assert np.exp(other.apply(large)) == pytest.approx(np.exp(one), abs=1e-6)
    assert any("far from the size of log-probabilities" in note for note in other.notes)


@pytest.mark.parametrize("method", ["temperature", "affine", "vector", "beta"])
@pytest.mark.parametrize("factor", [10.0, 2e3, 5e3, 3e7, 4e-6])
def test_nor_does_any_other_factor(method: str, factor: float) -> None:
    """The best temperature of the case is a logistic fit of one number; bare fits of other families lie below it."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 5, 300)
    logits = rng.normal(size=(300, 5))
    logits[np.arange(300), targets] += 1
    small = class_metrics.nll(calibrate(logits, targets, method=method).apply(logits), targets)
    large = class_metrics.nll(calibrate(logits * factor, targets, method=method).apply(logits * factor), targets)
    assert large == pytest.approx(small, abs=5e-3 if method in ("vector", "beta") else 1e-6)


def test_two_classes_of_large_logits_are_a_logistic_regression() -> None:
    logits, targets = network(5, 400, 2, 1, 1)
    margin = (logits[:, 1] - logits[:, 0])[:, None]
    expected = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000).fit(margin, targets).predict_proba(margin)
    for factor in (1e-7, 1e5, 3e8):
        large = logits * factor
        assert np.exp(calibrate(large, targets).apply(large)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", ["temperature", "bias", "affine", "vector"])
def test_few_rows_learn_little_and_many_learn_all(method: str) -> None:
    """True probabilities lose nothing worth a word; distorted ones gain with 4,000 rows what the bare fit gains."""
    fresh, truth = network(100, 20_000, 6, 1, 0)
    lost = []
    for seed in range(12):
        rows = network(seed, 60, 6, 1, 0)
        found = [
            class_metrics.nll(calibrate(*rows, method=method, shrinkage=how).apply(fresh), truth)
            for how in ("none", "cv")
        ]
        lost.append(np.array(found) - class_metrics.nll(fresh, truth))
    bare, held = np.mean(lost, axis=0)
    assert held < (0.6 if method != "temperature" else 1.01) * bare
    hot, truth = network(100, 20_000, 6, 4, 1)
    rows = network(7, 4000, 6, 4, 1)
    raw = class_metrics.nll(hot, truth)
    bare, held = (
        class_metrics.nll(calibrate(*rows, method=method, shrinkage=how).apply(hot), truth) for how in ("none", "cv")
    )
    assert raw - held > 0.98 * (raw - bare)


def test_a_class_with_one_row_is_calibrated_too() -> None:
    logits, targets = network(8, 60, 3, 3, 0)
    targets = np.where(targets == 2, 0, targets)
    targets[5] = 2
    for prior in (None, [0.4, 0.4, 0.2]):
        for method in HELD:
            out = calibrate(logits, targets, prior, method=method, shrinkage="cv").apply(logits)
            assert np.isfinite(out).all()


def test_wrong_strengths() -> None:
    logits, targets = drawn(3, 50, 3)
    for wrong in ("strong", -1, True, float("nan")):
        with pytest.raises(ConfigError, match=r"mode\.shrinkage: is no strength"):
            calibrate(logits, targets, shrinkage=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["temperature", "affine", "bias", "vector"])
def test_rows_taken_in_parts_give_the_same_fit(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    targets = rng.integers(0, 5, 500)
    logits = rng.normal(size=(500, 5)) + 3 * np.eye(5)[targets] + rng.normal(size=5)
    whole = calibrate(logits, targets, method=method, shrinkage="cv").parameters
    monkeypatch.setattr(shrunk_fit, "_MOST_CELLS", 1)
    parts = calibrate(logits, targets, method=method, shrinkage="cv").parameters
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", ["temperature", "affine", "bias", "vector"])
@pytest.mark.parametrize("prior", [None, [0.3, 0.3, 0.2, 0.1, 0.1]])
def test_curvatures_that_are_not_written_out_give_the_same_fit(
    method: str, prior: list[float] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    targets = rng.integers(0, 5, 300)
    logits = rng.normal(size=(300, 5)) + 2 * np.eye(5)[targets] + rng.normal(size=5)
    for shrinkage in ("cv", 3.0):
        monkeypatch.setattr(shrunk_fit, "_MOST_WRITTEN_OUT", 400)
        whole = calibrate(logits, targets, prior, method=method, shrinkage=shrinkage).parameters
        monkeypatch.setattr(shrunk_fit, "_MOST_WRITTEN_OUT", 0)
        monkeypatch.setattr(shrunk_fit, "_MOST_CELLS", 1)
        for kept in (0, 2**27):
            monkeypatch.setattr(shrunk_fit, "_MOST_KEPT", kept)
            many = calibrate(logits, targets, prior, method=method, shrinkage=shrinkage).parameters
            for name, values in whole.items():
                np.testing.assert_allclose(many[name], values, rtol=1e-5, atol=1e-6)


def test_a_fit_of_many_classes_and_rows_takes_little_more_memory_than_its_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What five fits have of 1,000 rows of 450 classes is 18 MB, and of a block of them 1.2."""
    rng = np.random.default_rng(8)
    targets = np.arange(1000) % 450
    logits = rng.normal(size=(1000, 450)) + 4 * np.eye(450)[targets]
    scores = np.ascontiguousarray(log_softmax(logits).T)
    one = prepared(scores.T, targets, None)
    fits = shrunk_fit.Fits(scores, [shrunk_fit.Part(one.rows, np.arange(1000), one.offset)] * 5, "shared")
    fits._blocks = [slice(first, first + 64) for first in range(0, 1000, 64)]
    monkeypatch.setattr(shrunk_fit, "_MOST_KEPT", 0)
    tracemalloc.start()
    fits.minimum(shrunk_fit.Strength(1.0, 1.0))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 12e6
