"""One-against-rest calibration curves: beta, isotonic and histogram, before the classes are normalised to sum to one."""

from __future__ import annotations

import numpy as np

from mlpipe.post.calibration.shrunk_fit import BARE, Strength
from mlpipe.post.rows import Floats

# A ridge as weak as that of the scale, for separable classes, and a precision that fixes a parameter.
_RIDGE, _FIXED = 1e-6, 1e12
# The a, c and d of the identity.
_IDENTITY = np.array([1.0, 1.0, 0.0])
# The most numbers that are processed at a time.
_MOST_CELLS = 2**19
# Newton's method stops when the promised decrease is below this, after which the loss is exact to its square: for a fit
# that is kept, and for one that starts near its minimum and is only compared.
_LAST, _LAST_OF_NEAR = 1e-14, 1e-9


def log_rest(log_probabilities: Floats) -> Floats:
    """Return log(1 - p) of each class, exact also where p is near 1, shape (classes, n).

    Args:
        log_probabilities: Shape (classes, n), two classes or more.
    """
    values, rows = log_probabilities, np.arange(log_probabilities.shape[1])
    top = values.argmax(axis=0)
    others = values.copy()
    others[top, rows] = -np.inf
    second = others.max(axis=0)
    # Add partial sums from both ends, because subtracting one share from the total would leave only rounding errors.
    above = _sums_of_others(np.exp(values - values[top, rows]))
    out = np.log(np.maximum(above, np.finfo(np.float64).tiny)) + values[top, rows]
    out[top, rows] = np.log(np.exp(others - second).sum(axis=0)) + second
    return np.asarray(out)


def _sums_of_others(shares: Floats) -> Floats:
    """Return for each row of an array the sum of all other rows."""
    before, after = np.zeros_like(shares), np.zeros_like(shares)
    np.cumsum(shares[:-1], axis=0, out=before[1:])
    after[:-1] = np.cumsum(shares[:0:-1], axis=0)[::-1]
    return before + after


def fit_beta(
    log_p: Floats,
    log_rest: Floats,
    hits: Floats,
    weights: Floats,
    strength: Strength = BARE,
    near: Floats | None = None,
) -> Floats:
    """Fit a, c and d of logit q = a log p - c log(1 - p) + d with a, c >= 0 for each class, shape (classes, 3).

    The likelihood is concave; Newton's method finds its maximum. Kull, Silva Filho and Flach 2017.

    Args:
        log_p: Log-probability of each class, shape (classes, n).
        log_rest: Log-probability of the rest, shape (classes, n).
        hits: 1 where the class is true, may be fractional, shape (classes, n).
        weights: Weights that sum to one, shape (n,).
        strength: Precisions that shrink a and c to 1 and d to 0.
        near: The starting point, such as the curves of another strength; None: the identity.
    """
    out, at_once = np.empty((len(log_p), 3)), max(1, _MOST_CELLS // log_p.shape[1])
    for first in range(0, len(log_p), at_once):
        some = slice(first, first + at_once)
        start = None if near is None else near[some]
        out[some] = _fit_beta_of_classes(log_p[some], log_rest[some], hits[some], weights, strength, start)
    return out


def _fit_beta_of_classes(
    log_p: Floats, log_rest: Floats, hits: Floats, weights: Floats, strength: Strength, near: Floats | None
) -> Floats:
    """Fit some of the classes, as `fit_beta`."""
    features = np.stack([log_p, -log_rest, np.ones_like(log_p)], axis=1)
    precisions = np.minimum([strength.scale, strength.scale, strength.bias], _FIXED)
    start, enough = (np.broadcast_to(_IDENTITY, (len(log_p), 3)), _LAST) if near is None else (near, _LAST_OF_NEAR)
    best, _ = _logistic(features, hits, weights, [0, 1, 2], precisions, start, enough)
    # The losses are convex, so the best feasible minimum, each with some slopes fixed at 0, is the constrained minimum.
    turned = np.flatnonzero(best[:, :2].min(axis=1) < 0)
    least = np.full(len(turned), np.inf)
    for free in ([0, 2], [1, 2], [2]) if len(turned) else ():
        some = np.tile(_IDENTITY, (len(turned), 1))
        coefficients, losses = _logistic(features[turned], hits[turned], weights, free, precisions, some, enough)
        better = (coefficients[:, :2].min(axis=1) >= 0) & (losses < least)
        best[turned[better]], least[better] = coefficients[better], losses[better]
    return best


def _logistic(
    features: Floats, hits: Floats, weights: Floats, free: list[int], precisions: Floats, start: Floats, enough: float
) -> tuple[Floats, Floats]:
    """Minimise the weighted log-loss with ridges by damped Newton steps; coefficients not in `free` are 0. Return the loss too.

    Shapes: features (fits, 3, n), hits (fits, n), coefficients (fits, 3), losses (fits,).
    """
    rows, centre = hits.shape[1], _IDENTITY[free]
    ridges = np.maximum(precisions[free] / 2, _RIDGE) / rows
    used, place = np.ascontiguousarray(features[:, free]), np.array(start[:, free])

    def value_of(odds: Floats, at: Floats) -> tuple[Floats, Floats]:
        """Return the losses, and exp(-|odds|)."""
        small = np.exp(-np.abs(odds))
        return (np.maximum(odds, 0) + np.log(1 + small) - hits * odds) @ weights + (at - centre) ** 2 @ ridges, small

    odds = np.einsum("fk,fkn->fn", place, used)
    (value, small), open_ = value_of(odds, place), np.ones(len(hits), bool)
    for _ in range(100):
        chance = np.where(odds > 0, 1.0, small) / (1 + small)
        gradient = ((chance - hits) * weights)[:, None] @ used.transpose(0, 2, 1)
        gradient = gradient[:, 0] + 2 * ridges * (place - centre)
        hessian = (used * (weights * chance * (1 - chance))[:, None]) @ used.transpose(0, 2, 1) + np.diag(2 * ridges)
        step = np.asarray(-np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0])
        slope = np.einsum("fk,fk->f", gradient, step)
        length, last = np.where(open_, 1.0, 0.0), -slope < enough
        while True:
            tried = place + length[:, None] * step
            tried_odds = np.einsum("fk,fkn->fn", tried, used)
            tried_value, small = value_of(tried_odds, tried)
            worse = (length > 0) & ~last & ~(tried_value <= value + 1e-4 * length * slope)
            if not worse.any():
                break
            length[worse] = np.where(length[worse] > 1e-10, length[worse] / 2, 0.0)
        place, odds, value = tried, tried_odds, tried_value
        # Near the minimum the last step is taken without a check; if no step lowers the loss, only rounding is left.
        open_ &= (length > 0) & ~last
        if not open_.any():
            break
    out = np.zeros((len(hits), 3))
    out[:, free] = place
    held = [index for index in range(3) if index not in free]
    return out, value + float(precisions[held] @ _IDENTITY[held]) / (2 * rows)


def apply_beta(parameters: Floats, log_probabilities: Floats) -> Floats:
    """Return log q of each class, shape (classes, n).

    Args:
        parameters: a, c and d of each class, shape (classes, 3).
        log_probabilities: Shape (classes, n).
    """
    slopes = parameters[:, :2, None]
    odds = slopes[:, 0] * log_probabilities - slopes[:, 1] * log_rest(log_probabilities) + parameters[:, 2:]
    return np.asarray(-np.logaddexp(0, -odds))


def fit_isotonic(scores: Floats, hits: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Fit the least-squares non-decreasing curve; return its knots: scores and values, the same length.

    Equal scores are merged first, then adjacent violators are pooled; runs of one value keep their two ends.

    Args:
        scores: Shape (n,).
        hits: 1 where the class is true, shape (n,).
        weights: Positive, shape (n,).
    """
    from scipy.optimize import isotonic_regression

    levels, place = np.unique(scores, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    means = np.bincount(place, weights=weights * hits) / mass
    values = isotonic_regression(means, weights=mass).x
    keep = np.ones(len(levels), bool)
    keep[1:-1] = (values[1:-1] != values[:-2]) | (values[1:-1] != values[2:])
    return levels[keep], np.asarray(values[keep])


def apply_isotonic(knots: Floats, values: Floats, scores: Floats) -> Floats:
    """Evaluate the curve at new scores, linear between knots and constant outside them, shape (n,).

    Args:
        knots: Ascending, shape (k,).
        values: The curve's values there, shape (k,).
        scores: Shape (n,).
    """
    return np.asarray(np.interp(scores, knots, values))


def fit_histogram(scores: Floats, hits: Floats, weights: Floats, bins: int) -> tuple[Floats, Floats]:
    """Fit bins of equally many rows and the share of hits in each (Zadrozny and Elkan 2001); return inner edges and values.

    Equal scores share a bin, so there may be fewer bins. Edges lie midway between the scores of two bins: with an edge on a
    score, the same image would change its bin when it is computed with another rounding.

    Args:
        scores: Shape (n,).
        hits: 1 where the class is true, shape (n,).
        weights: Positive, shape (n,).
        bins: The largest number of bins.
    """
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    place = np.searchsorted(edges, scores)
    mass = np.bincount(place, weights=weights, minlength=len(edges) + 1)
    right = np.bincount(place, weights=weights * hits, minlength=len(edges) + 1)
    some = mass > 0
    # The bin above the last edge is empty where the largest score is that edge.
    edges = edges[: some.sum() - 1]
    levels = np.unique(scores)
    above = levels[np.searchsorted(levels, edges, side="right")]
    return (edges + above) / 2, right[some] / mass[some]


def apply_histogram(edges: Floats, values: Floats, scores: Floats) -> Floats:
    """Return the value of each new score's bin, shape (n,).

    Args:
        edges: Between bins, ascending, shape (bins - 1,); a score on an edge belongs to the bin below.
        values: Shape (bins,).
        scores: Shape (n,).
    """
    return np.asarray(values[np.searchsorted(edges, scores)])
