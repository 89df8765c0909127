"""The protocol of `mlpipe.kinds.*.post`: metrics, calibration and decisions for the predictions of a kind.

Rows are n samples. Their outputs have the shape (n, outputs): logits of classes or labels, numbers, or for dense kinds sums
for each sample. Targets are class numbers (n,), -1 for none; or (n, outputs) with NaN for unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.intervals.forms import Ends, Known
from mlpipe.post.rows import Floats, Integers
from mlpipe.post.sums import Statistic

Outputs = npt.NDArray[Any]
Targets = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Loss = Callable[[Floats, Floats], float]


class Ensembling(Protocol):
    """How the outputs of several models for the same rows are mixed, and the decisions made from the mixture.

    Attributes:
        MIXES_COLUMNS: Whether a mixture is a weighted mean of columns, one for each output, whose weights are searched by
            sums. Otherwise rows are mixed as a whole (boxes), by `combine` alone, and `loss` judges the result.
    """

    MIXES_COLUMNS: bool

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        """Return the weighted mean of `logits` or `probabilities`, (n, outputs): log-probabilities, log-odds, or numbers."""
        ...

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        """Return the unweighted mean, as for folds in the leaderboard: logits or numbers, (n, outputs)."""
        ...

    def loss(self, outputs: Floats, targets: Targets) -> float:
        """Return the mean loss of labelled rows, which the weights minimise."""
        ...

    def searched(self, parts: Sequence[Floats]) -> tuple[list[Floats], Loss]:
        """Return the same outputs in the layout for which `loss` is fastest, and that loss."""
        ...

    def averaged(self, outputs: Floats) -> Floats:
        """Return the values that the greedy way averages: probabilities or numbers, (n, outputs)."""
        ...

    def averaged_loss(self, averaged: Floats, targets: Targets) -> float:
        """Return the mean loss of averaged values."""
        ...

    def decisions(
        self,
        rows: Rows,
        prior: Floats | None,
        estimate: Rows | None,
        options: DecisionOptions,
        classes: Sequence[str],
        seed: int,
        groups: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return decisions, learned from the `rows` that chose an ensemble and measured on the `estimate`, as plain data.

        Without an estimate thresholds are measured by cross-validation, in which `groups` of samples stay together.
        """
        ...


class Probabilities(Protocol):
    """The methods for outputs that are logits of a row's probabilities."""

    def learn(
        self, logits: Floats, targets: Targets, prior: Any, names: Sequence[str] | None, **how: Any
    ) -> dict[str, Any]:
        """Return a calibration as plain data; `how` as `mlpipe.post.calibration.calibrate.calibrate` takes it."""
        ...

    def learned(self, plain: Any) -> Callable[[Floats], Floats]:
        """Return a function that applies a stored calibration to logits, (n, outputs) to (n, outputs)."""
        ...

    def each_loss(self, logits: Floats, targets: Targets) -> tuple[Floats, Integers]:
        """Return the loss in nats of every row, or of every known answer, and the row of each."""
        ...

    def questions(self, logits: Floats, targets: Targets) -> tuple[Floats, Targets]:
        """Return a yes-or-no question for each output: scores, and answers 1, 0 or NaN, (n, outputs) each."""
        ...


class StoredTargets(Protocol):
    """Targets as they are stored with predictions."""

    def rows(self) -> Targets | None:
        """Return the training targets in the form of rows of predictions, (m, ...); None without any."""
        ...

    def images(self) -> tuple[Iterable[Outputs], Iterable[Outputs]] | None:
        """Return target images, (channels, *spatial) each: some training targets, and that of each judged row.

        None if they are not stored.
        """
        ...


class Part(Protocol):
    """Metrics of a kind, and the methods for its predictions.

    Attributes:
        METRICS: Every metric by its name.
        WITHOUT_INTERVAL: Metrics that have no interval.
        TRAIN: The metrics of `metrics.train=auto`.
        FINAL: The metrics of `metrics.final=auto`.
        FURTHER: Additional metrics of an ensemble on test rows.
        HEADLINE: The metric that tables are sorted by.
        ERROR: What `errors` are, in words.
        ENSEMBLING: How rows are mixed and decided on; None: they are sums over pixels, which have no mean.
        PROBABILITIES: The methods for rows of probabilities, such as calibration; None: rows are no probabilities.
        CRITERIA: The criteria for choosing thresholds, `mode.threshold`; empty: there are none.
    """

    METRICS: dict[str, Callable[[Any, Any], float]]
    WITHOUT_INTERVAL: Collection[str]
    TRAIN: list[str]
    FINAL: list[str]
    FURTHER: list[str]
    HEADLINE: str
    ERROR: str
    ENSEMBLING: Ensembling | None
    PROBABILITIES: Probabilities | None
    CRITERIA: Collection[str]

    def details(self, outputs: Outputs, targets: Targets, classes: Sequence[str]) -> dict[str, Any]:
        """Return `classes`, one row of plain data for each output, from labelled rows, and anything else a record keeps."""
        ...

    def errors(self, outputs: Outputs, targets: Targets) -> Floats:
        """Return the error of each labelled row, (n,), for learning curves."""
        ...

    def right(self, outputs: Outputs, targets: Targets) -> Bools | None:
        """Return whether each labelled row is right, (n,); None if rows are not simply right or wrong."""
        ...

    def constant(
        self, learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
    ) -> tuple[Outputs, str] | None:
        """Return the outputs of the best constant prediction, and what it says, in words after "always".

        None if there is nothing to compare with.

        Args:
            learned: Training targets as a task has them, all of them known.
            judged: Targets of the n labelled rows on which the prediction is judged; the outputs are (n, outputs).
            classes: The names of the outputs.
            stored: The same targets as predictions hold them, where those of a task are a summary.
        """
        ...

    def sides(self, targets: Targets) -> Iterable[Bools]:
        """Return the rows of each class or answer that metrics depend on, (n,) each; none if all rows count alike."""
        ...

    def statistic(self, name: str, outputs: Floats, targets: Targets) -> Statistic:
        """Return a metric as a function of the weights of labelled rows."""
        ...

    def ends(self, name: str, value: float, measure: Statistic, known: Known) -> Ends:
        """Return the interval around a metric's value."""
        ...


def neither_right_nor_wrong(outputs: Outputs, targets: Targets) -> Bools | None:
    """Return None: rows are near or far, or partly right; see `Part.right`."""
    return None


def no_constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """Return None: there is no constant prediction; see `Part.constant`."""
    return None


def all_alike(targets: Targets) -> list[Bools]:
    """Return no rows: all of them count alike; see `Part.sides`."""
    return []


def of(name: str) -> Part:
    """Return the part of a kind.

    Args:
        name: The kind's.
    """
    return cast(Part, kinds.part(name, "post"))


def weighted(name: str) -> str:
    """Return what fitted weights mix: `probabilities`, or `logits` (the outputs themselves) for kinds without probabilities.

    Args:
        name: The kind's.
    """
    return "probabilities" if kinds.of(name).has_probabilities else "logits"


def ensembling(name: str) -> Ensembling:
    """Return how rows of a kind are mixed; the kind must have one.

    Args:
        name: The kind's.
    """
    part = of(name).ENSEMBLING
    assert part is not None, name
    return part


def probabilities(name: str) -> Probabilities:
    """Return the methods for probabilities of a kind; the kind must have them.

    Args:
        name: The kind's.
    """
    part = of(name).PROBABILITIES
    assert part is not None, name
    return part
