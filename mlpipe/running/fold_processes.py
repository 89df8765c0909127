"""`sys.fold_workers`: folds of one run side by side, each in a process of its own that shares the cache.

A lane is the steps of one fold in their order. Every lane gets a process, at most `workers` at a time, forked from a
server that has imported what training needs and nothing else: a process in which torch has computed, or that holds a
GPU, must not be forked. A process plans the run again from its configuration and does the steps of its lane; the
journal, the log and the progress bar stay the parent's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from mlpipe import files
from mlpipe.config.schema import RunConfig
from mlpipe.errors import (
    INPUT_IS_WRONG,
    STEP_FAILED,
    STOPPED_RESUMABLE,
    DataError,
    DiskFull,
    Interrupted,
    MlpipeError,
    TrainingError,
    in_short,
)
from mlpipe.reports.progress import Display
from mlpipe.running import processes, scheduler
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

    from mlpipe.running.scheduler import Step, World

log = logging.getLogger("mlpipe")

_DEVICES = "CUDA_VISIBLE_DEVICES"


def workers(wanted: int | str, threads: int, lanes: int) -> int:
    """How many lanes run at a time.

    Args:
        wanted: `sys.fold_workers`; `auto`: one for each GPU, without one the cores divided by the threads.
        threads: Threads of torch in each.
        lanes: How many there are.
    """
    from mlpipe.config.assemble import cores

    if wanted == "auto":
        wanted = len(devices()) or max(1, cores() // threads)
    count = min(int(wanted), lanes)
    if count > 1 and not devices() and count * threads > cores():
        log.info(
            f"{count} folds with {threads} threads each share {cores()} cores; sys.threads={max(1, cores() // count)} "
            "would fit (it changes rounding, so it is never changed for you)"
        )
    return count


def devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; counted without taking one."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = [name.strip() for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def free_device(gpus: Sequence[str], taken: Sequence[str | None]) -> str | None:
    """The GPU for a lane that starts: the first of those that the fewest running lanes have; None without GPUs.

    Args:
        gpus: All of them.
        taken: Those of the running lanes.
    """
    return min(gpus, key=taken.count) if gpus else None


def blocks(steps: Sequence[Step]) -> list[list[list[Step]]]:
    """Steps in groups that follow each other; the lanes of a group may run side by side.

    A step without a lane waits for all before it, and all after it wait for it.
    """
    found: list[list[list[Step]]] = []
    open_lanes: dict[int, list[Step]] | None = None
    for step in steps:
        if step.lane is None:
            found.append([[step]])
            open_lanes = None
            continue
        if open_lanes is None:
            open_lanes = {}
            found.append([])
        if step.lane not in open_lanes:
            open_lanes[step.lane] = []
            found[-1].append(open_lanes[step.lane])
        open_lanes[step.lane].append(step)
    return found


@dataclass
class _Lane:
    """One lane's process, as the parent sees it."""

    steps: list[Step]
    device: str | None
    process: ForkServerProcess | None = None
    messages: Connection | None = None
    current: str = ""
    share: float = 0.0
    shown: str = ""
    outcome: dict[str, Any] = field(default_factory=dict)


def run(config: RunConfig, world: World, of_run: Run, lanes: Sequence[list[Step]], at_once: int) -> None:
    """Do all lanes; one that fails or dies leaves the others running.

    Args:
        config: The run's configuration.
        world: The project, the display, the wish to stop.
        of_run: The run; its journal is written here only.
        lanes: The steps of each lane, in their order.
        at_once: Processes at a time.

    Raises:
        Interrupted: When asked to stop; every process has saved its state or has ended.
        DiskFull: When a process found no room.
        TrainingError: With a sentence for every step that failed, when all lanes have ended.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(processes.PRELOADED)
    gpus = devices()
    waiting = deque(_Lane(steps, None) for steps in lanes)
    everyone, told = list(waiting), False
    running: list[_Lane] = []
    world.display.start(f"{len(lanes)} folds", 1000 * len(lanes))
    try:
        while waiting or running:
            told = told or (world.stop() and _tell(running))
            while waiting and len(running) < at_once and not world.stop():
                lane = waiting.popleft()
                lane.device = free_device(gpus, [other.device for other in running])
                _start(context, lane, config, of_run)
                running.append(lane)
            if world.stop():
                waiting.clear()
            _listen(running, of_run)
            running = [lane for lane in running if not _ended(lane, of_run, asked=world.stop())]
            _show(everyone, world.display)
    except BaseException:
        for lane in running:
            assert lane.process is not None
            lane.process.kill()
        for lane in running:
            # What ended them all may be a disk that has no room for this either.
            with suppress(OSError):
                of_run.note(lane.current or lane.steps[0].name, "interrupted")
        raise
    finally:
        world.display.close()
    _raise(everyone, world, config.mode, of_run)


def _start(context: Any, lane: _Lane, config: RunConfig, of_run: Run) -> None:
    lane.messages, theirs = context.Pipe(duplex=False)
    names = [step.name for step in lane.steps]
    own = _Own(lane.device, log.getEffectiveLevel(), multiprocessing.get_start_method())
    lane.process = context.Process(target=_work, args=(theirs, config, of_run, names, own))
    assert lane.process is not None
    lane.process.start()
    theirs.close()


def _tell(running: Sequence[_Lane]) -> bool:
    """Pass the wish to stop on, once."""
    for lane in running:
        if lane.process is not None and lane.process.pid is not None and lane.process.is_alive():
            os.kill(lane.process.pid, signal.SIGTERM)
    return True


def _listen(running: Sequence[_Lane], of_run: Run) -> None:
    by_pipe = {lane.messages: lane for lane in running if lane.messages is not None}
    for pipe in connection.wait(list(by_pipe), timeout=0.2):
        assert isinstance(pipe, connection.Connection)
        _take(by_pipe[pipe], of_run)


def _take(lane: _Lane, of_run: Run) -> None:
    """One message of a lane, if its process has not ended."""
    assert lane.messages is not None
    try:
        kind, *rest = lane.messages.recv()
    except (EOFError, OSError):
        lane.messages.close()
        lane.messages = None
        return
    if kind == "start":
        (lane.current,) = rest
        of_run.note(lane.current, "start", pid=lane.process.pid if lane.process else None)
    elif kind == "done":
        name, seconds = rest
        of_run.note(name, "done", seconds=seconds)
        lane.current = ""
    elif kind == "note":
        name, event, noted = rest
        of_run.note(name, event, **noted)
    elif kind == "log":
        level, text = rest
        log.log(level, text)
    elif kind == "progress":
        lane.shown, lane.share = rest
    elif kind == "end":
        (lane.outcome,) = rest


def _ended(lane: _Lane, of_run: Run, *, asked: bool) -> bool:
    """Whether a lane's process has ended and said all; what it did not finish is noted."""
    if lane.messages is not None:
        return False
    assert lane.process is not None
    lane.process.join()
    lane.shown, lane.share = "", 1.0
    code = lane.process.exitcode
    if not lane.outcome:
        stopped = asked and code in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1)
        error = f"its process {processes.how_it_ended(code)}"
        lane.outcome = {"event": "interrupted" if stopped else "failed", "error": error}
    event = lane.outcome["event"]
    if event != "done":
        facts = {"error": lane.outcome["error"]} if event == "failed" else {}
        of_run.note(lane.current or lane.steps[0].name, event, **facts)
    if event == "failed":
        lane.outcome["step"] = lane.current or lane.steps[0].name
        log.error(f"{lane.outcome['step']} failed: {lane.outcome['error']}")
        log.debug(lane.outcome.get("traceback", ""))
    return True


def _show(lanes: Sequence[_Lane], display: Display) -> None:
    shown = [lane.shown for lane in lanes if lane.shown]
    if not any(lane.share for lane in lanes):
        return
    display.update(round(1000 * sum(min(lane.share, 1.0) for lane in lanes)), " | ".join(shown))


def _raise(lanes: Sequence[_Lane], world: World, mode: str, of_run: Run) -> None:
    go_on = f"mml {mode} continue={of_run.name}"
    failed = [lane.outcome for lane in lanes if lane.outcome.get("event") == "failed"]
    if world.stop():
        raise Interrupted(f"stopped; to go on: {go_on}")
    if not failed:
        return
    if any(outcome.get("exit_code") == STOPPED_RESUMABLE for outcome in failed):
        raise DiskFull("the disk is full", f"to go on: {go_on}")
    if all(outcome.get("exit_code") == INPUT_IS_WRONG for outcome in failed):
        raise DataError(list(dict.fromkeys(outcome["error"] for outcome in failed)))
    sentences = [f"{outcome['step']}: {outcome['error']}" for outcome in failed]
    raise TrainingError("\n".join([*sentences, f"what is done is kept; to go on: {go_on}"]))


@dataclass(frozen=True)
class _Own:
    """What a lane's process is told besides its steps.

    Attributes:
        device: The GPU that it takes.
        verbosity: What it logs.
        start_method: How its loader processes start.
    """

    device: str | None
    verbosity: int
    start_method: str


@dataclass(frozen=True)
class _ToldRun(Run):
    """A run whose journal the parent writes.

    Attributes:
        send: Sends a message.
    """

    send: Callable[..., None]

    def note(self, step: str, event: str, **facts: Any) -> None:
        self.send("note", step, event, facts)


class _Progress(Display):
    """Sends progress to the parent, a few times a second.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        self._send, self._sent, self._what, self._total = send, 0.0, "", 1

    def start(self, what: str, total: int, done: int = 0) -> None:
        self._what, self._total = what, max(total, 1)

    def update(self, done: int, what: str = "", facts: str = "") -> None:
        now = time.perf_counter()
        if now - self._sent >= processes.EVERY:
            self._sent = now
            self._send("progress", what or self._what, min(done / self._total, 0.999))

    def close(self) -> None:
        pass


def _work(
    messages: Connection,
    config: RunConfig,
    of_run: Run,
    names: Sequence[str],
    own: _Own,
) -> None:
    """What a lane's process does: plan again, do its steps, tell the parent."""
    # A child of a server of forks would start its loader processes through another one, which cannot share the images.
    multiprocessing.set_start_method(own.start_method, force=True)
    stop = scheduler.Stop()
    # Ctrl-C reaches every process of the terminal; the parent alone decides, and passes the wish on as SIGTERM.
    # So do USR1 and USR2 in a Slurm job, which signals all processes of it.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: setattr(stop, "asked", True))
    if own.device is not None:
        os.environ[_DEVICES] = own.device

    send = processes.sender(messages, stop)
    processes.send_log(send, own.verbosity)
    outcome = _do(send, config, of_run, names, stop)
    send("end", outcome)
    messages.close()
    sys.exit(0 if outcome["event"] == "done" else STEP_FAILED)


def _do(
    send: Callable[..., None], config: RunConfig, of_run: Run, names: Sequence[str], stop: scheduler.Stop
) -> dict[str, Any]:
    import traceback

    try:
        world = scheduler.World(Project(config.project_dir), _Progress(send), stop)
        steps: Mapping[str, Step] = {step.name: step for step in config.scheduler.build(config, world).plan()}
        for name in names:
            stop.check()
            send("start", name)
            started = time.perf_counter()
            steps[name].call(_ToldRun(of_run.name, of_run.folder, send))
            send("done", name, round(time.perf_counter() - started, 3))
    except Interrupted:
        return {"event": "interrupted"}
    except MlpipeError as error:
        return {"event": "failed", "error": str(error), "exit_code": error.exit_code}
    except Exception as error:
        if files.disk_is_full(error):
            return {"event": "failed", "error": "the disk is full", "exit_code": STOPPED_RESUMABLE}
        return {
            "event": "failed",
            "error": in_short(error),
            "exit_code": STEP_FAILED,
            "traceback": traceback.format_exc(),
        }
    return {"event": "done"}
