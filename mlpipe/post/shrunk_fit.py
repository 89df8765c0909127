"""The affine fits with a penalty that draws them to the identity: log-scales to 0, biases to where they start.

A strength is a precision: 1 holds a log-scale or a bias as a normal distribution of standard deviation 1 would, whatever
the number of rows; infinite holds it fixed, and next to 0 is the maximum-likelihood fit of `mlpipe.post.softmax_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlpipe.post.rows import Floats
from mlpipe.post.softmax_fit import Rows, Scale, curvature, terms

_ENOUGH, _STEPS = 1e-10, 100
# The longest step of a log-scale: far from the minimum the second derivatives say nothing.
_LONGEST = 2.0


class Strength(NamedTuple):
    """How strongly a fit is held at the identity: precisions of the log-scales and of the biases."""

    scale: float
    bias: float


BARE = Strength(0.0, 0.0)


@dataclass(frozen=True)
class Place:
    """Where a fit stands: log-scales and the biases' distance from their start, shape (classes,) each."""

    log_scales: Floats
    moved: Floats

    @classmethod
    def identity(cls, classes: int) -> Place:
        """Where nothing has been learned."""
        return cls(np.zeros(classes), np.zeros(classes))


def fit_shrunk(
    rows: Rows, scale: Scale, offset: Floats, strength: Strength, start: Place | None = None, *, enough: float = _ENOUGH
) -> Place:
    """The penalised minimum of `softmax_fit.objective`, n times which gets strength / 2 times the squared distance.

    Newton's method; where the loss falls with the log-scale its second derivative is left out of the curvature, so that
    every step goes down.

    Args:
        rows: What to fit.
        scale: Whether the scale stays 1, is one number, or one number for each class.
        offset: Where the biases start and what they are drawn to, shape (classes,).
        strength: Of the penalties; an infinite one fixes what it holds.
        start: A place near the minimum, such as that of the next strength.
        enough: Stop when a step promises less than this.
    """
    classes = len(offset)
    place = start or Place.identity(classes)
    many = {"fixed": 0, "shared": 1, "per_class": classes}[scale] if np.isfinite(strength.scale) else 0
    place = Place(
        place.log_scales if many else np.zeros(classes),
        place.moved if np.isfinite(strength.bias) else np.zeros(classes),
    )
    free = _Free(rows, many, np.isfinite(strength.bias), strength, offset)
    if not free.size:
        return place
    value, gradient, hessian = free.at(place)
    for _ in range(_STEPS):
        step: Floats = -np.linalg.solve(hessian, gradient)
        slope, length = float(gradient @ step), 1.0
        if -slope < enough:
            break
        if many and (longest := float(np.abs(step[:many]).max())) > _LONGEST:
            length = _LONGEST / longest
        while length > 1e-9:
            tried = free.moved(place, length * step)
            if free.value(tried) <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break  # Rounding hides every decrease.
        place = tried
        value, gradient, hessian = free.at(place)
    return place


@dataclass(frozen=True)
class _Free:
    """The penalised loss as a function of what is free: `many` log-scales, then the biases."""

    rows: Rows
    many: int
    has_bias: bool
    strength: Strength
    offset: Floats

    @property
    def size(self) -> int:
        return self.many + (len(self.offset) if self.has_bias else 0)

    def moved(self, place: Place, step: Floats) -> Place:
        scales = place.log_scales + step[: self.many] if self.many else place.log_scales
        return Place(scales, place.moved + step[self.many :] if self.has_bias else place.moved)

    def value(self, place: Place) -> float:
        return self._penalised(place, terms(self.rows, np.exp(place.log_scales), self.offset + place.moved)[0])

    def _penalised(self, place: Place, loss: float) -> float:
        n = len(self.rows.weights)
        if self.many:
            away = place.log_scales[: self.many]
            loss += self.strength.scale * float(away @ away) / (2 * n)
        if self.has_bias:
            loss += self.strength.bias * float(place.moved @ place.moved) / (2 * n)
        return loss

    def at(self, place: Place) -> tuple[float, Floats, Floats]:
        """The value, its gradient and a positive definite curvature."""
        n, scales = len(self.rows.weights), np.exp(place.log_scales)
        loss, by_scale, by_bias, probabilities = terms(self.rows, scales, self.offset + place.moved)
        hessian = curvature(self.rows, probabilities, self.many, self.has_bias)
        held, many = self.strength, self.many
        gradient = np.zeros(0)
        if many:
            slopes = (by_scale.sum(keepdims=True) if many == 1 else by_scale) * scales[:many]
            gradient = slopes + held.scale * place.log_scales[:many] / n
            hessian[:many] *= scales[:many, None]
            hessian[:, :many] *= scales[:many]
            hessian[range(many), range(many)] += np.maximum(slopes, 0) + held.scale / n
        if self.has_bias:
            gradient = np.concatenate([gradient, by_bias + held.bias * place.moved / n])
            hessian[range(many, self.size), range(many, self.size)] += held.bias / n
        return self._penalised(place, loss), gradient, hessian
