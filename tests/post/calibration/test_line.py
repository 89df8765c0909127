"""The calibration line against statsmodels, with and without groups, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from mlpipe.post.calibration.line import line


def rows(n: int = 400, slope: float = 0.6, shift: float = -0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, n)
    return odds, (rng.random(n) < 1 / (1 + np.exp(-(shift + slope * odds)))).astype(float)


def test_slope_and_intercepts_are_those_of_a_logistic_regression() -> None:
    odds, true = rows()
    found = line(odds, true)
    both = sm.Logit(true, sm.add_constant(odds)).fit(disp=0)
    large = sm.GLM(true, np.ones((len(true), 1)), family=sm.families.Binomial(), offset=odds).fit()
    assert found.slope is not None and found.intercept is not None and found.in_the_large is not None
    for one, model, place in ((found.intercept, both, 0), (found.slope, both, 1), (found.in_the_large, large, 0)):
        assert one.value == pytest.approx(model.params[place], abs=1e-6)
        assert (one.low, one.high) == pytest.approx(tuple(model.conf_int()[place]), abs=1e-5)
    assert found.observed == true.mean() and found.expected == pytest.approx((1 / (1 + np.exp(-odds))).mean())


def test_rows_of_a_group_have_robust_errors() -> None:
    odds, true = rows(120)
    groups = np.repeat(np.arange(60), 4)
    found = line(np.repeat(odds, 2), np.repeat(true, 2), groups)
    model = sm.Logit(np.repeat(true, 2), sm.add_constant(np.repeat(odds, 2)))
    robust = model.fit(disp=0, cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
    assert found.slope is not None
    error = (found.slope.high - found.slope.low) / 2 / 1.959964
    assert error == pytest.approx(robust.bse[1] * np.sqrt(60 / 59), rel=1e-6)


def test_where_there_is_no_line() -> None:
    odds = np.array([-3.0, -2, -1, 1, 2, 3])
    separated = line(odds, odds > 0)
    assert separated.slope is None and "separate" in separated.note and separated.in_the_large is not None
    assert line(odds, np.ones(6)).note == "all answers are the same"
    constant = line(np.zeros(10), np.arange(10) < 3)
    assert constant.slope is None and constant.note == "predictions are all the same"
    assert constant.in_the_large is not None and constant.in_the_large.value == pytest.approx(np.log(3 / 7))
    assert line([np.inf, -np.inf, 0.5, -0.5], [1, 0, 0, 1]).in_the_large is not None


def test_a_single_group_tells_nothing_of_errors() -> None:
    odds, true = rows(60)
    found = line(odds, true, np.zeros(60))
    assert (found.slope, found.intercept, found.in_the_large) == (None, None, None)
    assert found.note == "a single group does not tell how much it varies" and found.observed == true.mean()
