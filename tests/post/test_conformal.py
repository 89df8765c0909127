import json

import numpy as np
import pytest
from scipy import stats

from mlpipe.errors import ConfigError, DataError
from mlpipe.post.conformal import (
    ConformalSets,
    _noise,
    conformal,
    residual_halfwidths,
    upper_quantile,
)
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import move_prior
from tests.post.drawing import drawn


def plain_score(row, label, score, noise, penalty, free_rank):
    """One score, written as in the papers."""
    if score == "lac":
        return 1 - row[label]
    order = np.argsort(-row, kind="stable")
    rank = int(np.flatnonzero(order == label)[0]) + 1
    total = sum(row[order[place]] for place in range(rank)) - noise * row[label]
    return total + (penalty * max(0, rank - free_rank) if score == "raps" else 0)


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_sets_are_those_of_a_plain_loop(score: str) -> None:
    logits, targets = drawn(0, 90, 6)
    new, _ = drawn(1, 40, 6)
    rng = np.random.default_rng(0)
    noise, new_noise = rng.random(90), rng.random(40)
    found = conformal(logits, targets, alpha=0.2, score=score, penalty=0.1, free_rank=2, noise=noise)
    rows = np.exp(log_softmax(logits))
    own = sorted(plain_score(*one, score, u, 0.1, 2) for *one, u in zip(rows, targets, noise, strict=True))
    cut = own[int(np.ceil(91 * 0.8)) - 1]
    assert found.cuts == pytest.approx([cut] * 6)
    expected = [
        [plain_score(row, label, score, u, 0.1, 2) <= cut for label in range(6)]
        for row, u in zip(np.exp(log_softmax(new)), new_noise, strict=True)
    ]
    assert np.array_equal(found.sets(new, noise=new_noise), expected)


def test_the_quantile_is_a_score_and_counts_the_new_row() -> None:
    scores = np.random.default_rng(0).permutation(9).astype(float)
    assert upper_quantile(scores, 0.1) == 8
    assert upper_quantile(scores, 0.5) == 4
    assert upper_quantile(scores, 0.09) == float("inf")
    assert upper_quantile(np.arange(99.0), 0.1) == 89


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_sets_cover_as_promised(score: str) -> None:
    hits = []
    for seed in range(100):
        logits, targets = drawn(seed, 260, 4)
        found = conformal(logits[4:104], targets[4:104], alpha=0.1, score=score)
        sets = found.sets(logits[104:])
        hits.append(sets[np.arange(156), targets[104:]].mean())
    assert np.mean(hits) >= 0.9 - 3 * np.std(hits) / 10
    assert np.mean(hits) <= 0.93


def test_every_class_is_covered_when_asked() -> None:
    even, skewed = np.full(4, 0.25), np.array([0.7, 0.1, 0.1, 0.1])
    logits, targets = drawn(1, 8000, 4, prior=skewed)
    new, truth = drawn(2, 8000, 4, prior=skewed)
    by_class = conformal(logits, targets, class_conditional=True).sets(new)
    covered = [by_class[truth == k, k].mean() for k in range(4)]
    assert min(covered) > 0.87 and max(covered) < 0.93
    plain = conformal(logits, targets).sets(new)
    assert min(plain[truth == k, k].mean() for k in range(4)) < 0.86
    # The same promise where the prevalence differs.
    moved, moved_truth = drawn(3, 8000, 4, prior=even)
    moved = moved - 2.2 * np.log(even) + 2.2 * np.log(skewed)
    weighted = conformal(logits, targets, prior=even).sets(moved)
    assert 0.88 < weighted[np.arange(8000), moved_truth].mean() < 0.92
    unweighted = conformal(logits, targets).sets(moved)
    assert unweighted[np.arange(8000), moved_truth].mean() < 0.88


def test_weights_of_the_own_prevalence_change_nothing() -> None:
    logits, targets = drawn(4, 150, 3)
    plain = conformal(logits, targets)
    weighted = conformal(logits, targets, prior=np.bincount(targets) / 150)
    assert weighted.cuts == pytest.approx(plain.cuts)


def test_too_few_rows_leave_nothing_out() -> None:
    logits, targets = drawn(5, 8, 3)
    found = conformal(logits, targets, alpha=0.05)
    assert found.cuts == (float("inf"),) * 3
    assert found.sets(logits).all()
    assert json.loads(json.dumps(found.as_plain()))["cuts"] == [None] * 3


def test_intervals_of_numbers_cover_as_promised() -> None:
    hits = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(150, 2))
        predicted = truth + rng.standard_t(3, size=(150, 2)) * [1, 5]
        half = residual_halfwidths(predicted[:100], truth[:100], alpha=0.2)
        hits.append((np.abs(predicted[100:] - truth[100:]) <= half).mean())
    assert 0.8 - 3 * np.std(hits) / np.sqrt(200) <= np.mean(hits) <= 0.83
    truth[0, 0] = np.nan
    expected = upper_quantile(np.abs(predicted - truth)[1:, 0], 0.1)
    assert residual_halfwidths(predicted, truth)[0] == expected


def test_what_cannot_be_promised() -> None:
    logits, targets = drawn(7, 50, 3)
    with pytest.raises(ConfigError) as caught:
        conformal(logits, targets, alpha=1.5, score="lacc", class_conditional=True, prior=[1, 1, 1])
    assert len(caught.value.problems) == 3
    with pytest.raises(DataError, match="class numbers 2 have no calibration row"):
        conformal(logits, np.where(targets == 2, 0, targets), prior=[1, 1, 1])
    with pytest.raises(DataError, match="targets of the shape"):
        residual_halfwidths(logits, targets)


SHIFTED = np.array([0.7, 0.2, 0.1])


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_promises_hold_at_another_prevalence(score: str, by_class: bool, moved: bool) -> None:
    """Rows are weighted, or each class is by itself, whether the probabilities are moved to the prevalence or not."""
    logits, targets = drawn(11, 6000, 3, prior=np.full(3, 1 / 3))
    new, truth = drawn(12, 20_000, 3, prior=SHIFTED)
    # The same networks: log-likelihoods with the prevalence of the calibration rows.
    new = new + 2.2 * (np.log(np.full(3, 1 / 3)) - np.log(SHIFTED))
    logs, fresh = log_softmax(logits), log_softmax(new)
    if moved:
        logs, fresh = (move_prior(one, np.full(3, 1 / 3), SHIFTED) for one in (logs, fresh))
    promise = {"class_conditional": True} if by_class else {"prior": SHIFTED}
    found = conformal(logs, targets, alpha=0.1, score=score, **promise)
    assert found.by_class == by_class and ConformalSets.from_plain(found.as_plain()).by_class == by_class
    sets = found.sets(fresh)
    assert sets[np.arange(len(truth)), truth].mean() >= 0.885
    if by_class:
        covered = [sets[truth == number, number].mean() for number in range(3)]
        assert covered == pytest.approx([0.9] * 3, abs=0.03)


@pytest.mark.parametrize("score", ["aps", "raps"])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_promise_holds_for_samples_that_are_predicted_one_by_one(score: str, seed: int) -> None:
    """The set of a sample is its own, whatever others there are and in whatever order."""
    logits, targets = drawn(21, 4000, 4)
    new, truth = drawn(22, 3000, 4)
    found = conformal(logits, targets, alpha=0.1, score=score, free_rank=2)
    alone = np.concatenate([found.sets(row[None]) for row in new])
    assert alone[np.arange(len(truth)), truth].mean() == pytest.approx(0.9, abs=0.02)
    order = np.random.default_rng(seed).permutation(len(new))
    assert np.array_equal(found.sets(new[order]), alone[order])
    # Rounding by another machine changes hardly any.
    other = found.sets(new + np.random.default_rng(1).normal(size=new.shape) * 1e-6)
    assert (other != alone).any(axis=1).mean() < 0.003


def test_noise_of_rows_is_uniform() -> None:
    logits = np.random.default_rng(0).normal(size=(5000, 3)) * 4
    noise = _noise(None, logits)
    assert stats.kstest(noise, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(noise, logits.max(axis=1))[0, 1]) < 0.05
    assert _noise(None, np.array([[0.0, -1e300], [1e300, 0.0]])).shape == (2,)
