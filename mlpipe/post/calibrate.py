"""Probabilities that mean what they say: fit on labelled predictions, apply to any others.

`calibrate` fits one of nine methods, or chooses among them, and returns a frozen `Calibration` whose `apply` turns
logits into calibrated log-probabilities. A prior says which prevalence of the classes they are meant for: the fit then
weights each class to its share (Brummer and du Preez 2006; the affine form is that of psrcal's `AffineCalLogLoss`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem
from mlpipe.post import curves
from mlpipe.post.metrics import log_softmax
from mlpipe.post.rows import Floats, Integers, counts_of, finite, labelled, shares, stratified_folds
from mlpipe.post.softmax_fit import Rows, Scale, fit, fit_matrix, objective, rows_of

Method = Literal["none", "temperature", "bias", "affine", "vector", "beta", "histogram", "isotonic", "matrix", "auto"]

# Strength of the matrix's ridges: entries off the diagonal need evidence, the bias hardly any.
_OFF_DIAGONAL_RIDGE = 1.0
_INTERCEPT_RIDGE = 1e-2
_BINS = 15
_FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """What a fit has learned.

    `parameters` are `scale` and `bias` of the affine family, `curves` (classes, 3) of beta, `knots` and `values` of the
    isotonic curves, or `edges` and `values` of the histograms, one array for each class. `prior` is the prevalence the
    output is meant for, `scores` the cross-validated negative log-likelihood of each method where one was chosen, `notes`
    what a report should say.
    """

    method: str
    prior: tuple[float, ...]
    parameters: Mapping[str, Any]
    rows: int
    notes: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    def apply(self, logits: npt.ArrayLike, *, ids: Sequence[str] | None = None) -> Floats:
        """Calibrated log-probabilities, shape (n, classes).

        Args:
            logits: Logits or log-probabilities, shape (n, classes).
            ids: The rows' sample ids, to name rows that are not finite.

        Raises:
            DataError: The number of classes differs from that of the fit, or values are not finite.
        """
        values = finite(logits, ids=ids)
        if values.shape[1] != len(self.prior):
            fix = "apply a calibration to predictions of the same classes"
            raise DataError(problem("predictions", f"{len(self.prior)} classes needed", got=values.shape[1], fix=fix))
        scores = log_softmax(values)
        if "curves" in self.parameters:
            return _normalised_beta(np.asarray(self.parameters["curves"]), scores)
        for key, apply in (("knots", curves.apply_isotonic), ("edges", curves.apply_histogram)):
            if key in self.parameters:
                return _normalised(apply, self.parameters[key], self.parameters["values"], scores, self.rows)
        scale, bias = self.parameters["scale"], self.parameters["bias"]
        return log_softmax((scores @ scale.T if np.ndim(scale) == 2 else scores * scale) + bias)

    def as_plain(self) -> dict[str, Any]:
        """The same as numbers, lists and dicts, ready for JSON."""
        return {
            "method": self.method,
            "prior": list(self.prior),
            "parameters": {name: _plain(value) for name, value in self.parameters.items()},
            "rows": self.rows,
            "notes": list(self.notes),
            "scores": dict(self.scores),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """The calibration that `as_plain` wrote, exactly.

        Args:
            plain: What `as_plain` returned, possibly by way of JSON.
        """
        parameters = {
            name: [np.asarray(one, np.float64) for one in value]
            if name in ("knots", "edges", "values")
            else np.asarray(value, np.float64)
            for name, value in plain["parameters"].items()
        }
        return cls(
            plain["method"],
            tuple(plain["prior"]),
            parameters,
            plain["rows"],
            tuple(plain["notes"]),
            dict(plain["scores"]),
        )


@dataclass(frozen=True)
class _Fit:
    """What every method is given: rows with weights, and the log-odds that move the labelled prevalence to the prior."""

    rows: Rows
    targets: Integers
    prior: Floats
    offset: Floats
    notes: tuple[str, ...]


def calibrate(
    fit_logits: npt.ArrayLike,
    fit_targets: npt.ArrayLike,
    prior: npt.ArrayLike | None = None,
    *,
    method: str = "affine",
    ids: Sequence[str] | None = None,
    seed: int = 0,
) -> Calibration:
    """Fit a calibration to labelled predictions, by the least negative log-likelihood.

    With a prior, a row of class k weighs prior_k / share of k among the rows. The methods, s being log-probabilities:
    `affine` L(t s + b), `temperature` L(t s), `bias` L(s + b), `vector` L(t_k s_k + b_k), `matrix` L(W s + b) with
    ridges, `beta`, `isotonic` and `histogram` (15 bins of equally many rows) one curve for each class and then
    normalised, `none` only the move to the prior, `auto` the simplest of them within one standard error of the best in
    5-fold cross-validation.

    Args:
        fit_logits: Logits or log-probabilities, shape (n, classes).
        fit_targets: Class numbers, shape (n,); -1 for none.
        prior: The prevalence the probabilities are meant for, shape (classes,); None: that of the labelled rows.
        method: One of the names above.
        ids: The rows' sample ids, to name rows that cannot be used.
        seed: Of the folds of `auto`.

    Raises:
        ConfigError: The method is unknown.
        DataError: Values are not finite, no row or only one class is labelled, or the prior expects a class that has
            no labelled row.
    """
    if method not in get_args(Method):
        fix = did_you_mean(method, get_args(Method), otherwise=f"methods: {listing(get_args(Method))}")
        raise ConfigError(problem("mode.calibrator", "unknown method", got=method, fix=fix))
    logits, targets = labelled(fit_logits, fit_targets, ids=ids)
    given = None if prior is None else shares(prior, logits.shape[1])
    scores = log_softmax(logits)
    return _choose(scores, targets, given, seed) if method == "auto" else _fit_one(method, scores, targets, given)


def _fit_one(method: str, scores: Floats, targets: Integers, prior: Floats | None) -> Calibration:
    return _METHODS[method](_prepared(scores, targets, prior))


def _prepared(scores: Floats, targets: Integers, prior: Floats | None) -> _Fit:
    """Weights, the targets of absent classes, and what a report should say about the rows."""
    n, classes = scores.shape
    counts = counts_of(targets, classes)
    missing = np.flatnonzero(counts == 0)
    if classes - len(missing) < 2:
        fix = "calibrate on rows of two classes or more, or set mode.calibrator=none"
        raise DataError(problem("calibration", "all labelled rows are of one class", got=int(targets[0]), fix=fix))
    least = 1 / (n + classes)
    notes = []
    if n < 10 * classes:
        notes.append(f"only {n} labelled rows for {classes} classes: the calibration itself is uncertain")
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
    return _Fit(
        rows_of(scores, targets, weights, absent),
        targets,
        target,
        np.zeros(classes) if prior is None else np.log(target / observed),
        tuple(notes),
    )


def _linear(method: str, data: _Fit, scale: Floats, bias: Floats, *notes: str) -> Calibration:
    parameters = {"scale": np.asarray(scale), "bias": bias - bias.mean()}
    return Calibration(method, tuple(data.prior.tolist()), parameters, len(data.targets), (*data.notes, *notes))


def _none(data: _Fit) -> Calibration:
    return _linear("none", data, np.asarray(1.0), data.offset)


def _softmax_method(method: str, scale: Scale, fit_bias: bool) -> Callable[[_Fit], Calibration]:
    """A fit of the affine family; falls back to a simpler one, with a note, where a scale turns out not positive."""

    def run(data: _Fit) -> Calibration:
        scales, bias = fit(data.rows, scale, data.offset, fit_bias=fit_bias)
        if scale != "fixed" and scales.min() <= 0:
            simpler = {"vector": "affine", "affine": "bias", "temperature": "none"}[method]
            sentence = f"{method}: a scale of {scales.min():.3g} would turn scores round, {simpler} is used instead"
            fallen = _METHODS[simpler](data)
            return replace(fallen, notes=(*fallen.notes, sentence))
        notes: tuple[str, ...] = ()
        if scale != "fixed" and _separates(data.rows, scales, bias):
            notes = ("the labelled rows are predicted without an error: the scale is held by its ridge alone",)
        return _linear(method, data, scales, bias, *notes)

    return run


def _separates(rows: Rows, scale: Floats, bias: Floats) -> bool:
    """Whether every row is on its class's side and the likelihood has no maximum without the ridge."""
    moved = rows.scores * np.broadcast_to(scale, bias.shape)[:, None] + bias[:, None]
    right = bool((moved.argmax(axis=0) == rows.targets.argmax(axis=0)).all())
    return right and objective(rows, scale, bias)[0] < 1e-3


def _matrix(data: _Fit) -> Calibration:
    scale, bias = fit(data.rows, "shared", data.offset, fit_bias=True)
    start = np.eye(len(bias)) * max(float(scale), 1e-3)
    ridges = {"off_diagonal_ridge": _OFF_DIAGONAL_RIDGE, "intercept_ridge": _INTERCEPT_RIDGE}
    return _linear("matrix", data, *fit_matrix(data.rows, start, bias, **ridges))


def _beta(data: _Fit) -> Calibration:
    rows = data.rows
    hits = rows.targets / rows.weights
    parts = [curves.log_odds_parts(rows.scores.T, number) for number in range(len(data.prior))]
    fitted = [curves.fit_beta(*part, hits[number], rows.weights) for number, part in enumerate(parts)]
    parameters = {"curves": np.array(fitted)}
    return Calibration("beta", tuple(data.prior.tolist()), parameters, len(data.targets), data.notes)


def _isotonic(data: _Fit) -> Calibration:
    probabilities, hits = np.exp(data.rows.scores), data.rows.targets / data.rows.weights
    fitted = [curves.fit_isotonic(*pair, data.rows.weights) for pair in zip(probabilities, hits, strict=True)]
    parameters = {"knots": [knots for knots, _ in fitted], "values": [values for _, values in fitted]}
    return Calibration("isotonic", tuple(data.prior.tolist()), parameters, len(data.targets), data.notes)


def _histogram(data: _Fit) -> Calibration:
    probabilities, hits = np.exp(data.rows.scores), data.rows.targets / data.rows.weights
    pairs = zip(probabilities, hits, strict=True)
    fitted = [curves.fit_histogram(*pair, data.rows.weights, _BINS) for pair in pairs]
    parameters = {"edges": [edges for edges, _ in fitted], "values": [values for _, values in fitted]}
    return Calibration("histogram", tuple(data.prior.tolist()), parameters, len(data.targets), data.notes)


def _normalised_beta(fitted: Floats, scores: Floats) -> Floats:
    parts = [curves.log_odds_parts(scores, number) for number in range(len(fitted))]
    return log_softmax(
        np.column_stack([curves.apply_beta(one, *part) for one, part in zip(fitted, parts, strict=True)])
    )


def _normalised(
    apply: Callable[[Floats, Floats, Floats], Floats],
    places: Sequence[Floats],
    values: Sequence[Floats],
    scores: Floats,
    rows: int,
) -> Floats:
    """No share below half a row's: less cannot be told from zero."""
    probabilities = np.exp(scores)
    columns = [
        apply(one, value, probabilities[:, number])
        for number, (one, value) in enumerate(zip(places, values, strict=True))
    ]
    return log_softmax(np.log(np.maximum(np.column_stack(columns), 1 / (2 * rows))))


_METHODS: dict[str, Callable[[_Fit], Calibration]] = {
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


def _choose(scores: Floats, targets: Integers, prior: Floats | None, seed: int) -> Calibration:
    """The simplest method whose loss is not more than one standard error (of the paired difference) above the best."""
    counts = counts_of(targets, scores.shape[1])
    folds = min(_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        fitted = _fit_one("affine", scores, targets, prior)
        return replace(fitted, notes=(*fitted.notes, "a class has one labelled row: affine is used without a choice"))
    n, classes = scores.shape
    names = [name for name in _METHODS if name != "matrix" or n >= 2 * classes * (classes + 1)]
    fold, weights = stratified_folds(targets, folds, seed), _prepared(scores, targets, prior).rows.weights
    losses = {name: np.empty(n) for name in names}
    for number in range(folds):
        inside = fold == number
        data = _prepared(scores[~inside], targets[~inside], prior)
        for name in names:
            held_out = _METHODS[name](data).apply(scores[inside])
            losses[name][inside] = -held_out[np.arange(inside.sum()), targets[inside]]
    means = {name: float(weights @ values) for name, values in losses.items()}
    best = min(means, key=means.__getitem__)
    for name in names:
        spread = n * weights * (losses[name] - losses[best])
        if name == best or means[name] - means[best] <= spread.std(ddof=1) / np.sqrt(n):
            break
    return replace(_fit_one(name, scores, targets, prior), scores=means)


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, list) else np.asarray(value).tolist()
