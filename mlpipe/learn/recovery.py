"""Recover from a NaN loss or from running out of memory: go back, change one thing, and report it.

Every recovery is an event: it applies from the start of its epoch, is written beside the saved states before the training
goes back, and is stored in the record. Going back means to restart from the newest saved state and to replay the epochs after
it; since an event changes nothing before its epoch, the replay leads exactly to the start of that epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict

from torch import nn

from mlpipe import errors, files, stored
from mlpipe.config.schema import Healing
from mlpipe.errors import TrainingError, counted, first_line
from mlpipe.learn.gradients import microbatches

Event = dict[str, Any]
# The suffix of a file beside the folder of saved states.
EVENTS = ".events.json"
NUMBERS, MEMORY, STATE = "not a number", "out of memory", "damaged state"


class NotFinite(TrainingError):
    """A loss, gradient or weight is not finite.

    Args:
        sentence: The message if no recovery is possible.
        epoch: Counted from 0.
        stage: Counted from 0.
        symptom: What was not finite.
    """

    def __init__(self, sentence: str, epoch: int, stage: int, symptom: str) -> None:
        super().__init__(sentence)
        self.epoch, self.stage, self.found = epoch, stage, symptom


class OutOfMemory(TrainingError):
    """Memory ran out during the training or validation of an epoch.

    Args:
        sentence: The system's message.
        epoch: Counted from 0.
        stage: Counted from 0.
        least: The smallest number of images that the network can be trained on at a time.
    """

    def __init__(self, sentence: str, epoch: int, stage: int, least: int) -> None:
        super().__init__(sentence)
        self.epoch, self.stage, self.least = epoch, stage, least


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out where fewer images at a time would help: not in a process that loads images."""
    return errors.is_out_of_memory(error) and "DataLoader worker" not in str(error)


def attempt(call: Callable[[], object], epoch: Callable[[], int], stage: int, network: nn.Module) -> None:
    """Call a function that may run out of memory.

    Args:
        call: The function.
        epoch: Returns the current epoch, called when memory ran out.
        stage: The stage.
        network: The network that is trained.

    Raises:
        OutOfMemory: When memory ran out; it holds no references to computed tensors.
    """
    if sentence := memory_shortage(call):
        raise OutOfMemory(sentence, epoch(), stage, microbatches.smallest_batch_size(network))


def memory_shortage(call: Callable[[], object]) -> str:
    """Call a function that may run out of memory; return the system's message if it did, otherwise an empty string.

    The error and its traceback, which hold the batch's tensors, are released when this returns.
    """
    try:
        call()
        return ""
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return first_line(error)


def _events(path: Path) -> list[Event]:
    """Return the stored events.

    Raises:
        ProjectError: When the file is damaged.
    """
    fix = "delete it: the training goes on as if nothing had gone wrong"
    return [dict(event) for event in stored.read(path, list[_Numbers | _Memory | _State], fix)]


class _Numbers(TypedDict):
    """The stored fields of an event after a value that is not finite."""

    kind: Literal["not a number"]
    epoch: int
    stage: int
    lr_factor: float
    lr_scale: float
    text: str


class _Memory(TypedDict):
    """The stored fields of an event after memory ran out."""

    kind: Literal["out of memory"]
    epoch: int
    micro_batch: int
    text: str


class _State(TypedDict):
    """The stored fields of an event after a damaged state."""

    kind: Literal["damaged state"]
    text: str


class Healed:
    """The recoveries of one fold's training so far, and their effect on each epoch.

    Args:
        healing: The recoveries that are allowed.
        path: The file of the events.
        where: The task and fold, for messages.
    """

    def __init__(self, healing: Healing, path: Path, where: str) -> None:
        self._healing, self._path, self._where = healing, path, where
        self.events: list[Event] = _events(path) if path.exists() else []

    def lr_scale(self, epoch: int, stage: int = 0) -> float:
        """Return the factor of the learning rate in an epoch of a stage."""
        events = [event for event in self.events if event["kind"] == NUMBERS and event["stage"] == stage]
        return float(math.prod(event["lr_factor"] for event in events if event["epoch"] <= epoch))

    def micro_batch(self, epoch: int) -> int | None:
        """Return the largest number of images to pass through the network at a time in an epoch; None: the whole batch."""
        sizes = [event["micro_batch"] for event in self.events if event["kind"] == MEMORY and event["epoch"] <= epoch]
        return min(sizes, default=None)

    def note_damage(self, sentence: str, way: str) -> Event:
        """Record a damaged saved state, and what is done instead of resuming from it."""
        return self._append({"kind": STATE, "text": f"{self._where}: {sentence}; {way}"})

    def note_trouble(self, error: NotFinite | OutOfMemory, batch: int) -> Event:
        """Record a trouble and the action taken.

        Args:
            error: The trouble.
            batch: Number of images in a whole batch.

        Raises:
            TrainingError: When nothing can be done, or recovery is not allowed.
        """
        return self.not_finite(error) if isinstance(error, NotFinite) else self.memory(error, batch)

    def not_finite(self, error: NotFinite) -> Event:
        """Record a loss that is not finite: the learning rate is lower from its epoch on.

        Raises:
            TrainingError: When the allowed number of such recoveries is exceeded.
        """
        before = [past_event for past_event in self.events if past_event["kind"] == NUMBERS]
        if len(before) >= self._healing.rollbacks:
            if not before:
                raise error
            tried = (
                f"{len(before)} times it went back and lowered the learning rate, to {before[-1]['lr_scale']:.3g} of it"
            )
            raise TrainingError(f"{error}; {tried} (healing.rollbacks={self._healing.rollbacks})")
        factor = self._healing.lr_factor
        scale = self.lr_scale(error.epoch, error.stage) * factor
        text = (
            f"{self._where}: {error.found} in epoch {error.epoch + 1}; back to the start of the epoch with {scale:.3g} of the "
            f"learning rate ({len(before) + 1} of {self._healing.rollbacks})"
        )
        event = {"kind": NUMBERS, "epoch": error.epoch, "stage": error.stage, "lr_factor": factor, "lr_scale": scale}
        return self._append({**event, "found": error.found, "text": text})

    def memory(self, error: OutOfMemory, batch: int) -> Event:
        """Record that memory ran out: from its epoch on half as many images pass through the network at a time.

        Args:
            error: The error.
            batch: Number of images in a whole batch.

        Raises:
            TrainingError: When the number cannot be halved any further, or recovery is not allowed.
        """
        way = "choose a smaller arch, preprocessing.size or sampling.batch_size"
        if not self._healing.micro_batches:
            raise TrainingError(f"{self._where}: memory ran out in epoch {error.epoch + 1} ({error}); {way}")
        now = self.micro_batch(error.epoch) or batch
        if now <= error.least:
            cause = f"memory ran out in epoch {error.epoch + 1} with {counted(now, 'image')} at a time"
            raise TrainingError(f"{self._where}: {cause} ({error}); {way}")
        size = max(error.least, -(-now // 2))
        text = f"{self._where}: memory ran out in epoch {error.epoch + 1}; from its start on {counted(size, 'image')} at a time"
        text += f", {batch} in a step as before"
        if error.least > 1:
            text += f" (but batch normalisation sees {counted(size, 'image')} at a time, which changes what is learned)"
        event = {"kind": MEMORY, "epoch": error.epoch, "stage": error.stage, "batch": batch, "micro_batch": size}
        return self._append({**event, "text": text})

    def _append(self, event: Event) -> Event:
        self.events.append(event)
        files.write_json(self._path, self.events)
        return event
