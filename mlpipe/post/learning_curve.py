"""Learning curves over training sizes: the error extrapolated to more data, with a band.

Three families of curves are fitted by weighted least squares: `power` a + b m^-c, `log` a - b log(m + c), and `arctan`
a + b (1 - 2/pi arctan(c m)), with a, b >= 0. The family that best predicts the largest size from the smaller ones is used
(Mahmood et al. 2022, arXiv:2207.01725; power laws: Hestness et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem
from mlpipe.post.rows import Floats

Family = Literal["power", "log", "arctan"]

_GRID = 241


@dataclass(frozen=True)
class LearningCurve:
    """A fitted curve: its family, a, b and c, the same for every bootstrap draw (draws, 3), and the held-out misses."""

    family: str
    parameters: tuple[float, float, float]
    drawn: Floats
    level: float
    held_out_errors: dict[str, float]
    notes: tuple[str, ...] = ()

    def predict(self, sizes: npt.ArrayLike) -> Floats:
        """Return the error expected at training sizes, shape (sizes,), not below 0.

        Args:
            sizes: Training sizes, shape (sizes,).
        """
        training_sizes = np.atleast_1d(np.asarray(sizes, np.float64))
        return np.asarray(_values(self.family, np.array([self.parameters]), training_sizes)[0])

    def band(self, sizes: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the low and the high end of the band at training sizes, shape (sizes,) each.

        The band covers the variation of test rows, not that of training rows.

        Args:
            sizes: Training sizes, shape (sizes,).
        """
        tails = [(1 - self.level) / 2, (1 + self.level) / 2]
        values = _values(self.family, self.drawn, np.atleast_1d(np.asarray(sizes, np.float64)))
        low, high = np.quantile(values, tails, axis=0)
        return low, high

    def as_plain(self) -> dict[str, Any]:
        """Return the curve without its draws as plain data, ready for JSON."""
        plain = {name: getattr(self, name) for name in ("family", "level", "held_out_errors")}
        return {**plain, "parameters": list(self.parameters), "notes": list(self.notes)}


def fit_learning_curve(
    sizes: npt.ArrayLike,
    errors: npt.ArrayLike,
    *,
    variances: npt.ArrayLike | None = None,
    families: Sequence[str] = ("power", "log", "arctan"),
    level: float = 0.9,
    draws: int = 500,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> LearningCurve:
    """Fit a curve to errors measured at several training sizes on the same test rows.

    Args:
        sizes: Training sizes, three or more different ones (four to choose a family), shape (sizes,).
        errors: The error of each test row at each size, shape (rows, sizes): draws resample rows jointly over sizes. Or
            the mean error at each size, shape (sizes,), with `variances`: draws are then normal and independent.
        variances: The variance of each mean error, shape (sizes,); needed without rows.
        families: The families to choose from.
        level: The confidence level of the band.
        draws: The number of bootstrap draws for the band.
        seed: Seed of the draws.
        groups: The group of each test row, shape (rows,), drawn together; None: every row by itself, as for a single group.

    Raises:
        ConfigError: A family is unknown.
        DataError: Too few sizes, shapes that differ, or values that are not finite.
    """
    unknown = [name for name in families if name not in get_args(Family)]
    if unknown or not families:
        fix = did_you_mean(str(unknown[:1]), get_args(Family), otherwise=f"families: {listing(get_args(Family))}")
        raise ConfigError(problem("families", "unknown family", got=list(families), fix=fix))
    units = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    # Draws of a single group are all the same, as if nothing were uncertain.
    is_alone = units is not None and len(units) > 1 and np.ptp(units) == 0
    counts, means, spread, drawn = _error_statistics(sizes, errors, variances, draws, seed, None if is_alone else units)
    weights = 1 / spread
    missed: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    if len(counts) > 3:
        # Choose the family that best predicts the largest size from the others, because that is its use.
        for family in families:
            fitted = _fit(family, counts[:-1], means[None, :-1], weights[:-1])
            missed[family] = float(abs(_values(family, fitted, counts[-1:])[0, 0] - means[-1]))
        family = min(missed, key=missed.__getitem__)
    else:
        family = families[0]
        notes = (f"three sizes are too few to choose a family: {family} is used",) if len(families) > 1 else ()
    if is_alone:
        notes = (*notes, "all test rows are of one group: they are drawn one by one, and the band may be too narrow")
    # Then fit all sizes, and each draw of them likewise: the spread of those curves is the band.
    best = _fit(family, counts, means[None], weights)[0]
    band = _fit(family, counts, drawn, weights)
    return LearningCurve(family, (float(best[0]), float(best[1]), float(best[2])), band, level, missed, notes)


def _error_statistics(
    sizes: npt.ArrayLike,
    errors: npt.ArrayLike,
    variances: npt.ArrayLike | None,
    draws: int,
    seed: int,
    groups: npt.NDArray[np.int64] | None,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return ascending sizes, mean errors, their variances, and mean errors of draws (draws, sizes)."""
    counts, values = np.asarray(sizes, np.float64), np.asarray(errors, np.float64)
    if len(np.unique(counts)) < 3 or len(np.unique(counts)) != len(counts) or (counts <= 0).any():
        fix = "train on n/8, n/4, n/2, 3n/4 and n images"
        raise DataError(
            problem("learning curve", "three different positive sizes needed", got=counts.tolist(), fix=fix)
        )
    if values.shape[-1:] != counts.shape or not np.isfinite(values).all():
        fix = "give one error for each size"
        raise DataError(problem("learning curve", "finite errors of each size needed", got=values.shape, fix=fix))
    order, rng = np.argsort(counts), np.random.default_rng(seed)
    if values.ndim == 2:
        units = np.arange(len(values)) if groups is None else groups
        row_counts = np.bincount(units)
        rows, means = len(row_counts), values.mean(axis=0)
        sums = np.zeros((rows, len(counts)))
        np.add.at(sums, units, values)
        # Without any error (or with errors only) the variance would be zero and the weight infinite: use that of one
        # error more or less, as large as the largest one, because errors may have any unit.
        largest = np.abs(values).max(axis=0)
        largest = np.where(largest > 0, largest, largest.max() or 1.0)
        # The contribution of each row, or group, to the mean, scaled like an error of one of as many rows.
        share = rows / len(values)
        own = (sums * share + means * (1 - share * row_counts[:, None])) / largest
        spread = largest**2 * np.maximum(own.var(axis=0, ddof=1) if rows > 1 else 1.0, 1 / rows) / rows
        picks = np.stack([np.bincount(rng.integers(0, rows, rows), minlength=rows) for _ in range(draws)])
        drawn = picks @ sums / (picks @ row_counts)[:, None]
    else:
        if variances is None:
            fix = "give `variances`, or the errors of each test row"
            raise DataError(problem("learning curve", "mean errors need their variances", fix=fix))
        means, spread = values, np.asarray(variances, np.float64)
        if spread.shape != means.shape or not (spread > 0).all():
            got = spread.tolist()
            raise DataError(problem("learning curve", "variances must be positive", got=got, fix="one for each size"))
        drawn = means + np.sqrt(spread) * rng.standard_normal((draws, len(means)))
    return counts[order], means[order], spread[order], drawn[:, order]


def _basis(family: str, sizes: Floats, shapes: Floats) -> Floats:
    """Return the curve without a and b for each shape c, (shapes, sizes)."""
    c = shapes[:, None]
    if family == "power":
        return np.asarray(sizes**-c)
    if family == "log":
        return np.asarray(-np.log(sizes + c))
    return np.asarray(1 - 2 / np.pi * np.arctan(c * sizes))


def _shapes(family: str, sizes: Floats) -> Floats:
    """Return the grid of c: c in (0, 2] for the power family."""
    if family == "power":
        return np.geomspace(0.01, 2, _GRID)
    if family == "log":
        return np.concatenate([[0.0], np.geomspace(sizes[0] / 100, sizes[-1] * 10, _GRID - 1)])
    return np.geomspace(0.01 / sizes[-1], 100 / sizes[0], _GRID)


def _values(family: str, parameters: Floats, sizes: Floats) -> Floats:
    """Return the curves of parameters (many, 3) at sizes, (many, sizes), not below 0."""
    curves = parameters[:, :1] + parameters[:, 1:2] * _basis(family, sizes, parameters[:, 2])
    return np.maximum(curves, 0.0)


def _fit(family: str, sizes: Floats, errors: Floats, weights: Floats) -> Floats:
    """Return a, b and c of every row of `errors` (many, sizes), by least squares over a grid of c and then a finer one."""
    grid = _shapes(family, sizes)
    best = _best_shape(family, sizes, errors, weights, np.broadcast_to(grid, (len(errors), len(grid))))
    for width in (1.0, 0.05, 0.0025):
        step = (grid[-1] / grid[-2]) ** width
        finer = best[:, 2:] * step ** np.linspace(-1, 1, 41)
        finer = np.clip(finer, grid[0], grid[-1])
        best = _best_shape(family, sizes, errors, weights, finer)
    return best


def _best_shape(family: str, sizes: Floats, errors: Floats, weights: Floats, shapes: Floats) -> Floats:
    """Return the least-squares fit of every row of `errors` over its row of `shapes`; a, b >= 0 in closed form."""
    # For a given shape c the curve is linear in its basis, with level and slope in closed form. So only c is searched,
    # for all draws and all shapes at once.
    draw_count, tried = shapes.shape
    basis = _basis(family, sizes, shapes.ravel()).reshape(draw_count, tried, -1)
    total = weights.sum()
    mean_error = (errors @ weights)[:, None] / total
    mean_basis = basis @ weights / total
    spread = ((basis - mean_basis[..., None]) ** 2) @ weights
    shared = np.einsum("gts,gs,s->gt", basis - mean_basis[..., None], errors, weights)
    slope = np.maximum(shared / np.maximum(spread, 1e-300), 0)
    level = mean_error - slope * mean_basis
    # Where the level would be negative it is 0 and the slope is that of a line through the origin.
    through = np.maximum(np.einsum("gts,gs,s->gt", basis, errors, weights) / ((basis**2) @ weights), 0)
    below = level < 0
    slope, level = np.where(below, through, slope), np.where(below, 0.0, level)
    missed = ((errors[:, None] - level[..., None] - slope[..., None] * basis) ** 2) @ weights
    place = missed.argmin(axis=1)
    rows = np.arange(draw_count)
    return np.column_stack([level[rows, place], slope[rows, place], shapes[rows, place]])
