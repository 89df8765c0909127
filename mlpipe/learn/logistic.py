"""Logistic, softmax and ridge regression with an L2 penalty, in coordinates in which few iterations suffice.

A penalised fit lies in the span of its rows (the representer theorem), so that features are replaced by their coordinates along
singular vectors: at most as many as there are rows, and always uncorrelated. Divided by an estimate of the loss's curvature
along each (Boehning 1992), they make the problem well conditioned: L-BFGS needs tens of iterations instead of the hundreds
that it needs on the features themselves. The minimum is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax

Floats = npt.NDArray[np.float64]
Features = npt.NDArray[np.floating[Any]]
# The least deviation of a feature, as a share of the median one: otherwise a feature that is silent in nearly all training
# images could be thousands of its deviations away from them in a new image.
_SILENT = 0.1
# Singular values below this share of the largest one are rounding errors.
_RANK = 1e-6
# Number of steps in the memory of L-BFGS.
_REMEMBERED = 20
# The least curvature of a row's loss used for scaling.
_FLAT = 1e-3
# The least share of a class for the initial value of its bias; all its rows may have the weight 0.
_RARE = 1e-9


@dataclass(frozen=True)
class End:
    """The stopping criteria of a fit.

    Attributes:
        max_iter: Maximum number of iterations.
        gradient: Largest component of the scaled gradient, of the mean over the rows' weights, at which the fit ends.
    """

    max_iter: int
    gradient: float = 1e-7


@dataclass(frozen=True)
class Basis:
    """Standardised features in the coordinates of their singular vectors.

    Attributes:
        rows: Coordinates, shape (n, rank); their inner products are those of the standardised features.
        vectors: Shape (features, rank); columns are orthonormal.
        mean: Mean of the features, shape (features,).
        std: Divisor of the features, shape (features,): their deviations, but at least a tenth of the median one.
    """

    rows: Floats
    vectors: Floats
    mean: Floats
    std: Floats

    def of_features(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        """Return weights and biases for the features themselves.

        Args:
            weight: For the coordinates, shape (outputs, rank).
            bias: Shape (outputs,).

        Returns:
            Shapes (outputs, features) and (outputs,).
        """
        own = (weight @ self.vectors.T) / self.std
        return own, bias - own @ self.mean


def basis(features: Floats) -> Basis:
    """Return coordinates of features, from the eigenvectors of the smaller of their two Gram matrices.

    Args:
        features: Shape (n, features).
    """
    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.maximum(std, _SILENT * np.median(std[std > 0]) if std.any() else 1.0)
    scaled = (features - mean) / std
    if len(scaled) < scaled.shape[1]:
        squares, left = np.linalg.eigh(scaled @ scaled.T)
        keep = squares > _RANK**2 * squares.max(initial=0)
        rows = left[:, keep] * np.sqrt(squares[keep])
        return Basis(rows, scaled.T @ (left[:, keep] / np.sqrt(squares[keep])), mean, std)
    _, every = np.linalg.eigh(scaled.T @ scaled)
    return Basis(scaled @ every, every, mean, std)


def softmax_fit(
    x: Features, y: npt.NDArray[np.int64], inverse: float, weights: Floats, end: End, start: Floats | None = None
) -> Floats:
    """Fit softmax regression: minimise the sum of weighted cross-entropies x `inverse` + half the squared weight norm.

    Args:
        x: Shape (n, features), ideally from a `Basis`; float32 is twice as fast and exact enough to compare penalties.
        y: Classes 0 to k - 1, each of which has a row; shape (n,).
        inverse: Inverse strength of the penalty; biases are not penalised.
        weights: Row weights, shape (n,).
        end: The stopping criteria.
        start: Initial parameters, in the form of the result; None: from the shares of the classes.

    Returns:
        Shape (k, features + 1): weights, then the bias; biases have mean 0.
    """
    one_hot = np.eye(int(y.max()) + 1)[y] * weights[:, None]
    wide = _with_ones(x)
    if start is None:
        start = np.zeros((one_hot.shape[1], wide.shape[1]))
        start[:, -1] = np.log(np.maximum(one_hot.sum(axis=0) / weights.sum(), _RARE))

    def loss(theta: Floats) -> tuple[float, Floats]:
        logits = (wide @ theta.T.astype(wide.dtype)).astype(np.float64)
        value = -float((log_softmax(logits, axis=1) * one_hot).sum())
        return value, (softmax(logits, axis=1) * weights[:, None] - one_hot).T.astype(wide.dtype) @ wide

    theta = _least(loss, wide, softmax(wide @ start.T, axis=1), inverse, weights, end, start)
    theta[:, -1] -= theta[:, -1].mean()
    return theta


def logistic_fit(
    x: Features, y: npt.NDArray[Any], inverse: float, weights: Floats, end: End, start: Floats | None = None
) -> Floats:
    """Fit logistic regression of one label, as `softmax_fit`; return the log-odds, shape (1, features + 1).

    Args:
        x: Shape (n, features).
        y: 0 or 1, both of which occur; shape (n,).
        inverse: Inverse strength of the penalty.
        weights: Row weights, shape (n,).
        end: The stopping criteria.
        start: Initial parameters; None: from the share of ones.
    """
    wide = _with_ones(x)
    if start is None:
        start = np.zeros((1, wide.shape[1]))
        start[0, -1] = logit(np.clip((y * weights).sum() / weights.sum(), _RARE, 1 - _RARE))

    def loss(theta: Floats) -> tuple[float, Floats]:
        logits = (wide @ theta[0].astype(wide.dtype)).astype(np.float64)
        value = float(((np.logaddexp(0, logits) - y * logits) * weights).sum())
        return value, ((expit(logits) - y) * weights)[None].astype(wide.dtype) @ wide

    return _least(loss, wide, expit(wide @ start.T), inverse, weights, end, start)


def _with_ones(x: Features) -> Features:
    return np.concatenate([x, np.ones((len(x), 1), x.dtype)], axis=1)


def _least(
    loss: Callable[[Floats], tuple[float, Floats]],
    wide: Features,
    before: Floats,
    inverse: float,
    weights: Floats,
    end: End,
    start: Floats,
) -> Floats:
    """Minimise `inverse` x loss + half the squared norm of all but the last column, divided by the rows' weight.

    Args:
        loss: Value and gradient at parameters of shape (k, features + 1).
        wide: Features with a column of ones, shape (n, features + 1).
        before: Probabilities at the start, shape (n, k), from which the curvature along each parameter is estimated.
        inverse: Inverse strength of the penalty.
        weights: Row weights, shape (n,).
        end: The stopping criteria.
        start: Initial parameters, shape (k, features + 1).
    """
    penalised = np.ones(wide.shape[1])
    penalised[-1] = 0.0
    total = inverse * weights.sum()
    curved = (np.maximum(before * (1 - before), _FLAT) * weights[:, None]).T @ wide**2
    scale = 1 / np.sqrt((inverse * curved + penalised) / total)

    def scaled(flat: Any) -> tuple[float, Any]:
        theta = flat.reshape(start.shape) * scale
        value, slope = loss(theta)
        held = penalised * theta
        value = (inverse * value + 0.5 * float((held * theta).sum())) / total
        return value, ((inverse * slope.astype(np.float64) + held) / total * scale).ravel()

    options: Any = {"maxiter": end.max_iter, "gtol": end.gradient, "ftol": 0.0, "maxcor": _REMEMBERED}
    least: Any = minimize(scaled, (start / scale).ravel(), jac=True, method="L-BFGS-B", options=options)
    theta: Floats = least.x.reshape(start.shape) * scale
    return theta
