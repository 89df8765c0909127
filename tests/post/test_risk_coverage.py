"""Risk-coverage curves by hand, and against what a random order of equally sure rows gives."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.post.risk_coverage import risk_coverage


def test_by_hand() -> None:
    found = risk_coverage([0.9, 0.6, 0.8, 0.7], [0, 1, 0, 1])
    assert found.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert found.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert found.area == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert found.at(0.5) == 0 and found.at(0.51) == pytest.approx(1 / 3) and found.at(1.0) == 0.5


def test_rows_that_are_equally_sure_are_answered_together() -> None:
    rng = np.random.default_rng(0)
    sure, wrong = np.repeat([0.9, 0.5], [3, 5]), np.array([0, 1, 0, 1, 1, 0, 0, 1.0])
    found = risk_coverage(sure, wrong)
    assert found.coverage.tolist() == [3 / 8, 1.0] and found.risk.tolist() == pytest.approx([1 / 3, 4 / 8])
    areas = []
    for _ in range(4000):
        order = np.lexsort((rng.random(8), -sure))
        areas.append((wrong[order].cumsum() / np.arange(1, 9)).mean())
    assert found.area == pytest.approx(np.mean(areas), abs=4e-3)
