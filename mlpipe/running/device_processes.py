"""`trainer.devices=2`: several processes learn one fold together, one for each device.

The run is planned and checked once, here; every process gets the same resolved configuration and its number, never a
command line to read again. The first process writes records, states and curves and reports; one that fails or dies ends
the others, because they would wait for it for ever.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import TYPE_CHECKING, Any

from mlpipe import files
from mlpipe.config.schema import RunConfig
from mlpipe.data.sampling import Shard
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

log = logging.getLogger("mlpipe")

# Seconds that the others have to end by themselves when one has, before they are killed.
_GRACE = 5.0


@dataclass
class _Rank:
    """One process of the team, as the parent sees it."""

    number: int
    process: ForkServerProcess
    messages: Connection | None
    outcome: dict[str, Any] = field(default_factory=dict)


def run(config: RunConfig, world: scheduler.World, of_run: Run, step: str, count: int) -> None:
    """Do a step that trains a fold in several processes.

    Args:
        config: The run's configuration.
        world: The project, the display, the wish to stop.
        of_run: The run.
        step: The step's name in the plan.
        count: How many processes.

    Raises:
        Interrupted: When asked to stop; every process has ended, the state of the last saved epoch stays.
        MlpipeError: What ended one of the processes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*processes.PRELOADED, "mlpipe.running.device_processes"])
    with tempfile.TemporaryDirectory(prefix="mlpipe-") as folder:
        team: list[_Rank] = []
        try:
            for number in range(count):
                ours, theirs = context.Pipe(duplex=False)
                given = (
                    theirs,
                    config,
                    of_run,
                    step,
                    Shard(number, count),
                    f"{folder}/meeting",
                    log.getEffectiveLevel(),
                )
                process = context.Process(target=_work, args=given)
                process.start()
                theirs.close()
                team.append(_Rank(number, process, ours))
            _follow(team, world)
        finally:
            for rank in team:
                rank.process.kill()
                rank.process.join()
            world.display.close()
    if team[0].outcome.get("event") != "done":
        _raise(team, world, f"mml {config.mode} continue={of_run.name}")


def _follow(team: Sequence[_Rank], world: scheduler.World) -> None:
    """Listen until all have ended; when one has ended badly, the others have a few seconds."""
    told, deadline = False, float("inf")
    while any(rank.messages for rank in team) and time.monotonic() < deadline:
        if world.stop() and not told:
            told = True
            for rank in team:
                if rank.process.pid is not None and rank.process.is_alive():
                    # Lightning's answer to SIGTERM talks to the other processes, which may be busy.
                    os.kill(rank.process.pid, signal.SIGUSR1)
        by_pipe = {rank.messages: rank for rank in team if rank.messages is not None}
        for pipe in connection.wait(list(by_pipe), timeout=0.2):
            assert isinstance(pipe, connection.Connection)
            _take(by_pipe[pipe], world)
        if deadline == float("inf") and any(_ended_badly(rank) for rank in team):
            deadline = time.monotonic() + _GRACE


def _ended_badly(rank: _Rank) -> bool:
    return bool(rank.outcome) and rank.outcome["event"] != "done"


def _take(rank: _Rank, world: scheduler.World) -> None:
    """One message of a process, or the note that it has ended."""
    assert rank.messages is not None
    try:
        kind, *rest = rank.messages.recv()
    except (EOFError, OSError):
        rank.messages.close()
        rank.messages = None
        rank.process.join(timeout=_GRACE)
        code = rank.process.exitcode
        if not rank.outcome:
            rank.outcome = {"event": "died", "error": f"its process {processes.how_it_ended(code)}"}
        return
    if kind == "log":
        log.log(*rest)
    elif kind == "start":
        world.display.start(*rest)
    elif kind == "progress":
        world.display.update(*rest)
    elif kind == "epoch":
        if world.follower is not None:
            world.follower.epoch(*rest)
    elif kind == "end":
        (rank.outcome,) = rest


def _raise(team: Sequence[_Rank], world: scheduler.World, go_on: str) -> None:
    """Raise what ended the team: of several errors the one that is no consequence of another."""
    if world.stop():
        raise Interrupted("stopped as asked")
    order = {"refused": 0, "died": 1, "failed": 2}
    ended = [rank for rank in team if rank.outcome.get("event") in order]
    first = min(ended, key=lambda rank: order[rank.outcome["event"]])
    log.debug(first.outcome.get("traceback", ""))
    error = str(first.outcome["error"])
    if first.outcome["event"] == "refused":
        kinds = {INPUT_IS_WRONG: DataError, STOPPED_RESUMABLE: DiskFull}
        raise kinds.get(first.outcome["exit_code"], TrainingError)(error)
    which = f"device {first.number + 1} of {len(team)}"
    raise TrainingError(f"{which}: {error}; what is done is kept; to go on: {go_on}")


class _Relayed(Display):
    """Sends progress to the parent, a few times a second.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        self._send, self._sent = send, 0.0

    def start(self, what: str, total: int, done: int = 0) -> None:
        self._send("start", what, total, done)

    def update(self, done: int, what: str = "", facts: str = "") -> None:
        now = time.perf_counter()
        if now - self._sent >= processes.EVERY:
            self._sent = now
            self._send("progress", done, what, facts)

    def close(self) -> None:
        pass


def _work(
    messages: Connection, config: RunConfig, of_run: Run, step: str, shard: Shard, meeting_point: str, verbosity: int
) -> None:
    """What a process of the team does: meet the others, plan again, do the step, tell the parent."""
    stop = scheduler.Stop()
    # The parent alone decides, and passes the wish on as SIGUSR1.
    for number in (signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGUSR1, lambda number, frame: setattr(stop, "asked", True))

    send = processes.sender(messages, stop)

    def send_first(*message: Any) -> None:
        if shard.rank == 0 or stop.asked:
            send(*message)

    processes.send_log(send_first, verbosity)
    # What Lightning reads to know that processes are started for it, and which one this is.
    os.environ |= {"LOCAL_RANK": str(shard.rank), "NODE_RANK": "0"}
    follower = scheduler.Follower(lambda name: None, lambda *facts: send_first("epoch", *facts))
    world = scheduler.World(Project(config.project_dir), _Relayed(send_first), stop, follower=follower, shard=shard)
    outcome = _do(config, world, of_run, step, shard, meeting_point)
    send("end", outcome)
    messages.close()
    # Without the usual end: a group of processes of which one is gone cannot be dissolved.
    sys.stdout.flush()
    os._exit(0 if outcome["event"] == "done" else STEP_FAILED)


def _do(
    config: RunConfig, world: scheduler.World, of_run: Run, step: str, shard: Shard, meeting_point: str
) -> dict[str, Any]:
    import traceback

    from mlpipe.learn import device_group as team
    from mlpipe.learn import hardware

    try:
        team.join(shard, meeting_point, hardware.backend(config.recipe.trainer))
        steps = {one.name: one for one in config.scheduler.build(config, world).plan()}
        steps[step].call(of_run)
    except Interrupted:
        return {"event": "interrupted"}
    except MlpipeError as error:
        return {"event": "refused", "error": str(error), "exit_code": error.exit_code}
    except Exception as error:
        if files.disk_is_full(error):
            return {"event": "refused", "error": "the disk is full", "exit_code": STOPPED_RESUMABLE}
        text = in_short(error)
        if "finished reduction in the prior iteration" in text:
            text = "the network has parameters that no output depends on; use trainer.devices=1, or freeze them"
        return {"event": "failed", "error": text, "traceback": traceback.format_exc()}
    return {"event": "done"}
