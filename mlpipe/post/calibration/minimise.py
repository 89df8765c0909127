"""The minimum of a smooth convex function whose gradient is known, by L-BFGS in NumPy.

SciPy's L-BFGS-B calls a threaded library for every tiny product, which takes milliseconds on a busy machine.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlpipe.post.rows import Floats

_MEMORY = 20
_STEPS = 2000


def minimum(function: Callable[[Floats], tuple[float, Floats]], start: Floats, *, enough: float = 1e-9) -> Floats:
    """The minimum of a convex function, shape (parameters,).

    Nocedal and Wright 2006, algorithm 7.4, with step halving.

    Args:
        function: From parameters to the value and the gradient.
        start: Where to begin, shape (parameters,).
        enough: Stop when no entry of the gradient is larger, or when rounding hides every decrease.
    """
    place, (value, gradient) = start, function(start)
    moves: list[Floats] = []
    turns: list[Floats] = []
    for _ in range(_STEPS):
        if np.abs(gradient).max() <= enough:
            break
        step = -_inverse_hessian_times(gradient, moves, turns)
        slope, length = float(gradient @ step), 1.0
        while length > 1e-10:
            new_value, new_gradient = function(place + length * step)
            if new_value <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break
        move, turn = length * step, new_gradient - gradient
        place, value, gradient = place + move, new_value, new_gradient
        if move @ turn > 1e-12 * float(turn @ turn):
            moves, turns = [*moves, move][-_MEMORY:], [*turns, turn][-_MEMORY:]
    return place


def _inverse_hessian_times(gradient: Floats, moves: list[Floats], turns: list[Floats]) -> Floats:
    """The two-loop recursion: the inverse Hessian that the last moves suggest, times the gradient."""
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
