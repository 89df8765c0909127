"""The strength that shrinks a calibration to the identity: chosen by cross-validation on its own rows, or given as a number.

A few dozen rows overfit a scale and a bias for each class, especially where the same rows chose the network's epoch.
Held-out rows decide how much of the fit to believe: from nothing to all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, problem
from mlpipe.post.calibration.shrunk_fit import BARE, Strength
from mlpipe.post.rows import FOLDS, Integers, stratified_folds

KEY = "mode.shrinkage"
Axes = Literal["", "scale", "bias", "both", "together"]

# From "nothing is learned" to "almost no shrinkage". A precision of 100 is a standard deviation of 0.1.
STRENGTHS = (float("inf"), 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)
# The strengths of a matrix: fewer, because each fit has many parameters.
_COARSE = (float("inf"), 100.0, 10.0, 1.0, 0.1)
# With more rows than this, the best strength stays the same and matters less.
_MOST_ROWS = 1000
# The path to weaker strengths ends after this many in a row that were worse.
_PATIENCE = 2


def fixed_strength(shrinkage: str | float) -> Strength | None:
    """Return the requested strength; None if cross-validation chooses it.

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
    """Return the rows that choose the strength, at most about a thousand, and the fold of each.

    Args:
        targets: Class numbers, shape (n,).
        seed: Seed of the draw.
        groups: The group of each row, shape (n,), held out together; None: every row by itself.
    """
    parts = -(-len(targets) // _MOST_ROWS)
    rows = np.flatnonzero(stratified_folds(targets, parts, seed) == 0)
    own = None if groups is None else groups[rows]
    return rows, stratified_folds(targets[rows], min(FOLDS, len(rows)), seed, own)


def chosen(loss: Callable[[Strength], float], axes: Axes) -> Strength:
    """Return the strength with the least cross-validated loss, the stronger among equals.

    The strength of the scales is chosen first, with biases fixed, then that of the biases.

    Args:
        loss: The held-out loss as a function of the strength.
        axes: The parameters of a method: `scale`, `bias`, `both`, or `together` where one number holds both.
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
    """Return the best strength on a path from strong to weak, stopping once it only gets worse."""
    best, least, worse = path[0], float("inf"), 0
    for strength in path:
        value = loss(strength)
        worse = 0 if value < least else worse + 1
        if value < least - 1e-12:
            best, least = strength, value
        if worse >= _PATIENCE:
            break
    return best
