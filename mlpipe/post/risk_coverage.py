"""The risk-coverage curve: the error rate when only the most confident predictions are answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlpipe.post.rows import Floats


@dataclass(frozen=True)
class RiskCoverage:
    """A risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    Attributes:
        coverage: The share of rows that are answered, the most confident first, shape (k,); the last is 1.
        risk: The share of these that are wrong, shape (k,).
        area: The mean risk over all numbers of answered rows; 0 is best.
    """

    coverage: Floats
    risk: Floats
    area: float

    def at(self, coverage: float) -> float:
        """Return the risk where at least this share is answered."""
        place = min(int(np.searchsorted(self.coverage, coverage - 1e-12)), len(self.coverage) - 1)
        return float(self.risk[place])


def risk_coverage(certainty: npt.ArrayLike, wrong: npt.ArrayLike) -> RiskCoverage:
    """Return the risk at each coverage; equally confident rows are answered together.

    Args:
        certainty: The confidence of each prediction, shape (n,), n of 1 or more.
        wrong: 1 where it is wrong, shape (n,).
    """
    levels, place = np.unique(-np.asarray(certainty, np.float64), return_inverse=True)
    rows = np.bincount(place, minlength=len(levels))
    errors = np.bincount(place, weights=np.asarray(wrong, np.float64), minlength=len(levels))
    answered, missed = np.cumsum(rows), np.cumsum(errors)
    # Errors are spread evenly among equally confident rows.
    before, share = np.repeat(answered - rows, rows), np.repeat(errors / rows, rows)
    counts = np.arange(1, len(place) + 1)
    expected = np.repeat(missed - errors, rows) + (counts - before) * share
    return RiskCoverage(answered / len(place), missed / answered, float((expected / counts).mean()))
