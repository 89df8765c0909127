"""Weighted box fusion: the boxes of several models around the same object become one (Solovyev et al. 2021).

In the order of falling weighted scores, a box joins the fused box of its class with the largest overlap if that exceeds the
least overlap, or starts a new one. The corners of a fused box are the score-weighted means of its parts; its score is the sum
of their weighted scores, so that boxes of few models are less certain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlpipe.post.measures.box_metrics import as_outputs, detections_of, overlaps
from mlpipe.post.rows import Floats

# The least overlap, the best one in the paper.
LEAST_OVERLAP = 0.55
# The most entries of one block of images and boxes, to bound memory.
_BLOCK = 200_000


def fused_boxes(parts: Sequence[Floats], weights: Sequence[float], *, least: float = LEAST_OVERLAP) -> Floats:
    """Fuse the detections of several models into one row per image, shape (n, K * 6), K being the largest of any part.

    The detections of a model alone, or with all of the weight, are returned unchanged.

    Args:
        parts: Rows as `mlpipe.post.measures.box_metrics` has them, shape (n, K * 6), K may differ.
        weights: One number for each model, summing to one.
        least: The least overlap of boxes of one object.
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
    """Return fused boxes in the order in which they start, shape (n, K, 6), of score 0 where there is none.

    Args:
        detections: Detections with weighted scores, the highest first, shape (n, K, 6).
        models: The number of models.
        least: The least overlap of the parts of a fused box.
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
    # More boxes than models, where a model predicts several around one object, do not raise the score.
    score = sums / np.maximum(size, 1) * np.minimum(size, models)
    return np.concatenate([corners, score[..., None], np.maximum(label, 0)[..., None]], axis=-1)
