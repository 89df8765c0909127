"""Figures for people, with as many digits as the number of images supports; files, CSV and `--json` keep all digits.

One image more or less changes a share of n images by 1 / n, so figures have two decimals up to 100 images, three up to 1000,
four beyond, and one or two more if a smaller value would have less than two digits. Values without an upper bound, such as
an error in a unit, have as many digits as a share close to 1: `12.3` of 24 images, `123`. Values below 0.0001 have two digits
and a power of ten, so that 4.9e-06 and 3.2e-07 differ; values below the rounding of sums are 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlpipe.errors import listing

_FEWEST, _MOST = 2, 4
# Values below the first are rounding errors of sums; values from the second on have decimals, from the third on powers of ten.
_NOTHING, _LEAST, _LARGEST = 1e-12, 1e-4, 1e6


def decimals(rows: int | None) -> int:
    """Return the number of decimals of a figure.

    Args:
        rows: The number of images behind it; None: not based on a number of images.
    """
    return _MOST if rows is None else min(_MOST, max(_FEWEST, len(str(max(rows, 1) - 1))))


def number(value: float | None, rows: int | None = None) -> str:
    """Format a figure: `0.86` and `12.3` of 24 images, `0.861` and `12.35` of 300, `12346` of any; empty for a missing one.

    Args:
        value: The figure.
        rows: The number of images behind it; None: very many, so that values below 10 have four decimals.
    """
    if value is None or not math.isfinite(value):
        return ""
    size, places = abs(value), decimals(rows)
    if size >= 1000:
        return f"{value:.0f}" if size < _LARGEST else f"{value:.4g}"
    if size < _NOTHING:
        return f"{0:.{places}f}"
    return f"{value:.1e}" if size < _LEAST else f"{value:.{_places(size, places)}f}"


def _places(size: float, places: int) -> int:
    """Return the decimals of a figure that is neither tiny nor large, if one around 1 has `places`."""
    if size < 1:
        return max(places, 1 - math.floor(math.log10(size)))
    # The size after rounding counts: 9.996 is 10.0.
    return max(0, places - int(f"{size:.{places}e}".partition("e")[2]))


def setting(value: Any) -> str:
    """Format a value of a configuration, such as a learning rate that a search drew: `0.0004329`; texts are unchanged.

    Args:
        value: The value.
    """
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def parameters(count: int) -> str:
    """Format the number of parameters of a network: `11.18 M`; all digits for small ones.

    Args:
        count: The number.
    """
    return f"{count / 1e6:.2f} M" if count >= 10_000 else str(count)


def rounded(value: float) -> float:
    """Round a prediction for a file to six decimals, smaller ones to six digits because numbers may be small in their unit.

    Args:
        value: The number.
    """
    return float(f"{value:.6g}") if abs(value) < 0.1 else round(value, 6)


def percent(share: float, rows: int | None = None) -> str:
    """Format a share: `86 %` of 24 images, `86.1 %` of more than 100.

    Args:
        share: From 0 to 1.
        rows: The number of images behind it; None: one decimal.
    """
    return f"{100 * share:.{min(1, decimals(rows) - 2)}f} %"


def round_percent(share: float) -> str:
    """Format a share that somebody chose, such as a confidence level: `95 %`, `99.5 %`.

    Args:
        share: From 0 to 1.
    """
    return f"{100 * share:.4g} %"


def interval(low: float | None, high: float | None, rows: int | None = None) -> str:
    """Format an interval: `0.79 to 1.00`, empty for a missing one.

    Args:
        low: The lower end.
        high: The upper end.
        rows: As for `number`.
    """
    ends = number(low, rows), number(high, rows)
    if not all(ends) or low is None or high is None:
        return ""
    larger = max(abs(low), abs(high))
    if min(abs(low), abs(high)) >= 1 and larger < 1000:
        # If the ends are on two sides of 10, both have the decimals of the larger one.
        places = _places(larger, decimals(rows))
        ends = f"{low:.{places}f}", f"{high:.{places}f}"
    return " to ".join(ends)


def prevalence(classes: Sequence[str], shares: Sequence[float]) -> str:
    """Format the share of each class: `healthy 0.98, ill 0.02`; without names the numbers alone.

    Args:
        classes: The names of the classes, in the order of the shares; or none.
        shares: Their shares.
    """
    named = [f"{name} {share:g}" for name, share in zip(classes, shares, strict=True)] if classes else None
    return listing(named or [f"{share:g}" for share in shares])
