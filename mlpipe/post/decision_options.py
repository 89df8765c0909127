"""Options of decisions (costs, thresholds and prediction sets), and errors for those that do not fit a task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpipe import kinds
from mlpipe.errors import counted, did_you_mean, listing, problem
from mlpipe.post.threshold import AT_LEAST, LEVELS

# The largest deviation of a sum of shares from one that omitted digits can explain.
_ROUNDED = 5e-3
# The most classes that a sentence lists one by one.
MOST_NAMED = 100


@dataclass(frozen=True)
class DecisionOptions:
    """The options of decisions, see `conf/mode/post.yaml`.

    Attributes:
        alpha: The probability of a miss of prediction sets.
        set_score: Their score.
        set_coverage: Whether their guarantee is `marginal` (over all images) or holds for each `class` separately.
        threshold: The criterion of thresholds; None: no thresholds.
        deploy_prior: Another prevalence; None: none.
        costs: The cost of each decision for each true class; for labels [[0, false yes], [false no, 0]]; None: none.
        at_least: The share that thresholds by sensitivity or specificity reach, inside (0, 1].
        positive: Of two classes the one whose sensitivity is meant, by name; None: the second.
    """

    alpha: float
    set_score: str
    set_coverage: str
    threshold: str | None
    deploy_prior: list[float] | None
    costs: list[list[float]] | None = None
    at_least: float = AT_LEAST
    positive: str | None = None

    @property
    def reaches_share(self) -> bool:
        """Whether thresholds are chosen to reach a sensitivity or a specificity."""
        return self.threshold in LEVELS

    def positive_place(self, classes: Sequence[str]) -> int:
        """Return the number of the positive one of two classes."""
        return 1 if self.positive is None else list(classes).index(self.positive)

    def threshold_options(self) -> dict[str, Any]:
        """Return the arguments of `post.threshold`."""
        options: dict[str, Any] = {"criterion": self.threshold, "at_least": self.at_least}
        if self.threshold == "cost" and self.costs is not None:
            options |= {"false_positive": self.costs[0][1], "false_negative": self.costs[1][0]}
        return options

    def problems(self, kind: str, classes: Sequence[str], criteria: Collection[str]) -> list[str]:
        """Return a sentence for each option that makes no sense for a task.

        Args:
            kind: The task's kind.
            classes: The names of its outputs.
            criteria: The threshold criteria of the kind.
        """
        wrong = []
        if not _has_classes(kind) and self.deploy_prior is not None:
            wrong.append(problem("mode.deploy_prior", f"is for classes, this task is {kind}", fix="leave it out"))
        if not _has_classes(kind) and self.set_coverage != "marginal":
            wrong.append(problem("mode.set_coverage", f"is for classes, this task is {kind}", fix="leave it out"))
        if self.threshold is not None and not criteria:
            wrong.append(
                problem("mode.threshold", f"is for classes and labels, this task is {kind}", fix="leave it out")
            )
        elif self.threshold not in (None, "cost", *criteria):
            fix = f"use {listing(list(criteria))}"
            wrong.append(problem("mode.threshold", f"is not for {kind}", got=self.threshold, fix=fix))
        elif self.reaches_share and _has_classes(kind) and len(classes) != 2:
            fix = "give mode.costs in its place: a row for each true class, a column for each decision"
            reason = f"is for two classes or for labels, this task has {counted(len(classes), 'class')}"
            wrong.append(problem("mode.threshold", reason, got=self.threshold, fix=fix))
        if self.at_least != AT_LEAST and not self.reaches_share:
            fix = f"add mode.threshold={LEVELS[0]} or mode.threshold={LEVELS[1]}, or leave it out"
            wrong.append(problem("mode.at_least", "no threshold reaches a share", got=self.at_least, fix=fix))
        return wrong + self._cost_problems(kind, classes, criteria)

    def _cost_problems(self, kind: str, classes: Sequence[str], criteria: Collection[str]) -> list[str]:
        costs, has_classes, key = self.costs, _has_classes(kind), "mode.costs"
        if costs is None:
            fix = "add mode.costs=[[0,1],[5,0]]: a false yes costs 1, a false no 5"
            if has_classes:
                fix = "give mode.costs in its place: a row for each true class, a column for each decision"
            return [problem("mode.threshold", "needs mode.costs", got="cost", fix=fix)] * (self.threshold == "cost")
        if not kinds.of(kind).is_dense and not criteria:
            return [problem(key, "is for classes and labels, not for numbers", fix="leave it out")]
        if has_classes and self.threshold == "cost":
            fix = "leave mode.threshold out: mode.costs alone decides between classes"
            return [problem("mode.threshold", "is for labels", got="cost", fix=fix)]
        if has_classes and self.threshold is not None:
            fix = "leave one of them out"
            return [
                problem(
                    "mode.threshold", "decides between classes, and so does mode.costs", got=self.threshold, fix=fix
                )
            ]
        outputs = len(classes) if has_classes else 2
        if len(costs) != outputs or any(len(row) != outputs or not np.isfinite(row).all() for row in costs):
            outcomes = f"classes {listing(classes)}" if has_classes else "no and yes"
            fix = f"give {outputs} rows (what is true) of {outputs} numbers (what is decided): {outcomes}"
            return [problem(key, "is no table of costs for this task", got=costs, fix=fix)]
        return []


def _has_classes(kind: str) -> bool:
    """Return whether a row has one of several classes."""
    return kinds.of(kind).has_classes and not kinds.of(kind).is_dense


def _has_probabilities(kind: str) -> bool:
    """Return whether a row has probabilities, of classes or labels."""
    return kinds.of(kind).has_probabilities and not kinds.of(kind).is_dense


def positive_problems(positive: str | int | None, kind: str, classes: Sequence[str]) -> list[str]:
    """Return a sentence if the positive class or label does not exist in a task.

    Args:
        positive: `mode.positive`; None: not given.
        kind: The task's kind.
        classes: The names of its outputs.
    """
    if positive is None or (str(positive) in classes and kinds.of(kind).has_probabilities):
        return []
    if kinds.of(kind).is_dense or not kinds.of(kind).has_probabilities:
        return [problem("mode.positive", f"is for classes and labels, this task is {kind}", fix="leave it out")]
    known = f"its {kinds.of(kind).words.OUTPUTS} are {listing(classes, most=8)}"
    fix = did_you_mean(str(positive), classes, otherwise=known)
    return [problem("mode.positive", "the task has none of that name", got=positive, fix=fix)]


def prior_problems(prior: str | list[float], stage: str, kind: str, classes: Sequence[str]) -> list[str]:
    """Return a sentence for each reason why probabilities cannot be moved to a prevalence.

    Args:
        prior: `mode.prior`.
        stage: `mode.stage`.
        kind: The task's kind.
        classes: The names of its outputs.
    """
    wrong = []
    if not _has_probabilities(kind) and prior != "val":
        values = kinds.of(kind).words.VALUES
        reason = "pixels are not calibrated" if kinds.of(kind).is_dense else f"{values} have no prevalence"
        wrong.append(problem("mode.prior", reason, got=prior, fix="leave it out"))
    if _has_probabilities(kind) and not _has_classes(kind) and prior in ("test", "quantify"):
        fix = "use mode.prior=val, or the share of yes of each label as a list"
        wrong.append(problem("mode.prior", "is for classes, not for labels", got=prior, fix=fix))
    if stage == "none" and prior != "val":
        wrong.append(
            problem("mode.stage", "nothing would be calibrated for mode.prior", got="none", fix="leave it out")
        )
    if isinstance(prior, list) and len(prior) != len(classes):
        fix = f"give one number for each of {listing(classes)}"
        wrong.append(problem("mode.prior", "has another length than there are classes", got=prior, fix=fix))
    elif isinstance(prior, list):
        wrong += _share_problems("mode.prior", prior, kind)
    return wrong


def _share_problems(key: str, values: list[float], kind: str) -> list[str]:
    if not all(np.isfinite(value) and value > 0 for value in values):
        fix = "a class that cannot occur gets a small share, such as 1e-6"
        return [problem(key, "every share must be positive", got=values, fix=fix)]
    if _has_probabilities(kind) and not _has_classes(kind) and max(values) >= 1:
        return [problem(key, "each share must be below 1", got=values, fix="give the share of yes of each label")]
    return []


def scaling_notes(
    prior: str | list[float], deploy_prior: list[float] | None, kind: str, classes: Sequence[str]
) -> list[str]:
    """Return a sentence for each class prevalence that does not sum to one and is scaled to do so.

    Args:
        prior: `mode.prior`.
        deploy_prior: `mode.deploy_prior`; None: none.
        kind: The task's kind.
        classes: The names of its outputs.
    """
    sentences = []
    for key, values in (("mode.prior", prior), ("mode.deploy_prior", deploy_prior)):
        if not _has_classes(kind) or not isinstance(values, list) or abs(sum(values) - 1) <= _ROUNDED:
            continue
        total = sum(values)
        parts = [f"{name} {value / total:.4g}" for name, value in zip(classes, values, strict=False)]
        shares = listing(parts, most=MOST_NAMED)
        sentences.append(f"{key}: the shares sum to {total:.4g}, not to 1; they are scaled: {shares}")
    return sentences
