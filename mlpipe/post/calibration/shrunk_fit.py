"""Affine fits with a penalty that shrinks them to the identity: log-scales to 0, biases to where they start.

A strength is a precision: 1 acts like a normal prior of standard deviation 1 on a log-scale or a bias, whatever
the number of rows; infinity fixes it, and near 0 is the maximum-likelihood fit of `mlpipe.post.calibration.softmax_fit`.
Several fits of the same rows with different weights, such as those of a cross-validation, are made together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mlpipe.post.calibration.softmax_fit import Curvature, Rows, Scale, conjugate_gradients
from mlpipe.post.rows import Floats

_STEPS = 100
# The most numbers that are processed at a time, 32 MB.
_MOST_CELLS = 2**22
# The longest step of a log-scale, because far from the minimum the second derivatives are not informative.
_LONGEST = 2.0
# With more parameters the Hessian is not built: steps are solved for by conjugate gradients.
_MOST_WRITTEN_OUT = 400
# The most probabilities that are kept for the next pass, 1 GB; more are computed anew each time.
_MOST_KEPT = 2**27


class Strength(NamedTuple):
    """How strongly a fit is shrunk to the identity: precisions of the log-scales and of the biases."""

    scale: float
    bias: float


BARE = Strength(0.0, 0.0)


@dataclass(frozen=True)
class Place:
    """The parameters of fits: log-scales and the biases' distance from their start, shape (fits, classes) each."""

    log_scales: Floats
    moved: Floats


class Part(NamedTuple):
    """The data of one fit: its rows, their columns in the scores, and the starting biases, shape (classes,)."""

    rows: Rows
    places: npt.NDArray[np.int64]
    offset: Floats


class _Terms(NamedTuple):
    """For each fit the value, shape (fits,), the gradient, (fits, p), and a positive definite curvature, (fits, p, p)."""

    value: Floats
    gradient: Floats
    hessian: Floats | Curvature


class Fits:
    """Fits of the same scores with different weights.

    Args:
        scores: Log-probabilities, shape (classes, n).
        parts: The data of each fit; each is read once, and only sums and weights are kept.
        scale: Whether the scale stays 1, is one number, or one number for each class.
    """

    def __init__(self, scores: Floats, parts: Iterable[Part], scale: Scale) -> None:
        self.scores, self.scale = scores, scale
        weights, hits, hit_scores, offsets, sizes = [], [], [], [], []
        for rows, places, offset in parts:
            weights.append(np.zeros(scores.shape[1]))
            weights[-1][places] = rows.weights
            hits.append(rows.targets.sum(axis=1))
            hit_scores.append(np.einsum("kn,kn->k", rows.targets, rows.scores))
            offsets.append(offset)
            sizes.append(float(len(places)))
        self.weights, self.offsets = np.array(weights), np.array(offsets)
        self._hits, self._hit_scores, self._sizes = np.array(hits), np.array(hit_scores), np.array(sizes)
        # Arrays over fits, classes and rows are computed for blocks of rows.
        step = max(64, _MOST_CELLS // max(1, self.offsets.size))
        self._blocks = [slice(first, first + step) for first in range(0, scores.shape[1], step)]

    def start(self) -> Place:
        """Return the parameters before anything is learned."""
        return Place(np.zeros_like(self.offsets), np.zeros_like(self.offsets))

    def minimum(self, strength: Strength, start: Place | None = None, *, enough: float = 1e-10) -> Place:
        """Minimise the weighted cross-entropy plus strength / (2 n) times the squared distance from the identity.

        Newton's method; where the loss falls with the log-scale its second derivative is left out of the curvature, so
        that every step goes down.

        Args:
            strength: Strength of the penalties; an infinite one fixes its parameters.
            start: A place near the minimum, such as that of the next strength.
            enough: Stop when no step promises a larger decrease.
        """
        place, classes = start or self.start(), self.offsets.shape[1]
        scale_count = {"fixed": 0, "shared": 1, "per_class": classes}[self.scale] if np.isfinite(strength.scale) else 0
        biased = bool(np.isfinite(strength.bias))
        place = Place(place.log_scales * (scale_count > 0), place.moved * biased)
        if not scale_count and not biased:
            return place
        terms = self._terms(place, strength, scale_count, biased)
        for _ in range(_STEPS):
            if isinstance(terms.hessian, Curvature):
                step = -conjugate_gradients(terms.hessian, terms.gradient)
            else:
                step = np.asarray(-np.linalg.solve(terms.hessian, terms.gradient[:, :, None])[:, :, 0], np.float64)
            slope = np.einsum("fp,fp->f", terms.gradient, step)
            open_ = -slope >= enough
            if not open_.any():
                break
            # Free arrays as large as the scores before the next ones are computed.
            terms = terms._replace(hessian=np.empty(0))
            length = np.where(open_, 1.0, 0.0)
            if scale_count:
                length *= np.minimum(1, _LONGEST / np.maximum(np.abs(step[:, :scale_count]).max(axis=1), 1e-300))
            for _ in range(40):
                tried = self._moved(place, step * length[:, None], scale_count, biased)
                tried_terms = self._terms(tried, strength, scale_count, biased)
                worse = open_ & (tried_terms.value > terms.value + 1e-4 * length * slope)
                if not worse.any():
                    break
                # If rounding hides every decrease, the step length ends as 0.
                length = np.where(worse, np.where(length > 1e-9, length / 2, 0.0), length)
            place, terms = tried, tried_terms
            if not (length > 0).any():
                break
        return place

    def logits_by(self, place: Place, fits: npt.NDArray[np.int64]) -> Floats:
        """Return the scores of each row after one of the fits, shape (n, classes).

        Args:
            place: The parameters of the fits.
            fits: The fit of each row, shape (n,).
        """
        moved = np.exp(place.log_scales)[fits]
        moved *= self.scores.T
        moved += (self.offsets + place.moved)[fits]
        return np.asarray(moved)

    def _moved(self, place: Place, step: Floats, scale_count: int, biased: bool) -> Place:
        scales = place.log_scales + step[:, :scale_count] if scale_count else place.log_scales
        return Place(scales, place.moved + step[:, scale_count:] if biased else place.moved)

    def _penalty(self, place: Place, strength: Strength, scale_count: int, biased: bool) -> Floats:
        held = np.zeros(len(self.offsets))
        if scale_count:
            held += strength.scale * (place.log_scales[:, :scale_count] ** 2).sum(axis=1)
        if biased:
            held += strength.bias * (place.moved**2).sum(axis=1)
        return np.asarray(held / (2 * self._sizes))

    def _terms(self, place: Place, held: Strength, scale_count: int, biased: bool) -> _Terms:
        """Return the values, their gradients and positive definite curvatures."""
        classes, n = self.offsets.shape[1], self._sizes[:, None]
        size = scale_count + (classes if biased else 0)
        if size > _MOST_WRITTEN_OUT:
            return self._terms_of_many(place, held, scale_count, biased)
        value, gradient, hessian = self._sums(place, scale_count, biased, size)
        assert not isinstance(hessian, Curvature)
        diagonal = np.arange(size)
        hits = np.exp(place.log_scales) * self._hit_scores + (self.offsets + place.moved) * self._hits
        value += self._penalty(place, held, scale_count, biased) - hits.sum(axis=1)
        if scale_count:
            scales = np.exp(place.log_scales[:, :scale_count])
            gradient[:, :scale_count] -= (
                self._hit_scores if scale_count > 1 else self._hit_scores.sum(axis=1, keepdims=True)
            )
            slopes = gradient[:, :scale_count] * scales
            gradient[:, :scale_count] = slopes + held.scale * place.log_scales[:, :scale_count] / n
            hessian[:, :scale_count] *= scales[:, :, None]
            hessian[:, :, :scale_count] *= scales[:, None]
            hessian[:, diagonal[:scale_count], diagonal[:scale_count]] += (
                np.maximum(slopes, 0) + (held.scale + 1e-9) / n
            )
        if biased:
            hessian[:, scale_count:, scale_count:] += 1 / classes
            hessian[:, diagonal[scale_count:], diagonal[scale_count:]] += gradient[:, scale_count:] + held.bias / n
            gradient[:, scale_count:] += held.bias * place.moved / n - self._hits
        hessian[:, diagonal, diagonal] += 1e-14
        return _Terms(value, gradient, hessian)

    def _terms_of_many(self, place: Place, held: Strength, scale_count: int, biased: bool) -> _Terms:
        """Return the same for many classes, without matrices of classes by classes.

        The probabilities of all rows, as many numbers for each fit as the scores have, are kept unless they are too many.
        """
        fits, classes = self.offsets.shape
        n, scales = self._sizes[:, None], np.exp(place.log_scales)
        keeps = self.offsets.size * self.scores.shape[1] <= _MOST_KEPT
        value, block_chances = np.zeros(fits), list[Floats]()
        chance, chance2, score, score2, spread = (np.zeros((fits, classes)) for _ in range(5))
        for block in self._blocks:
            scores, weights = self.scores[:, block], self.weights[:, block]
            chances, logs = self._chances(place, block)
            value += np.einsum("fn,fn->f", weights, logs)
            weighed = chances * weights[:, None]
            chance += weighed.sum(axis=2)
            chance2 += np.einsum("fkn,fkn->fk", weighed, chances)
            if scale_count:
                weighed *= scores
                score += weighed.sum(axis=2)
                score2 += np.einsum("fkn,kn->fk", weighed, scores)
                weighed *= scores
                spread += np.einsum("fkn,fkn->fk", weighed, chances)
            if keeps:
                block_chances.append(chances)
        hits = scales * self._hit_scores + (self.offsets + place.moved) * self._hits
        value += self._penalty(place, held, scale_count, biased) - hits.sum(axis=1)

        def of_scales(values: Floats) -> Floats:
            """Sum over classes if there is one scale for all of them, else return the values of each class."""
            return values.sum(axis=1, keepdims=True) if scale_count == 1 else values

        gradient, own, diagonal = (np.zeros((fits, scale_count + classes * biased)) for _ in range(3))
        if scale_count:
            slopes = of_scales(scales * (score - self._hit_scores))
            gradient[:, :scale_count] = slopes + held.scale * place.log_scales[:, :scale_count] / n
            own[:, :scale_count] = np.maximum(slopes, 0) + (held.scale + 1e-9) / n
            diagonal[:, :scale_count] = of_scales(scales**2 * (score2 - spread))
        if biased:
            gradient[:, scale_count:] = chance + held.bias * place.moved / n - self._hits
            own[:, scale_count:] = held.bias / n
            diagonal[:, scale_count:] = chance - chance2 + 1 / classes
        own += 1e-14

        def times(step: Floats) -> Floats:
            product = own * step
            by_scale = scales * step[:, :scale_count] if scale_count else None
            by_bias = step[:, scale_count:] if biased else np.zeros((fits, classes))
            if biased:
                product[:, scale_count:] += chance * by_bias + by_bias.mean(axis=1, keepdims=True)
            if by_scale is not None:
                product[:, :scale_count] += of_scales(scales * (by_scale * score2 + by_bias * score))
                if biased:
                    product[:, scale_count:] += by_scale * score
            for number, block in enumerate(self._blocks):
                chances = block_chances[number] if keeps else self._chances(place, block)[0]
                mean = np.einsum("fkn,fk->fn", chances, by_bias)
                if by_scale is not None:
                    scored = chances * self.scores[:, block]
                    mean += np.einsum("fkn,fk->fn", scored, by_scale)
                mean *= self.weights[:, block]
                if by_scale is not None:
                    product[:, :scale_count] -= of_scales(scales * _over_rows(scored, mean))
                if biased:
                    product[:, scale_count:] -= _over_rows(chances, mean)
            return product

        return _Terms(value, gradient, Curvature(times, own + np.maximum(diagonal, 0)))

    def _chances(self, place: Place, block: slice) -> tuple[Floats, Floats]:
        """Return the probabilities of a block of rows, shape (fits, classes, n), and their log-normalisers, (fits, n)."""
        chances = np.exp(place.log_scales)[:, :, None] * self.scores[:, block]
        chances += (self.offsets + place.moved)[:, :, None]
        top = chances.max(axis=1, keepdims=True)
        chances -= top
        np.exp(chances, out=chances)
        total = chances.sum(axis=1, keepdims=True)
        chances /= total
        return chances, (np.log(total) + top)[:, 0]

    def _sums(self, place: Place, scale_count: int, biased: bool, size: int) -> _Terms:
        """Sum over the rows: the log-normalisers, expected scores and probabilities, and their
        covariances for scales and biases; those of biases with themselves lack the diagonal.
        """
        fits = len(self.offsets)
        value, gradient, hessian = np.zeros(fits), np.zeros((fits, size)), np.zeros((fits, size, size))
        for block in self._blocks:
            scores, weights = self.scores[:, block], self.weights[:, block]
            chances, logs = self._chances(place, block)
            value += np.einsum("fn,fn->f", weights, logs)
            if scale_count:
                by_scale = _by_one_scale if scale_count == 1 else _by_scales
                gradient[:, :scale_count] += by_scale(hessian, chances, scores, weights, biased)
            if biased:
                gradient[:, scale_count:] += _over_rows(chances, weights)
                hessian[:, scale_count:, scale_count:] -= chances @ (chances * weights[:, None]).transpose(0, 2, 1)
        if scale_count == 1:
            hessian[:, 0, 0] = np.maximum(hessian[:, 0, 0], 0)
        return _Terms(value, gradient, hessian)


def _by_one_scale(hessian: Floats, chances: Floats, scores: Floats, weights: Floats, biased: bool) -> Floats:
    """Return expected scores, shape (fits, 1), for one scale of all classes; add to its second derivatives."""
    expected = np.einsum("fkn,kn->fn", chances, scores)
    with_scores = chances * scores
    squares = np.einsum("fkn,kn->fn", with_scores, scores)
    hessian[:, 0, 0] += np.einsum("fn,fn->f", weights, squares - expected**2)
    if biased:
        mixed = _over_rows(with_scores, weights) - _over_rows(chances, weights * expected)
        hessian[:, 0, 1:] += mixed
        hessian[:, 1:, 0] += mixed
    return np.asarray(np.einsum("fn,fn->f", weights, expected)[:, None])


def _by_scales(hessian: Floats, chances: Floats, scores: Floats, weights: Floats, biased: bool) -> Floats:
    """Return expected scores of each class, shape (fits, classes); add to the second derivatives of each scale."""
    class_count = len(scores)
    weighted, scaled, diagonal = chances * weights[:, None], chances * scores, np.arange(class_count)
    with_scores = weighted * scores
    hessian[:, :class_count, :class_count] -= scaled @ with_scores.transpose(0, 2, 1)
    hessian[:, diagonal, diagonal] += np.einsum("fkn,kn->fk", with_scores, scores)
    by_scale = with_scores.sum(axis=2)
    if biased:
        mixed = -scaled @ weighted.transpose(0, 2, 1)
        mixed[:, diagonal, diagonal] += by_scale
        hessian[:, :class_count, class_count:] += mixed
        hessian[:, class_count:, :class_count] += mixed.transpose(0, 2, 1)
    return np.asarray(by_scale)


def _over_rows(values: Floats, weights: Floats) -> Floats:
    """Return weighted sums over the rows, shape (fits, classes)."""
    return np.asarray((values @ weights[:, :, None])[:, :, 0])
