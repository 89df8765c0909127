import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as reference

from mlpipe.errors import DataError
from mlpipe.post.measures.class_metrics import log_softmax, nll
from mlpipe.post.paired_tests import corrected_t, mcnemar, paired_bootstrap
from tests.post.drawing import drawn


def pair(seed: int = 0, n: int = 300, noise: float = 1.5):
    logits, targets = drawn(seed, n, 3)
    worse = logits + np.random.default_rng(seed).normal(size=logits.shape) * noise * 2.2
    return logits, worse, targets


@pytest.mark.parametrize("name", ["accuracy", "nll", "auroc"])
def test_the_better_model_is_named(name: str) -> None:
    better, worse, targets = pair()
    found = paired_bootstrap(name, better, worse, targets, resamples=400, kind="classification")
    assert found.low < found.difference < found.high
    assert found.sentence.startswith("The first is better than the second by")
    assert paired_bootstrap(name, worse, better, targets, resamples=400, kind="classification").sentence.startswith(
        "The second is better than the first by"
    )
    same = paired_bootstrap(name, better, better, targets, resamples=50, kind="classification")
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert same.sentence.startswith("The rows do not tell the first and the second apart")


def test_the_interval_of_a_mean_difference_is_that_of_scipy() -> None:
    better, worse, targets = pair(1, 200)
    rows = np.arange(200)
    off = -log_softmax(better)[rows, targets] + log_softmax(worse)[rows, targets]
    theirs = stats.bootstrap((off,), np.mean, n_resamples=4000, method="BCa", rng=np.random.default_rng(0))
    found = paired_bootstrap("nll", better, worse, targets, resamples=4000, kind="classification")
    assert found.difference == pytest.approx(nll(better, targets) - nll(worse, targets))
    ends = theirs.confidence_interval
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=0.05)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 9), (9, 3), (12, 12), (40, 20)])
def test_mcnemar_is_that_of_statsmodels(b: int, c: int) -> None:
    first = np.concatenate([np.ones(20 + b), np.zeros(c + 5)]).astype(bool)
    second = np.concatenate([np.ones(20), np.zeros(b), np.ones(c), np.zeros(5)]).astype(bool)
    found = mcnemar(first, second)
    expected = reference([[20, b], [c, 5]], exact=True).pvalue if b + c else 1.0
    assert found.p == pytest.approx(expected)
    told = f"Only the first is right on {b} rows, only the second on {c}: " if b + c else "Both are right on the same"
    assert found.sentence.startswith(told)
    with pytest.raises(DataError, match="the same rows are needed"):
        mcnemar([True], [True, False])


def test_the_corrected_t_is_its_formula() -> None:
    first, second = np.array([0.80, 0.83, 0.79, 0.85, 0.81]), np.array([0.78, 0.80, 0.80, 0.80, 0.79])
    found = corrected_t(first, second, n_train=80, n_test=20, name="accuracy")
    off = first - second
    spread = np.sqrt(off.var(ddof=1) * (1 / 5 + 20 / 80))
    assert found.p == pytest.approx(2 * stats.t.sf(off.mean() / spread, 4))
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 4, off.mean(), spread))
    # Without the overlap of training sets it is the paired t-test.
    plain = corrected_t(first, second, n_train=1e18, n_test=1)
    assert plain.p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert corrected_t(first, first, n_train=80, n_test=20).p == 1
    with pytest.raises(DataError, match="finite scores of the same two or more folds"):
        corrected_t([0.5], [0.4], n_train=1, n_test=1)


@pytest.mark.parametrize(("n", "positives"), [(20, 1), (20, 5), (200, 2)])
@pytest.mark.parametrize("name", ["nll", "brier"])
def test_differences_of_losses_cover_with_few_positives(name: str, n: int, positives: int) -> None:
    """Sure and unsure models of the same rows, whose own rows show no mistake that there could have been."""

    def pair_of(rng: np.random.Generator, times: int):
        truth = np.repeat([1, 0], [positives * times, (n - positives) * times])
        shared, base = rng.normal(size=(len(truth), 2)), np.log([1 - positives / n, positives / n])
        models = [(2.0, 1.0), (2.0, 3.0)]
        noise = [np.sqrt(0.7) * shared + np.sqrt(0.3) * rng.normal(size=shared.shape) for _ in models]
        logits = [s * (a * (one + a * np.eye(2)[truth]) + base) for (a, s), one in zip(models, noise, strict=True)]
        return *logits, truth

    def measured(logits: np.ndarray, truth: np.ndarray) -> float:
        logs = log_softmax(logits)
        if name == "nll":
            return float(-logs[np.arange(len(truth)), truth].clip(np.log(1e-12)).mean())
        return float(((np.exp(logs) - np.eye(2)[truth]) ** 2).sum(axis=1).mean())

    rng = np.random.default_rng([n, positives])
    *both, truth = pair_of(rng, 200_000 // n)
    difference, held = measured(both[0], truth) - measured(both[1], truth), []
    for seed in range(60):
        found = paired_bootstrap(name, *pair_of(rng, 1), resamples=200, seed=seed, kind="classification")
        held.append(found.low <= difference <= found.high)
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize("name", ["auroc", "balanced_accuracy"])
def test_two_models_that_made_no_mistake_may_still_differ(name: str) -> None:
    """Both are right on all of 60 rows of each class: by the rule of three up to 5 % of a class may go wrong."""
    targets = np.repeat([0, 1], 60)
    logits = np.column_stack([-9.0 * (targets - 0.5), 9.0 * (targets - 0.5)])
    found = paired_bootstrap(name, logits, logits * 1.5, targets, resamples=100, kind="classification")
    assert found.difference == 0 and found.low < -0.025 and found.high > 0.025


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("kind", "name"), [("classification", "kappa"), ("classification", "mcc"), ("images", "psnr")])
def test_a_single_row_is_compared_without_a_word_of_numpy(kind: str, name: str) -> None:
    """Without it there is no row left: nothing is divided by none of them."""
    outputs, targets = (
        (np.eye(3)[:1], np.array([0])) if kind == "classification" else (np.zeros((1, 2)), np.ones((1, 1)))
    )
    found = paired_bootstrap(name, outputs, outputs, targets, resamples=20, kind=kind)
    assert found.difference == 0 and "do not tell the first and the second apart" in found.sentence


@pytest.mark.parametrize("other", [[0.3, 0.6, 0.7], [0.1 + 0.2, 0.6, 0.7]])
def test_folds_in_which_two_are_equal_but_for_rounding_are_no_certainty(other: list[float]) -> None:
    """The interval was 0.00 to 0.00."""
    found = corrected_t([0.3, 0.6, 0.7], other, n_train=20, n_test=10, name="accuracy")
    assert found.low is None and found.high is None and found.difference == pytest.approx(0, abs=1e-15)
    assert found.sentence.endswith("the first minus the second is 0.00 in each of them.")


@pytest.mark.parametrize("name", ["balanced_accuracy", "auroc", "macro_f1"])
def test_a_single_group_gives_no_ends_and_says_why(name: str) -> None:
    """They were NaN, and the sentence named an interval of nothing."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 2
    first, second = (rng.normal(size=(60, 2)) + np.eye(2)[targets] for _ in range(2))
    found = paired_bootstrap(name, first, second, targets, kind="classification", groups=np.zeros(60))
    assert found.low is None and found.high is None
    assert found.sentence.endswith("(the rows do not tell how much it varies).")
