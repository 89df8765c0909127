"""The methods that `mlpipe.post.calibration.calibrate` fits: each maps prepared rows and a strength to a calibration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from mlpipe.errors import DataError, counted, listing, problem
from mlpipe.post.calibration import curves
from mlpipe.post.calibration.shrinkage import Axes
from mlpipe.post.calibration.shrunk_fit import BARE, Fits, Part, Strength
from mlpipe.post.calibration.softmax_fit import Rows, Scale, fit, fit_matrix, objective, rows_of
from mlpipe.post.calibration.values import Calibration
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, Integers, counts_of

# Strengths of the matrix's ridges: off-diagonal entries need evidence, the bias hardly any.
_OFF_DIAGONAL_RIDGE = 1.0
_INTERCEPT_RIDGE = 1e-2
_BINS = 15
# Stopping tolerance, in nats, of a matrix fit that is only compared with others.
_PROMISE_TO_CHOOSE = 1e-7


@dataclass(frozen=True)
class Prepared:
    """The input of every method: scores and targets with weights, and the log-odds that move their prevalence to the prior.

    Attributes:
        scores: Log-probabilities, shape (n, classes).
        targets: Class numbers, shape (n,).
        weights: The weight of a row of each class, shape (classes,).
        absent: The share that each class without rows is given, shape (classes,).
        prior: The requested prevalence, shape (classes,).
        offset: The log-odds that move the labelled prevalence there, shape (classes,).
        notes: Notes on the rows for the report.
    """

    scores: Floats
    targets: Integers
    weights: Floats
    absent: Floats
    prior: Floats
    offset: Floats
    notes: tuple[str, ...]

    @cached_property
    def rows(self) -> Rows:
        """The rows in the form that fits take; computed on demand because it needs two more arrays as large as the scores."""
        return rows_of(self.scores, self.targets, self.weights, self.absent)

    @cached_property
    def log_p_and_rest(self) -> tuple[Floats, Floats]:
        """log p and log(1 - p) of the classes after the move to the prior, shape (classes, n) each."""
        scores = log_softmax(self.rows.scores.T + self.offset).T if self.offset.any() else self.rows.scores
        return scores, curves.log_rest(scores)


class Fit(Protocol):
    """A method that fits a calibration to rows, shrunk to the identity; `near` is the fit of a similar strength to start from."""

    def __call__(self, data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
        """Fit the calibration."""


def prepared(
    scores: Floats,
    targets: Integers,
    prior: Floats | None,
    ratios: Floats | None = None,
    base: Floats | None = None,
) -> Prepared:
    """Compute weights, targets of absent classes, and notes on the rows.

    Args:
        scores: Log-probabilities, shape (n, classes).
        targets: Class numbers, shape (n,).
        prior: The requested prevalence, shape (classes,); None: that of the rows.
        ratios: Ratios of the prior to the observed shares, shape (classes,), where these rows are only a part of all.
        base: The prevalence that the scores are meant for if it is not the observed one, shape (classes,).

    Raises:
        DataError: Only one class is labelled, or the prior expects a class that has no labelled row.
    """
    n, classes = scores.shape
    counts = counts_of(targets, classes)
    missing = np.flatnonzero(counts == 0)
    if classes - len(missing) < 2:
        fix = "calibrate on rows of two classes or more, or set mode.calibrator=none"
        raise DataError(problem("calibration", "all labelled rows are of one class", got=int(targets[0]), fix=fix))
    if ratios is not None and prior is not None:
        offset = np.log(ratios if base is None else prior / base)
        return Prepared(scores, targets, ratios, np.zeros(classes), prior, offset, ())
    least = 1 / (n + classes)
    notes = []
    if n < 10 * classes:
        notes.append(f"only {counted(n, 'labelled row')} for {classes} classes: the calibration itself is uncertain")
    absent = np.zeros(classes)
    absent[missing] = least if prior is None else prior[missing]
    if prior is not None and (absent > least).any():
        which = int(absent.argmax())
        wrong = f"class number {which} is given a share of {absent[which]:.3g} but has no labelled row to fit it to"
        raise DataError(problem("mode.prior", wrong, fix="use mode.prior=val, or add labelled rows of that class"))
    if len(missing):
        notes.append(f"no labelled rows of class numbers {listing(missing)}: their share is set to {absent.max():.2g}")
    observed = np.where(counts == 0, least, counts / n)
    target = observed / observed.sum() if prior is None else prior
    weights = np.ones(classes) if prior is None else target / observed
    return Prepared(
        scores,
        targets,
        weights,
        absent,
        target,
        np.zeros(classes) if prior is None else np.log(target / (observed if base is None else base)),
        tuple(notes),
    )


def _linear(method: str, data: Prepared, scale: Floats, bias: Floats, *notes: str) -> Calibration:
    parameters = {"scale": np.asarray(scale), "bias": bias - bias.mean()}
    return Calibration(method, tuple(data.prior.tolist()), parameters, len(data.targets), (*data.notes, *notes))


def _none(data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
    return _linear("none", data, np.asarray(1.0), data.offset)


def _softmax_method(method: str, scale: Scale, fit_bias: bool) -> Fit:
    """Return a fit of the affine family; unshrunk, it falls back to a simpler one, with a note, if a scale is not positive."""

    def run(data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
        if strength != BARE:
            held = strength if fit_bias else strength._replace(bias=float("inf"))
            return _shrunk(method, scale, data, held)
        scales, bias = fit(data.rows, scale, data.offset, fit_bias=fit_bias)
        if scale != "fixed" and scales.min() <= 0:
            simpler = {"vector": "affine", "affine": "bias", "temperature": "none"}[method]
            sentence = f"{method}: a scale of {scales.min():.3g} would turn scores round, {simpler} is used instead"
            fallen = METHODS[simpler](data)
            return replace(fallen, notes=(*fallen.notes, sentence))
        notes: tuple[str, ...] = ()
        if scale != "fixed" and _is_separable(data.rows, scales, bias):
            notes = ("the labelled rows are predicted without an error: the scale is held by its ridge alone",)
        return _linear(method, data, scales, bias, *notes)

    return run


def _shrunk(method: str, scale: Scale, data: Prepared, strength: Strength) -> Calibration:
    offset = data.offset - data.offset.mean()
    fits = Fits(data.rows.scores, [Part(data.rows, np.arange(len(data.targets)), offset)], scale)
    place = fits.minimum(strength)
    scales = np.exp(place.log_scales[0])
    calibration = _linear(
        method, data, scales if scale == "per_class" else np.asarray(scales[0]), offset + place.moved[0]
    )
    return _with_strength(calibration, strength)


def _with_strength(fitted: Calibration, strength: Strength) -> Calibration:
    """Add the strength to a calibration as standard deviations, because JSON has no infinity."""
    if strength == BARE:
        return fitted
    deviations = np.array([1 / np.sqrt(precision) if precision else 1e9 for precision in strength])
    return replace(fitted, parameters={**fitted.parameters, "deviations": deviations})


def _is_separable(rows: Rows, scale: Floats, bias: Floats) -> bool:
    """Return whether every row is classified right, so that the likelihood has no maximum without the ridge."""
    moved = rows.scores * np.broadcast_to(scale, bias.shape)[:, None] + bias[:, None]
    right = bool((moved.argmax(axis=0) == rows.targets.argmax(axis=0)).all())
    return right and objective(rows, scale, bias)[0] < 1e-3


def _matrix(data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
    classes, n = len(data.prior), len(data.targets)
    if np.isinf(strength.scale):
        return _with_strength(_linear("matrix", data, np.eye(classes), data.offset), strength)
    if strength == BARE:
        scale, bias = fit(data.rows, "shared", data.offset, fit_bias=True)
        start = np.eye(classes) * max(float(scale), 1e-3)
        ridges: dict[str, Any] = {"off_diagonal_ridge": _OFF_DIAGONAL_RIDGE, "intercept_ridge": _INTERCEPT_RIDGE}
        return _linear("matrix", data, *fit_matrix(data.rows, start, bias, **ridges))
    away = classes * (classes - 1)
    options: dict[str, Any] = {
        "off_diagonal_ridge": max(_OFF_DIAGONAL_RIDGE, strength.scale * away / (2 * n)),
        "intercept_ridge": strength.bias * classes / (2 * n),
        "diagonal_ridge": strength.scale * classes / (2 * n),
    }
    start = np.eye(classes)
    if near is not None:
        # A fit that only chooses a strength starts near its minimum and stops early.
        start, moved = near.parameters["scale"], near.parameters["bias"] + data.offset.mean()
        options |= {"near": moved, "promise": _PROMISE_TO_CHOOSE}
    return _with_strength(_linear("matrix", data, *fit_matrix(data.rows, start, data.offset, **options)), strength)


def _beta(data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
    rows, parameters = data.rows, dict[str, Any]()
    # The identity here means probabilities that are only moved to the prior.
    if strength != BARE and data.offset.any():
        parameters["offset"] = data.offset
    both = data.log_p_and_rest if strength != BARE else (rows.scores, curves.log_rest(rows.scores))
    hits, start = rows.targets / rows.weights, None if near is None else near.parameters["curves"]
    parameters["curves"] = curves.fit_beta(*both, hits, rows.weights, strength, start)
    calibration = Calibration("beta", tuple(data.prior.tolist()), parameters, len(data.targets), data.notes)
    return _with_strength(calibration, strength)


def _isotonic(data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
    probabilities, hits = np.exp(data.rows.scores), data.rows.targets / data.rows.weights
    fitted = [curves.fit_isotonic(*pair, data.rows.weights) for pair in zip(probabilities, hits, strict=True)]
    parameters: dict[str, Any] = {
        "knots": [knots for knots, _ in fitted],
        "values": [values for _, values in fitted],
    }
    return Calibration("isotonic", tuple(data.prior.tolist()), parameters, len(data.targets), data.notes)


def _histogram(data: Prepared, strength: Strength = BARE, near: Calibration | None = None) -> Calibration:
    probabilities, hits = np.exp(data.rows.scores), data.rows.targets / data.rows.weights
    pairs = zip(probabilities, hits, strict=True)
    fitted = [curves.fit_histogram(*pair, data.rows.weights, _BINS) for pair in pairs]
    parameters: dict[str, Any] = {"edges": [edges for edges, _ in fitted], "values": [values for _, values in fitted]}
    return Calibration("histogram", tuple(data.prior.tolist()), parameters, len(data.targets), data.notes)


METHODS: dict[str, Fit] = {
    "none": _none,
    "temperature": _softmax_method("temperature", "shared", False),
    "bias": _softmax_method("bias", "fixed", True),
    "affine": _softmax_method("affine", "shared", True),
    "vector": _softmax_method("vector", "per_class", True),
    "beta": _beta,
    "histogram": _histogram,
    "isotonic": _isotonic,
    "matrix": _matrix,
}
# Methods whose cross-validation fits are made together, with their kind of scale.
SCALES: dict[str, Scale] = {"temperature": "shared", "bias": "fixed", "affine": "shared", "vector": "per_class"}
# The parameters of each method that can be shrunk to the identity; non-parametric curves have none.
AXES: dict[str, Axes] = {
    "temperature": "scale",
    "bias": "bias",
    "affine": "both",
    "vector": "both",
    "beta": "both",
    "matrix": "together",
}
