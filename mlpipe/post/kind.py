"""The protocol of `mlpipe.kinds.*.post`: metrics, calibration and decisions of predictions of a kind.

Rows are n samples. Their outputs have the shape (n, outputs): logits of classes or labels, numbers, or of dense kinds sums
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
    """How the outputs of several models for the same rows are made into one, and what the result decides.

    Attributes:
        MIXES_COLUMNS: Whether a mixture is a weighted mean of columns, one for each output, whose weights are searched by
            sums. Else rows are mixed as a whole (boxes): `combine` alone does it, and `loss` judges what it gives.
    """

    MIXES_COLUMNS: bool

    def combine(self, parts: Sequence[Floats], weights: Sequence[float], mixing: str) -> Floats:
        """The weighted mean of `logits` or of `probabilities`, (n, outputs) each: log-probabilities, log-odds, or numbers."""
        ...

    def plain_mean(self, parts: Sequence[Floats]) -> Floats:
        """The unweighted mean, as the leaderboard has it of folds: logits or numbers, (n, outputs)."""
        ...

    def loss(self, outputs: Floats, targets: Targets) -> float:
        """The mean loss of labelled rows, which weights are to make small."""
        ...

    def searched(self, parts: Sequence[Floats]) -> tuple[list[Floats], Loss]:
        """The same outputs laid out as `loss` is quickest on them, and that loss."""
        ...

    def averaged(self, outputs: Floats) -> Floats:
        """The values that the greedy way averages: probabilities or numbers, (n, outputs)."""
        ...

    def averaged_loss(self, averaged: Floats, targets: Targets) -> float:
        """The mean loss of what was averaged."""
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
        """Decisions, learned from the `rows` that chose an ensemble and measured on the `estimate`, as plain data.

        Without an estimate thresholds are measured by cross-validation, in which `groups` of samples stay together.
        """
        ...


class Probabilities(Protocol):
    """The methods for outputs that are logits of a row's probabilities."""

    def learn(
        self, logits: Floats, targets: Targets, prior: Any, names: Sequence[str] | None, **how: Any
    ) -> dict[str, Any]:
        """A calibration as plain data; `how` as `mlpipe.post.calibration.calibrate.calibrate` takes it."""
        ...

    def learned(self, plain: Any) -> Callable[[Floats], Floats]:
        """Logits after a stored calibration, (n, outputs) to (n, outputs)."""
        ...

    def each_loss(self, logits: Floats, targets: Targets) -> tuple[Floats, Integers]:
        """The loss in nats of every row, or of every known answer, and which row it is of."""
        ...

    def log_likelihoods(self, logits: Floats, targets: Targets) -> Floats:
        """The log-probability of what is true, one for each labelled row or known answer."""
        ...

    def questions(self, logits: Floats, targets: Targets) -> tuple[Floats, Targets]:
        """One yes-or-no question for each output: scores, and answers 1, 0 or NaN, (n, outputs) each."""
        ...


class StoredTargets(Protocol):
    """Targets as they stand beside predictions."""

    def rows(self) -> Targets | None:
        """Targets that were learned from as rows of predictions have them, (m, ...); None without any."""
        ...

    def images(self) -> tuple[Iterable[Outputs], Iterable[Outputs]] | None:
        """Target images, (channels, *spatial) each: some that were learned from, and that of each judged row.

        None where they are not stored.
        """
        ...


class Part(Protocol):
    """Metrics of a kind, and the methods for its predictions.

    Attributes:
        METRICS: Every metric by its name.
        WITHOUT_INTERVAL: Those of them that have none.
        TRAIN: What `metrics.train=auto` is.
        FINAL: What `metrics.final=auto` is.
        FURTHER: Metrics of an ensemble on test rows beside these.
        HEADLINE: What tables are sorted by.
        ERROR: What `errors` are, in words.
        ENSEMBLING: How rows are mixed and what they decide; None: they are sums over pixels, which have no mean.
        PROBABILITIES: What rows of probabilities allow, such as a calibration; None: rows are no probabilities.
        CRITERIA: What thresholds can be chosen by, `mode.threshold`; empty: there are none.
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
        """`classes`: one row of plain data for each output, of labelled rows; and what else a record keeps."""
        ...

    def errors(self, outputs: Outputs, targets: Targets) -> Floats:
        """The error of each labelled row, (n,), which a learning curve is of."""
        ...

    def right(self, outputs: Outputs, targets: Targets) -> Bools | None:
        """Whether each labelled row is right, (n,); None where a row is not simply right or wrong."""
        ...

    def constant(
        self, learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
    ) -> tuple[Outputs, str] | None:
        """The outputs of the best prediction that is the same for every row, and what it says, in words after "always".

        None where there is none to compare with.

        Args:
            learned: Targets that were learned from, as a task has them; all of them known.
            judged: Targets of n labelled rows, which the prediction is judged on; the outputs are (n, outputs).
            classes: The names of the outputs.
            stored: The same targets as predictions hold them, where those of a task are a summary.
        """
        ...

    def sides(self, targets: Targets) -> Iterable[Bools]:
        """The rows of each class or answer that metrics rest on, (n,) each; none where they rest on all rows alike."""
        ...

    def statistic(self, name: str, outputs: Floats, targets: Targets) -> Statistic:
        """A metric as a function of the weights of labelled rows."""
        ...

    def ends(self, name: str, value: float, measure: Statistic, known: Known) -> Ends:
        """The interval around a metric's value."""
        ...


def neither_right_nor_wrong(outputs: Outputs, targets: Targets) -> Bools | None:
    """None: a row is near or far, or right in parts; see `Part.right`."""
    return None


def no_constant(
    learned: Targets, judged: Targets, classes: Sequence[str], stored: StoredTargets
) -> tuple[Outputs, str] | None:
    """None: there is no prediction that is the same for every row; see `Part.constant`."""
    return None


def all_alike(targets: Targets) -> list[Bools]:
    """None: all rows count alike; see `Part.sides`."""
    return []


def of(name: str) -> Part:
    """The part of a kind.

    Args:
        name: The kind's.
    """
    return cast(Part, kinds.part(name, "post"))


def weighted(name: str) -> str:
    """The values that fitted weights mix: `probabilities`, or `logits` (the outputs themselves) where there are none.

    Args:
        name: The kind's.
    """
    return "probabilities" if kinds.of(name).has_probabilities else "logits"


def ensembling(name: str) -> Ensembling:
    """How rows of a kind are mixed, which must have a mean.

    Args:
        name: The kind's.
    """
    part = of(name).ENSEMBLING
    assert part is not None, name
    return part


def probabilities(name: str) -> Probabilities:
    """What rows of a kind allow, which must be probabilities.

    Args:
        name: The kind's.
    """
    part = of(name).PROBABILITIES
    assert part is not None, name
    return part
