"""How often predictions are wrong when only the surest are answered: the risk-coverage curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats


@dataclass(frozen=True)
class RiskCoverage:
    """A risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    Attributes:
        coverage: The share of rows that are answered, the surest first, shape (k,); the last is 1.
        risk: The share of these that are wrong, shape (k,).
        area: The mean risk over all numbers of answered rows; 0 is best.
    """

    coverage: Floats
    risk: Floats
    area: float

    def at(self, coverage: float) -> float:
        """The risk where at least this share is answered."""
        place = min(int(np.searchsorted(self.coverage, coverage - 1e-12)), len(self.coverage) - 1)
        return float(self.risk[place])


def risk_coverage(certainty: npt.ArrayLike, wrong: npt.ArrayLike) -> RiskCoverage:
    """The risk at each coverage; rows that are equally sure are answered together.

    Args:
        certainty: How sure each prediction is, shape (n,), n of 1 or more.
        wrong: 1 where it is wrong, shape (n,).
    """
    levels, place = np.unique(-np.asarray(certainty, np.float64), return_inverse=True)
    rows = np.bincount(place, minlength=len(levels))
    errors = np.bincount(place, weights=np.asarray(wrong, np.float64), minlength=len(levels))
    answered, missed = np.cumsum(rows), np.cumsum(errors)
    # Within rows that are equally sure, errors are spread evenly.
    before, share = np.repeat(answered - rows, rows), np.repeat(errors / rows, rows)
    counts = np.arange(1, len(place) + 1)
    expected = np.repeat(missed - errors, rows) + (counts - before) * share
    return RiskCoverage(answered / len(place), missed / answered, float((expected / counts).mean()))
