"""Steps of a plan, the project around them, and the signal to stop."""

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

# Programs that start others often pass a signal on that the terminal has sent to all of them already.
_SAME_WISH = 0.5


# How to go on with what left nothing behind.
AGAIN = "then run the same command again"


class Stop:
    """Remembers that somebody asked to stop; asked twice, it stops at once.

    Args:
        at_once: What the second Ctrl-C or SIGTERM does; None raises KeyboardInterrupt, which leaves a notebook running.

    Attributes:
        meanwhile: What is done first once somebody has asked, in words.
        go_on: How to go on once it has stopped, in words; empty where there is nothing to go on with.
        completed: Makes of `go_on` what a person is told who has asked twice: adds where the project lies, and what else is left.
    """

    meanwhile, go_on = "stopping after this batch", "run the same command again"

    def __init__(self, at_once: Callable[[str], None] | None = None) -> None:
        self.asked = False
        self._at_once, self._ended_at = at_once, math.inf
        self.completed: Callable[[str], str] = str

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    def check(self) -> None:
        """Stop here if asked to.

        Raises:
            Interrupted: When asked.
        """
        if self.asked:
            raise Interrupted("stopped as asked")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and SIGUSR1 into the wish to stop; only the main thread can."""
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
        # SIGUSR1 comes some time before SIGTERM where a cluster preempts a job, and is no reason to hurry then.
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
    """Somebody's wish to stop, or the end of a time.

    Args:
        wish: Whose wish.
        at: The end, on the clock of `time.monotonic`; infinity: there is none.
    """

    def __init__(self, wish: Stop, at: float) -> None:
        self._wish, self._end_time = wish, at
        super().__init__()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # Who asks a second time asked the first time perhaps before this time began, and wants an end of everything.
        self._wish._handle(number, frame)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._wish() or self.left() <= 0

    def check(self) -> None:
        """Stop here if asked to, or where the time is over.

        Raises:
            Interrupted: Then.
        """
        self._wish.check()
        if self.left() <= 0:
            raise Interrupted("the time is over")

    def left(self) -> float:
        """Seconds that are left."""
        return self._end_time - time.monotonic()

    @property
    def asked(self) -> bool:
        """Whether somebody asked to stop."""
        return self._wish.asked

    @asked.setter
    def asked(self, value: bool) -> None:
        # The end of a time is nobody's wish: a new one has none.
        self._wish.asked = self._wish.asked or value


def end_process(go_on: str) -> None:
    """End this process and all that it started, with 130: what is written is whole, so that nothing need be waited for.

    Args:
        go_on: As of `Stop`.
    """
    for child in multiprocessing.active_children():
        child.kill()
    # Live lines need no end: their cursor is never hidden, and what follows stands below them.
    clause = f"; what is saved is kept; {go_on}" if go_on else ""
    os.write(2, f"\ninterrupted twice{clause}\n".encode())
    os._exit(INTERRUPTED_TWICE)


@dataclass(frozen=True)
class Follower:
    """A follower of a run from outside, such as a search; raising in `epoch` ends the step.

    Attributes:
        run: Told the run's name when its folder exists.
        epoch: Told the fold's position, the epoch, the most epochs of a fold and the monitor after every epoch.
        history: Told the fold and all its epochs so far before each one and at the end, where this process trains; None:
            nobody is.
    """

    run: Callable[[str], None]
    epoch: Callable[[int, int, int, float], None]
    history: Callable[[int, Sequence[Mapping[str, float]]], None] | None = None


@dataclass(frozen=True)
class RunContext:
    """The surroundings of a mode.

    Attributes:
        project: The project.
        display: Shows progress.
        stop: Whether somebody asked to stop.
        facts: Collected for `--json` and for callers in Python.
        follower: Who follows the run from outside.
        command: The command line that a new run is noted with.
        shard: In one of several processes that learn a fold together, its part; else None.
        started: When the command began, on the clock of `time.monotonic`.
        told: What has been told of unreadable images, and is told once in a run.
        is_part: Whether what is done is a part of more, such as a training or a sweep, whose end tells a person the result.
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
        name: Unique in the plan.
        call: Does it, given the run (None for steps that only touch the data folder).
        in_project: False for steps that only touch the data folder; they run before the run's folder exists.
        lane: Steps of different lanes that follow each other may run side by side; None waits for all before it.
    """

    name: str
    call: Callable[[Run | None], None]
    in_project: bool = True
    lane: int | None = None


@contextmanager
def full_disk(go_on: str) -> Iterator[None]:
    """Add to the error of a full disk how to go on once there is space again; the innermost one knows best.

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
    """The sentence for a folder that cannot be written, if it cannot."""
    if files.is_writable(folder):
        return []
    return [problem(key, "cannot be written", got=str(folder), fix=f"choose another folder with {key}=DIR")]


def raise_all(problems: list[str]) -> None:
    """Raise one ConfigError for all problems, if there are any."""
    if problems:
        raise ConfigError(problems)
