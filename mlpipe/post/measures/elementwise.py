"""Metrics that treat every class as a yes-or-no question, as Keras does, and F1 with probabilities as counts.

Arguments are probabilities p and targets t (0, 1 or NaN, unknown) of shape (n, outputs).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

_TINY = 1e-7


def accuracy(p: Floats, t: Floats) -> float:
    """The share of known entries on the right side of one half. For classes this is not the share of right images."""
    known = ~np.isnan(t)
    return float(((p > 0.5) == (t > 0.5))[known].mean())


def mcc(p: Floats, t: Floats) -> float:
    """Matthews' correlation (1975) of all known entries together, at one half; 0 when a side is empty."""
    known = ~np.isnan(t)
    predictions, true = p[known] > 0.5, t[known] > 0.5
    if predictions.all() or true.all() or not predictions.any() or not true.any():
        return 0.0
    return float(np.corrcoef(predictions, true)[0, 1])


def nll(p: Floats, t: Floats) -> float:
    """Binary cross-entropy of all known entries, probabilities kept 1e-7 off 0 and 1."""
    known = ~np.isnan(t)
    probabilities, true = np.clip(p[known], _TINY, 1 - _TINY), t[known]
    return float(-(true * np.log(probabilities) + (1 - true) * np.log(1 - probabilities)).mean())


def soft_macro_f1(p: Floats, t: Floats) -> float:
    """The mean over outputs with known targets of F1 with probabilities as counts; 0 for an output that never holds."""
    known = ~np.isnan(t)
    p, t, known = (values[:, known.any(axis=0)] for values in (p, t, known))
    if not known.size:
        return float("nan")
    p, t = np.where(known, p, 0.0), np.where(known, t, 0.0)
    hits = (p * t).sum(axis=0)
    precision, recall = hits / (p.sum(axis=0) + _TINY), hits / (t.sum(axis=0) + _TINY)
    return float((2 * precision * recall / (precision + recall + _TINY)).mean())


def dice(p: Floats, t: Floats) -> float:
    """F1 of all known entries together, at one half; 0 if nothing is predicted and nothing true."""
    known = ~np.isnan(t)
    predictions, true = p[known] > 0.5, t[known] > 0.5
    return float(2 * (predictions & true).sum() / (predictions.sum() + true.sum() + 1e-10))


def top_accuracy(p: Floats, t: Floats, count: int) -> float:
    """The share of images whose largest target is among the `count` largest outputs; among equal targets the first counts.

    Images with an unknown target are left out; NaN without others.
    """
    known = ~np.isnan(t).any(axis=1)
    places = np.argsort(-p[known], axis=1, kind="stable")[:, :count]
    hits = (places == t[known].argmax(axis=1)[:, np.newaxis]).any(axis=1)
    return float(hits.mean()) if len(hits) else float("nan")


def top1_accuracy(p: Floats, t: Floats) -> float:
    """The share of rows whose largest output is at the largest target, as if outputs were classes."""
    return top_accuracy(p, t, 1)


def top5_accuracy(p: Floats, t: Floats) -> float:
    """The share of rows whose largest target's output is among the five largest."""
    return top_accuracy(p, t, 5)


def soft_iou(p: Floats, t: Floats) -> float:
    """2 (I + 1) / (sum t + sum p + 1) of each image, I = sum tp: a smoothed Dice, not an intersection over union."""
    known = ~np.isnan(t)
    p, t = np.where(known, p, 0.0), np.where(known, t, 0.0)
    return float((2 * ((t * p).sum(axis=1) + 1) / (t.sum(axis=1) + p.sum(axis=1) + 1)).mean())


def hard_iou(p: Floats, t: Floats) -> float:
    """`soft_iou` of predictions thresholded at one half."""
    return soft_iou((p > 0.5).astype(np.float64), t)
