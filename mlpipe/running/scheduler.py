"""How every mode runs: a plan of resumable steps, done in order, each noted in the run's journal."""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import platform
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import mlpipe
from mlpipe import files
from mlpipe.config import snapshot
from mlpipe.config.schema import RunConfig
from mlpipe.errors import INTERRUPTED_TWICE, ConfigError, DiskFull, Interrupted, MlpipeError, problem
from mlpipe.reports.progress import Display
from mlpipe.runs import continuing, journal, sweeping
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
    """

    def __init__(self, at_once: Callable[[], None] | None = None) -> None:
        self.asked = False
        self._at_once, self._ended_at = at_once, math.inf

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
                self._at_once()
            self._ended_at = min(self._ended_at, now)
        if not self.asked:
            self.asked = True
            log.warning("stopping after this batch; press Ctrl-C again to stop at once")


def end_process() -> None:
    """End this process and all that it started, with 130: what is written is whole, so that nothing need be waited for."""
    for child in multiprocessing.active_children():
        child.kill()
    os.write(2, b"\ninterrupted twice; what is saved is kept, and continue=latest goes on from it\n")
    os._exit(INTERRUPTED_TWICE)


@dataclass(frozen=True)
class Follower:
    """Who follows a run from outside, such as a search; raising in `epoch` ends the step.

    Attributes:
        run: Told the run's name when its folder exists.
        epoch: Told the fold's position, the epoch, the most epochs of a fold and the monitor after every epoch.
    """

    run: Callable[[str], None]
    epoch: Callable[[int, int, int, float], None]


@dataclass(frozen=True)
class World:
    """What a mode has around it.

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


class Scheduler(ABC):
    """Plans and runs one mode. A subclass takes the mode's keys as keyword-only parameters.

    Args:
        run_config: The checked configuration.
        world: The project, the display, the wish to stop.
    """

    def __init__(self, run_config: RunConfig, world: World) -> None:
        self.run_config, self.world = run_config, world

    @abstractmethod
    def plan(self) -> list[Step]:
        """All steps in their order; lists every problem that needs the data to be seen.

        Raises:
            ConfigError: With a sentence for every problem.
            DataError: Likewise.
        """

    def recipe_hash(self) -> str:
        """What groups the records of this run with others; empty for modes that make none."""
        return ""

    def run(self, resumed: Run | None = None) -> None:
        """Do every step that is not done.

        Args:
            resumed: The run to continue; None starts a new one.
        """
        go_on = self._to_go_on(resumed) if resumed else AGAIN
        with full_disk(go_on), self.world.stop.listening(), resumed.running() if resumed else nullcontext():
            steps = self.plan()
            self._prepare_data([step for step in steps if not step.in_project])
            of_project = [step for step in steps if step.in_project]
            if resumed:
                self._run_in_project(of_project, resumed)
            elif of_project:
                self._mention_unfinished()
                started = self.start(of_project)
                with full_disk(self._to_go_on(started)), started.running():
                    self._run_in_project(of_project, started)

    def _to_go_on(self, run: Run) -> str:
        return f"to go on: mml {self.run_config.mode} continue={run.name}"

    def _prepare_data(self, steps: list[Step]) -> None:
        """Steps that only touch the data folder; what they made is found again the next time."""
        try:
            for step in steps:
                self.world.stop.check()
                step.call(None)
            self.world.stop.check()
        except Interrupted:
            raise Interrupted(
                "stopped before anything was written to the project; run the same command again"
            ) from None

    def _run_in_project(self, steps: list[Step], run: Run) -> None:
        with _log_file(run.log_file):
            root = self.world.project.root
            for path in [*sweeping.sweep(root), *sweeping.sweep(root.parent, deep=False)]:
                log.debug(f"deleted {path}: the process that wrote it ended before it was whole")
            self.world.facts["run"] = run.name
            if self.world.follower:
                self.world.follower.run(run.name)
            done = run.done()
            if done:
                log.info(f"continues run {run.name}: {len(done)} of {len(steps)} steps are done")
            self._do_all([step for step in steps if step.name not in done], run)

    def _do_all(self, steps: list[Step], run: Run) -> None:
        """One step after the other, or lanes side by side where the configuration asks for it."""
        wanted = self.run_config.sys.fold_workers
        if wanted == 1:
            for step in steps:
                self._do(step, run)
            return
        from mlpipe.running import fold_processes

        for block in fold_processes.blocks(steps):
            at_once = fold_processes.workers(wanted, self.run_config.recipe.threads, len(block))
            if at_once > 1:
                fold_processes.run(self.run_config, self.world, run, block, at_once)
            else:
                for step in (step for lane in block for step in lane):
                    self._do(step, run)

    def start(self, steps: Sequence[Step]) -> Run:
        """A new run of steps of the plan, none of which is done; `run` or a process that continues it does them.

        Args:
            steps: Those that are done in the project.
        """
        number = continuing.next_number(self.world.project)
        run = journal.create(self.world.project)
        snapshot.save(self.run_config, run.folder / journal.CONFIG_FILE)
        versions = {"mlpipe": mlpipe.__version__, "python": platform.python_version(), "git": _git_commit(Path.cwd())}
        names = [step.name for step in steps]
        run.write_plan(names, self.recipe_hash(), versions, self.world.command, number)
        return run

    def _mention_unfinished(self) -> None:
        recipe = self.recipe_hash()
        for run in reversed(journal.all_runs(self.world.project) if recipe else []):
            if run.plan()["recipe"] == recipe and not run.is_finished():
                log.info(f"an unfinished run of this recipe exists; to go on with it: continue={run.name}")
                return

    def _do(self, step: Step, run: Run) -> None:
        run.note(step.name, "start")
        started = time.perf_counter()
        try:
            self.world.stop.check()
            step.call(run)
        except Interrupted:
            run.note(step.name, "interrupted")
            raise Interrupted(f"stopped; {self._to_go_on(run)}") from None
        except KeyboardInterrupt:
            run.note(step.name, "interrupted")
            raise
        except Exception as error:
            if files.disk_is_full(error):
                log.debug("the disk is full", exc_info=True)
                with suppress(OSError):
                    run.note(step.name, "interrupted")
                raise
            run.note(step.name, "failed", error=str(error))
            if not isinstance(error, MlpipeError):
                log.debug("a step failed", exc_info=True)
            raise
        run.note(step.name, "done", seconds=round(time.perf_counter() - started, 3))


def healed(run: Run, step: str, event: dict[str, Any]) -> None:
    """Tell a person and the journal what went wrong in a step and was mended."""
    log.warning(event["text"])
    run.note(step, "healed", **event)


@contextmanager
def full_disk(go_on: str) -> Iterator[None]:
    """Say of a full disk, in whatever words it is told, how to go on once there is room; the innermost one knows best.

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
        reason = error.reason if isinstance(error, DiskFull) else "the disk is full"
        raise DiskFull(reason, go_on) from error


def require_writable(folder: Path, key: str) -> list[str]:
    """The sentence for a folder that cannot be written, if it cannot."""
    if files.is_writable(folder):
        return []
    return [problem(key, "cannot be written", got=str(folder), fix=f"choose another folder with {key}=DIR")]


def raise_all(problems: list[str]) -> None:
    """Raise one ConfigError for all problems, if there are any."""
    if problems:
        raise ConfigError(problems)


class _LogFile(logging.FileHandler):
    """A log whose disk may be full: whatever is written next says so, with what to do."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report what went wrong with a line, but for a full disk."""
        error = sys.exc_info()[1]
        if error is None or not files.disk_is_full(error):
            super().handleError(record)


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Write everything that is logged, tracebacks included, to the run's log file."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    warnings_log = logging.getLogger("py.warnings")
    for logger in (log, warnings_log):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in (log, warnings_log):
            logger.removeHandler(handler)
        handler.close()


def _git_commit(folder: Path) -> str | None:
    """The commit of the folder that the user works in, read from .git; None outside a repository."""
    for parent in (folder, *folder.parents):
        head = parent / ".git" / "HEAD"
        if head.is_file():
            content = head.read_text("utf-8").strip()
            if not content.startswith("ref: "):
                return content
            ref = parent / ".git" / content[5:]
            return ref.read_text("utf-8").strip() if ref.is_file() else None
    return None
