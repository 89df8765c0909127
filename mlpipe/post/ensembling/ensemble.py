"""Ensembles of predictions: selection of models and weights, and the score of a mixture on other rows.

Three ways to find weights: the reference's random search, greedy selection with replacement (Caruana et al. 2004), and
the provably best weights on the given rows. A prediction is an array (n, outputs): log-probabilities or
logits of classes, log-odds of labels, or numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, DataError, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.ensembling.random_search import random_search
from mlpipe.post.ensembling.weights import certified_weights, greedy, greedy_weights
from mlpipe.post.rows import Floats

Way = Literal["search", "greedy", "certified", "auto"]
# Smaller weights count as zero.
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True)
class Ensemble:
    """Members (places in the list of predictions), their weights, and how they were found.

    `mixing` says what is averaged: `logits` (of classes or labels, or numbers) or `probabilities`. `loss` is that of
    the rows that chose the ensemble, `held_out_loss` that of the others if some were kept back, `gap` the most that any other
    weights could gain (of certified weights only).
    """

    members: tuple[int, ...]
    weights: tuple[float, ...]
    mixing: str
    way: str
    loss: float
    single_losses: tuple[float, ...]
    held_out_loss: float | None = None
    tried: int = 0
    gap: float | None = None
    notes: tuple[str, ...] = ()

    def apply(self, predictions: Sequence[npt.ArrayLike], kind: str) -> Floats:
        """Return the ensemble's prediction: log-probabilities of classes, log-odds of labels, or numbers, shape (n, outputs).

        Args:
            predictions: One array (n, outputs) for each model, in the order of the fit.
            kind: The kind of the task.
        """
        parts = [np.asarray(predictions[member], np.float64) for member in self.members]
        return combine(parts, self.weights, kind, self.mixing)

    def as_plain(self) -> dict[str, Any]:
        """Return the ensemble as numbers, lists and dicts, ready for JSON."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}


def select(
    predictions: Sequence[npt.ArrayLike],
    targets: npt.ArrayLike,
    *,
    kind: str,
    way: str = "search",
    eval_frac: float | None = None,
    budget: int = 1000,
    weights_budget: int = 10,
    max_ensemble_size: int = 5,
    temperature: float = 0.3,
    weights_temperature: float = 0.5,
    include_single: bool = True,
    seed: int = 0,
    groups: npt.ArrayLike | None = None,
) -> Ensemble:
    """Choose an ensemble on rows with targets.

    Models whose predictions are not all finite are left out, with a note.

    Args:
        predictions: One array (n, outputs) for each model, rows in the same order.
        targets: Class numbers (n,), -1 for none; or labels or numbers (n, outputs), NaN for none.
        kind: The kind of the task.
        way: `search`, `greedy`, `certified` (not for numbers), or `auto`: the best of them on the rows that choose. For rows
            that are mixed as a whole all of them are the greedy way.
        eval_frac: The share of the rows that choose; the others give `held_out_loss`. None: all rows choose.
        budget: As for `random_search`; the greedy way takes at most this many evaluations.
        weights_budget: As for `random_search`.
        max_ensemble_size: The largest number of members; the greedy way picks at most ten times as often.
        temperature: As for `random_search`.
        weights_temperature: As for `random_search`.
        include_single: Whether the search may return a single model.
        seed: Seed of every draw.
        groups: As for `split_rows` and `certified_weights`, shape (n,).

    Raises:
        ConfigError: The way is unknown, or a number is out of its range.
        DataError: No model is usable, shapes differ, or no row has a target.
    """
    arrays, goal = _labelled_rows(predictions, targets)
    usable = [place for place, array in enumerate(arrays) if np.isfinite(array).all()]
    if not usable:
        raise DataError(problem("ensemble", "no model has finite predictions for all rows", fix="predict again"))
    rng = np.random.default_rng(seed)
    units = None if groups is None else np.asarray(groups)[metrics.labelled(np.asarray(targets))]
    chosen, others = split_rows(len(goal), eval_frac, rng, units)
    parts = [arrays[place][chosen] if len(others) else arrays[place] for place in usable]
    loss = post_kind.ensembling(kind).loss
    keys = (budget, weights_budget, max_ensemble_size, temperature, weights_temperature, include_single)
    own_units = None if units is None else units[chosen]
    choice = _find(parts, goal[chosen], own_units, kind, way, rng, *keys)
    notes = [f"model {place} is left out: some of its predictions are not finite" for place in range(len(arrays))]
    notes = [notes[place] for place in range(len(arrays)) if place not in usable]
    if len(usable) == 1:
        notes.append("one model only: it is the ensemble")
    members = tuple(usable[member] for member in choice.members)
    singles = np.full(len(arrays), np.nan)
    singles[usable] = [loss(part, goal[chosen]) for part in parts]
    held_out = None
    if len(others):
        rest = combine([arrays[member][others] for member in members], choice.weights, kind, choice.mixing)
        held_out = loss(rest, goal[others])
    return Ensemble(
        members,
        choice.weights,
        choice.mixing,
        choice.way,
        choice.loss,
        tuple(singles.tolist()),
        held_out,
        choice.tried,
        choice.gap,
        tuple(notes),
    )


@dataclass(frozen=True)
class _Choice:
    members: tuple[int, ...]
    weights: tuple[float, ...]
    mixing: str
    way: str
    loss: float
    tried: int = 0
    gap: float | None = None


def _find(
    parts: list[Floats],
    targets: Floats,
    units: npt.NDArray[Any] | None,
    kind: str,
    way: str,
    rng: np.random.Generator,
    budget: int,
    weights_budget: int,
    max_ensemble_size: int,
    temperature: float,
    weights_temperature: float,
    include_single: bool,
) -> _Choice:
    how = post_kind.ensembling(kind)
    is_certain = how.MIXES_COLUMNS and post_kind.of(kind).PROBABILITIES is not None
    ways = [name for name in get_args(Way) if name != "certified" or is_certain]
    if way not in ways:
        fix = did_you_mean(way, ways, otherwise=f"ways: {listing(ways)}")
        raise ConfigError(problem("mode.search", f"no such way for {kind}", got=way, fix=fix))
    if not how.MIXES_COLUMNS:
        # Few evaluations, because each one mixes all rows again.
        weights = greedy_weights(parts, targets, kind=kind, size=max_ensemble_size)
        return _weighted_choice(weights, parts, targets, kind, "greedy")
    choices = []
    if way in ("search", "auto"):
        columns, loss = how.searched(parts)
        result = random_search(
            columns,
            targets,
            loss,
            rng,
            budget=budget,
            weights_budget=weights_budget,
            max_ensemble_size=max_ensemble_size,
            temperature=temperature,
            weights_temperature=weights_temperature,
            include_single=include_single or len(parts) == 1,
        )
        choices.append(_Choice(result.members, result.weights, "logits", "search", result.loss, result.tried))
    if way in ("greedy", "auto"):
        picks = max(1, min(10 * max_ensemble_size, budget // len(parts)))
        weights = greedy(parts, targets, kind=kind, size=picks)
        choices.append(_weighted_choice(weights, parts, targets, kind, "greedy"))
    if way == "certified" or (way == "auto" and is_certain):
        weights, gap = certified_weights(parts, targets, kind=kind, groups=units)
        choices.append(_weighted_choice(weights, parts, targets, kind, "certified", gap))
    choices = [_without_tiny_weights(choice, parts, targets, kind) for choice in choices]
    if include_single:
        # Smoothed weights may be worse on these rows than the best single model.
        losses = [how.loss(part, targets) for part in parts]
        first, mixing = int(np.argmin(losses)), choices[-1].mixing
        choices.append(_Choice((first,), (1.0,), mixing, choices[-1].way, losses[first]))
    return min(choices, key=lambda choice: choice.loss)


def _weighted_choice(
    weights: Floats, parts: list[Floats], targets: Floats, kind: str, way: str, gap: float | None = None
) -> _Choice:
    """Return the members with a weight above zero, and the loss of the mixture."""
    mixing = post_kind.weighted(kind)
    members = np.flatnonzero(weights > 0)
    shares = tuple((weights[members] / weights[members].sum()).tolist())
    loss = post_kind.ensembling(kind).loss(
        combine([parts[member] for member in members], shares, kind, mixing), targets
    )
    return _Choice(tuple(members.tolist()), shares, mixing, way, loss, 0, gap)


def _without_tiny_weights(choice: _Choice, parts: list[Floats], targets: Floats, kind: str) -> _Choice:
    """Drop members whose weights are too small to have a visible effect, because each still costs computing time."""
    places = [place for place, weight in enumerate(choice.weights) if weight >= _LEAST_WEIGHT]
    if len(places) == len(choice.weights):
        return choice
    total = sum(choice.weights[place] for place in places)
    members, shares = zip(*((choice.members[place], choice.weights[place] / total) for place in places), strict=True)
    mixed = combine([parts[member] for member in members], shares, kind, choice.mixing)
    loss = post_kind.ensembling(kind).loss(mixed, targets)
    # The gap grows by what dropping the members loses.
    gap = None if choice.gap is None else choice.gap + max(0.0, loss - choice.loss)
    return replace(choice, members=members, weights=shares, loss=loss, gap=gap)


def _labelled_rows(predictions: Sequence[npt.ArrayLike], targets: npt.ArrayLike) -> tuple[list[Floats], Floats]:
    """Return the rows with a target, of every model and of the targets."""
    arrays = [np.asarray(prediction, np.float64) for prediction in predictions]
    goal = np.asarray(targets)
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or len(arrays[0]) != len(goal):
        fix = "give every model the same rows and outputs"
        raise DataError(problem("ensemble", "predictions of one shape are needed", got=sorted(shapes), fix=fix))
    mask = metrics.labelled(goal)
    if not mask.any():
        raise DataError(problem("ensemble", "no row has a target", fix="use a split with labels"))
    return (arrays, goal) if mask.all() else ([array[mask] for array in arrays], goal[mask])


def split_rows(
    n: int, eval_frac: float | None, rng: np.random.Generator, groups: npt.ArrayLike | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split labelled rows into those that choose and the others; the draw without groups is the reference's.

    Args:
        n: The number of labelled rows.
        eval_frac: The share that chooses; None: all.
        rng: The random generator.
        groups: The group of each row, shape (n,), which is not split. None: every row by itself.

    Raises:
        ConfigError: The share leaves one part without a row or a group.
    """
    if eval_frac is None:
        return np.arange(n), np.arange(0)
    if groups is not None:
        names, units = np.unique(np.asarray(groups), return_inverse=True)
        if len(names) < 2:
            fix = "use mode.select_on=oof, or test images of more groups"
            raise ConfigError(problem("mode.eval_frac", "both parts need a group", got=eval_frac, fix=fix))
        count = min(max(round(eval_frac * len(names)), 1), len(names) - 1)
        chooses = np.isin(units, rng.choice(len(names), count, replace=False))
        return np.flatnonzero(chooses), np.flatnonzero(~chooses)
    count = int(eval_frac * n)
    if not 0 < count < n:
        fix = f"with {n} rows give a share from {1 / n:.2g} to {(n - 1) / n:.2g}"
        raise ConfigError(problem("mode.eval_frac", "both parts need a row", got=eval_frac, fix=fix))
    chosen = rng.choice(n, count, replace=False)
    return chosen, np.setdiff1d(np.arange(n), chosen)
