"""Answers of yes and no: counts by hand, predictive values by Bayes, intervals that cover, decision curves by their formula."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference
from statsmodels.stats.proportion import proportion_confint

from mlpipe.errors import DataError
from mlpipe.post.diagnosis import Diagnosis, at_prevalence, diagnosis, net_benefit

RNG = np.random.default_rng


def of_counts(hits: int, alarms: int, cleared: int, missed: int) -> Diagnosis:
    said = np.repeat([True, True, False, False], [hits, alarms, cleared, missed])
    true = np.repeat([True, False, False, True], [hits, alarms, cleared, missed])
    return diagnosis(said, true)


def test_shares_and_their_intervals() -> None:
    found = of_counts(40, 30, 170, 20)
    shares = found.sensitivity, found.specificity, found.ppv, found.npv
    for one, hits, total in zip(shares, (40, 170, 40, 170), (60, 200, 70, 190), strict=True):
        assert one is not None
        assert one.value == pytest.approx(hits / total)
        assert (one.low, one.high) == pytest.approx(proportion_confint(hits, total, 0.05, "wilson"))
    assert found.counts == (40, 30, 170, 20) and found.prevalence == pytest.approx(60 / 260)
    rare = of_counts(4, 0, 90, 12).sensitivity
    assert rare is not None and (rare.low, rare.high) == pytest.approx(proportion_confint(4, 16, 0.05, "beta"))


def test_nothing_is_answered_so() -> None:
    found = of_counts(0, 0, 10, 3)
    assert found.ppv is None and found.sensitivity is not None and found.sensitivity.value == 0
    assert at_prevalence(found, 0.5)[0] is None
    assert of_counts(0, 2, 10, 0).sensitivity is None and at_prevalence(of_counts(0, 2, 10, 0), 0.5) == (None, None)
    with pytest.raises(DataError, match="no rows"):
        diagnosis(np.zeros(0, bool), np.zeros(0, bool))


@pytest.mark.parametrize("prevalence", [0.01, 0.2, 0.7])
def test_predictive_values_at_another_prevalence(prevalence: float) -> None:
    """By Bayes' rule; for many rows the ends are those of the delta method on the log-odds (Mercaldo et al. 2007)."""
    hits, alarms, cleared, missed = 32_000, 4_000, 36_000, 8_000
    found = of_counts(hits, alarms, cleared, missed)
    se, sp = 0.8, 0.9
    ppv, npv = at_prevalence(found, prevalence)
    assert ppv is not None and npv is not None
    assert ppv.value == pytest.approx(se * prevalence / (se * prevalence + (1 - sp) * (1 - prevalence)))
    assert npv.value == pytest.approx(sp * (1 - prevalence) / (sp * (1 - prevalence) + (1 - se) * prevalence))
    for one, variance in (
        (ppv, (1 - se) / se / 40_000 + sp / (1 - sp) / 40_000),
        (npv, se / (1 - se) / 40_000 + (1 - sp) / sp / 40_000),
    ):
        middle, half = np.log(one.value / (1 - one.value)), 1.959964 * np.sqrt(variance)
        ends = 1 / (1 + np.exp(-(middle + half * np.array([-1, 1]))))
        assert (one.low, one.high) == pytest.approx(tuple(ends), abs=2e-4)
    with pytest.raises(DataError, match="above 0 and below 1"):
        at_prevalence(found, 1.0)


def test_an_uncertain_prevalence_widens() -> None:
    found = of_counts(40, 30, 170, 20)
    known, unsure = at_prevalence(found, 0.2)[0], at_prevalence(found, 0.2, 0.1, 0.35)[0]
    assert known is not None and unsure is not None and unsure.value == known.value
    assert unsure.low < known.low - 0.02 and unsure.high > known.high + 0.02
    # Whatever the test knows, the prevalence alone moves the value so far.
    sure = at_prevalence(of_counts(40_000, 30_000, 170_000, 20_000), 0.2, 0.1, 0.35)[0]
    assert sure is not None
    rate = (2 / 3) / (3 / 20)
    odds = np.array([0.1 / 0.9, 0.35 / 0.65]) * rate
    assert (sure.low, sure.high) == pytest.approx(tuple(odds / (1 + odds)), abs=4e-3)


@pytest.mark.parametrize(
    ("se", "sp", "n", "prevalence"), [(0.8, 0.9, 60, 0.1), (0.95, 0.98, 40, 0.02), (0.6, 0.7, 200, 0.4)]
)
def test_intervals_cover(se: float, sp: float, n: int, prevalence: float) -> None:
    """Of simulated studies with an estimated prevalence, about 95 % of the intervals hold the true value."""
    rng, counted, held = RNG(1), 0, np.zeros(2)
    true = (
        se * prevalence / (se * prevalence + (1 - sp) * (1 - prevalence)),
        sp * (1 - prevalence) / (sp * (1 - prevalence) + (1 - se) * prevalence),
    )
    for _ in range(400):
        hits, cleared, seen = rng.binomial(n, se), rng.binomial(n, sp), rng.binomial(300, prevalence)
        low, high = proportion_confint(seen, 300, 0.05, "wilson")
        both = at_prevalence(of_counts(hits, n - cleared, cleared, n - hits), max(seen, 0.5) / 300, low, high)
        held += [one is not None and one.low <= value <= one.high for one, value in zip(both, true, strict=True)]
        counted += 1
    assert (held / counted > 0.925).all()


def test_rows_of_a_patient_count_less() -> None:
    said, true = RNG(0).random(300) < 0.7, np.arange(300) < 150
    alone, pairs = (
        diagnosis(said, true),
        diagnosis(np.repeat(said, 4), np.repeat(true, 4), np.repeat(np.arange(300), 4)),
    )
    assert alone.sensitivity is not None and pairs.sensitivity is not None
    widths = [one.high - one.low for one in (alone.sensitivity, pairs.sensitivity)]
    # Four copies of each row know what the row knows.
    assert pairs.sensitivity.value == alone.sensitivity.value and widths[1] == pytest.approx(widths[0], rel=0.05)


def test_decision_curve_is_its_formula() -> None:
    rng = RNG(3)
    true = rng.random(500) < 0.3
    chances = 1 / (1 + np.exp(-(2 * true - 1.5 + rng.normal(size=500))))
    cuts = np.array([0.05, 0.2, 0.5, 0.8])
    curve = net_benefit(chances, true, cuts)
    for place, cut in enumerate(cuts):
        (_, alarms), (_, hits) = reference.confusion_matrix(true, chances >= cut)
        assert curve.model[place] == pytest.approx(hits / 500 - alarms / 500 * cut / (1 - cut))
    assert curve.everybody == pytest.approx(true.mean() - (1 - true.mean()) * cuts / (1 - cuts))
    # Who acts on everybody has the benefit of that.
    assert net_benefit(np.ones(500), true, cuts).model == pytest.approx(curve.everybody)
    drawn = [net_benefit(chances[rows], true[rows], cuts).model for rows in rng.integers(0, 500, (600, 500))]
    assert (curve.high - curve.low) / (2 * 1.959964) == pytest.approx(np.std(drawn, axis=0), rel=0.12)


def test_a_decision_curve_of_one_patient_has_no_band() -> None:
    true = np.arange(40) % 2 == 0
    found = net_benefit(np.where(true, 0.6, 0.3), true, [0.2, 0.5], groups=np.zeros(40))
    assert found.model.tolist() == [0.375, 0.5]
    assert np.isnan([found.low, found.high]).all()


def test_decision_curve_at_another_prevalence() -> None:
    rng = RNG(4)
    true = rng.random(400) < 0.5
    chances, cuts = np.where(true, 0.6, 0.3) + rng.normal(0, 0.1, 400), np.array([0.1, 0.4])
    curve = net_benefit(chances, true, cuts, prevalence=0.1)
    for place, cut in enumerate(cuts):
        se, fp = (chances[true] >= cut).mean(), (chances[~true] >= cut).mean()
        assert curve.model[place] == pytest.approx(0.1 * se - 0.9 * fp * cut / (1 - cut))
    assert curve.everybody == pytest.approx(0.1 - 0.9 * cuts / (1 - cuts))
