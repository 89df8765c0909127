"""Estimated prevalences against plain counts, scipy and quapy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import move_prior
from mlpipe.post.quantify import ONE_GROUP, correct_counts, error_rates, quantify
from tests.post.drawing import THERE, drawn, shifted


def test_error_rates_are_a_plain_count() -> None:
    logits, targets = drawn(1, 200, 3)
    targets = np.where(targets == 2, 0, targets)
    predicted = logits.argmax(axis=1)
    rates = error_rates(np.eye(3)[predicted], targets)
    for true in (0, 1):
        for guess in range(3):
            assert rates[guess, true] == pytest.approx((predicted[targets == true] == guess).mean())
    assert rates[:, 2].tolist() == [0, 0, 1]
    counted = quantify(logits, targets, logits, method="cc").values
    assert counted == pytest.approx(np.bincount(predicted, minlength=3) / 200)


@pytest.mark.parametrize("seed", range(10))
def test_corrected_counts_leave_no_smaller_residual(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(3, 8))
    rates = rng.dirichlet(np.full(classes, 0.5), size=classes).T + np.eye(classes)
    rates /= rates.sum(axis=0)
    observed = rng.dirichlet(np.full(classes, 0.7))
    found, _ = correct_counts(rates, observed)
    other = minimize(
        lambda p: ((rates @ p - observed) ** 2).sum(),
        np.full(classes, 1 / classes),
        method="SLSQP",
        bounds=[(0, 1)] * classes,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    assert ((rates @ found - observed) ** 2).sum() <= other.fun + 1e-12
    assert found == pytest.approx(other.x, abs=1e-4)
    exact = rng.dirichlet(np.ones(classes))
    assert correct_counts(rates, rates @ exact)[0] == pytest.approx(exact, abs=1e-9)


def test_two_classes_have_a_closed_form() -> None:
    rates = np.array([[0.9, 0.3], [0.1, 0.7]])
    assert correct_counts(rates, np.array([0.6, 0.4]))[0] == pytest.approx([0.5, 0.5])
    assert correct_counts(rates, np.array([0.95, 0.05]))[0].tolist() == [1, 0]
    assert correct_counts(rates, np.array([0.1, 0.9]))[0].tolist() == [0, 1]
    observed, notes = correct_counts(np.array([[0.6, 0.6], [0.4, 0.4]]), np.array([0.3, 0.7]))
    assert observed.tolist() == [0.3, 0.7]
    assert any("plain shares are used" in note for note in notes)


@pytest.mark.parametrize("method", ["acc", "pacc", "bbse", "bbse_soft", "em"])
def test_corrected_estimates_are_near_the_truth_and_counting_is_not(method: str) -> None:
    logits, targets, unlabelled, truth = shifted(3, 6000)
    shares = np.bincount(truth, minlength=4) / len(truth)
    found = quantify(logits, targets, unlabelled, method=method)
    assert found.values.sum() == pytest.approx(1)
    assert np.abs(found.values - shares).max() < 0.04
    assert np.abs(quantify(logits, targets, unlabelled, method="cc").values - shares).max() > 0.08


def test_importance_weights_solve_their_equation() -> None:
    logits, targets, unlabelled, _ = shifted(4)
    joint = np.zeros((4, 4))
    np.add.at(joint, (logits.argmax(axis=1), targets), 1 / len(targets))
    observed = np.bincount(unlabelled.argmax(axis=1), minlength=4) / len(unlabelled)
    weights = np.linalg.solve(joint, observed)
    expected = weights * np.bincount(targets) / len(targets)
    assert weights.min() > 0
    assert quantify(logits, targets, unlabelled, method="bbse").values == pytest.approx(expected)


def test_saerens_is_a_fixed_point_with_a_certificate() -> None:
    _, targets, unlabelled, _ = shifted(5)
    base = np.bincount(targets) / len(targets)
    found = quantify(unlabelled, np.zeros(len(unlabelled)), unlabelled, method="em", base=base)
    posterior = np.exp(move_prior(log_softmax(unlabelled), base, np.maximum(found.values, 1e-300)))
    assert posterior.mean(axis=0) == pytest.approx(found.values, abs=1e-9)
    assert found.gap < 1e-8


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(25):
        logits, targets, unlabelled, _ = shifted(1000 + seed, 500)
        found = quantify(logits, targets, unlabelled, draws=80, level=0.9, seed=seed)
        covered += int(((found.low <= THERE) & (found.high >= THERE)).sum())
    assert 0.82 <= covered / 100 <= 0.97


@pytest.mark.parametrize("method", ["cc", "acc", "pacc", "em"])
def test_intervals_of_images_in_groups_cover_the_truth(method: str) -> None:
    """Ten images of a patient are of one class: taken for ten cases they would make intervals a third as wide as they are."""
    covered = {"apart": 0, "together": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        (first, targets), (unlabelled, true) = (
            (6 * np.eye(2)[classes] + rng.normal(size=(len(classes), 2)), classes)
            for classes in (np.repeat((rng.random(30) < share).astype(int), 10) for share in (0.5, 0.4))
        )
        for name, groups in (("apart", None), ("together", (np.repeat(np.arange(30), 10),) * 2)):
            found = quantify(first, targets, unlabelled, method=method, draws=100, level=0.9, seed=seed, groups=groups)
            assert found.values[1] == pytest.approx(true.mean(), abs=0.05)
            covered[name] += found.low[1] <= 0.4 <= found.high[1]
    assert covered["apart"] <= 24 and covered["together"] >= 32


def test_soft_and_likelihood_intervals_surround_the_estimate() -> None:
    logits, targets, unlabelled, _ = shifted(6, 300)
    for method in ("pacc", "em", "bbse_soft"):
        found = quantify(logits, targets, unlabelled, method=method, draws=50)
        assert (found.low <= found.values + 1e-9).all() and (found.values <= found.high + 1e-9).all()
        assert (found.high - found.low).max() < 0.5


@pytest.mark.program
def test_against_quapy() -> None:
    from quapy.method.aggregative import ACC, EMQ, PACC, BBSEhard

    for seed in range(5):
        logits, targets, unlabelled, _ = shifted(seed, 400)
        probabilities = np.exp(log_softmax(logits))
        classes = np.arange(4)
        hard = ACC.getPteCondEstim(classes, targets, logits.argmax(axis=1))
        assert np.array_equal(hard, error_rates(np.eye(4)[logits.argmax(axis=1)], targets))
        soft = PACC.getPteCondEstim(classes, targets, probabilities)
        assert soft == pytest.approx(error_rates(probabilities, targets), abs=1e-12)
        observed = np.bincount(unlabelled.argmax(axis=1), minlength=4) / len(unlabelled)
        theirs = ACC.solve_adjustment(hard, observed, method="inversion", solver="minimize")
        mine, _ = correct_counts(hard, observed)
        assert np.linalg.norm(hard @ mine - observed) <= np.linalg.norm(hard @ theirs - observed) + 1e-12
        assert mine == pytest.approx(theirs, abs=2e-3)
        joint = hard * np.bincount(targets) / len(targets)
        ratios = BBSEhard.solve_importance_weights(joint, observed, solver="exact-raise")
        expected = np.clip(ratios, 0, None) * np.bincount(targets) / len(targets)
        found = quantify(logits, targets, unlabelled, method="bbse").values
        assert found == pytest.approx(expected / expected.sum(), abs=1e-9)
        base = np.bincount(targets) / len(targets)
        shares, _ = EMQ.EM(base, np.exp(log_softmax(unlabelled)), epsilon=1e-9)
        found = quantify(logits, targets, unlabelled, method="em", base=base).values
        assert found == pytest.approx(shares, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.sampled_from(["acc", "pacc", "bbse", "bbse_soft", "em", "cc"]))
def test_estimates_lie_inside_their_intervals(seed: int, classes: int, method: str) -> None:
    """Where the plain solution is outside the simplex it is cut off, and draws may all lie on one side of it."""
    rng = np.random.default_rng(seed)
    targets, logits = np.arange(30) % classes, 0.3 * rng.normal(size=(30, classes))
    logits[:, 0] += 0.5
    found = quantify(logits, targets, rng.normal(size=(12, classes)), method=method, draws=40, seed=seed)
    assert found.low is not None and found.high is not None
    assert (found.low <= found.values).all() and (found.values <= found.high).all()


@pytest.mark.parametrize("method", ["cc", "acc", "pacc", "em"])
def test_rows_of_a_single_group_make_nothing_certain(method: str) -> None:
    """Draws of one patient are all the same: the interval had no width."""
    first, targets, unlabelled, _ = shifted(5, 200)
    options = {"method": method, "draws": 200, "level": 0.9, "seed": 1}
    apart = quantify(first, targets, unlabelled, **options)
    alone = quantify(
        first, targets, unlabelled, groups=(np.full(len(first), "p"), np.full(len(unlabelled), "q")), **options
    )
    assert alone.high - alone.low == pytest.approx(apart.high - apart.low, rel=0.25, abs=0.005)
    assert alone.notes == (*apart.notes, ONE_GROUP)
    # Of several groups, too, where all images of a class are of one.
    of_class = quantify(first, targets, unlabelled, groups=(targets, np.arange(len(unlabelled))), **options)
    assert (ONE_GROUP in of_class.notes) == (method != "em")
    assert (
        ONE_GROUP
        not in quantify(
            first, targets, unlabelled, groups=(targets, targets[:1].repeat(len(unlabelled))), method=method
        ).notes
    )
