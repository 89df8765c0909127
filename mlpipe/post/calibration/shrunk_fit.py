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


class _Losses(NamedTuple):
    """At a place: the cross-entropy of each fit, shape (fits,), and the probabilities, shape (fits, classes, n)."""

    cross_entropies: Floats
    chances: Floats


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
        losses = self._cross_entropy(place)
        for _ in range(_STEPS):
            value, gradient, hessian = self._terms(place, losses, strength, many, biased)
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
                losses = self._cross_entropy(tried)
                moved = losses.cross_entropies + self._penalty(tried, strength, many, biased)
                worse = open_ & (moved > value + 1e-4 * length * slope)
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

    def logits_by(self, place: Place, fits: npt.NDArray[np.int64]) -> Floats:
        """The scores of each row after one of the fits, shape (n, classes).

        Args:
            place: Where the fits are.
            fits: For each row which fit, shape (n,).
        """
        moved = np.exp(place.log_scales)[fits]
        moved *= self.scores.T
        moved += (self.offsets + place.moved)[fits]
        return np.asarray(moved)

    def _moved(self, place: Place, step: Floats, many: int, biased: bool) -> Place:
        scales = place.log_scales + step[:, :many] if many else place.log_scales
        return Place(scales, place.moved + step[:, many:] if biased else place.moved)

    def _cross_entropy(self, place: Place) -> _Losses:
        """The loss of each fit without the penalty, and the probabilities."""
        # One array is worked on in place: with a thousand classes it is most of what this program holds.
        chances = self.logits(place)
        top = chances.max(axis=1, keepdims=True)
        chances -= top
        np.exp(chances, out=chances)
        total = chances.sum(axis=1, keepdims=True)
        chances /= total
        lost = np.einsum("fn,fn->f", self.weights, (np.log(total) + top)[:, 0])
        biases = self.offsets + place.moved
        hit = np.exp(place.log_scales) * self._hit_scores + biases * self._hits
        return _Losses(lost - hit.sum(axis=1), chances)

    def _penalty(self, place: Place, strength: Strength, many: int, biased: bool) -> Floats:
        held = np.zeros(len(self.offsets))
        if many:
            held += strength.scale * (place.log_scales[:, :many] ** 2).sum(axis=1)
        if biased:
            held += strength.bias * (place.moved**2).sum(axis=1)
        return held / (2 * self._sizes)

    def _terms(
        self, place: Place, losses: _Losses, held: Strength, many: int, biased: bool
    ) -> tuple[Floats, Floats, Floats]:
        """The values, their gradients and positive definite curvatures."""
        loss, chances = losses
        size, n = many + (self.offsets.shape[1] if biased else 0), self._sizes[:, None]
        gradient, hessian = np.zeros((len(loss), size)), np.zeros((len(loss), size, size))
        diagonal = np.arange(size)
        if many:
            scales = np.exp(place.log_scales[:, :many])
            slopes = (self._one_scale if many == 1 else self._scales)(hessian, chances, biased) * scales
            gradient[:, :many] = slopes + held.scale * place.log_scales[:, :many] / n
            hessian[:, :many] *= scales[:, :, None]
            hessian[:, :, :many] *= scales[:, None]
            hessian[:, diagonal[:many], diagonal[:many]] += np.maximum(slopes, 0) + (held.scale + 1e-9) / n
        if biased:
            masses = self._sums(chances, self.weights)
            gradient[:, many:] = masses - self._hits + held.bias * place.moved / n
            weighted = chances * self.weights[:, None]
            hessian[:, many:, many:] = -chances @ weighted.transpose(0, 2, 1) + 1 / self.offsets.shape[1]
            hessian[:, diagonal[many:], diagonal[many:]] += masses + held.bias / n
        hessian[:, diagonal, diagonal] += 1e-14
        return loss + self._penalty(place, held, many, biased), gradient, hessian

    def _one_scale(self, hessian: Floats, chances: Floats, biased: bool) -> Floats:
        """The slope by one scale for all classes, shape (fits, 1); fills in the second derivatives that it is part of."""
        expected = np.einsum("fkn,kn->fn", chances, self.scores)
        with_scores = chances * self.scores
        squares = np.einsum("fkn,kn->fn", with_scores, self.scores)
        hessian[:, 0, 0] = np.maximum(np.einsum("fn,fn->f", self.weights, squares - expected**2), 0)
        if biased:
            mixed = self._sums(with_scores, self.weights) - self._sums(chances, self.weights * expected)
            hessian[:, 0, 1:] = hessian[:, 1:, 0] = mixed
        by_scale = np.einsum("fn,fn->f", self.weights, expected) - self._hit_scores.sum(axis=1)
        return np.asarray(by_scale[:, None])

    def _scales(self, hessian: Floats, chances: Floats, biased: bool) -> Floats:
        """The slopes by a scale for each class, shape (fits, classes); fills in the second derivatives of which they are part."""
        many = self.offsets.shape[1]
        weighted, scaled, diagonal = chances * self.weights[:, None], chances * self.scores, np.arange(many)
        with_scores = weighted * self.scores
        hessian[:, :many, :many] = -scaled @ with_scores.transpose(0, 2, 1)
        hessian[:, diagonal, diagonal] += np.einsum("fkn,kn->fk", with_scores, self.scores)
        by_scale = with_scores.sum(axis=2)
        if biased:
            mixed = -scaled @ weighted.transpose(0, 2, 1)
            mixed[:, diagonal, diagonal] += by_scale
            hessian[:, :many, many:], hessian[:, many:, :many] = mixed, mixed.transpose(0, 2, 1)
        return np.asarray(by_scale - self._hit_scores)

    @staticmethod
    def _sums(values: Floats, weights: Floats) -> Floats:
        """Weighted sums over the rows, shape (fits, classes)."""
        return np.asarray((values @ weights[:, :, None])[:, :, 0])
