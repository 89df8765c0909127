"""Weighted box fusion: the boxes that several models draw around the same object become one (Solovyev et al. 2021).

From the highest weighted score on, a box joins the fused box of its class that it overlaps most, where that is more than the
least overlap, or begins one. A fused box's corners are the means of its parts' by their scores; its score is the sum of their
weighted scores, so that what few models see is less certain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpipe.post.measures.box_metrics import as_outputs, detections_of, overlaps
from mlpipe.post.rows import Floats

# The least overlap, as its authors found it best.
LEAST_OVERLAP = 0.55
# Entries of one block of images and boxes, to bound memory.
_BLOCK = 200_000


def fused_boxes(parts: Sequence[Floats], weights: Sequence[float], *, least: float = LEAST_OVERLAP) -> Floats:
    """One row of detections for each image from those of several models, shape (n, K * 6), K being the most of a part.

    A model alone, or with all of the weight, is left as it is.

    Args:
        parts: Rows as `mlpipe.post.measures.box_metrics` has them, shape (n, K * 6), K may differ.
        weights: One number for each model, summing to one.
        least: The overlap that boxes of one object have at least.
    """
    used = [(detections_of(part), weight) for part, weight in zip(parts, weights, strict=True) if weight > 0]
    wide = max(part.shape[1] for part, _ in used)
    if len(used) == 1:
        return np.asarray(used[0][0].reshape(len(parts[0]), -1))
    together = np.concatenate([part for part, _ in used], axis=1)
    shares = np.concatenate([np.full(part.shape[1], weight) for part, weight in used])
    scores = together[..., 4] * shares
    order = np.argsort(-scores, axis=1, kind="stable")
    together = np.take_along_axis(together, order[..., None], axis=1)
    together[..., 4] = np.take_along_axis(scores, order, axis=1)
    most = int((together[..., 4] > 0).sum(axis=1).max(initial=0))
    out = np.zeros((len(together), wide, 6))
    step = max(1, _BLOCK // max(1, most))
    for start in range(0, len(together), step):
        clusters = _clusters(together[start : start + step, :most], len(used), least)
        rows = as_outputs(clusters).astype(np.float64).reshape(len(clusters), -1, 6)[:, :wide]
        out[start : start + step, : rows.shape[1]] = rows
    return out.reshape(len(out), -1)


def _clusters(detections: Floats, models: int, least: float) -> Floats:
    """Fused boxes in the order in which they begin, shape (n, K, 6), of score 0 where there is none.

    Args:
        detections: Detections with weighted scores, the highest first, shape (n, K, 6).
        models: How many there are.
        least: The overlap that parts of a fused box have.
    """
    n, most = detections.shape[:2]
    sums, corners = np.zeros((n, most)), np.zeros((n, most, 4))
    label, size, begun = np.full((n, most), -1.0), np.zeros((n, most)), np.zeros(n, np.int64)
    for k in range(most):
        rows = np.flatnonzero(detections[:, k, 4] > 0)
        wide = int(begun.max(initial=0))
        own = detections[rows, k]
        place, joins = begun[rows], np.zeros(len(rows), bool)
        if wide:
            share = overlaps(own[:, None], corners[rows, :wide])[:, 0]
            share[label[rows, :wide] != own[:, 5, None]] = -1
            nearest = share.argmax(axis=1)
            joins = share[np.arange(len(rows)), nearest] > least
            place = np.where(joins, nearest, place)
        before, score = sums[rows, place], own[:, 4]
        total = before + score
        corners[rows, place] = (corners[rows, place] * before[:, None] + own[:, :4] * score[:, None]) / total[:, None]
        sums[rows, place], label[rows, place] = total, own[:, 5]
        size[rows, place] += 1
        begun[rows] += ~joins
    # More boxes than models, where a model draws several around one object, make it no more certain.
    score = sums / np.maximum(size, 1) * np.minimum(size, models)
    return np.concatenate([corners, score[..., None], np.maximum(label, 0)[..., None]], axis=-1)
