"""Figures for people, with as many digits as their images can tell; files, CSV and `--json` keep all digits.

One image more or less changes a share of n images by 1 / n: figures have two decimals up to 100 images, three up to 1000,
four beyond, and one or two more where a smaller value would have less than two digits.
"""

from __future__ import annotations

import math

_FEWEST, _MOST, _MOST_OF_SMALL = 2, 4, 6


def decimals(rows: int | None) -> int:
    """How many decimals a figure has.

    Args:
        rows: How many images it is of; None: it is of no number of images.
    """
    return _MOST if rows is None else min(_MOST, max(_FEWEST, len(str(max(rows, 1) - 1))))


def number(value: float | None, rows: int | None = None) -> str:
    """A figure: `0.86` of 24 images, `0.861` of 300; of large numbers four digits; empty for what is not there.

    Args:
        value: The figure.
        rows: How many images it is of; None: four decimals.
    """
    if value is None or not math.isfinite(value):
        return ""
    if abs(value) >= 1000:
        return f"{value:.4g}"
    places = decimals(rows)
    smallest = 1 - math.floor(math.log10(abs(value))) if value else 0
    text = f"{value:.{max(places, min(smallest, _MOST_OF_SMALL))}f}"
    return text if float(text) else f"{0:.{places}f}"


def percent(share: float, rows: int | None = None) -> str:
    """A share: `86 %` of 24 images, `86.1 %` of more than 100.

    Args:
        share: From 0 to 1.
        rows: How many images it is of; None: one decimal.
    """
    return f"{100 * share:.{min(1, decimals(rows) - 2)}f} %"


def round_percent(share: float) -> str:
    """A share that somebody chose, such as the level of an interval: `95 %`, `99.5 %`.

    Args:
        share: From 0 to 1.
    """
    return f"{100 * share:.4g} %"


def interval(low: float | None, high: float | None, rows: int | None = None) -> str:
    """`0.79 to 1.00`, empty for what is not there.

    Args:
        low: The lower end.
        high: The upper end.
        rows: How many images it is of; None: four decimals.
    """
    ends = number(low, rows), number(high, rows)
    return " to ".join(ends) if all(ends) else ""
