"""Fit training into a time limit: epochs from the measured speed, and a new plan if an epoch takes another time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# The factor of training and prediction for loading, augmentation, validation and saving, on top of the measured step;
# and seconds to start a fold.
_OVERHEAD, _FOLD_SECONDS = 1.1, 1.5


@dataclass(frozen=True)
class Shape:
    """The size of the data and the speed of the machine.

    Attributes:
        train: The number of images for training and validation.
        test: The number of images of the test part.
        folds: The number of folds to train.
        held_out: The share of the images in `train` on which each fold validates.
        train_second: Training seconds per image.
        evaluate_second: Evaluation seconds per image.
    """

    train: int
    test: int
    folds: int
    held_out: float
    train_second: float
    evaluate_second: float

    def learning(self) -> int:
        """Return the number of training images of a fold."""
        return round(self.train * (1 - self.held_out))

    def epoch(self) -> float:
        """Return the seconds of one epoch of one fold, with its validation."""
        learning = self.train * (1 - self.held_out) * self.train_second * _OVERHEAD
        return learning + self.train * self.held_out * self.evaluate_second

    def at(self, epoch_seconds: float) -> Shape:
        """Return the same with another speed, given the seconds of one epoch of one fold."""
        factor = epoch_seconds / self.epoch()
        return replace(self, train_second=factor * self.train_second, evaluate_second=factor * self.evaluate_second)

    def predicting(self) -> float:
        """Return the seconds of all folds' predictions."""
        images = self.test + self.train * self.held_out
        return self.folds * (_FOLD_SECONDS + images * self.evaluate_second * _OVERHEAD)


def epochs_within(seconds: float, shape: Shape, most: int) -> int:
    """Return how many epochs of all folds, with their predictions, fit into a time; 0: not even one.

    Args:
        seconds: The available time.
        shape: The size of the data and the speed of the machine.
        most: The epochs of the recipe.
    """
    left = seconds - shape.predicting()
    return max(0, min(most, int(left / (shape.folds * shape.epoch()))))


def within_stages(stages: Sequence[Mapping[str, Any]], epochs: int) -> list[dict[str, Any]]:
    """Distribute a number of epochs among stages in proportion to their own, at least one each.

    Args:
        stages: The stages as mappings; one with an exact `head` takes no steps, and keeps its only epoch.
        epochs: The total of all other stages; the last stage takes the remainder.
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
    """A recipe's number of epochs was decided again; its training restarts."""


class Pace:
    """Time the first epochs of a recipe's first fold, and report the seconds per epoch once.

    Args:
        enough: Seconds of training after which the speed is known.
        listener: Called with the seconds of an epoch, and the number of finished epochs.
        heads: The number of epochs before the first timed one, as which exact heads are counted.
    """

    def __init__(self, enough: float, listener: Callable[[float, int], None], heads: int = 0) -> None:
        self._enough, self._pace_listener, self._heads = enough, listener, heads
        self._marks: list[float] = []
        self._is_known = False

    def begin(self) -> None:
        """Note the start of the first fold."""
        self._marks = [time.monotonic()]

    def epoch(self, position: int, epoch: int, epochs: int, score: float) -> None:
        """Note the end of an epoch, as `Follower.epoch`. A fold that continues from a saved state measures nothing."""
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
        # The first epoch includes much setup: it counts only if it is the only one.
        marks = self._marks[1:] if len(self._marks) > 2 else self._marks
        self._pace_listener((marks[-1] - marks[0]) / (len(marks) - 1), epoch_count)


def clock(seconds: float) -> str:
    """Format a duration for people: 45 s, 3 min 20 s, 12 min, 1 h 30 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
