"""How much training fits into a time: epochs from the measured speed, and a plan made anew where an epoch takes another time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# Training and prediction cost more than the bare step that was measured: loading, augmentation, validation, saving; and each
# fold has to be begun.
_OVERHEAD, _FOLD_SECONDS = 1.1, 1.5


@dataclass(frozen=True)
class Shape:
    """The size of the data and the speed of the machine.

    Attributes:
        train: Images that learn or validate.
        test: Images of the test part.
        folds: Folds that are trained.
        held_out: The share of the images in `train` that each of them validates.
        train_second: Seconds of one image in training.
        evaluate_second: Seconds of one image in evaluation.
    """

    train: int
    test: int
    folds: int
    held_out: float
    train_second: float
    evaluate_second: float

    def learning(self) -> int:
        """How many images a fold learns from."""
        return round(self.train * (1 - self.held_out))

    def epoch(self) -> float:
        """Seconds of one epoch of one fold with its validation."""
        learning = self.train * (1 - self.held_out) * self.train_second * _OVERHEAD
        return learning + self.train * self.held_out * self.evaluate_second

    def at(self, epoch_seconds: float) -> Shape:
        """The same with another speed: that at which an epoch of one fold takes so long."""
        factor = epoch_seconds / self.epoch()
        return replace(self, train_second=factor * self.train_second, evaluate_second=factor * self.evaluate_second)

    def predicting(self) -> float:
        """Seconds of all folds' predictions."""
        images = self.test + self.train * self.held_out
        return self.folds * (_FOLD_SECONDS + images * self.evaluate_second * _OVERHEAD)


def epochs_within(seconds: float, shape: Shape, most: int) -> int:
    """How many epochs of all folds, with their predictions, fit into a time; 0: not even one.

    Args:
        seconds: The time.
        shape: What the data and the machine are like.
        most: The epochs that the recipe asks for.
    """
    left = seconds - shape.predicting()
    return max(0, min(most, int(left / (shape.folds * shape.epoch()))))


def within_stages(stages: Sequence[Mapping[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Stages with so many epochs in place of their own, each its part of them and one at the least.

    Args:
        stages: Their mappings; one with an exact `head` takes no steps, and keeps its only epoch.
        epochs: Those of all others together; what cannot be shared out evenly is the last one's.
    """
    stepped = [number for number, stage in enumerate(stages) if stage.get("head") is None]
    whole, shared = sum(int(stages[number]["epochs"]) for number in stepped), [dict(stage) for stage in stages]
    left = epochs
    for number in stepped[:-1]:
        shared[number]["epochs"] = max(1, int(stages[number]["epochs"]) * epochs // whole)
        left -= shared[number]["epochs"]
    for number in stepped[-1:]:
        shared[number]["epochs"] = max(1, left)
    return shared


class PlannedAnew(Exception):
    """A recipe's number of epochs was decided again; its training begins from the start."""


class Pace:
    """Watches the first epochs of a recipe's first fold, and says once how long one takes.

    Args:
        enough: Seconds of training after which that is known.
        listener: Is given the seconds of an epoch, and how many are done.
        heads: Epochs before the first that is watched, which exact heads are counted as.
    """

    def __init__(self, enough: float, listener: Callable[[float, int], None], heads: int = 0) -> None:
        self._enough, self._pace_listener, self._heads = enough, listener, heads
        self._marks: list[float] = []
        self._is_known = False

    def begin(self) -> None:
        """The first fold begins."""
        self._marks = [time.monotonic()]

    def epoch(self, position: int, epoch: int, epochs: int, score: float) -> None:
        """An epoch has ended; as `Follower.epoch`. A fold that goes on from a saved state tells nothing new."""
        if self._is_known or position > 0 or not self._marks:
            return
        epoch_count = epoch + 1 - self._heads
        if len(self._marks) != epoch_count:
            self._is_known = True
            return
        self._marks.append(time.monotonic())
        if self._marks[-1] - self._marks[0] < self._enough:
            return
        self._is_known = True
        # Much is set up in the first epoch: it counts only where it is the only one.
        marks = self._marks[1:] if len(self._marks) > 2 else self._marks
        self._pace_listener((marks[-1] - marks[0]) / (len(marks) - 1), epoch_count)


def clock(seconds: float) -> str:
    """A time for people: 45 s, 3 min 20 s, 12 min, 1 h 30 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
