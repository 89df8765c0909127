"""A fitted calibration: a frozen value of numbers that is applied to logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import DataError, problem
from mlpipe.post.calibration import curves
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.rows import Floats, finite


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration.

    `parameters` are `scale` and `bias` of the affine family, `curves` (classes, 3) of beta, `knots` and `values` of the
    isotonic curves, or `edges` and `values` of the histograms, one array per class. `prior` is the prevalence that the
    output is meant for, `scores` the cross-validated negative log-likelihood of each method where one was chosen, `notes`
    are for the report. `parameters` may hold a `unit`, a factor of the logits, and for beta an `offset`
    that is added to the log-probabilities first; for a shrunk fit, `deviations` are the prior standard deviations
    of log-scales and biases, 0 where they were fixed.
    """

    method: str
    prior: tuple[float, ...]
    parameters: Mapping[str, Any]
    rows: int
    notes: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    def apply(self, logits: npt.ArrayLike, *, ids: Sequence[str] | None = None) -> Floats:
        """Return calibrated log-probabilities, shape (n, classes).

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
        scores = log_softmax(values * self.parameters.get("unit", 1.0))
        if "curves" in self.parameters:
            if "offset" in self.parameters:
                scores = log_softmax(scores + self.parameters["offset"])
            return log_softmax(curves.apply_beta(np.asarray(self.parameters["curves"]), scores.T).T)
        for key, apply in (("knots", curves.apply_isotonic), ("edges", curves.apply_histogram)):
            if key in self.parameters:
                return _normalised(apply, self.parameters[key], self.parameters["values"], scores, self.rows)
        scale, bias = self.parameters["scale"], self.parameters["bias"]
        return log_softmax((scores @ scale.T if np.ndim(scale) == 2 else scores * scale) + bias)

    def as_plain(self) -> dict[str, Any]:
        """Return the calibration as numbers, lists and dicts, ready for JSON."""
        return {
            "method": self.method,
            "prior": list(self.prior),
            "parameters": {name: _as_lists(value) for name, value in self.parameters.items()},
            "rows": self.rows,
            "notes": list(self.notes),
            "scores": dict(self.scores),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Calibration:
        """Restore exactly the calibration that `as_plain` wrote.

        Args:
            plain: What `as_plain` returned, possibly after a JSON round trip.
        """
        parameters = {
            name: [np.asarray(column, np.float64) for column in value]
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


def _normalised(
    apply: Callable[[Floats, Floats, Floats], Floats],
    places: Sequence[Floats],
    values: Sequence[Floats],
    scores: Floats,
    rows: int,
) -> Floats:
    """Apply one curve per class and normalise; shares below half a row count as half a row, being no different from zero."""
    probabilities = np.exp(scores)
    columns = [
        apply(place, value, probabilities[:, number])
        for number, (place, value) in enumerate(zip(places, values, strict=True))
    ]
    return log_softmax(np.log(np.maximum(np.column_stack(columns), 1 / (2 * rows))))


def _as_lists(value: Any) -> Any:
    return [_as_lists(item) for item in value] if isinstance(value, list) else np.asarray(value).tolist()
