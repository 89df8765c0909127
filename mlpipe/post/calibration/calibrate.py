"""Calibration of probabilities: fit on labelled predictions, apply to any others.

`calibrate` fits one of nine methods, or chooses among them, and returns a frozen `Calibration` whose `apply` turns
logits into calibrated log-probabilities. A prior gives the class prevalence that they are meant for: the fit then
weights each class to its share (Brummer and du Preez 2006; the affine form is that of psrcal's `AffineCalLogLoss`).
A fit can be shrunk towards the identity as strongly as held-out rows ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.post.calibration import shrinkage as holding
from mlpipe.post.calibration.calibrators import AXES, METHODS, SCALES, Prepared, prepared
from mlpipe.post.calibration.shrunk_fit import BARE, Fits, Part, Place, Strength
from mlpipe.post.calibration.values import Calibration
from mlpipe.post.ensembling.simplest import simplest
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import FOLDS, Floats, Integers, counts_of, labelled, shares, stratified_folds

__all__ = ["Calibration", "Method", "calibrate", "unit_of"]

Method = Literal["none", "temperature", "bias", "affine", "vector", "beta", "histogram", "isotonic", "matrix", "auto"]

# The most classes for which a matrix is fitted: its Hessian, classes by classes + 1 for each class, then takes 1 GB.
_MOST_OF_MATRIX = 500
# Bounds of the spread of network logits; logits outside of them are in other units.
_SMALLEST, _LARGEST = 0.05, 50.0
# The decade that such logits are scaled to.
_LEAST = 0.5
# Stopping tolerance, in nats, of fits that are only compared to choose a strength.
_ENOUGH = 1e-7
# These methods learn scales anyway; unless they are shrunk, their result must not depend on the unit at all.
_SCALE_FREE = ("vector", "beta", "isotonic", "histogram", "matrix")


def calibrate(
    fit_logits: npt.ArrayLike,
    fit_targets: npt.ArrayLike,
    prior: npt.ArrayLike | None = None,
    *,
    method: str = "affine",
    ids: Sequence[str] | None = None,
    seed: int = 0,
    shrinkage: str | float = "none",
    base: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> Calibration:
    """Fit a calibration to labelled predictions by minimising the negative log-likelihood.

    With a prior, a row of class k has the weight prior_k / share of k among the rows. The methods, s being log-probabilities:
    `affine` L(t s + b), `temperature` L(t s), `bias` L(s + b), `vector` L(t_k s_k + b_k), `matrix` L(W s + b) with
    ridges; `beta`, `isotonic` and `histogram` (15 bins of equally many rows) fit one curve per class and then
    normalise; `none` only moves probabilities to the prior; `auto` takes the simplest of them within one standard error of the
    best in 5-fold cross-validation. Logits far larger or smaller than those of networks are first divided by a power of ten.

    Args:
        fit_logits: Logits or log-probabilities, shape (n, classes).
        fit_targets: Class numbers, shape (n,); -1 for none.
        prior: The prevalence the probabilities are meant for, shape (classes,); None: that of the labelled rows.
        method: One of the names above.
        ids: The rows' sample ids, to name rows that cannot be used.
        seed: Seed of the folds of `auto` and of the choice of the strength.
        shrinkage: How strongly a fit is shrunk to the identity (probabilities that are only moved to the prior): `none`,
            `cv` (chosen by 5-fold cross-validation), or a precision of log-scales and biases. Isotonic curves and
            histograms are not shrunk.
        base: With a prior, the prevalence that the logits are meant for already, shape (classes,); None: that of the
            labelled rows. The identity moves from there to the prior.
        groups: The group of each row, shape (n,), such as the patient: where some rows judge a fit to
            others, a group is on one side. None: every row by itself.

    Raises:
        ConfigError: The method or the shrinkage is unknown.
        DataError: Values are not finite, no row or only one class is labelled, or the prior expects a class that has
            no labelled row.
    """
    if method not in get_args(Method):
        fix = did_you_mean(method, get_args(Method), otherwise=f"methods: {listing(get_args(Method))}")
        raise ConfigError(problem("mode.calibrator", "unknown method", got=method, fix=fix))
    held = holding.fixed_strength(shrinkage)
    if method == "matrix" and (classes := np.shape(fit_logits)[-1]) > _MOST_OF_MATRIX:
        wrong = f"learns {classes * (classes + 1):,} numbers, and their second derivatives, for {classes} classes"
        raise ConfigError(problem("mode.calibrator", wrong, got=method, fix="use vector, or affine"))
    logits, targets = labelled(fit_logits, fit_targets, ids=ids)
    target_prior = None if prior is None else shares(prior, logits.shape[1])
    known = None if base is None else shares(base, logits.shape[1], key="base")
    units = None if groups is None else np.asarray(groups)[np.asarray(fit_targets) >= 0]
    fit_function, spread = _choose if method == "auto" else _fit_one, _spread(logits)
    scales = _unit(spread, always=True), _unit(spread, always=False)
    return fit_function(method, _Data(logits, targets, target_prior, seed, scales, known, units), held)


def unit_of(logits: Floats, *, always: bool = False) -> float:
    """Return the factor that scales logits to the size of network logits: a power of ten, 1 if they have that size.

    Args:
        logits: Finite, shape (n, classes).
        always: Scale them to one decade even if they could be a network's.
    """
    return _unit(_spread(logits), always)


def _spread(logits: Floats) -> float:
    """Return the root mean squared distance of the logits from the mean of their row, 0 if all are equal."""
    centred = logits - logits.mean(axis=1, keepdims=True)
    largest = max(float(centred.max(initial=0.0)), -float(centred.min(initial=0.0)))
    if not largest:
        return 0.0
    centred /= largest
    np.square(centred, out=centred)
    return largest * float(np.sqrt(np.mean(centred)))


def _unit(spread: float, always: bool) -> float:
    if not spread or (_SMALLEST <= spread <= _LARGEST and not always):
        return 1.0
    return float(10.0 ** -np.floor(np.log10(spread / _LEAST)))


@dataclass(frozen=True)
class _Data:
    """Labelled rows and the prior; `units` are the factors of the logits for scale-free methods and for others."""

    logits: Floats
    targets: Integers
    prior: Floats | None
    seed: int
    units: tuple[float, float]
    base: Floats | None = None
    groups: npt.NDArray[Any] | None = None

    def unit(self, method: str, held: bool) -> float:
        """Return the factor of the logits: 1 for `none`, which learns nothing."""
        return 1.0 if method == "none" else self.units[0 if method in _SCALE_FREE and not held else 1]

    def only(self, rows: npt.NDArray[Any]) -> _Data:
        groups = None if self.groups is None else self.groups[rows]
        return replace(self, logits=self.logits[rows], targets=self.targets[rows], groups=groups)


def _fit_one(method: str, data: _Data, strength: Strength | None) -> Calibration:
    if method not in AXES:
        strength = BARE
    unit = data.unit(method, strength != BARE)
    # `none` uses only the counts of the targets.
    scores = data.logits if method == "none" else log_softmax(data.logits if unit == 1 else data.logits * unit)
    whole = prepared(scores, data.targets, data.prior, base=data.base)
    fitted = METHODS[method](whole, _strength(method, scores, data) if strength is None else strength)
    if unit == 1:
        return fitted
    notes = fitted.notes
    if data.units[1] != 1:
        notes = (*notes, f"logits are far from the size of log-probabilities: they are multiplied by {unit:g} first")
    return replace(fitted, parameters={**fitted.parameters, "unit": np.asarray(unit)}, notes=notes)


def _strength(method: str, scores: Floats, data: _Data) -> Strength:
    """Choose how strongly to shrink a method to the identity, by the loss on held-out rows."""
    targets, prior = data.targets, data.prior
    rows, fold = holding.folds_of(targets, data.seed, data.groups)
    ratios = None if prior is None else _ratios(targets, prior)
    weights = np.ones(len(rows)) if ratios is None else ratios[targets[rows]]
    parts = [(rows[fold != number], rows[fold == number]) for number in range(fold.max() + 1)]
    if any(len(np.unique(targets[own])) < 2 for own, _ in parts):
        return Strength(float("inf"), float("inf"))
    learning = (prepared(scores[own], targets[own], prior, ratios, data.base) for own, _ in parts)
    if method in SCALES:
        loss = _joint_loss(method, scores[rows], targets[rows], fold, learning, weights)
    else:
        loss = _fold_by_fold_loss(
            method, scores, targets, parts, list(learning), weights[np.argsort(fold, kind="stable")]
        )
    return holding.chosen(loss, AXES[method])


def _joint_loss(
    method: str, scores: Floats, targets: Integers, fold: Integers, learning: Iterable[Prepared], weights: Floats
) -> Callable[[Strength], float]:
    """Return the held-out loss as a function of the strength; the fits of all folds are made together."""
    parts = (
        Part(fold_data.rows, np.flatnonzero(fold != number), fold_data.offset - fold_data.offset.mean())
        for number, fold_data in enumerate(learning)
    )
    fits, rows = Fits(np.ascontiguousarray(scores.T), parts, SCALES[method]), np.arange(len(targets))
    places: list[Place | None] = [None]

    def loss(strength: Strength) -> float:
        places[0] = place = fits.minimum(strength, places[0], enough=_ENOUGH)
        logits = fits.logits_by(place, fold)
        return float(-(weights @ log_softmax(logits)[rows, targets]) / weights.sum())

    return loss


def _fold_by_fold_loss(
    method: str,
    scores: Floats,
    targets: Integers,
    parts: Sequence[tuple[Integers, Integers]],
    learning: Sequence[Prepared],
    weights: Floats,
) -> Callable[[Strength], float]:
    """Return the same for methods whose folds are fitted one after the other; weights in the order of the folds."""
    near: list[Calibration | None] = [None] * len(parts)

    def loss(strength: Strength) -> float:
        logs = []
        for number, (own, (_, held_out)) in enumerate(zip(learning, parts, strict=True)):
            near[number] = fitted = METHODS[method](own, strength, near[number])
            logs.append(fitted.apply(scores[held_out])[np.arange(len(held_out)), targets[held_out]])
        return float(-(weights @ np.concatenate(logs)) / weights.sum())

    return loss


def _ratios(targets: Integers, prior: Floats) -> Floats:
    """Return the ratio of each class's prior to its observed share; a class without rows gets a small share."""
    counts = counts_of(targets, len(prior))
    return np.asarray(prior / np.where(counts == 0, 1 / (len(targets) + len(prior)), counts / len(targets)))


def _choose(method: str, data: _Data, strength: Strength | None) -> Calibration:
    """Choose the simplest method whose loss is at most one standard error (of the paired difference) above the best."""
    counts = counts_of(data.targets, data.logits.shape[1])
    folds = min(FOLDS, int(counts[counts > 0].min()))
    fold = stratified_folds(data.targets, folds, data.seed, data.groups)
    if any(len(np.unique(data.targets[fold != number])) < np.count_nonzero(counts) for number in range(folds)):
        fitted = _fit_one("affine", data, strength)
        wrong = "a class has one labelled row" if folds < 2 else "a class has labelled rows of too few groups"
        return replace(fitted, notes=(*fitted.notes, f"{wrong}: affine is used without a choice"))
    n, classes = data.logits.shape
    has_matrix = classes <= _MOST_OF_MATRIX and n >= 2 * classes * (classes + 1)
    names = [name for name in METHODS if name != "matrix" or has_matrix]
    weights = prepared(log_softmax(data.logits), data.targets, data.prior).rows.weights
    losses = {name: np.empty(n) for name in names}
    for number in range(folds):
        inside = fold == number
        for name in names:
            held_out = _fit_one(name, data.only(~inside), strength).apply(data.logits[inside])
            losses[name][inside] = -held_out[np.arange(inside.sum()), data.targets[inside]]
    weighted = {name: n * weights * values for name, values in losses.items()}
    chosen = _fit_one(simplest(weighted, errors=1.0, groups=data.groups), data, strength)
    return replace(chosen, scores={name: float(values.mean()) for name, values in weighted.items()})
