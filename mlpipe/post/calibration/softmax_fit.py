"""The maximum-likelihood fit of L(scale * s + bias) to class numbers; it is convex, so its minimum is unique.

L is log-softmax and s the log-probabilities of a row. The rows' weights carry a class prior. With a fixed,
shared or per-class scale the minimum is found by Newton's method with the exact Hessian; with a matrix in place
of the scale, by L-BFGS. Inside a fit arrays have the shape (classes, rows), because sums over few classes are fast that way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mlpipe.post.rows import Floats, Integers

Scale = Literal["fixed", "shared", "per_class"]

# Keeps the scale finite where the classes are separable; too weak to have any other visible effect.
_RIDGE = 1e-6
_ENOUGH = 1e-12
# A decrease that float64 hardly resolves: one more full Newton step is exact from there.
_LAST = 1e-13
_STEPS = 200
# With more parameters (32 MB of second derivatives) the Hessian is not built: steps are solved for by conjugate gradients, to
# this tolerance and with this many iterations at most.
_MOST_WRITTEN_OUT, _NEARLY, _MOST_DIRECTIONS = 2000, 1e-3, 100
# Largest gradient entry at the end of a matrix fit: without shrinkage, and with ridges on all of it.
_ENOUGH_OF_MATRIX, _ENOUGH_HELD = 1e-9, 1e-7
# The history length of L-BFGS, and its largest number of steps.
_MOVES = 10
_MOST_STEPS = 2000


@dataclass(frozen=True)
class Rows:
    """The data of a fit: scores (classes, n), weighted soft targets (classes, n), weights (n,) that sum to one."""

    scores: Floats
    targets: Floats
    weights: Floats

    @property
    def ridge(self) -> float:
        """The factor of the squared distance of a scale from 1."""
        return _RIDGE / len(self.weights)


class Curvature(NamedTuple):
    """The implicit Hessian of fits: its product with a step, and its diagonal, (fits, p)."""

    times: Callable[[Floats], Floats]
    diagonal: Floats


def rows_of(scores: Floats, targets: Integers, class_weights: Floats, absent: Floats) -> Rows:
    """Return rows with hard targets, of which a small share is moved to the classes that never occur.

    Args:
        scores: Log-probabilities, shape (n, classes).
        targets: Class numbers, shape (n,).
        class_weights: The weight of a row of each class, shape (classes,).
        absent: The share that each class without rows is given, 0 for the others, shape (classes,).
    """
    weights = class_weights[targets]
    weights = weights / weights.sum()
    soft = np.repeat(absent[:, None], len(targets), axis=1)
    soft[targets, np.arange(len(targets))] += 1 - absent.sum()
    soft *= weights
    return Rows(np.ascontiguousarray(scores.T), soft, weights)


def objective(rows: Rows, scale: Floats, bias: Floats) -> tuple[float, Floats, Floats]:
    """Return the weighted cross-entropy with its ridge, and its gradients by scale and bias, both of shape (classes,).

    Args:
        rows: The data of the fit.
        scale: Shape () or (classes,); the gradient is that of a scale for each class.
        bias: Shape (classes,).
    """
    loss, by_scale, by_bias, _ = _terms(rows, np.broadcast_to(scale, bias.shape), bias)
    return loss, by_scale, by_bias


def _terms(rows: Rows, scales: Floats, bias: Floats) -> tuple[float, Floats, Floats, Floats]:
    """Return what `objective` returns, and the probabilities, shape (classes, n)."""
    loss, probabilities, residual = _cross_entropy(rows, rows.scores * scales[:, None] + bias[:, None])
    loss += rows.ridge * float(np.mean((scales - 1) ** 2))
    by_scale = np.einsum("kn,kn->k", residual, rows.scores) + 2 * rows.ridge * (scales - 1) / len(bias)
    return loss, by_scale, residual.sum(axis=1), probabilities


def _cross_entropy(rows: Rows, moved: Floats) -> tuple[float, Floats, Floats]:
    """Return the loss of the logits, their probabilities, and the gradient by the logits, (classes, n) each."""
    top = moved.max(axis=0)
    probabilities = np.exp(moved - top)
    total = probabilities.sum(axis=0)
    loss = float(rows.weights @ (np.log(total) + top) - np.vdot(rows.targets, moved))
    probabilities /= total
    return loss, probabilities, probabilities * rows.weights - rows.targets


def fit(rows: Rows, scale: Scale, bias: Floats, *, fit_bias: bool) -> tuple[Floats, Floats]:
    """Return the scale, shape () or (classes,), and the bias, shape (classes,), that minimise `objective`.

    Damped Newton steps with Armijo halving; the bias is determined up to a constant, which is kept at its start.

    Args:
        rows: The data of the fit; every class needs some share of the targets.
        scale: Whether the scale stays 1, is one number, or one number for each class.
        bias: The starting bias, shape (classes,).
        fit_bias: Whether the bias is fitted.
    """
    classes = len(bias)
    n_scales = {"fixed": 0, "shared": 1, "per_class": classes}[scale]
    free = n_scales + (classes if fit_bias else 0)
    scales, bias = np.ones(classes), bias.astype(np.float64)
    # The parameter vector of a step holds the free scales, then the free biases.
    terms = _terms(rows, scales, bias)
    for _ in range(_STEPS if free else 0):
        by_scale = terms[1] if n_scales > 1 else terms[1].sum(keepdims=True)
        gradient = np.concatenate([by_scale[:n_scales], terms[2] if fit_bias else []])
        if np.abs(gradient).max() < _ENOUGH:
            break
        if free > _MOST_WRITTEN_OUT:
            step = -conjugate_gradients(_curvature(rows, terms[3], n_scales, fit_bias), gradient[None])[0]
        else:
            step = -np.linalg.solve(_hessian(rows, terms[3], n_scales, fit_bias), gradient)
        slope, length = float(gradient @ step), 1.0
        # Backtracking: halve the step until the loss falls by a share of what the slope promises (Armijo). Near the
        # minimum rounding hides that fall: there the full step is taken without a check, and is the last one.
        while length > 1e-12:
            new_scales = scales + (length * step[:n_scales] if n_scales else 0.0)
            new_bias = bias + (length * step[n_scales:] if fit_bias else 0.0)
            tried = _terms(rows, new_scales, new_bias)
            if -slope < _LAST or tried[0] <= terms[0] + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break  # No step lowers the loss: only rounding is left.
        scales, bias, terms = new_scales, new_bias, tried
        if -slope < _LAST:
            break
    return (scales if scale == "per_class" else np.asarray(scales[0])), bias


def _hessian(rows: Rows, probabilities: Floats, n_scales: int, fit_bias: bool) -> Floats:
    """Return the Hessian of the free parameters, positive definite; the constant bias gets curvature 1."""
    classes, scores = rows.scores.shape[0], rows.scores
    weighted = probabilities * rows.weights
    size = n_scales + (classes if fit_bias else 0)
    hessian = np.zeros((size, size))
    if n_scales > 1:
        scaled, both = probabilities * scores, weighted * scores
        hessian[:n_scales, :n_scales] = np.diag(np.einsum("kn,kn->k", both, scores)) - scaled @ both.T
        if fit_bias:
            mixed = np.diag(both.sum(axis=1)) - scaled @ weighted.T
            hessian[:n_scales, n_scales:], hessian[n_scales:, :n_scales] = mixed, mixed.T
    elif n_scales:
        centred = scores - np.einsum("kn,kn->n", probabilities, scores)
        both = weighted * centred
        hessian[0, 0] = np.vdot(both, centred)
        if fit_bias:
            hessian[0, 1:] = hessian[1:, 0] = both.sum(axis=1)
    if fit_bias:
        block = np.diag(weighted.sum(axis=1)) - probabilities @ weighted.T
        hessian[n_scales:, n_scales:] = block + 1 / classes
    diagonal = np.arange(size)
    hessian[diagonal[:n_scales], diagonal[:n_scales]] += 2 * rows.ridge / max(n_scales, 1)
    hessian[diagonal, diagonal] += 1e-14 * np.trace(hessian) / size
    return hessian


def _curvature(rows: Rows, probabilities: Floats, n_scales: int, fit_bias: bool) -> Curvature:
    """Return the product with `_hessian` and its diagonal for one fit; memory is a few times that of the probabilities."""
    classes, scores = len(rows.scores), rows.scores
    weighted = probabilities * rows.weights
    held = 2 * rows.ridge / max(n_scales, 1)

    def times(step: Floats) -> Floats:
        by_scale, by_bias = step[0, :n_scales], step[0, n_scales:]
        moved = scores * (by_scale if n_scales == 1 else by_scale[:, None]) if n_scales else np.zeros_like(scores)
        if fit_bias:
            moved = moved + by_bias[:, None]
        # The change of the residual of each row and class.
        changed = weighted * (moved - np.einsum("kn,kn->n", probabilities, moved))
        product = np.empty_like(step)
        if n_scales:
            of_scales = np.einsum("kn,kn->k", changed, scores)
            product[0, :n_scales] = (of_scales if n_scales > 1 else of_scales.sum(keepdims=True)) + held * by_scale
        if fit_bias:
            product[0, n_scales:] = changed.sum(axis=1) + by_bias.mean()
        return product

    own = weighted * (1 - probabilities)
    diagonal = np.full((1, n_scales + classes * fit_bias), held)
    if n_scales > 1:
        diagonal[0, :n_scales] += np.einsum("kn,kn,kn->k", own, scores, scores)
    elif n_scales:
        centred = scores - np.einsum("kn,kn->n", probabilities, scores)
        diagonal[0, 0] += np.einsum("kn,kn,kn->", weighted, centred, centred)
    if fit_bias:
        diagonal[0, n_scales:] = own.sum(axis=1) + 1 / classes
    return Curvature(times, diagonal)


def conjugate_gradients(curvature: Curvature, gradient: Floats) -> Floats:
    """Solve each fit's curvature times step = gradient approximately, shape (fits, p); Hestenes and Stiefel 1952.

    The step goes down wherever the iteration stops, so Newton's method converges in any case.
    """
    step, left = np.zeros_like(gradient), gradient.copy()
    scaled = left / curvature.diagonal
    direction, before = scaled.copy(), np.einsum("fp,fp->f", left, scaled)
    enough = _NEARLY**2 * before
    for _ in range(_MOST_DIRECTIONS):
        if (before <= enough).all():
            break
        bent = curvature.times(direction)
        along = np.einsum("fp,fp->f", direction, bent)
        length = np.divide(before, along, out=np.zeros_like(before), where=along > 0)[:, None]
        step += length * direction
        left -= length * bent
        scaled = left / curvature.diagonal
        after = np.einsum("fp,fp->f", left, scaled)
        direction = scaled + np.divide(after, before, out=np.zeros_like(after), where=before > 0)[:, None] * direction
        before = after
    return step


def fit_matrix(
    rows: Rows,
    matrix: Floats,
    bias: Floats,
    *,
    off_diagonal_ridge: float,
    intercept_ridge: float,
    diagonal_ridge: float | None = None,
    near: Floats | None = None,
    promise: float = 0.0,
) -> tuple[Floats, Floats]:
    """Fit the matrix W, shape (classes, classes), and bias of L(W s + bias) by L-BFGS.

    Off-diagonal and intercept ridge of Kull et al. 2019 (arXiv:1910.12656). The solver works on decorrelated
    scores, so a few dozen of its steps are enough.

    Args:
        rows: The data of the fit.
        matrix: The starting W.
        bias: The bias that its ridge shrinks to, and its start, shape (classes,).
        off_diagonal_ridge: Factor of the mean squared off-diagonal entry.
        intercept_ridge: Factor of the mean squared distance of the bias from `bias`.
        diagonal_ridge: Factor of the mean squared distance of the diagonal from 1; None: almost zero.
        near: Another start of the bias, shape (classes,).
        promise: Stop when a step does not promise a larger decrease.
    """
    classes = len(bias)
    on_ridge = rows.ridge if diagonal_ridge is None else diagonal_ridge
    away = ~np.eye(classes, dtype=bool)
    # The scores of classes are correlated, so the loss is a long narrow valley in W and bias, in which L-BFGS zigzags. In
    # units of the Cholesky factor of each class's own second derivatives it is nearly round: `both` is W and bias side by
    # side, and the solver's parameters are each row of `both` times its class's factor.
    inputs = np.vstack([rows.scores, np.ones_like(rows.weights)])
    ridges = np.array([2 * off_diagonal_ridge / away.sum()] * classes + [2 * intercept_ridge / classes])
    started = np.column_stack([matrix, bias if near is None else near])
    chances = _cross_entropy(rows, started @ inputs)[1]
    to_plain = np.empty((classes, classes + 1, classes + 1))
    for number, curvature in enumerate(rows.weights * chances * (1 - chances)):
        metric = (inputs * curvature) @ inputs.T + np.diag(ridges + 1e-12)
        metric[number, number] += 2 * on_ridge / classes - ridges[number]
        to_plain[number] = np.linalg.inv(np.linalg.cholesky(metric))

    def plain(flat: Floats) -> Floats:
        return np.asarray((flat.reshape(classes, 1, classes + 1) @ to_plain)[:, 0])

    def penalised(flat: Floats) -> tuple[float, Floats]:
        both = plain(flat)
        weights, offsets = both[:, :-1], both[:, -1]
        loss, _, residual = _cross_entropy(rows, both @ inputs)
        off, on, moved = np.where(away, weights, 0), np.diag(weights) - 1, offsets - bias
        loss += off_diagonal_ridge * float((off**2).sum()) / away.sum() + on_ridge * float(on @ on) / classes
        loss += intercept_ridge * float(moved @ moved) / classes
        # The gradient by W and bias; the last line converts it to the solver's parameters.
        gradient = residual @ inputs.T
        gradient[:, :-1] += 2 * off_diagonal_ridge * off / away.sum()
        gradient[:, :-1][~away] += 2 * on_ridge * on / classes
        gradient[:, -1] += 2 * intercept_ridge * moved / classes
        return loss, (to_plain @ gradient[:, :, None]).ravel()

    start = np.asarray(np.linalg.solve(to_plain.transpose(0, 2, 1), started[:, :, None]), np.float64)
    enough = _ENOUGH_OF_MATRIX if diagonal_ridge is None else _ENOUGH_HELD
    solution = plain(minimum(penalised, start.reshape(-1), enough=enough, promise=promise))
    return solution[:, :-1], solution[:, -1]


def minimum(
    function: Callable[[Floats], tuple[float, Floats]], start: Floats, *, enough: float = 1e-9, promise: float = 0.0
) -> Floats:
    """Return the minimum of a convex function, shape (parameters,).

    L-BFGS by Nocedal and Wright 2006, algorithm 7.4, with step halving. SciPy's version is not used because it calls a
    threaded library for every tiny product, which takes milliseconds on a busy machine.

    Args:
        function: From parameters to the value and the gradient.
        start: The starting point, shape (parameters,).
        enough: Stop when no entry of the gradient is larger, or when rounding hides every decrease.
        promise: Stop when a step does not promise to lower the value by more than this.
    """
    place, (value, gradient) = start, function(start)
    # The changes of parameters and gradient in the last steps, from which the curvature is estimated.
    moves: list[Floats] = []
    turns: list[Floats] = []
    for _ in range(_MOST_STEPS):
        if np.abs(gradient).max() <= enough:
            break
        step = -_inverse_hessian_times(gradient, moves, turns)
        slope, length = float(gradient @ step), 1.0
        if moves and -slope <= promise:
            break
        while length > 1e-10:
            new_value, new_gradient = function(place + length * step)
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            # No step lowers the value: only rounding is left.
            break
        move, turn = length * step, new_gradient - gradient
        place, value, gradient = place + move, new_value, new_gradient
        # Skip a step along which rounding hides the curvature, because it would distort the next directions.
        if move @ turn > 1e-12 * float(turn @ turn):
            moves, turns = [*moves, move][-_MOVES:], [*turns, turn][-_MOVES:]
    return place


def _inverse_hessian_times(gradient: Floats, moves: list[Floats], turns: list[Floats]) -> Floats:
    """Two-loop recursion: return the gradient times the inverse Hessian that the last moves imply."""
    out = gradient.copy()
    shares = []
    for move, turn in zip(reversed(moves), reversed(turns), strict=True):
        shares.append((move @ out) / (move @ turn))
        out -= shares[-1] * turn
    if moves:
        out *= (moves[-1] @ turns[-1]) / (turns[-1] @ turns[-1])
    else:
        out /= max(1.0, float(np.linalg.norm(gradient)))
    for move, turn, share in zip(moves, turns, reversed(shares), strict=True):
        out += (share - (turn @ out) / (move @ turn)) * move
    return out
