"""How long an epoch really takes: seen in a recipe's first fold, so that a plan made beforehand can be mended."""

from __future__ import annotations

import time
from collections.abc import Callable


class PlannedAnew(Exception):
    """A recipe's number of epochs was decided again; its training begins from the start."""


class Pace:
    """Watches the first epochs of a recipe's first fold, and says once how long one takes.

    Args:
        enough: Seconds of training after which that is known.
        told: Is given the seconds of an epoch, and how many are done.
    """

    def __init__(self, enough: float, told: Callable[[float, int], None]) -> None:
        self._enough, self._told = enough, told
        self._marks: list[float] = []
        self._is_known = False

    def begin(self) -> None:
        """The first fold begins."""
        self._marks = [time.monotonic()]

    def epoch(self, position: int, epoch: int, epochs: int, score: float) -> None:
        """An epoch has ended; as `Follower.epoch`. A fold that goes on from a saved state tells nothing new."""
        if self._is_known or position > 0 or not self._marks:
            return
        if len(self._marks) != epoch + 1:
            self._is_known = True
            return
        self._marks.append(time.monotonic())
        if self._marks[-1] - self._marks[0] < self._enough:
            return
        self._is_known = True
        # Much is set up in the first epoch: it counts only where it is the only one.
        marks = self._marks[1:] if len(self._marks) > 2 else self._marks
        self._told((marks[-1] - marks[0]) / (len(marks) - 1), epoch + 1)
