"""Weights of models whose probabilities are averaged: picked one by one, or provably the best on the given rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mlpipe.post import kind as post_kind
from mlpipe.post.ensembling.simplex import most_likely
from mlpipe.post.rows import FOLDS, Floats, Integers

_SMOOTHING = (0.0, 1.0, 10.0, 100.0)


def greedy(
    predictions: Sequence[Floats],
    targets: Floats,
    *,
    kind: str,
    size: int = 40,
    decimals: int = 6,
) -> Floats:
    """Return weights by repeatedly adding the model that helps most, shape (models,).

    Probabilities (or numbers) are averaged. Losses are compared after rounding, except the first pick's; among equals
    a model that is already in comes first. The picks up to the least loss are kept. Caruana et al. 2004; the rules for
    ties are those of AutoGluon's `EnsembleSelection`.

    Args:
        predictions: One array (n, outputs) for each model.
        targets: As for `select`, all known for classes.
        kind: The kind of the task.
        size: The number of picks; a model may be picked repeatedly.
        decimals: The number of decimals to which losses are compared.
    """
    how = post_kind.ensembling(kind)
    numbers = [how.averaged(prediction) for prediction in predictions]
    total = np.zeros_like(numbers[0])
    picked: list[int] = []
    path: list[float] = []
    for count in range(1, size + 1):
        losses = np.array([how.averaged_loss((total + array) / count, targets) for array in numbers])
        if picked:
            losses = losses.round(decimals)
        ties = np.flatnonzero(losses <= losses.min() + 1e-12 * abs(losses.min()))
        used = [place for place in ties.tolist() if place in picked]
        picked.append(used[0] if used else int(ties[0]))
        path.append(float(losses[picked[-1]]))
        total += numbers[picked[-1]]
        if len(numbers) == 1:
            break
    length = int(np.argmin(path)) + 1
    return np.bincount(picked[:length], minlength=len(numbers)) / length


def greedy_weights(parts: Sequence[Floats], targets: Floats, *, kind: str, size: int) -> Floats:
    """Return weights by adding the model that helps most as long as one does, mixing rows again each time, shape (models,).

    Args:
        parts: One array (n, columns) for each model.
        targets: As for `select`.
        kind: The kind of the task.
        size: The largest number of picks; a model may be picked repeatedly.
    """
    how, counts, best = post_kind.ensembling(kind), np.zeros(len(parts)), float("inf")
    for _ in range(size if len(parts) > 1 else 1):
        tried = [counts + unit for unit in np.eye(len(parts))]
        losses = [
            how.loss(how.combine(parts, (trial / trial.sum()).tolist(), "probabilities"), targets) for trial in tried
        ]
        place = int(np.argmin(losses))
        if losses[place] >= best:
            break
        counts, best = tried[place], losses[place]
    return np.asarray(counts / counts.sum())


def certified_weights(
    predictions: Sequence[Floats],
    targets: Floats,
    *,
    kind: str,
    smoothing: float | None = None,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> tuple[Floats, float]:
    """Return the weights of mixed probabilities with the least cross-entropy, and the most that any others could gain.

    The loss is convex in the weights. `smoothing` adds that many pseudo-groups for each model (a Dirichlet prior),
    which shrinks the weights towards each other. Repeated rows of a group, and labels of a row, are no further evidence: a
    pseudo-group counts as much as a group does on average, and groups are held out whole.

    Args:
        predictions: One array (n, outputs) for each model: logits of classes or log-odds of labels.
        targets: Class numbers (n,), or labels (n, labels) with NaN for unknown.
        kind: `classification` or `multilabel`.
        smoothing: Pseudo-groups for each model; None: chosen among 0, 1, 10 and 100 by 5-fold cross-validation.
        seed: Seed of the folds.
        groups: The group of each row, shape (n,); None: every row by itself.

    Returns:
        Weights of shape (models,), and the gap in nats for each row (of the smoothed loss).
    """
    losses = [post_kind.probabilities(kind).each_loss(prediction, targets) for prediction in predictions]
    scores, rows = -np.column_stack([values for values, _ in losses]), losses[0][1]
    likelihoods = np.exp(scores - scores.max(axis=1, keepdims=True))
    units = np.unique(rows if groups is None else np.asarray(groups)[rows], return_inverse=True)[1]
    if smoothing is None:
        smoothing = _smoothing(likelihoods, units, seed)
    return _smoothed(likelihoods, units, smoothing)


def _smoothed(likelihoods: Floats, units: Integers, smoothing: float) -> tuple[Floats, float]:
    n, models = likelihoods.shape
    if not smoothing:
        solution = most_likely(likelihoods)
        return solution.weights, solution.gap
    rows = np.vstack([likelihoods, np.eye(models)])
    masses = np.concatenate([np.ones(n), np.full(models, smoothing * n / len(np.unique(units)))])
    solution = most_likely(rows, masses)
    return solution.weights, solution.gap


def _smoothing(likelihoods: Floats, units: Integers, seed: int) -> float:
    """Return the pseudo-groups with the least cross-validated loss; the larger number among equals."""
    unit_count = int(units.max()) + 1
    if unit_count < 2 * FOLDS:
        return _SMOOTHING[-1]
    fold = (np.random.default_rng(seed).permutation(unit_count) % FOLDS)[units]
    losses = []
    for pseudo in _SMOOTHING:
        total = 0.0
        for number in range(FOLDS):
            weights, _ = _smoothed(likelihoods[fold != number], units[fold != number], pseudo)
            with np.errstate(divide="ignore"):
                total -= float(np.log(likelihoods[fold == number] @ weights).sum())
        losses.append(total / len(likelihoods))
    return max(pseudo for pseudo, loss in zip(_SMOOTHING, losses, strict=True) if loss <= min(losses) + 1e-12)
