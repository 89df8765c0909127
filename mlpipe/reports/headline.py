"""The headline result of a task: the final predictor, its score with its interval, and everything that was left out.

The terminal, the report and `--json` all use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.task import has_target
from mlpipe.errors import counted
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.figures import interval, number, percent
from mlpipe.reports import stored_maps
from mlpipe.reports.facts import Shown, TaskFacts, recipe_rows
from mlpipe.runs.ensembles import EnsembleRecord


@dataclass(frozen=True)
class Words:
    """How a score is phrased.

    Attributes:
        noun: The words before `of 0.91`.
        unit: The unit after the figure.
        more: The rest of the noun phrase, where no figure comes in between.
        is_share: Whether it is a share of images, which is formatted in percent.
    """

    noun: str
    unit: str = ""
    more: str = ""
    is_share: bool = False

    @property
    def whole(self) -> str:
        """The whole noun phrase."""
        return f"{self.noun} {self.more}".strip()

    def figure(self, value: float, count: int | None) -> str:
        """Format a figure with its unit.

        Args:
            value: The figure.
            count: The number of images behind it; None: unknown.
        """
        return percent(value, count) if self.is_share else f"{number(value, count)} {self.unit}".strip()

    def ends(self, low: float | None, high: float | None, count: int | None) -> str:
        """Format an interval with its unit; empty for a missing one.

        Args:
            low: The lower end.
            high: The upper end.
            count: The number of images behind it; None: unknown.
        """
        ends = interval(low, high, count)
        if self.is_share and ends and low is not None and high is not None:
            return f"{percent(low, count)} to {percent(high, count)}"
        return f"{ends} {self.unit}".strip() if ends else ""


WORDS = {
    "map": Words("mean average precision"),
    "accuracy": Words("accuracy", is_share=True),
    "auroc": Words("area under the ROC curve"),
    "rmse": Words("root mean squared error"),
    "dice": Words("mean Dice coefficient", more="of the classes"),
    "psnr": Words("peak signal-to-noise ratio", unit="dB", more="in decibels"),
    "frechet": Words("Fréchet distance", more="of the features of drawn and of real images"),
    "equation_loss": Words("mean squared residual", more="of the equation and its conditions"),
}


@dataclass(frozen=True)
class Headline:
    """The final predictor and its score.

    Attributes:
        task: The task.
        predictor: The predictor in words.
        ensemble: The ensemble's id; empty if there is only a recipe.
        recipe: The recipe's hash; empty for an ensemble.
        calibrated: Whether its probabilities were calibrated.
        metric: The score's name.
        value: The score; None if there is none.
        low: The lower end of its 95 % interval; None if there is none.
        high: The upper end.
        images: The number of images behind it; None if a part of them chose the ensemble.
        where: `test` or `out-of-fold`.
        left_out: What the final predictor leaves out, one sentence each.
        sentence: The headline in words.
        baseline: The score of the best constant prediction; None if there is none.
        against: The comparison with it in words; empty if there is none.
    """

    task: str
    predictor: str
    ensemble: str
    recipe: str
    calibrated: bool
    metric: str
    value: float | None
    low: float | None
    high: float | None
    images: int | None
    where: str
    left_out: tuple[str, ...]
    sentence: str
    baseline: float | None = None
    against: str = ""

    @property
    def short(self) -> str:
        """`test accuracy 0.853`; empty without a score."""
        return "" if self.value is None else f"{self.where} {self.metric} {number(self.value, self.images)}"

    def as_plain(self) -> dict[str, Any]:
        """Return the headline as a dict, ready for JSON."""
        return {**asdict(self), "left_out": list(self.left_out)}


def headline(facts: TaskFacts) -> Headline | None:
    """Return the headline of a task; None without predictions of labelled images.

    Args:
        facts: The task.
    """
    subject = facts.shown
    if subject is None or subject.rows is None:
        return None
    name = post_kind.of(facts.kind).HEADLINE
    value, low, high, count = _score(facts, subject, name)
    baseline, always = _baseline(facts, subject, name)
    return Headline(
        facts.name,
        subject.name,
        subject.ensemble.id if subject.ensemble else "",
        subject.recipe,
        subject.ensemble is not None and subject.ensemble.is_calibrated,
        name,
        value,
        low,
        high,
        count,
        subject.where,
        tuple(_omission_notes(facts, subject.ensemble)),
        _sentence(subject, name, value, low, high, count),
        baseline,
        ""
        if value is None or baseline is None
        else _baseline_comparison(always, name, baseline, (value, low, high), count),
    )


def _score(facts: TaskFacts, subject: Shown, name: str) -> tuple[float | None, float | None, float | None, int | None]:
    """Return the stored score with its interval, and the number of images if all of them count."""
    rows = subject.rows
    assert rows is not None
    if subject.ensemble is not None:
        score = subject.ensemble.scores.get("test" if subject.test is not None else "chosen on", {}).get(name, {})
        # With select_on=test only a part of the test images gives the estimate.
        count = None if subject.ensemble.select_on == "test" else len(rows)
        return score.get("value"), score.get("low"), score.get("high"), count
    row = next(entry for entry in facts.board if entry["recipe"] == subject.recipe)
    if subject.test is not None:
        return row["test"], row["test_low"], row["test_high"], len(rows)
    return row["out_of_fold"], None, None, len(rows)


def _baseline(facts: TaskFacts, subject: Shown, name: str) -> tuple[float | None, str]:
    """Return the score of the best constant prediction on the rows of the score, and what it says."""
    rows = subject.rows
    assert rows is not None
    if facts.task is not None:
        judged = set(rows.ids)
        others = np.array([sample not in judged for sample in facts.task.samples.ids], bool)
        # The out-of-fold images are all training images.
        learned = facts.task.samples.targets[others if subject.test is not None else ~others]
    else:
        learned = rows.targets if subject.held_out is None else subject.held_out.targets
    learned = learned[has_target(learned)]
    with ExitStack() as stack:
        stored = _StoredTargets(facts, subject, stack)
        part = post_kind.of(facts.kind)
        prediction = part.constant(learned, rows.targets, facts.classes, stored) if len(learned) else None
    if prediction is None:
        return None, ""
    outputs, always = prediction
    return metrics.compute([name], outputs, rows.targets, facts.kind).get(name), always


@dataclass(frozen=True)
class _StoredTargets:
    """Targets of a task as stored with its predictions, see `mlpipe.post.kind.StoredTargets`."""

    facts: TaskFacts
    shown: Shown
    stack: ExitStack

    def rows(self) -> npt.NDArray[Any] | None:
        """Return the targets of held-out images of all folds, which together are the training targets."""
        used = self.facts.members(self.shown)
        learned = self.shown.held_out
        if learned is None and used:
            learned, _ = recipe_rows(self.facts.project, used)
        return None if learned is None else learned.targets[has_target(learned.targets)]

    def images(self) -> tuple[Iterable[npt.NDArray[Any]], Iterable[npt.NDArray[Any]]] | None:
        """Return the target images stored with the maps of predictions."""
        return stored_maps.targets(self.facts, self.shown, self.stack)


def _baseline_comparison(
    always: str, name: str, baseline: float, score: tuple[float, float | None, float | None], count: int | None
) -> str:
    """Compare the score with that of the best constant prediction."""
    value, low, high = score
    sign = -1 if metrics.direction(name) == "min" else 1
    worse_end = low if sign > 0 else high
    words, figure = WORDS[name], WORDS[name].figure(baseline, count)
    clause = f"be right on {figure}" if words.is_share else f"have {_article(words.noun)} {words.noun} of {figure}"
    begun = f"Always predicting {always} would {clause}"
    if sign * (value - baseline) <= 0:
        return f"{begun}: this is no better."
    if worse_end is None:
        return f"{begun}."
    is_clear = sign * (worse_end - baseline) > 0
    return f"{begun}: {'this is better' if is_clear else 'the interval holds that, so that this may be chance'}."


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


def _sentence(
    subject: Shown, name: str, value: float | None, low: float | None, high: float | None, count: int | None
) -> str:
    who = f"{subject.name[:1].upper()}{subject.name[1:]}" if subject.name.startswith("the ") else subject.name
    where = counted(count, f"{subject.where} image") if count else f"{subject.where} images"
    if value is None:
        reason = metrics.UNDEFINED.get(name, "it is not defined on them")
        return f"{who} has no {WORDS[name].whole} on {where}: {reason}."
    words = WORDS[name]
    ends = words.ends(low, high, count)
    between = f" (95 % interval {ends})" if ends else ""
    if words.is_share:
        return f"{who} is right on {words.figure(value, count)} of {where}{between}."
    return f"{who} reaches {_article(words.noun)} {words.noun} of {words.figure(value, count)} on {where}{between}."


def _omission_notes(facts: TaskFacts, ensemble: EnsembleRecord | None) -> list[str]:
    """Mention members without a weight, calibrations without a gain, and what was trained later."""
    if ensemble is None:
        return []
    used = {member["name"] for member in ensemble.members}
    losses: Mapping[str, float | None] = ensemble.losses.get("members", {})
    sentences = [
        f"{facts.called(name)} is left out: with it the loss of the images that chose is not less"
        for name, loss in losses.items()
        if name not in used and loss is not None and loss == loss
    ]
    telling = ("left out", "left as they are", "only moved", "held-out rows choose")
    sentences += [note for note in ensemble.notes if any(words in note for words in telling)]
    sentences += [note for note in ensemble.notes if note.startswith("not calibrated")]
    if facts.newest.created > ensemble.created:
        sentences.append("Something was trained after this ensemble was made: mml post takes it in.")
    return sentences
