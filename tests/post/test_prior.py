import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mlpipe.errors import ConfigError, DataError
from mlpipe.post import metrics
from mlpipe.post.ensembling.simplex import expected_shares, least_quadratic, most_likely
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import expected_performance, move_labels, move_prior, prior
from mlpipe.post.quantify import correct_counts, error_rates, quantify
from tests.post.drawing import drawn

THERE = np.array([0.6, 0.05, 0.25, 0.1])


def shifted(seed: int, n: int = 2000):
    """Labelled rows with even classes, unlabelled ones with others; both exactly calibrated for even classes."""
    logits, targets = drawn(seed, n, 4, distort=False)
    unlabelled, truth = drawn(seed + 100, n, 4, prior=THERE, distort=False)
    return logits, targets, unlabelled - np.log(THERE), truth


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 12), st.booleans())
def test_the_quadratic_meets_its_optimality_conditions(seed: int, size: int, rows: int, twins: bool) -> None:
    rng = np.random.default_rng(seed)
    matrix, right = rng.normal(size=(rows, size)), rng.normal(size=rows)
    if twins:
        matrix[:, 0] = matrix[:, -1]
    gram, linear = matrix.T @ matrix, matrix.T @ right
    shares = least_quadratic(gram, linear)
    slope = gram @ shares - linear
    assert shares.min() >= 0 and shares.sum() == pytest.approx(1)
    assert shares @ slope - slope.min() < 1e-10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 8), st.integers(1, 300))
def test_no_shares_are_more_likely_than_the_certificate_allows(seed: int, size: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    likelihoods = rng.gamma(0.3, size=(n, size)) + 1e-9
    likelihoods /= likelihoods.max(axis=1, keepdims=True)
    found = most_likely(likelihoods)
    assert found.gap < 1e-8
    others = rng.dirichlet(np.full(size, 0.3), size=50)
    assert (-np.log(likelihoods @ others.T + 1e-300).mean(axis=0) >= found.loss - found.gap - 1e-12).all()


def test_most_likely_shares_against_scipy_and_plain_expectation_maximisation() -> None:
    rng = np.random.default_rng(0)
    likelihoods = rng.gamma(0.5, size=(400, 5)) + 1e-6
    likelihoods[:, 3] *= 2
    found = most_likely(likelihoods)
    other = minimize(
        lambda w: -np.log(likelihoods @ w).mean(),
        np.full(5, 0.2),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.loss <= other.fun + 1e-10
    weights, last = np.full(5, 0.2), np.inf
    for _ in range(5000):
        weights = expected_shares(likelihoods, weights, np.full(400, 1 / 400))
        loss = -np.log(likelihoods @ weights).mean()
        assert loss <= last + 1e-13
        last = loss
    assert weights == pytest.approx(found.weights, abs=1e-5)


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


def test_soft_and_likelihood_intervals_surround_the_estimate() -> None:
    logits, targets, unlabelled, _ = shifted(6, 300)
    for method in ("pacc", "em", "bbse_soft"):
        found = quantify(logits, targets, unlabelled, method=method, draws=50)
        assert (found.low <= found.values + 1e-9).all() and (found.values <= found.high + 1e-9).all()
        assert (found.high - found.low).max() < 0.5


def test_each_kind_of_prior() -> None:
    """F5: the prior of the test rows lacked an absent last class."""
    logits, targets, unlabelled, _ = shifted(7, 600)
    assert prior("val", 4, val_targets=targets).given is None
    assert prior("val", 4, val_targets=targets).values == pytest.approx(np.bincount(targets) / 600)
    # The last class is absent from the test rows: the prior still has an entry for it.
    test = prior("test", 4, val_targets=targets, test_targets=np.array([0, 0, 1, 2, -1]))
    assert test.values == pytest.approx([0.5, 0.25, 0.25, 1e-8], abs=1e-7)
    assert min(test.values) > 0
    assert prior([2, 1, 1, 4], 4, val_targets=targets).given == pytest.approx([0.25, 0.125, 0.125, 0.5])
    given = {"rates_logits": logits, "rates_targets": targets, "unlabelled_logits": unlabelled}
    found = prior("quantify", 4, val_targets=targets, draws=20, **given)
    expected = quantify(logits, targets, unlabelled).values
    assert found.given == pytest.approx(expected, abs=2e-3)
    assert len(found.as_plain()["low"]) == 4


def test_a_class_that_is_estimated_away_keeps_a_floor() -> None:
    logits = 9.0 * np.eye(3)[np.arange(90) % 3]
    given = {
        "rates_logits": logits,
        "rates_targets": np.arange(90) % 3,
        "unlabelled_logits": logits[:50][:2].repeat(25, 0),
    }
    found = prior("quantify", 3, val_targets=np.arange(90) % 3, draws=0, **given)
    assert found.values[2] == pytest.approx(1 / 100, rel=0.02)


def test_priors_that_cannot_be() -> None:
    targets = np.array([0, 1, 2])
    with pytest.raises(ConfigError, match=r"mode\.prior: quantify needs predictions of an unlabelled split"):
        prior("quantify", 3, val_targets=targets)
    with pytest.raises(ConfigError, match=r"mode\.prior: test needs test labels"):
        prior("test", 3, val_targets=targets)
    with pytest.raises(ConfigError, match="unknown prior, got 'tets'"):
        prior("tets", 3, val_targets=targets)
    with pytest.raises(DataError, match=r"wrong number of entries.*give 3 numbers"):
        prior([0.5, 0.5], 3, val_targets=targets)
    with pytest.raises(DataError, match="every share must be positive"):
        prior([1, 0, 1], 3, val_targets=targets)
    with pytest.raises(ConfigError, match="did you mean 'pacc'"):
        quantify(np.eye(3), targets, np.eye(3), method="pac")


def test_moving_a_prior_is_bayes_rule_and_comes_back() -> None:
    logits, _ = drawn(8, 50, 3)
    old, new = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.2, 0.1])
    moved = np.exp(log_softmax(logits)) * new / old
    out = move_prior(logits, old, new)
    assert np.exp(out) == pytest.approx(moved / moved.sum(axis=1, keepdims=True))
    assert move_prior(out, new, old) == pytest.approx(log_softmax(logits))


def test_expected_performance_at_the_rows_own_prevalence_is_the_metric() -> None:
    logits, targets = drawn(9, 300, 4)
    found = expected_performance(logits, targets, np.bincount(targets))
    names = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier")
    own = metrics.compute(names, logits, targets, kind="classification")
    assert {name: found[name] for name in names} == pytest.approx(own)


def test_expected_performance_foresees_another_prevalence() -> None:
    logits, targets, unlabelled, truth = shifted(10, 20_000)
    found = expected_performance(logits, targets, THERE)
    for name, value in metrics.compute(
        ("accuracy", "macro_f1", "nll", "brier"), unlabelled, truth, kind="classification"
    ).items():
        assert found[name] == pytest.approx(value, abs=0.02)
    with pytest.raises(DataError, match="class numbers 3 have a share but no labelled row"):
        expected_performance(logits, np.where(targets == 3, 0, targets), THERE)


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


@pytest.mark.parametrize("method", ["acc", "bbse", "cc"])
def test_a_model_that_predicts_one_class_only_says_nothing_of_the_prevalence(method: str) -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice(3, 60, p=[0.5, 0.3, 0.2])
    constant, unlabelled = np.tile([2.0, 0, -1], (60, 1)), np.tile([2.0, 0, -1], (40, 1))
    found = prior(
        "quantify", 3, val_targets=targets, rates_logits=constant, rates_targets=targets, unlabelled_logits=unlabelled,
        method=method,
    )  # fmt: skip
    assert found.kind == "val" and found.given is None
    assert found.values == pytest.approx(np.bincount(targets) / 60)
    (note,) = found.notes
    assert "condition number of the error rates inf" in note and "the prevalence of validation is kept" in note


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


def test_shares_in_any_unit_are_scaled_and_meaningless_ones_refused() -> None:
    targets = np.array([0, 1, 2] * 5)
    for given_ in ([0.5, 0.5, 0.5], [50, 30, 20], [5, 2, 1]):
        assert prior(given_, 3, val_targets=targets).values == pytest.approx(np.array(given_) / np.sum(given_))
    for wrong in ([0.5, -0.1, 0.6], [0, 0.5, 0.5], [float("nan"), 0.5, 0.5], [0.5, 0.5]):
        with pytest.raises(DataError, match=r"mode\.prior"):
            prior(wrong, 3, val_targets=targets)


def test_labels_move_by_bayes_rule() -> None:
    chances = np.array([[0.2, 0.7], [0.9, 0.5]])
    moved = move_labels(np.log(chances / (1 - chances)), [0.3, 1.0], [0.6, 0.5])
    yes, no = chances[:, 0] * 0.6 / 0.3, (1 - chances[:, 0]) * 0.4 / 0.7
    assert 1 / (1 + np.exp(-moved[:, 0])) == pytest.approx(yes / (yes + no))
    assert 1 / (1 + np.exp(-moved[:, 1])) == pytest.approx(chances[:, 1])
