"""Recover from a NaN loss or from running out of memory: go back, change one thing, and report it.

Every recovery is an event: it holds from the start of its epoch on, is written beside the saved states before the
training goes back, and ends in the record. Going back means to start again from the newest saved state and to replay what
followed it; as an event changes nothing before its epoch, that is the start of the epoch exactly.
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
# Ends the name of a file beside the folder of saved states.
EVENTS = ".events.json"
NUMBERS, MEMORY, STATE = "not a number", "out of memory", "damaged state"


class NotFinite(TrainingError):
    """A loss, gradient or weight is not finite.

    Args:
        sentence: What to tell a person where no recovery is possible.
        epoch: Counted from 0.
        stage: Counted from 0.
        symptom: What was not finite.
    """

    def __init__(self, sentence: str, epoch: int, stage: int, symptom: str) -> None:
        super().__init__(sentence)
        self.epoch, self.stage, self.found = epoch, stage, symptom


class OutOfMemory(TrainingError):
    """Memory ran out while an epoch was learned or validated.

    Args:
        sentence: What the system said.
        epoch: Counted from 0.
        stage: Counted from 0.
        least: The fewest images that the network can learn from at a time.
    """

    def __init__(self, sentence: str, epoch: int, stage: int, least: int) -> None:
        super().__init__(sentence)
        self.epoch, self.stage, self.least = epoch, stage, least


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out where fewer images at a time help: not in a process that loads images."""
    return errors.is_out_of_memory(error) and "DataLoader worker" not in str(error)


def attempt(call: Callable[[], object], epoch: Callable[[], int], stage: int, network: nn.Module) -> None:
    """Do something that may run out of memory.

    Args:
        call: What to do.
        epoch: Which epoch it is in, asked when memory ran out.
        stage: Which stage.
        network: What learns in it.

    Raises:
        OutOfMemory: When memory ran out; it holds nothing of what was computed.
    """
    if sentence := memory_shortage(call):
        raise OutOfMemory(sentence, epoch(), stage, microbatches.smallest_batch_size(network))


def memory_shortage(call: Callable[[], object]) -> str:
    """Do something that may run out of memory: what the system said when it did, empty when it did not.

    The error and its traceback, which hold the batch's tensors, are gone when this returns.
    """
    try:
        call()
        return ""
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return first_line(error)


def _events(path: Path) -> list[Event]:
    """The events of before.

    Raises:
        ProjectError: When the file is damaged.
    """
    fix = "delete it: the training goes on as if nothing had gone wrong"
    return [dict(event) for event in stored.read(path, list[_Numbers | _Memory | _State], fix)]


class _Numbers(TypedDict):
    """What is read again of an event after a number that is none."""

    kind: Literal["not a number"]
    epoch: int
    stage: int
    lr_factor: float
    lr_scale: float
    text: str


class _Memory(TypedDict):
    """What is read again of an event after memory ran out."""

    kind: Literal["out of memory"]
    epoch: int
    micro_batch: int
    text: str


class _State(TypedDict):
    """What is read again of an event after a damaged state."""

    kind: Literal["damaged state"]
    text: str


class Healed:
    """The recoveries of one fold's training so far, and what follows from them for each epoch.

    Args:
        healing: The recoveries that are allowed.
        path: Where the events are kept.
        where: The task and fold, for sentences.
    """

    def __init__(self, healing: Healing, path: Path, where: str) -> None:
        self._healing, self._path, self._where = healing, path, where
        self.events: list[Event] = _events(path) if path.exists() else []

    def lr_scale(self, epoch: int, stage: int = 0) -> float:
        """The factor of the learning rate in an epoch of a stage."""
        events = [event for event in self.events if event["kind"] == NUMBERS and event["stage"] == stage]
        return float(math.prod(event["lr_factor"] for event in events if event["epoch"] <= epoch))

    def micro_batch(self, epoch: int) -> int | None:
        """The most images that go through the network at a time in an epoch; None: all of a batch."""
        sizes = [event["micro_batch"] for event in self.events if event["kind"] == MEMORY and event["epoch"] <= epoch]
        return min(sizes, default=None)

    def note_damage(self, sentence: str, way: str) -> Event:
        """Note a saved state that was damaged, and what is done instead of going on from it."""
        return self._append({"kind": STATE, "text": f"{self._where}: {sentence}; {way}"})

    def note_trouble(self, error: NotFinite | OutOfMemory, batch: int) -> Event:
        """Note a trouble and what is done about it.

        Args:
            error: The trouble.
            batch: Images of a whole batch.

        Raises:
            TrainingError: When nothing can be done, or it is not allowed.
        """
        return self.not_finite(error) if isinstance(error, NotFinite) else self.memory(error, batch)

    def not_finite(self, error: NotFinite) -> Event:
        """Note a loss that is not finite: from its epoch on the learning rate is lower.

        Raises:
            TrainingError: When that was done as often as is allowed.
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
        """Note that memory ran out: from its epoch on half as many images go through the network at a time.

        Args:
            error: What happened.
            batch: Images of a whole batch.

        Raises:
            TrainingError: When there is nothing left to halve, or it is not allowed.
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
