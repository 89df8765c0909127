"""An exactly fitted head of a frozen backbone: regularised regression on its features, with cross-validated strength.

On small sets of photographs this takes seconds where fine-tuning takes minutes, and its accuracy is hard to beat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from mlpipe import kinds
from mlpipe.arch.classifier import Classifier
from mlpipe.config.schema import Recipe
from mlpipe.data import number_targets
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.learn import exact_heads, logistic
from mlpipe.learn.exact_heads import ExactHead
from mlpipe.learn.logistic import End, Features
from mlpipe.post.ensembling.mixing import binary_cross_entropy, cross_entropy, squared_error

Floats = npt.NDArray[np.float64]
# Log-odds of a class without training images.
_NEVER = -30.0
# The search ends after this many worse strengths in a row.
_WORSE = 2
# Up to this many multiplications in the product of features and weights, threads wait for each other longer than they compute:
# half a second with one thread, a minute with two if another program uses one of the cores.
_SMALL = 10**8
# The gradient at which a fit is close enough to its minimum to compare strengths.
_NEAR = 1e-4


@dataclass(frozen=True)
class Fitted:
    """A fitted head.

    Attributes:
        weight: Shape (outputs, features).
        bias: Shape (outputs,).
        strength: The inverse penalty of each fit: one for classes and numbers, one for each label.
        loss: The mean loss over the inner folds at that strength, one for each fit; NaN for targets unknown in all rows.
    """

    weight: Floats
    bias: Floats
    strength: list[float]
    loss: list[float]

    @property
    def mean_loss(self) -> float:
        """The mean over outputs with a known target in some row."""
        return float(np.nanmean(self.loss))


@dataclass(frozen=True)
class LinearHead(ExactHead):
    """Settings of an exact linear head.

    Attributes:
        strengths: Number of penalty strengths to try, from 10^-4 to 10 in even logarithmic steps.
        inner_folds: Folds of the training images used to choose among them.
        max_iter: Maximum number of iterations of one fit.
        flips: Whether it also learns from mirror images.
    """

    strengths: int
    inner_folds: int
    max_iter: int
    flips: bool = False

    @property
    def is_mirrored(self) -> bool:
        """The value of `flips`."""
        return self.flips

    def learn(
        self,
        recipe: Recipe,
        network: nn.Module,
        task: Task,
        rows: Rows,
        pack: Pack,
        target: str,
        should_stop: Callable[[], None] = lambda: None,
    ) -> float:
        """Fit a network's head on the features of some rows, and put it in; see `ExactHead.learn`."""
        balanced = exact_heads.balances(recipe, task.samples.learned)
        values = np.asarray(exact_heads.training_features(recipe, network, pack, rows, should_stop), np.float64)
        assert isinstance(network, Classifier)
        layer = network.heads[target]
        assert isinstance(layer, nn.Linear)
        together = units(task, rows)
        weights = None if task.samples.weights is None else task.samples.weights[rows]
        targets, outputs = task.samples.learned[rows], len(task.classes)
        with threadpool_limits(limits=recipe.threads):
            solution = solve(
                self,
                values,
                targets,
                task.kind,
                outputs,
                together,
                weights,
                balanced,
                recipe.seed,
                threads=recipe.threads,
            )
        weight, bias = solution.weight, solution.bias
        if len(layer.weight) == 1 and len(weight) == 2:
            # A single unit is the difference between the second class and the first.
            weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        return solution.mean_loss


def solve(
    head: LinearHead,
    features: Floats,
    targets: npt.NDArray[Any],
    kind: str,
    outputs: int,
    units: Sequence[str],
    weights: Floats | None,
    balanced: bool,
    seed: int,
    threads: int = 1,
) -> Fitted:
    """Fit regularised (logistic) regression on standardised features, and return the head in the features' own units.

    Numbers are standardised by their mean and deviation first, because a network's head for numbers returns such values.

    Args:
        head: The settings of the fit.
        features: Shape (n, features), or (n, views, features): all views of a sample have equal weight, and its prediction is
            the mean of its views' outputs.
        targets: As in `mlpipe.data.task.Samples.targets`, shape (n,) or (n, outputs).
        kind: The kind of the task.
        outputs: The number of classes, labels or numbers.
        units: Rows of the same name stay in one inner fold, shape (n,).
        weights: Row weights, shape (n,); None: all equal.
        balanced: Whether classes have equal weight regardless of frequency.
        seed: The seed of the inner folds.
        threads: Number of inner folds fitted at the same time, if the products of each are too small for several threads. The
            result does not depend on it.
    """
    view_count = features.shape[1] if features.ndim == 3 else 1
    flat = features.reshape(-1, features.shape[-1])
    # One thread if more would only wait for each other.
    is_small = len(flat) * min(flat.shape) * outputs < _SMALL
    folds_at_once = threads if is_small else 1
    with threadpool_limits(limits=1) if is_small else nullcontext():
        basis = logistic.basis(flat)
        scaled = basis.rows.reshape(len(features), view_count, -1)
        inverse = np.logspace(-4, 1, head.strengths)
        facts = kinds.of(kind)
        if facts.has_classes:
            model = _Classes(outputs, balanced)
            parts = [_best_fit(model, inverse, head, scaled, targets, units, weights, seed, folds_at_once)]
            coefficients, bias = parts[0][0].weight, parts[0][0].bias
        else:
            shift, spread = np.zeros(outputs), np.ones(outputs)
            if not facts.has_probabilities:
                shift, spread = number_targets.unit(targets)
            # Labels and numbers are fitted one by one: each on the rows where it is known, with its own penalty.
            goal = (targets - shift) / spread
            single: _Label | _Number = _Label() if facts.has_probabilities else _Number()
            parts = []
            for column in goal.T:
                known = ~np.isnan(column)
                if not known.any():
                    # No row knows the target: even odds, or the mean.
                    none = _Fit(np.zeros((1, scaled.shape[2])), np.zeros(1), None)
                    parts.append((none, float(inverse[len(inverse) // 2]), float("nan")))
                    continue
                own = None if weights is None else weights[known]
                names = [name for name, is_known in zip(units, known, strict=True) if is_known]
                fit = _best_fit(single, inverse, head, scaled[known], column[known], names, own, seed, folds_at_once)
                parts.append(fit)
            coefficients = np.concatenate([part[0].weight for part in parts])
            bias = np.concatenate([part[0].bias for part in parts])
        weight, bias = basis.of_features(coefficients, bias)
    return Fitted(weight, bias, [part[1] for part in parts], [part[2] for part in parts])


def class_weighted(y: npt.NDArray[Any], weights: Floats | None) -> Floats:
    """Return row weights with which all classes have the same total weight, as scikit-learn's `balanced`, shape (n,).

    A class whose rows all have the weight 0 stays at 0.

    Args:
        y: Classes, shape (n,).
        weights: The rows' own weights, shape (n,); None: all equal.
    """
    numbers = np.unique(y, return_inverse=True)[1]
    own = np.ones(len(y)) if weights is None else weights
    totals = np.bincount(numbers, weights=own)
    counts = totals > 0
    shares = np.divide(totals.sum(), counts.sum() * totals, out=np.zeros(len(totals)), where=counts)
    return np.asarray(own * shares[numbers])


class _Fit(NamedTuple):
    """One fit.

    Attributes:
        weight: Shape (outputs, features).
        bias: Shape (outputs,).
        end: The end of the search, where that at a weaker penalty may begin; None: there was no search.
    """

    weight: Floats
    bias: Floats
    end: Floats | None


@dataclass(frozen=True)
class _Classes:
    """Softmax regression; classes without rows get zero weights and a bias that rules them out."""

    outputs: int
    balanced: bool
    stratifies: bool = True

    def fit(
        self, inverse: float, x: Features, y: npt.NDArray[Any], weights: Floats | None, end: End, start: Floats | None
    ) -> _Fit:
        classes, numbers = np.unique(y, return_inverse=True)
        coefficients, bias = np.zeros((self.outputs, x.shape[1])), np.full(self.outputs, _NEVER)
        if len(classes) == 1:
            bias[classes] = 0.0
            return _Fit(coefficients, bias, None)
        own = class_weighted(y, weights) if self.balanced else np.ones(len(y)) if weights is None else weights
        if len(classes) == 2:
            # The log-odds of two classes, split between them.
            theta = logistic.logistic_fit(x, numbers, inverse, own, end, start)
            of_classes = np.concatenate([-theta, theta]) / 2
        else:
            theta = of_classes = logistic.softmax_fit(x, numbers, inverse, own, end, start)
        coefficients[classes], bias[classes] = of_classes[:, :-1], of_classes[:, -1]
        return _Fit(coefficients, bias, theta)

    def lost(self, outputs: Floats, y: npt.NDArray[Any]) -> float:
        return cross_entropy(outputs, y)


@dataclass(frozen=True)
class _Label:
    """Logistic regression of one label."""

    stratifies: bool = True

    def fit(
        self, inverse: float, x: Features, y: Floats, weights: Floats | None, end: End, start: Floats | None
    ) -> _Fit:
        if len(np.unique(y)) == 1:
            return _Fit(np.zeros((1, x.shape[1])), np.full(1, -_NEVER if y[0] else _NEVER), None)
        own = np.ones(len(y)) if weights is None else weights
        theta = logistic.logistic_fit(x, y, inverse, own, end, start)
        return _Fit(theta[:, :-1], theta[:, -1], theta)

    def lost(self, outputs: Floats, y: npt.NDArray[Any]) -> float:
        return binary_cross_entropy(outputs, y[:, None])


@dataclass(frozen=True)
class _Number:
    """Ridge regression of one number, solved in closed form."""

    stratifies: bool = False

    def fit(
        self, inverse: float, x: Features, y: Floats, weights: Floats | None, end: End, start: Floats | None
    ) -> _Fit:
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1 / inverse).fit(x.astype(np.float64), y, sample_weight=weights)
        return _Fit(model.coef_[None], np.full(1, model.intercept_), None)

    def lost(self, outputs: Floats, y: npt.NDArray[Any]) -> float:
        return squared_error(outputs, y[:, None])


def _best_fit(
    model: _Classes | _Label | _Number,
    inverse: Floats,
    head: LinearHead,
    x: Floats,
    y: npt.NDArray[Any],
    units: Sequence[str],
    weights: Floats | None,
    seed: int,
    threads: int,
) -> tuple[_Fit, float, float]:
    """Return the fit to all rows at the strength with the least mean loss over inner folds, that strength and that loss.

    `x` has the shape (n, views, features), all other arguments are per sample. So many inner folds as `threads` are fitted at
    the same time.
    """
    view_count = x.shape[1]

    def fitted(rows: Any, of: Features, strength: float, end: End, start: Floats | None) -> _Fit:
        own = None if weights is None else weights[rows]
        if view_count > 1:
            own = np.repeat(np.ones(len(y))[rows] if own is None else own, view_count) / view_count
        return model.fit(strength, of[rows].reshape(-1, of.shape[2]), np.repeat(y[rows], view_count), own, end, start)

    folds = list(inner_folds(y, units, head.inner_folds, seed, model.stratifies))
    near, quick, means = End(head.max_iter, _NEAR), x.astype(np.float32), x.mean(axis=1)

    def judged(strength: float, learns: Any, held: Any, start: Floats | None) -> tuple[Floats | None, float]:
        fit = fitted(learns, quick, strength, near, start)
        return fit.end, model.lost(np.asarray(means[held] @ fit.weight.T + fit.bias), y[held])

    # The ends of the fits of the last strength and of the best one, one for each fold.
    ends: list[Floats | None] = [None] * len(folds)
    best_ends, losses = ends, list[float]()
    with ThreadPoolExecutor(min(threads, max(1, len(folds)))) as pool:
        # One strength at a time in all folds, each starting where its last one ended.
        for strength in map(float, inverse) if folds else ():
            of_folds = list(pool.map(judged, [strength] * len(folds), *zip(*folds, strict=True), ends))
            ends = [end for end, _ in of_folds]
            losses.append(float(np.mean([loss for _, loss in of_folds])))
            best_ends = ends if losses[-1] == min(losses) else best_ends
            # From strong penalties to weak ones the loss first falls and then rises, and weak ones take longest.
            if len(losses) > _WORSE and min(losses[-_WORSE:]) > min(losses):
                break
    best = int(np.argmin(losses)) if losses else len(inverse) // 2
    loss = losses[best] if losses else float("nan")
    start = _mean_end(best_ends, y, folds) if losses else None
    fit = fitted(slice(None), x, float(inverse[best]), End(head.max_iter), start)
    return fit, float(inverse[best]), loss


def _mean_end(ends: Sequence[Floats | None], y: npt.NDArray[Any], folds: Sequence[tuple[Any, Any]]) -> Floats | None:
    """Return the mean of the folds' solutions, from which a fit to all rows may start; None if a fold lacks a class."""
    count = len(np.unique(y))
    known = [
        end
        for end, (learns, _) in zip(ends, folds, strict=True)
        if end is not None and len(np.unique(y[learns])) == count
    ]
    return np.mean(known, axis=0) if len(known) == len(folds) else None


def inner_folds(
    y: npt.NDArray[Any], units: Sequence[str], folds: int, seed: int, stratify: bool
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield (training rows, held-out rows) without splitting units; nothing if there are fewer than two units.

    Args:
        y: The targets, shape (n,).
        units: Rows of the same name stay together, shape (n,).
        folds: Number of folds, at most the number of units.
        seed: The seed of the folds.
        stratify: Whether `y` contains classes, to be distributed evenly over the folds.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    numbers = np.unique(np.asarray(units), return_inverse=True)[1]
    folds = min(folds, len(np.unique(numbers)))
    if folds < 2:
        return
    alone = len(np.unique(numbers)) == len(numbers)
    if stratify and np.unique(y, return_counts=True)[1].max() >= folds:
        kinds: tuple[Any, Any] = (StratifiedKFold, StratifiedGroupKFold)
    else:
        kinds = (KFold, GroupKFold)
    split = kinds[0 if alone else 1](folds, shuffle=True, random_state=seed % 2**32)
    yield from split.split(y, y, None if alone else numbers)


def units(task: Task, rows: Rows) -> list[str]:
    """Return what stays together in inner folds: the group, or the bytes of the image.

    Args:
        task: The task.
        rows: Row numbers.
    """
    samples = task.samples
    groups = samples.groups or ("",) * len(samples)
    return [groups[row] or samples.digests[row] for row in rows.tolist()]
