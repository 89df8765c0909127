"""One process for each device (`trainer.devices=2`), all of which learn one fold together.

The run is planned and checked once, here; every process gets the same resolved configuration and its number, never a
command line to read again. The first process writes records, states and curves and reports; one that fails or dies ends
the others, because they would wait for it for ever.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlpipe.config.schema import RunConfig
from mlpipe.data.sampling import Shard
from mlpipe.errors import (
    INPUT_IS_WRONG,
    STEP_FAILED,
    STOPPED_RESUMABLE,
    DataError,
    DiskFull,
    Interrupted,
    TrainingError,
)
from mlpipe.running.processes import child_processes
from mlpipe.running.processes.child_processes import Relay, Send, Worker
from mlpipe.running.steps import Follower, RunContext, Stop
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

log = logging.getLogger("mlpipe")

# Seconds that the others have to end by themselves when one has, before they are killed.
_GRACE = 5.0


def run(config: RunConfig, context: RunContext, of_run: Run, step: str, count: int) -> None:
    """Do a step that trains a fold in several processes.

    Args:
        config: The run's configuration.
        context: The project, the display and the request to stop.
        of_run: The run.
        step: The step's name in the plan.
        count: How many processes.

    Raises:
        Interrupted: When asked to stop; every process has ended, the state of the last saved epoch stays.
        MlpipeError: What ended one of the processes.
    """
    with tempfile.TemporaryDirectory(prefix="mlpipe-") as folder:
        group: list[Worker] = []
        try:
            for number in range(count):
                shard = Shard(number, count)
                group.append(child_processes.start(_work, config, of_run, step, shard, f"{folder}/meeting"))
            _follow(group, context)
        finally:
            for worker in group:
                worker.process.kill()
                worker.process.join()
            context.display.close()
    if group[0].outcome is None or group[0].outcome.event != "done":
        _raise(group, context, f"mml {config.mode} continue={of_run.name}")


def _follow(group: Sequence[Worker], context: RunContext) -> None:
    """Listen until all have ended; when one has ended badly, the others have a few seconds."""

    def take(place: int, kind: str, facts: list[Any]) -> None:
        if kind == "start":
            context.display.start(*facts)
        elif kind == "progress":
            context.display.update(*facts)
        elif kind == "epoch" and context.follower is not None:
            context.follower.epoch(*facts)

    told, deadline = False, float("inf")
    while any(worker.messages for worker in group) and time.monotonic() < deadline:
        if context.stop() and not told:
            told = True
            for worker in group:
                # Lightning's answer to SIGTERM talks to the other processes, which may be busy.
                worker.ask_to_stop(signal.SIGUSR1)
        child_processes.listen(group, take, timeout=_GRACE)
        if deadline == float("inf") and any(worker.outcome and worker.outcome.event != "done" for worker in group):
            deadline = time.monotonic() + _GRACE


def _raise(group: Sequence[Worker], context: RunContext, go_on: str) -> None:
    """Raise what ended the group: of several errors the one that is no consequence of another."""
    if context.stop():
        raise Interrupted("stopped as asked")
    ended = [
        (number, worker.outcome)
        for number, worker in enumerate(group, 1)
        if worker.outcome is not None and worker.outcome.event in ("failed", "died")
    ]
    number, first = min(ended, key=lambda one: (not one[1].is_known, one[1].event == "failed"))
    log.debug(first.traceback)
    if first.is_known:
        kinds = {INPUT_IS_WRONG: DataError, STOPPED_RESUMABLE: DiskFull}
        raise kinds.get(first.exit_code, TrainingError)(first.error)
    error = first.error
    if "finished reduction in the prior iteration" in error:
        error = "the network has parameters that no output depends on; use trainer.devices=1, or freeze them"
    raise TrainingError(f"device {number} of {len(group)}: {error}; what is done is kept; to go on: {go_on}")


def _work(
    messages: Connection,
    verbosity: int,
    config: RunConfig,
    of_run: Run,
    step: str,
    shard: Shard,
    meeting_point: str,
) -> None:
    """What a process of the device group does: meet the others, plan again, and do the step.

    Args:
        messages: The pipe to the process that started this one.
        verbosity: The least level of what is logged.
        config: The run's configuration.
        of_run: The run.
        step: The step.
        shard: Which of the processes it is.
        meeting_point: The file by which they find each other.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def do(send: Send, stop: Stop) -> None:
        from mlpipe.learn.machine import device_group, hardware

        follower = Follower(lambda name: None, lambda *facts: send("epoch", *facts))
        context = RunContext(Project(config.project_dir), Relay(send), stop, follower=follower, shard=shard)
        device_group.join(shard, meeting_point, hardware.backend(config.recipe.trainer))
        by_name = {one.name: one for one in config.scheduler.build(config, context).plan()}
        by_name[step].call(of_run)

    # What Lightning reads to know that processes are started for it, and which one this is.
    os.environ |= {"LOCAL_RANK": str(shard.rank), "NODE_RANK": "0"}
    outcome = child_processes.work(
        messages, verbosity, signal.SIGUSR1, do, is_heard=lambda stop: shard.rank == 0 or stop.asked
    )
    # Without the usual end: a group of processes of which one is gone cannot be dissolved.
    sys.stdout.flush()
    os._exit(0 if outcome.event == "done" else STEP_FAILED)
