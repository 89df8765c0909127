"""Intervals from the observed rows and one more unseen row: for mean losses, and for measures of agreement.

Rows get random weights that sum to one (Rubin 1981), and so does one more row, the worst possible one for
one end and the best for the other. For a share these are exactly the ends of Clopper and Pearson; for a mean with known
bounds they are those of Gaffke 2005 (Learned-Miller and Thomas 2019). Without that row, a mistake that few rows happen not
to show, such as a confident wrong prediction, would count as impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe.post.intervals.exact import summed
from mlpipe.post.rows import Floats, Integers

# The most entries of one block of draws, to bound memory.
_BLOCK = 4_000_000


def mean_ends(
    losses: Floats,
    worst: Floats,
    known: Floats,
    units: Integers,
    count: int,
    *,
    level: float,
    resamples: int,
    seed: int,
    best: Floats | None = None,
) -> tuple[float, float]:
    """Return the ends of a mean loss.

    Args:
        losses: Loss of each row, summed over what is known of it, shape (n,).
        worst: The largest loss of each row under another truth, shape (n,).
        known: The divisors of the losses, shape (n,): 1, or the number of labels.
        units: The unit of each row, shape (n,).
        count: The number of units.
        level: The confidence level.
        resamples: The number of draws.
        seed: Seed of the draws.
        best: The smallest possible loss of each row, shape (n,); None: the smallest observed one.
    """
    parts, wholes = summed(losses, units, count), summed(known, units, count)
    size = wholes.mean()
    # The extra row is an average one that was predicted wrong; any observed loss is possible too.
    top = max(float(worst.sum() / known.sum()), float(np.max(parts[wholes > 0] / wholes[wholes > 0])))
    bottom = float(np.min(parts[wholes > 0] / wholes[wholes > 0]))
    if best is not None:
        bottom = min(bottom, float(best.sum() / known.sum()))
    values: list[list[Floats]] = [[], []]
    for weights in _weights(count + 1, resamples, seed):
        own, more = weights[:, :-1], weights[:, -1]
        above, below = own @ parts, own @ wholes + size * more
        for ends, loss in zip(values, (bottom, top), strict=True):
            ends.append((above + size * loss * more) / below)
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = (float(np.quantile(np.concatenate(ends), tail)) for ends, tail in zip(values, tails, strict=True))
    return low, high


@dataclass(frozen=True)
class Table:
    """The cells of a confusion matrix that hold rows, ordered by true class, then by predicted class.

    Attributes:
        true: The true class of each, shape (cells,).
        predicted: The predicted one, shape (cells,).
        counts: The number of rows, any number above 0, shape (cells,).
        classes: The number of classes.
    """

    true: Integers
    predicted: Integers
    counts: Floats
    classes: int

    @classmethod
    def of(cls, matrix: Floats) -> Table:
        """Return the cells of a whole matrix, shape (classes, classes)."""
        true, predicted = np.nonzero(matrix)
        return cls(true, predicted, matrix[true, predicted], len(matrix))


def table_ends(
    table: Table,
    measure: Callable[[Floats, Floats, Floats], Floats],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Return the ends of a measure of a confusion matrix that increases with the hits.

    Each class with rows gets one more: a miss for the low end, a hit for the high one.

    Args:
        table: The matrix.
        measure: From hits, predicted and true counts, shape (draws, classes) each, to values, shape (draws,).
        level: The confidence level.
        resamples: The number of draws.
        seed: Seed of the draws.
    """
    # Random row weights that sum to one are exponential draws divided by their sum, and the weight of all rows in a cell is
    # a gamma draw: so whole tables are drawn instead of rows. Measures of a table depend on ratios alone, so the division
    # by the sum is left out.
    from scipy.sparse import csr_array

    rng, classes = np.random.default_rng(seed), table.classes
    counts, true_classes = table.counts, np.unique(table.true)

    def adding(places: Integers) -> Any:
        """Return a sparse matrix that adds the value of each place to that of its class."""
        return csr_array((np.ones(len(places)), places, np.arange(len(places) + 1)), shape=(len(places), classes))

    of_true, of_predicted, of_there = adding(table.true), adding(table.predicted), adding(true_classes)
    right = table.true == table.predicted
    of_right = adding(table.true[right])
    block = max(1, _BLOCK // max(len(counts), len(true_classes) * classes))
    values: list[list[Floats]] = [[], []]
    for start in range(0, resamples, block):
        draw_count = min(block, resamples - start)
        drawn = rng.standard_gamma(counts, (draw_count, len(counts)))
        more = rng.standard_exponential((draw_count, len(true_classes)))
        one_more = more @ of_there
        rows = drawn @ of_true + one_more
        columns, hits = drawn @ of_predicted, drawn[:, right] @ of_right
        # The extra row of each class is a miss for the low end, predicted as a random other class, and a hit for the high one.
        wrong = (true_classes + rng.integers(1, classes, (draw_count, len(true_classes)))) % classes
        misses = columns.copy()
        np.add.at(misses, (np.arange(draw_count)[:, None], wrong), more)
        values[0].append(measure(hits, misses, rows))
        values[1].append(measure(hits + one_more, columns + one_more, rows))
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = (float(np.quantile(np.concatenate(ends), tail)) for ends, tail in zip(values, tails, strict=True))
    return low, high


def _weights(count: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of weights with the shape (draws, count); only their ratios matter."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        yield rng.standard_exponential((min(block, resamples - start), count))
