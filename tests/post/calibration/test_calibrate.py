import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from mlpipe.errors import ConfigError, DataError
from mlpipe.post.calibration import softmax_fit
from mlpipe.post.calibration.calibrate import Calibration, calibrate
from mlpipe.post.calibration.labels import LabelCalibration, calibrate_labels
from mlpipe.post.calibration.softmax_fit import fit, objective, rows_of
from mlpipe.post.measures import class_metrics
from mlpipe.post.measures.class_metrics import log_softmax
from tests.post.drawing import drawn

METHODS = ["none", "temperature", "bias", "affine", "vector", "beta", "histogram", "isotonic", "matrix"]


def weighted_loss(log_probabilities, targets, prior):
    """The objective of psrcal's AffineCalLogLoss, in float64."""
    counts = np.bincount(targets, minlength=log_probabilities.shape[1])
    weights = np.ones(len(targets)) if prior is None else (np.asarray(prior) / (counts / len(targets)))[targets]
    return float(-(weights * log_probabilities[np.arange(len(targets)), targets]).mean())


@pytest.mark.parametrize("seed", range(8))
def test_affine_is_the_minimum_that_another_solver_finds(seed: int) -> None:
    classes = 2 + seed
    logits, targets = drawn(seed, 60 + 150 * seed, classes)
    prior = np.random.default_rng(seed).dirichlet(np.full(classes, 5.0)) if seed % 2 else None

    def loss(parameters):
        return weighted_loss(log_softmax(parameters[0] * logits + parameters[1:]), targets, prior)

    start = np.concatenate([[1.0], np.zeros(classes)])
    other = minimize(loss, start, method="BFGS", options={"gtol": 1e-8})
    fitted = calibrate(logits, targets, prior)
    assert weighted_loss(fitted.apply(logits), targets, prior) <= other.fun + 1e-9
    expected = log_softmax(other.x[0] * logits + other.x[1:])
    assert np.abs(np.exp(fitted.apply(logits)) - np.exp(expected)).max() < 1e-4


@pytest.mark.parametrize("scale", ["fixed", "shared", "per_class"])
def test_the_gradient_is_zero_at_the_minimum_and_right_elsewhere(scale: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = drawn(1, 300, 5)
    rows = rows_of(log_softmax(logits), targets, np.array([1.0, 2, 0.5, 1, 1]), np.zeros(5))
    scales, bias = fit(rows, scale, np.zeros(5), fit_bias=True)
    _, by_scale, by_bias = objective(rows, scales, bias)
    free = {"fixed": [0.0], "shared": [by_scale.sum()], "per_class": by_scale}[scale]
    assert np.abs(np.concatenate([free, by_bias])).max() < 1e-10
    # Second derivatives that are not written out lead to the same place, but for a constant that all biases share.
    monkeypatch.setattr(softmax_fit, "_MOST_WRITTEN_OUT", 0)
    other_scales, other_bias = fit(rows, scale, np.zeros(5), fit_bias=True)
    np.testing.assert_allclose(other_scales, scales, rtol=1e-8)
    np.testing.assert_allclose(other_bias - other_bias.mean(), bias - bias.mean(), atol=1e-8)

    at_scale, at_bias = np.linspace(0.5, 1.5, 5), np.linspace(-1, 1, 5)
    _, by_scale, by_bias = objective(rows, at_scale, at_bias)
    step = 1e-6 * np.eye(5)
    for number in range(5):
        up, down = (objective(rows, at_scale + sign * step[number], at_bias)[0] for sign in (1, -1))
        assert by_scale[number] == pytest.approx((up - down) / 2e-6, abs=1e-8)
        up, down = (objective(rows, at_scale, at_bias + sign * step[number])[0] for sign in (1, -1))
        assert by_bias[number] == pytest.approx((up - down) / 2e-6, abs=1e-8)


@pytest.mark.parametrize(
    ("scale", "fit_bias"),
    [("fixed", True), ("shared", False), ("shared", True), ("per_class", False), ("per_class", True)],
)
def test_products_with_second_derivatives_are_those_of_the_matrix(scale: str, fit_bias: bool) -> None:
    logits, targets = drawn(2, 200, 4)
    rows = rows_of(log_softmax(logits), targets, np.array([1.0, 2, 0.5, 1]), np.zeros(4))
    many = {"fixed": 0, "shared": 1, "per_class": 4}[scale]
    chances = softmax_fit._terms(rows, np.full(4, 1.3), np.linspace(-1, 1, 4))[3]
    whole = softmax_fit._hessian(rows, chances, many, fit_bias)
    curvature = softmax_fit._curvature(rows, chances, many, fit_bias)
    made = [curvature.times(one[None])[0] for one in np.eye(len(whole))]
    np.testing.assert_allclose(made, whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(curvature.diagonal[0], np.diag(whole), rtol=1e-9)


def test_a_bare_fit_of_many_classes_has_no_matrix_of_them() -> None:
    """Second derivatives by 2,500 biases and a scale would be 50 MB, several times over; the scores are 2."""
    rng = np.random.default_rng(9)
    targets = np.arange(100)
    logits = rng.normal(size=(100, 2500))
    logits[targets, targets] += 6
    rows = rows_of(log_softmax(logits), targets, np.ones(2500), np.where(np.arange(2500) < 100, 0, 1e-4))
    tracemalloc.start()
    scales, bias = fit(rows, "shared", np.zeros(2500), fit_bias=True)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    _, by_scale, by_bias = objective(rows, scales, bias)
    assert most < 40e6 and np.abs([by_scale.sum(), *by_bias]).max() < 1e-7


def test_a_matrix_of_very_many_classes_is_refused() -> None:
    wrong = (
        "mode.calibrator: learns 1,001,000 numbers, and their second derivatives, for 1000 classes, got 'matrix'; use"
    )
    with pytest.raises(ConfigError, match=wrong):
        calibrate(np.zeros((4, 1000)), np.arange(4), method="matrix")


def test_a_choice_of_very_many_classes_tries_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = drawn(0, 60, 3)
    assert "matrix" in calibrate(logits, targets, method="auto").scores
    monkeypatch.setattr("mlpipe.post.calibration.calibrate._MOST_OF_MATRIX", 2)
    assert set(calibrate(logits, targets, method="auto").scores) == set(METHODS) - {"matrix"}


@pytest.mark.parametrize("seed", range(4))
def test_two_classes_are_a_logistic_regression(seed: int) -> None:
    logits, targets = drawn(seed, 500, 2)
    prior = [0.2, 0.8] if seed % 2 else None
    weights = np.ones(500) if prior is None else (np.array(prior) / np.bincount(targets) * 500)[targets]
    margin = (logits[:, 1] - logits[:, 0])[:, None]
    reference = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000).fit(margin, targets, sample_weight=weights)
    expected = reference.predict_proba(margin)
    assert np.abs(np.exp(calibrate(logits, targets, prior).apply(logits)) - expected).max() < 1e-6


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans(), st.sampled_from(["affine", "bias", "vector"]))
def test_mean_probabilities_are_the_prior(seed: int, classes: int, with_prior: bool, method: str) -> None:
    """The derivative by the bias is zero: the weighted mean probability of each class is its share."""
    logits, targets = drawn(seed, 150, classes)
    prior = np.random.default_rng(seed).dirichlet(np.full(classes, 3.0)) if with_prior else None
    fitted = calibrate(logits, targets, prior, method=method)
    shares = np.bincount(targets, minlength=classes) / 150
    goal = shares if prior is None else prior
    weights = (goal / shares)[targets] / 150
    assert weights @ np.exp(fitted.apply(logits)) == pytest.approx(goal, abs=1e-10)
    assert fitted.prior == pytest.approx(goal)


@pytest.mark.parametrize("method", [*METHODS, "auto"])
def test_what_is_added_to_a_row_does_not_matter_and_json_brings_it_back(method: str) -> None:
    logits, targets = drawn(2, 300, 3)
    shift = np.random.default_rng(0).normal(size=(300, 1)) * 50
    fitted = calibrate(logits, targets, [0.5, 0.2, 0.3], method=method)
    shifted = calibrate(logits + shift, targets, [0.5, 0.2, 0.3], method=method)
    out = fitted.apply(logits)
    assert np.exp(shifted.apply(logits + shift)) == pytest.approx(np.exp(out), abs=1e-6)
    assert np.exp(out).sum(axis=1) == pytest.approx(1)
    again = Calibration.from_plain(json.loads(json.dumps(fitted.as_plain())))
    assert np.array_equal(again.apply(logits), out)
    assert again.as_plain() == fitted.as_plain()


def test_temperature_alone() -> None:
    logits, targets = drawn(3, 400, 3)
    found = minimize(lambda t: weighted_loss(log_softmax(t[0] * logits), targets, None), [1.0], tol=1e-12)
    fitted = calibrate(logits, targets, method="temperature")
    assert float(fitted.parameters["scale"]) == pytest.approx(found.x[0], abs=1e-5)
    assert fitted.parameters["bias"] == pytest.approx(0)


def test_none_only_moves_to_the_prior() -> None:
    logits, targets = drawn(4, 400, 3)
    shares = np.bincount(targets) / 400
    prior = np.array([0.6, 0.3, 0.1])
    assert np.allclose(calibrate(logits, targets, method="none").apply(logits), log_softmax(logits))
    moved = np.exp(log_softmax(logits)) * prior / shares
    out = calibrate(logits, targets, prior, method="none").apply(logits)
    assert np.exp(out) == pytest.approx(moved / moved.sum(axis=1, keepdims=True))


def test_isotonic_is_scikit_learns() -> None:
    logits, targets = drawn(5, 400, 3)
    logits = logits.round(1)
    fitted = calibrate(logits, targets, method="isotonic")
    probabilities = np.exp(log_softmax(logits))
    new = np.linspace(0, 1, 999)
    for number in range(3):
        reference = IsotonicRegression(out_of_bounds="clip").fit(probabilities[:, number], targets == number)
        knots, values = fitted.parameters["knots"][number], fitted.parameters["values"][number]
        assert np.interp(new, knots, values) == pytest.approx(reference.predict(new), abs=1e-12)


def test_histogram_is_the_share_of_hits_in_each_bin() -> None:
    logits, targets = drawn(5, 450, 3)
    fitted = calibrate(logits, targets, method="histogram")
    probabilities = np.exp(log_softmax(logits))
    raw = np.empty_like(probabilities)
    for number in range(3):
        order = np.argsort(probabilities[:, number])
        for rows in np.split(order, 15):
            raw[rows, number] = np.maximum((targets[rows] == number).mean(), 1 / 900)
    assert np.exp(fitted.apply(logits)) == pytest.approx(raw / raw.sum(axis=1, keepdims=True), abs=1e-12)
    # Equal scores share a bin, and a score that no row had falls into the nearest one.
    coarse = calibrate(logits.round(0), targets, method="histogram")
    assert all(len(edges) + 1 == len(values) for edges, values in zip(*coarse.parameters.values(), strict=True))
    assert np.isfinite(coarse.apply([[50.0, -50.0, 0.0], [0.0, 0.0, 0.0]])).all()


def test_beta_with_two_classes_is_a_logistic_regression_on_logs() -> None:
    logits, targets = drawn(6, 500, 2)
    fitted = calibrate(logits, targets, method="beta")
    both = log_softmax(logits)
    features = np.column_stack([both[:, 1], -both[:, 0]])
    reference = LogisticRegression(C=1e12, tol=1e-12, max_iter=5000).fit(features, targets)
    assert reference.coef_.min() > 0
    out = np.exp(fitted.apply(logits))
    assert out == pytest.approx(reference.predict_proba(features), abs=1e-5)
    assert fitted.parameters["curves"][0, :2] == pytest.approx(fitted.parameters["curves"][1, 1::-1], abs=1e-4)


def test_beta_keeps_its_slopes_from_falling() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 300)
    logits = np.column_stack([targets + rng.normal(size=300), 1 - targets + rng.normal(size=300)])
    assert calibrate(logits, targets, method="beta").parameters["curves"][:, :2].min() == 0


def test_matrix_is_the_minimum_of_its_penalised_loss() -> None:
    from mlpipe.post.calibration import softmax_fit

    logits, targets = drawn(7, 300, 3)
    scores = log_softmax(logits)
    rows = rows_of(scores, targets, np.ones(3), np.zeros(3))
    matrix, bias = softmax_fit.fit_matrix(rows, np.eye(3), np.zeros(3), off_diagonal_ridge=0.1, intercept_ridge=0.02)

    def penalised(flat):
        weights, offsets = flat[:9].reshape(3, 3), flat[9:]
        off = weights[~np.eye(3, dtype=bool)]
        loss = weighted_loss(log_softmax(scores @ weights.T + offsets), targets, None)
        return loss + 0.1 * (off**2).mean() + 0.02 * (offsets**2).mean()

    mine = np.concatenate([matrix.ravel(), bias])
    other = minimize(penalised, np.concatenate([np.eye(3).ravel(), np.zeros(3)]), options={"gtol": 1e-7})
    assert penalised(mine) <= other.fun + 1e-8
    assert mine == pytest.approx(other.x, abs=1e-3)


def test_better_methods_have_a_smaller_loss() -> None:
    logits, targets = drawn(8, 2000, 4)
    losses = {
        name: class_metrics.nll(calibrate(logits, targets, method=name).apply(logits), targets) for name in METHODS
    }
    assert losses["matrix"] < losses["vector"] + 2e-3
    assert losses["vector"] <= losses["affine"] + 1e-9 < losses["temperature"] < losses["none"]
    assert losses["affine"] < losses["bias"] < losses["none"]


def test_auto_takes_the_simplest_that_is_good_enough() -> None:
    calibrated, targets = drawn(9, 1500, 3, distort=False)
    chosen = calibrate(calibrated, targets, method="auto")
    assert chosen.method == "none"
    assert set(chosen.scores) == set(METHODS)
    hot = calibrate(calibrated * 3, targets, method="auto")
    assert hot.method == "temperature"
    bent = calibrate(calibrated * 3 + np.array([0, 1.5, -1]), targets, method="auto")
    assert bent.method == "affine"


def test_auto_prefers_the_simpler_one_to_the_best_by_a_hair() -> None:
    simpler = 0
    for seed in range(6):
        logits, targets = drawn(20 + seed, 200, 2, distort=False)
        chosen = calibrate(logits, targets, method="auto")
        best = min(chosen.scores, key=chosen.scores.__getitem__)
        assert METHODS.index(chosen.method) <= METHODS.index(best)
        simpler += chosen.method != best
    assert simpler >= 2


def test_auto_with_too_few_rows_says_so() -> None:
    logits, targets = drawn(10, 30, 3)
    targets = np.where(targets == 2, 0, targets)
    targets[0] = 2
    assert any("without a choice" in note for note in calibrate(logits, targets, method="auto").notes)


def test_a_class_without_rows() -> None:
    logits, targets = drawn(11, 300, 4)
    targets = np.where(targets == 3, 0, targets)
    fitted = calibrate(logits, targets)
    assert any("no labelled rows of class numbers 3" in note for note in fitted.notes)
    assert np.exp(fitted.apply(logits)).mean(axis=0)[3] == pytest.approx(1 / 304, abs=1e-10)
    tiny = calibrate(logits, targets, [0.3, 0.3, 0.4, 1e-8])
    assert np.isfinite(tiny.apply(logits)).all()
    for method in METHODS:
        assert np.isfinite(calibrate(logits, targets, method=method).apply(logits)).all()
    with pytest.raises(
        DataError, match=r"mode\.prior: class number 3 is given a share of 0\.25 but has no labelled row"
    ):
        calibrate(logits, targets, [0.25] * 4)


@pytest.mark.parametrize("method", METHODS)
def test_classes_that_separate_stay_finite(method: str) -> None:
    targets = np.arange(90) % 3
    logits = 4.0 * np.eye(3)[targets]
    fitted = calibrate(logits, targets, method=method)
    out = fitted.apply(logits)
    assert np.isfinite(out).all()
    assert class_metrics.accuracy(out, targets) == 1
    if method in ("temperature", "affine", "vector"):
        assert any("held by its ridge" in note for note in fitted.notes)


@pytest.mark.parametrize(("method", "instead"), [("temperature", "none"), ("affine", "bias"), ("vector", "bias")])
def test_scores_are_never_turned_round(method: str, instead: str) -> None:
    logits, targets = drawn(12, 500, 3)
    fitted = calibrate(-logits, targets, method=method)
    assert fitted.method == instead
    assert any("would turn scores round" in note for note in fitted.notes)


def test_what_cannot_be_fitted_is_explained() -> None:
    logits, targets = drawn(13, 50, 3)
    with pytest.raises(DataError, match="all labelled rows are of one class, got 1"):
        calibrate(logits, np.ones(50, np.int64))
    with pytest.raises(DataError, match="no row has a target"):
        calibrate(logits, np.full(50, -1))
    with pytest.raises(DataError, match="targets must be below 3, got 5"):
        calibrate(logits, np.where(targets == 2, 5, targets))
    with pytest.raises(ConfigError, match="did you mean 'affine'"):
        calibrate(logits, targets, method="afine")
    with pytest.raises(DataError, match=r"mode\.prior: wrong number of entries"):
        calibrate(logits, targets, [0.5, 0.5])
    with pytest.raises(DataError, match=r"mode\.prior: every share must be positive"):
        calibrate(logits, targets, [0.5, 0.5, 0])
    broken = logits.copy()
    broken[[3, 7], 0] = [np.nan, np.inf]
    with pytest.raises(DataError, match=r"2 of 50 rows hold values that are not finite \(id3, id7\)"):
        calibrate(broken, targets, ids=[f"id{row}" for row in range(50)])
    with pytest.raises(DataError, match="3 classes needed, got 2"):
        calibrate(logits, targets).apply(logits[:, :2])


def test_rows_without_a_target_do_not_count() -> None:
    logits, targets = drawn(14, 200, 3)
    more, marked = np.vstack([logits, np.full((5, 3), np.nan)]), np.concatenate([targets, np.full(5, -1)])
    assert np.array_equal(calibrate(more, marked).apply(logits), calibrate(logits, targets).apply(logits))


def test_labels_are_calibrated_one_by_one() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (400, 3)).astype(float)
    logits = 3 * (targets * 2 - 1 + rng.normal(size=(400, 3)) * 1.5) + np.array([1.0, -2, 0])
    targets[rng.random((400, 3)) < 0.1] = np.nan
    targets[:, 2] = np.where(np.isnan(targets[:, 2]), np.nan, 1)
    fitted = calibrate_labels(logits, targets, names=["a", "b", "c"])
    out = fitted.apply(logits)
    for number in range(2):
        known = ~np.isnan(targets[:, number])
        reference = LogisticRegression(C=1e12, tol=1e-10).fit(logits[known, number, None], targets[known, number])
        assert expit(out[:, number]) == pytest.approx(reference.predict_proba(logits[:, number, None])[:, 1], abs=1e-6)
    assert np.array_equal(out[:, 2], logits[:, 2])
    rows = int((~np.isnan(targets[:, 2])).sum())
    assert fitted.notes == (f"label c: only one answer among {rows} labelled rows, left as it is",)
    again = LabelCalibration.from_plain(json.loads(json.dumps(fitted.as_plain())))
    assert np.array_equal(again.apply(logits), out)
    moved = calibrate_labels(logits[:, :2], targets[:, :2], [0.1, 0.6])
    known = ~np.isnan(targets[:, 0])
    share = targets[known, 0].mean()
    weights = np.where(targets[known, 0] == 1, 0.1 / share, 0.9 / (1 - share)) / known.sum()
    assert weights @ expit(moved.apply(logits[:, :2])[known, 0]) == pytest.approx(0.1, abs=1e-9)
    with pytest.raises(DataError, match="each share must be below 1"):
        calibrate_labels(logits[:, :2], targets[:, :2], [0.1, 1.0])


@pytest.mark.program
@pytest.mark.parametrize("seed", range(4))
def test_affine_against_psrcal(seed: int) -> None:
    import torch
    from psrcal.calibration import AffineCalLogLoss

    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 11))
    logits, targets = drawn(seed, int(rng.integers(60, 1500)), classes)
    prior = rng.dirichlet(np.full(classes, 5.0)) if seed % 2 else None
    options = {} if prior is None else {"priors": prior.tolist()}
    theirs = AffineCalLogLoss(torch.tensor(logits), torch.tensor(targets), **options)
    theirs.train()
    other = theirs.calibrate(torch.tensor(logits)).detach().numpy()
    mine = calibrate(logits, targets, prior).apply(logits)
    assert weighted_loss(mine, targets, prior) <= weighted_loss(other, targets, prior) + 1e-8
    assert np.abs(np.exp(mine) - np.exp(other)).max() < 1e-2


@pytest.mark.program
def test_temperature_against_netcal() -> None:
    from netcal.scaling import TemperatureScaling

    logits, targets = drawn(3, 800, 3)
    probabilities = np.exp(log_softmax(logits))
    theirs = TemperatureScaling()
    theirs.fit(probabilities, targets)
    mine = np.exp(calibrate(logits, targets, method="temperature").apply(logits))
    assert np.abs(mine - theirs.transform(probabilities)).max() < 1e-3


def patients(seed: int, count: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, classes and patients of images that are nearly alike within a patient."""
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, count)
    logits = rng.normal(0, 2, (count, 2))
    logits[np.arange(count), classes] += 1.5
    return (
        np.repeat(logits, images, axis=0) + rng.normal(0, 0.1, (count * images, 2)),
        np.repeat(classes, images),
        np.repeat(np.arange(count), images),
    )


def test_auto_holds_out_whole_groups() -> None:
    """Images of a patient that fitted a histogram let it foresee his other images: of other patients it is worse than nothing."""
    fresh, truth, _ = patients(99, 4000, 1)
    bare, losses = class_metrics.nll(fresh, truth), {"apart": [], "together": []}
    for seed in range(6):
        logits, targets, groups = patients(seed, 40, 10)
        for name, own in (("apart", None), ("together", groups)):
            found = calibrate(logits, targets, method="auto", groups=own)
            losses[name].append(class_metrics.nll(found.apply(fresh), truth))
    assert np.mean(losses["apart"]) > bare + 0.1
    assert np.mean(losses["together"]) < bare


def test_auto_without_groups_enough_says_so() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 2))
    found = calibrate(logits, np.repeat([0, 1], 10), method="auto", groups=np.repeat(["first", "second"], 10))
    assert any("of too few groups" in note for note in found.notes)
    assert not any(
        "of too few groups" in note for note in calibrate(logits, np.repeat([0, 1], 10), method="auto").notes
    )


def test_groups_of_rows_without_a_target_are_left_out() -> None:
    logits, targets, groups = patients(1, 30, 4)
    some = np.where(np.arange(120) % 3 == 0, -1, targets)
    found = calibrate(logits, some, shrinkage="cv", groups=groups)
    known = some >= 0
    other = calibrate(logits[known], some[known], shrinkage="cv", groups=groups[known])
    assert np.array_equal(found.apply(logits), other.apply(logits))
