"""Folds in parallel (`sys.fold_workers`), each in its own process that shares the cache.

A lane is the sequence of steps of one fold. Every lane gets a process, up to the configured number at a time. If one
fails or dies, the others keep running.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlpipe.config.schema import RunConfig
from mlpipe.errors import (
    INPUT_IS_WRONG,
    STOPPED_RESUMABLE,
    DataError,
    DiskFull,
    Interrupted,
    TrainingError,
    counted,
)
from mlpipe.reports.progress import Display, Line
from mlpipe.running.processes.child_processes import Outcome, Pool, Relay, Send, Worker, steps_by_name
from mlpipe.running.steps import RunContext, Step, Stop
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

log = logging.getLogger("mlpipe")

_DEVICES = "CUDA_VISIBLE_DEVICES"
# The maximum progress of a fold before its process has ended.
_NEARLY_ALL = 0.999
# The units of progress of a lane.
_SHARES = 1000


def workers(setting: int | str, threads: int, lanes: int) -> int:
    """Return how many lanes run at a time.

    Args:
        setting: `sys.fold_workers`; `auto`: one for each GPU; without a GPU, the cores divided by the threads.
        threads: Threads of torch in each process.
        lanes: The number of lanes.
    """
    from mlpipe.config.environment import cores

    count = lane_count(setting, threads, lanes)
    if count > 1 and not devices() and count * threads > cores():
        fitting = cores() // count
        log.info(
            f"{count} folds with {counted(threads, 'thread')} each share {counted(cores(), 'core')}; "
            + (
                f"sys.threads={fitting} would fit (it changes rounding, so it is never changed for you)"
                if 0 < fitting < threads
                else f"sys.fold_workers={max(1, cores() // threads)} would be as fast, with less memory"
            )
        )
    return count


def lane_count(setting: int | str, threads: int, lanes: int) -> int:
    """Return the same as `workers`, without messages to the user."""
    from mlpipe.config.environment import cores

    if setting == "auto":
        setting = len(devices()) or max(1, cores() // threads)
    return min(int(setting), lanes)


def devices() -> list[str]:
    """Return the GPUs available to this process, as CUDA_VISIBLE_DEVICES names them, without initialising any."""
    import torch

    if not torch.cuda.is_available():
        return []
    names = [name.strip() for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    return names or [str(number) for number in range(torch.cuda.device_count())]


def free_device(gpus: Sequence[str], lane_gpus: Sequence[str | None]) -> str | None:
    """Return the GPU for a new lane: the first one used by the fewest running lanes; None without GPUs.

    Args:
        gpus: All GPUs.
        lane_gpus: The GPUs of the running lanes.
    """
    return min(gpus, key=lane_gpus.count) if gpus else None


def blocks(steps: Sequence[Step]) -> list[list[list[Step]]]:
    """Return consecutive groups of steps; the lanes of a group may run in parallel.

    A step without a lane waits for all steps before it, and all steps after it wait for it.
    """
    groups: list[list[list[Step]]] = []
    open_lanes: dict[int, list[Step]] | None = None
    for step in steps:
        if step.lane is None:
            groups.append([[step]])
            open_lanes = None
            continue
        if open_lanes is None:
            open_lanes = {}
            groups.append([])
        if step.lane not in open_lanes:
            open_lanes[step.lane] = []
            groups[-1].append(open_lanes[step.lane])
        open_lanes[step.lane].append(step)
    return groups


@dataclass
class _Lane:
    """The steps of one fold, and the progress of its process."""

    steps: list[Step]
    worker: Worker | None = None
    device: str | None = None
    current: str = ""
    title: str = ""
    total: int = 1
    share: float = 0.0
    shown: Line | None = None
    failed_step: str = ""

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of its process."""
        return self.worker.outcome if self.worker else None

    def take(self, kind: str, facts: list[Any], of_run: Run) -> None:
        """Handle one message of its process."""
        if kind == "begin":
            (self.current,) = facts
            of_run.note(self.current, "start", pid=self.worker.process.pid if self.worker else None)
        elif kind == "done":
            name, seconds = facts
            of_run.note(name, "done", seconds=seconds)
            self.current = ""
        elif kind == "note":
            name, event, noted = facts
            of_run.note(name, event, **noted)
        elif kind == "start":
            self.title, self.total = facts[0], max(facts[1], 1)
            self.shown = Line(self.title, self.share)
        elif kind == "progress":
            count, label, known, left = facts
            # The steps after a training restart at 0.
            self.share = max(self.share, min(count / self.total, _NEARLY_ALL))
            self.shown = Line(label or self.title, min(count / self.total, 1.0), known, left)

    def has_ended(self, of_run: Run, *, asked: bool) -> bool:
        """Return whether its process has ended and all messages were read; record what it did not finish.

        Args:
            of_run: The run.
            asked: Whether it was asked to stop.
        """
        outcome = self.outcome
        if self.worker is None or self.worker.messages is not None or outcome is None:
            return False
        self.shown, self.share = None, 1.0
        code, last = self.worker.process.exitcode, self.current or self.steps[0].name
        stopped = asked and code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1)
        if outcome.event == "interrupted" or (outcome.event == "died" and stopped):
            of_run.note(last, "interrupted")
        elif outcome.event != "done":
            of_run.note(last, "failed", error=outcome.error)
            self.failed_step = last
            log.error(f"{last} failed: {outcome.error}")
            log.debug(outcome.traceback)
        return True


def run(config: RunConfig, context: RunContext, of_run: Run, lanes: Sequence[list[Step]], at_once: int) -> None:
    """Run all lanes; if one fails or dies, the others keep running.

    Args:
        config: The run's configuration.
        context: The project, the display and the request to stop.
        of_run: The run; its journal is written only here.
        lanes: The steps of each lane, in order.
        at_once: The maximum number of processes at a time.

    Raises:
        Interrupted: When asked to stop; every process has saved its state or has ended.
        DiskFull: When a process ran out of disk space.
        TrainingError: With a sentence for every failed step, after all lanes have ended.
    """
    gpus = devices()
    everyone = [_Lane(steps) for steps in lanes]
    waiting, running = deque(everyone), list[_Lane]()
    title, is_timed = (f"{len(lanes)} folds", _SHARES * len(lanes)), False
    context.display.start(f"{title[0]}, starting", title[1])
    # A single loop starts processes, passes on requests to stop, reads messages, and removes ended processes. Only this
    # process writes the journal, so that its lines never mix.
    try:
        with Pool(context.stop, signal.SIGTERM) as pool:

            def take(worker: Worker, kind: str, facts: list[Any]) -> None:
                next(lane for lane in running if lane.worker is worker).take(kind, facts, of_run)

            while waiting or running:
                if context.stop():
                    waiting.clear()
                while waiting and len(running) < at_once and not context.stop():
                    lane = waiting.popleft()
                    lane.device = free_device(gpus, [other.device for other in running])
                    names = [step.name for step in lane.steps]
                    own = lane.device, multiprocessing.get_start_method(), context.started
                    lane.worker = pool.start(_do_lane, config, of_run, names, *own)
                    running.append(lane)
                pool.listen(take)
                # Check the messages too: an ended process may have left messages in its pipe about its last steps.
                running = [lane for lane in running if not lane.has_ended(of_run, asked=context.stop())]
                if not is_timed and running and all(lane.share for lane in running):
                    # Until then, processes only started: the time estimate of folds begins here.
                    context.display.start(*title, done=_share(everyone))
                    is_timed = True
                _show(everyone, context.display, _share(everyone) if is_timed else 0)
    except BaseException:
        for lane in running:
            # If a full disk ended all of them, this note cannot be written either.
            with suppress(OSError):
                of_run.note(lane.current or lane.steps[0].name, "interrupted")
        raise
    finally:
        context.display.close()
    _raise(everyone, context, config.mode, of_run)


def _show(lanes: Sequence[_Lane], display: Display, count: int) -> None:
    lines = [lane.shown for lane in lanes if lane.shown is not None]
    if lines:
        display.update(count, beside=lines)


def _share(lanes: Sequence[_Lane]) -> int:
    """Return the progress of all lanes, in units of a lane."""
    return round(_SHARES * sum(min(lane.share, 1.0) for lane in lanes))


def _raise(lanes: Sequence[_Lane], context: RunContext, mode: str, of_run: Run) -> None:
    go_on = f"mml {mode} continue={of_run.name}"
    failed = [(lane.failed_step, lane.outcome) for lane in lanes if lane.failed_step and lane.outcome is not None]
    if all(lane.outcome is not None and lane.outcome.event == "done" for lane in lanes):
        return
    if context.stop():
        raise Interrupted(f"stopped; to go on: {go_on}")
    if not failed:
        return
    known = [outcome.exit_code for _, outcome in failed if outcome.is_known]
    if STOPPED_RESUMABLE in known:
        reasons = [
            outcome.error for _, outcome in failed if outcome.exit_code == STOPPED_RESUMABLE and outcome.is_known
        ]
        raise DiskFull(reasons[0], f"to go on: {go_on}")
    if known == [INPUT_IS_WRONG] * len(failed):
        raise DataError(list(dict.fromkeys(outcome.error for _, outcome in failed)))
    sentences = [f"{step}: {outcome.error}" for step, outcome in failed]
    raise TrainingError("\n".join([*sentences, f"what is done is kept; to go on: {go_on}"]))


@dataclass(frozen=True)
class _ToldRun(Run):
    """A run whose journal another process writes.

    Attributes:
        send: Sends a message.
    """

    send: Send

    def note(self, step: str, event: str, **facts: Any) -> None:
        self.send("note", step, event, facts)


def _do_lane(
    send: Send,
    stop: Stop,
    config: RunConfig,
    of_run: Run,
    names: Sequence[str],
    device: str | None,
    start_method: str,
    started: float,
) -> None:
    """Do the work of a lane's process: plan again, and run its steps.

    Args:
        send: Sends a message to the parent process.
        stop: Whether it was asked to stop.
        config: The run's configuration.
        of_run: The run.
        names: The names of the steps.
        device: The GPU to use.
        start_method: The start method of its loader processes.
        started: The start time of the command, on the clock of `time.monotonic`, which all processes share.
    """
    # A child of a fork server would start its loader processes through another server, which cannot share the images.
    multiprocessing.set_start_method(start_method, force=True)
    if device is not None:
        os.environ[_DEVICES] = device
    steps = steps_by_name(config, RunContext(Project(config.project_dir), Relay(send), stop, started=started))
    for name in names:
        stop.check()
        send("begin", name)
        started = time.perf_counter()
        steps[name].call(_ToldRun(of_run.name, of_run.folder, send))
        send("done", name, round(time.perf_counter() - started, 3))
