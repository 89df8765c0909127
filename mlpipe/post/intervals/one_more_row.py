"""Intervals from the rows there are and one more unseen row: for mean losses, and for measures of agreement.

Rows get random weights that sum to one (Rubin 1981), and so does one row more, the worst that there could have been for
the one end and the best for the other. Of a share these are exactly the ends of Clopper and Pearson; of a mean with known
bounds they are those of Gaffke 2005 (Learned-Miller and Thomas 2019). Without that row, a mistake of which there happens to
be none among few rows, such as a confident wrong prediction, is taken for impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe.post.intervals.exact import summed
from mlpipe.post.rows import Floats, Integers

# Entries of one block of draws, to bound memory.
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
    """The ends of a mean loss.

    Args:
        losses: Of each row, summed over what is known of it, shape (n,).
        worst: The largest that each could have been with another truth, shape (n,).
        known: What the losses are divided by, shape (n,): 1, or the number of labels.
        units: The unit of each row, shape (n,).
        count: How many units there are.
        level: Of the interval.
        resamples: Draws.
        seed: Of the draws.
        best: The smallest that each could have been, shape (n,); None: the smallest that was seen.
    """
    parts, wholes = summed(losses, units, count), summed(known, units, count)
    size = wholes.mean()
    # The row more is an average one that was predicted wrong; a loss that was seen is possible too.
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
        counts: How many rows, any numbers above 0, shape (cells,).
        classes: How many classes there are.
    """

    true: Integers
    predicted: Integers
    counts: Floats
    classes: int

    @classmethod
    def of(cls, matrix: Floats) -> Table:
        """The cells of a whole matrix, shape (classes, classes)."""
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
    """The ends of a measure of a confusion matrix that grows with the hits.

    Each class with rows gets one more: a miss for the low end, a hit for the high one.

    Args:
        table: The matrix.
        measure: From hits, predicted and true counts, shape (draws, classes) each, to values, shape (draws,).
        level: Of the interval.
        resamples: Draws.
        seed: Of the draws.
    """
    # Weights of rows that sum to one are exponential draws over their sum, and those of many rows in one cell of the table
    # together a gamma draw: so whole tables are drawn, and never rows. Measures of a table depend on ratios alone, so that
    # nothing is divided by the sum.
    from scipy.sparse import csr_array

    rng, classes = np.random.default_rng(seed), table.classes
    counts, true_classes = table.counts, np.unique(table.true)

    def adding(places: Integers) -> Any:
        """A matrix that adds a number of each place to that of its class."""
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
        # The row more of each class is a miss for the low end, called another class at random, and a hit for the high one.
        wrong = (true_classes + rng.integers(1, classes, (draw_count, len(true_classes)))) % classes
        misses = columns.copy()
        np.add.at(misses, (np.arange(draw_count)[:, None], wrong), more)
        values[0].append(measure(hits, misses, rows))
        values[1].append(measure(hits + one_more, columns + one_more, rows))
    tails = (1 - level) / 2, (1 + level) / 2
    low, high = (float(np.quantile(np.concatenate(ends), tail)) for ends, tail in zip(values, tails, strict=True))
    return low, high


def _weights(count: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Blocks of weights with the shape (draws, count); only their ratios matter."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // count)
    for start in range(0, resamples, block):
        yield rng.standard_exponential((min(block, resamples - start), count))
