"""Calibration of several yes-or-no labels: each independently, as a choice between no and yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import DataError, problem
from mlpipe.post.calibration.calibrate import Calibration, calibrate
from mlpipe.post.rows import Floats, finite, shares


@dataclass(frozen=True)
class LabelCalibration:
    """One calibration per label, None for a label that had only one answer and stays as it is."""

    labels: tuple[Calibration | None, ...]
    notes: tuple[str, ...] = ()

    def apply(self, logits: npt.ArrayLike) -> Floats:
        """Return calibrated log-odds of yes, shape (n, labels): valid logits for the metrics of labels.

        Args:
            logits: Log-odds, shape (n, labels).

        Raises:
            DataError: The number of labels differs from that of the fit, or values are not finite.
        """
        values = finite(logits)
        if values.shape[1] != len(self.labels):
            fix = "apply a calibration to predictions of the same labels"
            raise DataError(problem("predictions", f"{len(self.labels)} labels needed", got=values.shape[1], fix=fix))
        out = values.copy()
        for number, calibration in enumerate(self.labels):
            if calibration is not None:
                log_probabilities = calibration.apply(two_classes(values[:, number]))
                out[:, number] = log_probabilities[:, 1] - log_probabilities[:, 0]
        return out

    def as_plain(self) -> dict[str, Any]:
        """Return the calibration as numbers, lists and dicts, ready for JSON."""
        plain = [None if calibration is None else calibration.as_plain() for calibration in self.labels]
        return {"labels": plain, "notes": list(self.notes)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> LabelCalibration:
        """Restore exactly the calibration that `as_plain` wrote.

        Args:
            plain: What `as_plain` returned, possibly after a JSON round trip.
        """
        labels = [
            None if calibration is None else Calibration.from_plain(calibration) for calibration in plain["labels"]
        ]
        return cls(tuple(labels), tuple(plain["notes"]))


def two_classes(log_odds: Floats) -> Floats:
    """Return the logits of no and yes, shape (n, 2).

    Args:
        log_odds: Log-odds of yes, shape (n,).
    """
    return np.column_stack([np.zeros_like(log_odds), log_odds])


def calibrate_labels(
    fit_logits: npt.ArrayLike,
    fit_targets: npt.ArrayLike,
    prior: npt.ArrayLike | None = None,
    *,
    method: str = "affine",
    names: Sequence[str] | None = None,
    seed: int = 0,
    shrinkage: str | float = "none",
    base: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> LabelCalibration:
    """Fit `calibrate` to each label, on the rows where it is known.

    Args:
        fit_logits: Log-odds of yes, shape (n, labels).
        fit_targets: 0, 1 or NaN (unknown), shape (n, labels).
        prior: The share of yes that each label's probability is meant for, shape (labels,), inside (0, 1); None: that
            of the labelled rows.
        method: As for `calibrate`.
        names: The labels' names, for the notes; numbers without them.
        seed: Seed of the folds of `auto` and of the choice of the strength.
        shrinkage: As for `calibrate`, for each label by itself.
        base: With a prior, the shares that the log-odds are meant for already, shape (labels,); None: those of the
            labelled rows.
        groups: As for `calibrate`, shape (n,).

    Raises:
        ConfigError: The method is unknown.
        DataError: Values are not finite, the shapes differ, no label has both answers, or a prior is not inside (0, 1).
    """
    logits, targets = np.asarray(fit_logits, np.float64), np.asarray(fit_targets, np.float64)
    if logits.shape != targets.shape:
        fix = "give one target for each logit, NaN for unknown"
        raise DataError(problem("predictions", f"targets of the shape {logits.shape}", got=targets.shape, fix=fix))
    positive = None if prior is None else _label_shares(prior, logits.shape[1])
    known_base = None if base is None else _label_shares(base, logits.shape[1])
    fitted: list[Calibration | None] = []
    notes = []
    for number in range(logits.shape[1]):
        name = names[number] if names is not None else str(number)
        known = ~np.isnan(targets[:, number])
        answers = targets[known, number].astype(np.int64)
        if len(np.unique(answers)) < 2:
            fitted.append(None)
            notes.append(f"label {name}: only one answer among {len(answers)} labelled rows, left as it is")
            continue
        share = None if positive is None else np.array([1 - positive[number], positive[number]])
        options: dict[str, Any] = {"method": method, "seed": seed, "shrinkage": shrinkage}
        if known_base is not None:
            options["base"] = [1 - known_base[number], known_base[number]]
        if groups is not None:
            options["groups"] = np.asarray(groups)[known]
        calibration = calibrate(two_classes(logits[known, number]), answers, share, **options)
        fitted.append(calibration)
        notes += [f"label {name}: {note}" for note in calibration.notes]
    if all(entry is None for entry in fitted):
        fix = "use a split with labels"
        raise DataError(problem("calibration", "no label has both answers among the labelled rows", fix=fix))
    return LabelCalibration(tuple(fitted), tuple(notes))


def _label_shares(prior: npt.ArrayLike, labels: int) -> Floats:
    values = np.asarray(prior, np.float64)
    shares(values, labels)
    if (values >= 1).any():
        fix = "give the share of yes of each label"
        raise DataError(problem("mode.prior", "each share must be below 1", got=values.tolist(), fix=fix))
    return values
