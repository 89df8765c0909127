"""The affine fits with a penalty that draws them to the identity: log-scales to 0, biases to where they start.

A strength is a precision: 1 holds a log-scale or a bias as a normal distribution of standard deviation 1 would, whatever
the number of rows; infinite holds it fixed, and next to 0 is the maximum-likelihood fit of `mlpipe.post.calibration.softmax_fit`.
Several fits of the same rows with other weights, such as those of a cross-validation, are made together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpipe.post.calibration.softmax_fit import Rows, Scale
from mlpipe.post.rows import Floats

_STEPS = 100
# The longest step of a log-scale: far from the minimum the second derivatives say nothing.
_LONGEST = 2.0


class Strength(NamedTuple):
    """How strongly a fit is held at the identity: precisions of the log-scales and of the biases."""

    scale: float
    bias: float


BARE = Strength(0.0, 0.0)


@dataclass(frozen=True)
class Place:
    """The parameters of fits: log-scales and the biases' distance from their start, shape (fits, classes) each."""

    log_scales: Floats
    moved: Floats


class Fits:
    """Fits of the same scores with weights of their own.

    Args:
        scores: Log-probabilities, shape (classes, n).
        parts: For each fit its rows, and which columns of the scores they are.
        offsets: Where the biases start and what they are drawn to, shape (fits, classes).
        scale: Whether the scale stays 1, is one number, or one number for each class.
    """

    def __init__(
        self,
        scores: Floats,
        parts: Sequence[tuple[Rows, npt.NDArray[np.int64]]],
        offsets: Floats,
        scale: Scale,
    ) -> None:
        self.scores, self.offsets, self.scale = scores, offsets, scale
        self.weights = np.zeros((len(parts), scores.shape[1]))
        self._hits, self._hit_scores = np.empty_like(offsets), np.empty_like(offsets)
        for number, (rows, places) in enumerate(parts):
            self.weights[number, places] = rows.weights
            self._hits[number] = rows.targets.sum(axis=1)
            self._hit_scores[number] = np.einsum("kn,kn->k", rows.targets, rows.scores)
        self._sizes = np.array([len(places) for _, places in parts], np.float64)

    def start(self) -> Place:
        """The parameters before anything is learned."""
        return Place(np.zeros_like(self.offsets), np.zeros_like(self.offsets))

    def minimum(self, strength: Strength, start: Place | None = None, *, enough: float = 1e-10) -> Place:
        """The penalised minima: the weighted cross-entropy, n times which gets strength / 2 times the squared distance.

        Newton's method; where the loss falls with the log-scale its second derivative is left out of the curvature, so
        that every step goes down.

        Args:
            strength: Of the penalties; an infinite one fixes what it holds.
            start: A place near the minimum, such as that of the next strength.
            enough: Stop when no step promises more than this.
        """
        place, classes = start or self.start(), self.offsets.shape[1]
        many = {"fixed": 0, "shared": 1, "per_class": classes}[self.scale] if np.isfinite(strength.scale) else 0
        biased = bool(np.isfinite(strength.bias))
        place = Place(place.log_scales * (many > 0), place.moved * biased)
        if not many and not biased:
            return place
        loss, chances = self._cross_entropy(place)
        for _ in range(_STEPS):
            value = loss + self._penalty(place, strength, many, biased)
            gradient, hessian = self._derivatives(place, chances, strength, many, biased)
            step = np.asarray(-np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0], np.float64)
            slope = np.einsum("fp,fp->f", gradient, step)
            open_ = -slope >= enough
            if not open_.any():
                break
            length = np.where(open_, 1.0, 0.0)
            if many:
                length *= np.minimum(1, _LONGEST / np.maximum(np.abs(step[:, :many]).max(axis=1), 1e-300))
            for _ in range(40):
                tried = self._moved(place, step * length[:, None], many, biased)
                loss, chances = self._cross_entropy(tried)
                now = loss + self._penalty(tried, strength, many, biased)
                worse = open_ & (now > value + 1e-4 * length * slope)
                if not worse.any():
                    break
                # Where rounding hides every decrease the length ends as nothing.
                length = np.where(worse, np.where(length > 1e-9, length / 2, 0.0), length)
            place = tried
            if not (length > 0).any():
                break
        return place

    def logits(self, place: Place) -> Floats:
        """All scores after the fits, shape (fits, classes, n)."""
        return np.exp(place.log_scales)[:, :, None] * self.scores + (self.offsets + place.moved)[:, :, None]

    def _moved(self, place: Place, step: Floats, many: int, biased: bool) -> Place:
        scales = place.log_scales + step[:, :many] if many else place.log_scales
        return Place(scales, place.moved + step[:, many:] if biased else place.moved)

    def _cross_entropy(self, place: Place) -> tuple[Floats, Floats]:
        """The loss of each fit without the penalty, and the probabilities."""
        moved = self.logits(place)
        top = moved.max(axis=1, keepdims=True)
        chances = np.exp(moved - top)
        total = chances.sum(axis=1, keepdims=True)
        chances /= total
        lost = np.einsum("fn,fn->f", self.weights, (np.log(total) + top)[:, 0])
        biases = self.offsets + place.moved
        hit = np.exp(place.log_scales) * self._hit_scores + biases * self._hits
        return lost - hit.sum(axis=1), chances

    def _penalty(self, place: Place, strength: Strength, many: int, biased: bool) -> Floats:
        held = np.zeros(len(self.offsets))
        if many:
            held += strength.scale * (place.log_scales[:, :many] ** 2).sum(axis=1)
        if biased:
            held += strength.bias * (place.moved**2).sum(axis=1)
        return held / (2 * self._sizes)

    def _derivatives(
        self, place: Place, chances: Floats, held: Strength, many: int, biased: bool
    ) -> tuple[Floats, Floats]:
        """Gradients and positive definite curvatures of the values."""
        size, n = many + (self.offsets.shape[1] if biased else 0), self._sizes[:, None]
        weighted = chances * self.weights[:, None]
        with_scores = weighted * self.scores
        masses = weighted.sum(axis=2)
        gradient, hessian = np.zeros((len(n), size)), np.zeros((len(n), size, size))
        diagonal = np.arange(size)
        if many:
            scales = np.exp(place.log_scales[:, :many])
            by_scale = with_scores.sum(axis=2) - self._hit_scores
            slopes = (by_scale.sum(axis=1, keepdims=True) if many == 1 else by_scale) * scales
            gradient[:, :many] = slopes + held.scale * place.log_scales[:, :many] / n
            self._by_scale(hessian, chances, weighted, with_scores, many, biased)
            hessian[:, :many] *= scales[:, :, None]
            hessian[:, :, :many] *= scales[:, None]
            hessian[:, diagonal[:many], diagonal[:many]] += np.maximum(slopes, 0) + (held.scale + 1e-9) / n
        if biased:
            gradient[:, many:] = masses - self._hits + held.bias * place.moved / n
            hessian[:, many:, many:] = -chances @ weighted.transpose(0, 2, 1) + 1 / self.offsets.shape[1]
            hessian[:, diagonal[many:], diagonal[many:]] += masses + held.bias / n
        hessian[:, diagonal, diagonal] += 1e-14
        return gradient, hessian

    def _by_scale(
        self, hessian: Floats, chances: Floats, weighted: Floats, with_scores: Floats, many: int, biased: bool
    ) -> None:
        """Fill in the second derivatives by scales, and by scales and biases."""
        if many > 1:
            scaled, diagonal = chances * self.scores, np.arange(many)
            hessian[:, :many, :many] = -scaled @ with_scores.transpose(0, 2, 1)
            hessian[:, diagonal, diagonal] += np.einsum("fkn,kn->fk", with_scores, self.scores)
            mixed = -scaled @ weighted.transpose(0, 2, 1)
            mixed[:, diagonal, diagonal] += with_scores.sum(axis=2)
        else:
            expected = np.einsum("fkn,kn->fn", chances, self.scores)
            spread = np.einsum("fkn,kn->f", with_scores, self.scores)
            hessian[:, 0, 0] = np.maximum(spread - np.einsum("fn,fn->f", self.weights, expected**2), 0)
            mixed = (with_scores.sum(axis=2) - np.einsum("fkn,fn->fk", weighted, expected))[:, None]
        if biased:
            hessian[:, :many, many:], hessian[:, many:, :many] = mixed, mixed.transpose(0, 2, 1)
