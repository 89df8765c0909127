"""The strength that holds a calibration at the identity: by cross-validation on its own rows, or as a number.

A few dozen rows fit a scale and a bias for each class to their own accidents, and the more so where the same rows chose
the network's epoch. Held-out rows say how much of that to believe: from nothing to all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, problem
from mlpipe.post.calibration.shrunk_fit import BARE, Strength
from mlpipe.post.rows import Integers, stratified_folds

KEY = "mode.shrinkage"
FOLDS = 5
Axes = Literal["", "scale", "bias", "both", "together"]

# From "nothing is learned" to "next to nothing holds it". A precision of 100 is a standard deviation of 0.1.
STRENGTHS = (float("inf"), 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
# What a matrix is held by costs a fit with many parameters each.
_COARSE = (float("inf"), 100.0, 10.0, 1.0, 0.1)
# More rows than this do not change how strong the hold has to be, only how little it matters.
_MOST_ROWS = 1000
# A weaker hold is not tried any more after so many in a row that were worse.
_PATIENCE = 2


def fixed_strength(shrinkage: str | float) -> Strength | None:
    """The strength that was asked for; None where cross-validation finds it.

    Args:
        shrinkage: `cv`, `none`, or a precision, 0 or more.

    Raises:
        ConfigError: It is something else.
    """
    if shrinkage == "cv":
        return None
    if shrinkage == "none":
        return BARE
    if isinstance(shrinkage, int | float) and not isinstance(shrinkage, bool) and shrinkage >= 0:
        return Strength(float(shrinkage), float(shrinkage))
    fix = "use cv, none, or a number: 0 holds nothing, 100 a standard deviation of 0.1"
    raise ConfigError(problem(KEY, "is no strength", got=shrinkage, fix=fix))


def folds_of(targets: Integers, seed: int, groups: npt.NDArray[Any] | None = None) -> tuple[Integers, Integers]:
    """Rows that choose the strength, at most a thousand or so, and the fold of each.

    Args:
        targets: Class numbers, shape (n,).
        seed: Of the draw.
        groups: What rows belong together, shape (n,), and are held out together; None: every row by itself.
    """
    parts = -(-len(targets) // _MOST_ROWS)
    rows = np.flatnonzero(stratified_folds(targets, parts, seed) == 0)
    own = None if groups is None else groups[rows]
    return rows, stratified_folds(targets[rows], min(FOLDS, len(rows)), seed, own)


def chosen(loss: Callable[[Strength], float], axes: Axes) -> Strength:
    """The strength with the least cross-validated loss, the stronger among equals.

    First that of the scales with biases held, then that of the biases.

    Args:
        loss: Of held-out rows at a strength.
        axes: What a method has: `scale`, `bias`, `both`, or `together` where one number holds both.
    """
    held = Strength(float("inf"), float("inf"))
    if axes == "together":
        return _best_of_path([Strength(precision, precision) for precision in _COARSE], loss)
    if axes in ("scale", "both"):
        held = _best_of_path([held._replace(scale=precision) for precision in STRENGTHS], loss)
    if axes in ("bias", "both"):
        held = _best_of_path([held._replace(bias=precision) for precision in STRENGTHS], loss)
    return held


def _best_of_path(path: list[Strength], loss: Callable[[Strength], float]) -> Strength:
    """The best of a path from strong to weak, which is left when it only gets worse."""
    best, least, worse = path[0], float("inf"), 0
    for strength in path:
        value = loss(strength)
        worse = 0 if value < least else worse + 1
        if value < least - 1e-12:
            best, least = strength, value
        if worse >= _PATIENCE:
            break
    return best
