"""Steps of a plan, their context, and requests to stop."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from mlpipe import files
from mlpipe.errors import INTERRUPTED_TWICE, ConfigError, DiskFull, Interrupted, problem
from mlpipe.reports.progress import Display
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

if TYPE_CHECKING:
    from mlpipe.data.sampling import Shard

log = logging.getLogger("mlpipe")

# Programs that start others often forward a signal that the terminal has already sent to all of them.
_SAME_WISH = 0.5


# How to continue if nothing was stored.
AGAIN = "then run the same command again"


class Stop:
    """A request to stop; a second request stops at once.

    Args:
        at_once: Called at the second Ctrl-C or SIGTERM; None raises KeyboardInterrupt, which keeps a notebook alive.

    Attributes:
        meanwhile: What is finished first after a request, in words.
        go_on: How to continue after the stop, in words; empty if there is nothing to continue.
        completed: Extends `go_on` for a user who asked twice: adds the project's folders and other remaining work.
    """

    meanwhile, go_on = "stopping after this batch", "run the same command again"

    def __init__(self, at_once: Callable[[str], None] | None = None) -> None:
        self.asked = False
        self._at_once, self._ended_at = at_once, math.inf
        self.completed: Callable[[str], str] = str

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self.asked

    def check(self) -> None:
        """Stop here if requested.

        Raises:
            Interrupted: When requested.
        """
        if self.asked:
            raise Interrupted("stopped as asked")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and SIGUSR1 into requests to stop; works only in the main thread."""
        before: dict[signal.Signals, Any] = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            try:
                before[number] = signal.signal(number, self._handle)
            except ValueError:
                break
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        # If a cluster preempts a job, SIGUSR1 comes some time before SIGTERM, and the second signal is no reason to
        # hurry.
        if number != signal.SIGUSR1:
            if now - self._ended_at > _SAME_WISH:
                if self._at_once is None:
                    raise KeyboardInterrupt
                self._at_once(self.completed(self.go_on))
            self._ended_at = min(self._ended_at, now)
        if not self.asked:
            self.asked = True
            log.warning(f"{self.meanwhile}; press Ctrl-C again to stop at once")


class Deadline(Stop):
    """A user's request to stop, or a time limit.

    Args:
        wish: The user's request.
        at: The deadline, on the clock of `time.monotonic`; infinity: none.
    """

    def __init__(self, wish: Stop, at: float) -> None:
        self._wish, self._end_time = wish, at
        super().__init__()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # The first of two requests may date from before this deadline was set, and the second one means to end
        # everything.
        self._wish._handle(number, frame)

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self._wish() or self.left() <= 0

    def check(self) -> None:
        """Stop here if requested, or if the time is over.

        Raises:
            Interrupted: In either case.
        """
        self._wish.check()
        if self.left() <= 0:
            raise Interrupted("the time is over")

    def left(self) -> float:
        """The seconds left."""
        return self._end_time - time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether the user asked to stop."""
        return self._wish.asked

    @asked.setter
    def asked(self, value: bool) -> None:
        # A passed deadline is not a user's request: a new deadline starts without one.
        self._wish.asked = self._wish.asked or value


def end_process(go_on: str) -> None:
    """End this process and its children with exit code 130; written files are complete, so nothing is awaited.

    Args:
        go_on: As in `Stop`.
    """
    for child in multiprocessing.active_children():
        child.kill()
    # Live lines need no cleanup: their cursor is never hidden, and further output appears below them.
    clause = f"; what is saved is kept; {go_on}" if go_on else ""
    os.write(2, f"\ninterrupted twice{clause}\n".encode())
    os._exit(INTERRUPTED_TWICE)


@dataclass(frozen=True)
class Follower:
    """A follower of a run from outside, such as a search; an exception in `epoch` ends the step.

    Attributes:
        run: Called with the run's name once its folder exists.
        epoch: Called after every epoch with the fold's position, the epoch, the maximum number of epochs of a fold, and
            the monitor.
        history: Called before each fold and at its end with the fold and all its epochs so far, if this process trains;
            None: not called.
    """

    run: Callable[[str], None]
    epoch: Callable[[int, int, int, float], None]
    history: Callable[[int, Sequence[Mapping[str, float]]], None] | None = None


@dataclass(frozen=True)
class RunContext:
    """The context of a mode.

    Attributes:
        project: The project.
        display: Shows progress.
        stop: Whether the user asked to stop.
        facts: The facts for `--json` and for callers in Python.
        follower: An outside follower of the run.
        command: The command line stored with a new run.
        shard: The process's part, if several processes train a fold together; else None.
        started: The start time of the command, on the clock of `time.monotonic`.
        told: Unreadable images that were reported already, once per run.
        is_part: Whether this is part of a larger command, such as a training or a sweep, which reports the result
            itself.
    """

    project: Project
    display: Display
    stop: Stop = field(default_factory=Stop)
    facts: dict[str, Any] = field(default_factory=dict)
    follower: Follower | None = None
    command: str = ""
    shard: Shard | None = None
    started: float = field(default_factory=time.monotonic)
    told: set[str] = field(default_factory=set)
    is_part: bool = False


@dataclass(frozen=True)
class Step:
    """One resumable unit of a plan.

    Attributes:
        name: The name, unique in the plan.
        call: The function to call with the run (None for steps that only touch the data folder).
        in_project: False for steps that only touch the data folder; they run before the run's folder exists.
        lane: Consecutive steps of different lanes may run in parallel; None waits for all before it.
    """

    name: str
    call: Callable[[Run | None], None]
    in_project: bool = True
    lane: int | None = None


@contextmanager
def full_disk(go_on: str) -> Iterator[None]:
    """Add to the error of a full disk how to continue once there is space again; the innermost hint is kept.

    Args:
        go_on: What to do then.

    Raises:
        DiskFull: When an error inside says that the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not files.disk_is_full(error) or (isinstance(error, DiskFull) and error.go_on):
            raise
        raise DiskFull(files.why_full(error), go_on) from error


def require_writable(folder: Path, key: str) -> list[str]:
    """Return the sentence for a folder that is not writable; empty if it is."""
    if files.is_writable(folder):
        return []
    return [problem(key, "cannot be written", got=str(folder), fix=f"choose another folder with {key}=DIR")]


def raise_all(problems: list[str]) -> None:
    """Raise one ConfigError for all problems, if there are any."""
    if problems:
        raise ConfigError(problems)
