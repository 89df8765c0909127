import numpy as np
import pytest

from mlpipe.post.calibration import errors
from mlpipe.post.intervals.by_metric import wilson
from mlpipe.post.measures.class_metrics import log_softmax
from tests.post.drawing import drawn


def plain_error(confidence, hits, bins=15):
    total = 0.0
    for low, high in zip(np.linspace(0, 1, bins + 1)[:-1], np.linspace(0, 1, bins + 1)[1:], strict=True):
        inside = (low < confidence) & (confidence <= high)
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - hits[inside].mean())
    return total / len(hits)


@pytest.mark.parametrize("seed", range(4))
def test_equal_width_and_class_wise_errors_are_plain_loops(seed: int) -> None:
    logits, targets = drawn(seed, 300, 3)
    confidence, hits = errors.confidences(logits, targets)
    assert errors.expected_calibration_error(logits, targets) == pytest.approx(plain_error(confidence, hits))
    probabilities = np.exp(log_softmax(logits))
    expected = np.mean([plain_error(probabilities[:, k], targets == k) for k in range(3)])
    assert errors.classwise_calibration_error(logits, targets) == pytest.approx(expected)


def test_bins_of_equal_mass_hold_equally_many() -> None:
    logits, targets = drawn(5, 300, 3)
    confidence, hits = errors.confidences(logits, targets)
    found = errors.reliability_bins(confidence, hits, bins=10, scheme="mass")
    assert [one.rows for one in found] == [30] * 10
    order = np.argsort(confidence).reshape(10, 30)
    expected = np.mean([abs(confidence[rows].mean() - hits[rows].mean()) for rows in order])
    assert errors.adaptive_calibration_error(logits, targets, bins=10) == pytest.approx(expected)


def test_equal_confidences_stay_in_one_bin() -> None:
    found = errors.reliability_bins(np.full(20, 0.7), np.arange(20) % 2, bins=5, scheme="mass")
    assert [(one.rows, one.hits) for one in found] == [(20, 0.5)]


def test_the_bins_of_a_diagram() -> None:
    confidence, hits = np.array([0.0, 0.05, 0.5, 0.9, 1.0]), np.array([0, 0, 1, 1, 1])
    found = errors.reliability_bins(confidence, hits, bins=10)
    assert [one.lower for one in found] == pytest.approx([0.0, 0.4, 0.8, 0.9])
    assert [one.upper for one in found] == pytest.approx([0.1, 0.5, 0.9, 1.0])
    assert [one.rows for one in found] == [2, 1, 1, 1]
    band = wilson(0, 2)
    assert (found[0].hits_low, found[0].hits_high) == (band.low, band.high)
    assert found[0].as_plain()["confidence"] == pytest.approx(0.025)


def test_the_debiased_error_takes_the_bias_off() -> None:
    """With calibrated predictions the plain L2 error stays far from 0 while the debiased one is 0 on average."""
    plain, debiased = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        chance = rng.uniform(0.5, 1, 300)
        right = rng.random(300) < chance
        logits = np.column_stack([np.log(chance), np.log(1 - chance)])
        targets = np.where(right, 0, 1)
        found = errors.reliability_bins(*errors.confidences(logits, targets), scheme="mass")
        rows, sure, hits = (np.array([getattr(one, key) for one in found]) for key in ("rows", "confidence", "hits"))
        plain.append(float(rows @ (sure - hits) ** 2) / 300)
        squares = (sure - hits) ** 2 - hits * (1 - hits) / (rows - 1)
        debiased.append(float(rows @ squares) / 300)
        own = errors.debiased_error(logits, targets)
        assert own == pytest.approx(np.sqrt(max(0, debiased[-1])), abs=1e-12)
    assert abs(np.mean(debiased)) < 3 * np.std(debiased) / np.sqrt(60) < np.mean(plain) / 3


def test_rows_alone_in_their_bins_are_no_sign_of_calibration() -> None:
    """Ten sure predictions that are all wrong; then two bins of 20 wrong ones beside them, whose error is their chance."""
    sure = np.linspace(0.9, 0.99, 10)
    assert np.isnan(errors.debiased_error(np.log(np.column_stack([sure, 1 - sure])), np.ones(10, int)))
    chance = np.concatenate([np.repeat([0.7, 0.8], 20), sure[:1]])
    logits = np.log(np.column_stack([chance, 1 - chance]))
    assert errors.debiased_error(logits, np.ones(41, int)) == pytest.approx(np.sqrt((0.7**2 + 0.8**2) / 2))


def test_the_root_brier_score_bounds_the_error() -> None:
    logits, targets = drawn(6, 500, 4)
    one = np.exp(log_softmax(logits))
    one[np.arange(500), targets] -= 1
    assert errors.root_brier(logits, targets) == pytest.approx(np.sqrt((one**2).sum(axis=1).mean()))
    assert errors.root_brier(logits, targets) > errors.debiased_error(logits, targets)


@pytest.mark.program
def test_against_netcal_and_psrcal() -> None:
    import torch
    from netcal.metrics import ECE
    from psrcal.losses import ECE as ECE_IN_PERCENT

    logits, targets = drawn(9, 700, 4)
    probabilities = np.exp(log_softmax(logits))
    found = errors.expected_calibration_error(logits, targets)
    assert found == pytest.approx(ECE(15).measure(probabilities, targets), abs=1e-6)
    theirs = ECE_IN_PERCENT(torch.tensor(log_softmax(logits)), torch.tensor(targets))
    assert found == pytest.approx(float(theirs) / 100, abs=1e-6)


def test_bands_of_groups_hold_the_truth_as_often_as_they_say() -> None:
    """Ten images of a patient who are all right or all wrong are one case; Wilson's band takes them for ten."""
    held = {"apart": [], "together": []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        hits = np.repeat((rng.random(40) < 0.7).astype(float), 10)
        for name, groups in (("apart", None), ("together", np.repeat(np.arange(40), 10))):
            (found,) = errors.reliability_bins(np.full(400, 0.7), hits, bins=1, groups=groups)
            assert (found.rows, found.hits) == (400, hits.mean())
            held[name].append(found.hits_low <= 0.7 <= found.hits_high)
    assert np.mean(held["apart"]) < 0.6 and np.mean(held["together"]) >= 0.93
