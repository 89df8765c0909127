"""Calibration curves of one class against the rest: beta, isotonic and histogram, before the classes are made to sum to one."""

from __future__ import annotations

import numpy as np

from mlpipe.post.calibration.shrunk_fit import BARE, Strength
from mlpipe.post.rows import Floats

# A ridge as weak as that of the scale, for classes that separate, and a precision that lets nothing move.
_RIDGE, _FIXED = 1e-6, 1e12


def log_odds_parts(log_probabilities: Floats, number: int) -> tuple[Floats, Floats]:
    """log p and log(1 - p) of one class, exact also where p is near 1, shape (n,) each.

    Args:
        log_probabilities: Shape (n, classes), two classes or more.
        number: The class.
    """
    from scipy.special import logsumexp

    rest = logsumexp(np.delete(log_probabilities, number, axis=1), axis=1)
    return log_probabilities[:, number], np.asarray(rest)


def fit_beta(log_p: Floats, log_rest: Floats, hits: Floats, weights: Floats, strength: Strength = BARE) -> Floats:
    """a, c and d of logit q = a log p - c log(1 - p) + d with a, c >= 0, shape (3,).

    The likelihood is concave; Newton's method finds its maximum. Kull, Silva Filho and Flach 2017.

    Args:
        log_p: Log-probability of the class, shape (n,).
        log_rest: Log-probability of the rest, shape (n,).
        hits: 1 where the class is true, may be a share, shape (n,).
        weights: Weights that sum to one, shape (n,).
        strength: Precisions that hold a and c at 1 and d at 0.
    """
    features = np.column_stack([log_p, -log_rest, np.ones_like(log_p)])
    identity = np.array([1.0, 1.0, 0.0])
    precisions = np.minimum([strength.scale, strength.scale, strength.bias], _FIXED)
    ridges = np.maximum(precisions / 2, _RIDGE) / len(hits)
    # With convex losses the best of the feasible minima, each with some slopes held at 0, is the minimum.
    candidates = []
    for free in ([0, 1, 2], [0, 2], [1, 2], [2]):
        parameters = np.zeros(3)
        parameters[free], loss = _logistic(features[:, free], hits, weights, identity[free], ridges[free])
        if parameters[:2].min() >= 0:
            fixed = [place for place in range(3) if place not in free]
            candidates.append((loss + float(precisions[fixed].sum()) / (2 * len(hits)), parameters))
            if len(free) == 3:
                break
    return min(candidates, key=lambda one: one[0])[1]


def _logistic(features: Floats, hits: Floats, weights: Floats, start: Floats, ridges: Floats) -> tuple[Floats, float]:
    """The coefficients with the least weighted log-loss and ridges, by damped Newton steps, and that loss."""

    def terms(coefficients: Floats) -> tuple[float, Floats, Floats]:
        odds, away = features @ coefficients, coefficients - start
        chance = 0.5 * (1 + np.tanh(odds / 2))
        value = float(weights @ (np.logaddexp(0, odds) - hits * odds)) + float(ridges @ away**2)
        gradient = features.T @ (weights * (chance - hits)) + 2 * ridges * away
        return value, gradient, weights * chance * (1 - chance)

    place, (value, gradient, curvature) = start, terms(start)
    for _ in range(100):
        hessian = (features.T * curvature) @ features + np.diag(2 * ridges)
        step = -np.linalg.solve(hessian, gradient)
        slope, length = float(gradient @ step), 1.0
        while length > 1e-10:
            tried = terms(place + length * step)
            if -slope < 1e-14 or tried[0] <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        place, (value, gradient, curvature) = place + length * step, tried
        if -slope < 1e-14:
            break
    return place, value


def apply_beta(parameters: Floats, log_p: Floats, log_rest: Floats) -> Floats:
    """log q of the class, shape (n,).

    Args:
        parameters: a, c and d, shape (3,).
        log_p: Log-probability of the class, shape (n,).
        log_rest: Log-probability of the rest, shape (n,).
    """
    odds = parameters[0] * log_p - parameters[1] * log_rest + parameters[2]
    return np.asarray(-np.logaddexp(0, -odds))


def fit_isotonic(scores: Floats, hits: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The knots of the least-squares non-decreasing curve: scores and values, the same length.

    Pool adjacent violators after equal scores are made one; runs of one value keep their two ends.

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
    """The curve at new scores, linear between knots and constant outside them, shape (n,).

    Args:
        knots: Ascending, shape (k,).
        values: The curve's values there, shape (k,).
        scores: Shape (n,).
    """
    return np.asarray(np.interp(scores, knots, values))


def fit_histogram(scores: Floats, hits: Floats, weights: Floats, bins: int) -> tuple[Floats, Floats]:
    """Bins of equally many rows and the share of hits in each (Zadrozny and Elkan 2001): inner edges and values.

    Equal scores share a bin, so that there may be fewer.

    Args:
        scores: Shape (n,).
        hits: 1 where the class is true, shape (n,).
        weights: Positive, shape (n,).
        bins: How many at most.
    """
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf"))
    place = np.searchsorted(edges, scores)
    mass = np.bincount(place, weights=weights, minlength=len(edges) + 1)
    right = np.bincount(place, weights=weights * hits, minlength=len(edges) + 1)
    some = mass > 0
    # The bin above the last edge is empty where the largest score is that edge.
    return edges[: some.sum() - 1], right[some] / mass[some]


def apply_histogram(edges: Floats, values: Floats, scores: Floats) -> Floats:
    """The value of the bin that each new score falls into, shape (n,).

    Args:
        edges: Between bins, ascending, shape (bins - 1,); a score on an edge belongs to the bin below.
        values: Shape (bins,).
        scores: Shape (n,).
    """
    return np.asarray(values[np.searchsorted(edges, scores)])
