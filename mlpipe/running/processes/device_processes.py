"""One process for each device (`trainer.devices=2`); all of them train one fold together.

The run is planned and checked once, here; every process receives the same resolved configuration and its number, never
a command line to parse again. The first process writes records, states and curves and reports; if one fails or dies,
the others are ended, because they would wait for it forever.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from mlpipe.config.schema import RunConfig
from mlpipe.data.sampling import Shard
from mlpipe.errors import INPUT_IS_WRONG, STOPPED_RESUMABLE, DataError, DiskFull, Interrupted, TrainingError
from mlpipe.running.processes.child_processes import Pool, Relay, Send, Worker, steps_by_name
from mlpipe.running.steps import Follower, RunContext, Stop
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

log = logging.getLogger("mlpipe")

# Seconds for the other processes to end by themselves before they are killed.
_GRACE = 5.0


def run(config: RunConfig, context: RunContext, of_run: Run, step: str, count: int) -> None:
    """Run a step that trains a fold in several processes.

    Args:
        config: The run's configuration.
        context: The project, the display and the request to stop.
        of_run: The run.
        step: The step's name in the plan.
        count: The number of processes.

    Raises:
        Interrupted: When asked to stop; every process has ended, and the state of the last saved epoch remains.
        MlpipeError: The error that ended one of the processes.
    """
    with tempfile.TemporaryDirectory(prefix="mlpipe-") as folder:
        # With SIGUSR1, because Lightning handles SIGTERM by communicating with the other processes, which may be busy.
        try:
            with Pool(context.stop, signal.SIGUSR1, grace=_GRACE) as pool:
                for number in range(count):
                    meeting = Shard(number, count), f"{folder}/meeting", context.started
                    # Only the first process is heard. They end abruptly, because a process group that lost a member
                    # cannot be shut down.
                    pool.start(_learn_together, config, of_run, step, *meeting, quiet=number > 0, abrupt=True)
                _follow(pool, context)
        finally:
            context.display.close()
    if pool.workers[0].outcome is None or pool.workers[0].outcome.event != "done":
        _raise(pool.workers, context, f"mml {config.mode} continue={of_run.name}")


def _follow(pool: Pool, context: RunContext) -> None:
    """Read messages until all processes have ended; after a failure, the others have a few seconds."""

    def take(worker: Worker, kind: str, facts: list[Any]) -> None:
        if kind == "start":
            context.display.start(*facts)
        elif kind == "progress":
            count, label, known, left = facts
            context.display.update(count, label, known, left=left)
        elif kind == "epoch" and context.follower is not None:
            context.follower.epoch(*facts)

    deadline = float("inf")
    while any(worker.messages for worker in pool.workers) and time.monotonic() < deadline:
        pool.listen(take)
        has_failed = any(worker.outcome and worker.outcome.event != "done" for worker in pool.workers)
        if deadline == float("inf") and has_failed:
            deadline = time.monotonic() + _GRACE


def _raise(group: Sequence[Worker], context: RunContext, go_on: str) -> None:
    """Raise the error that ended the group: of several, the one that is not a consequence of another."""
    if context.stop():
        raise Interrupted("stopped as asked")
    ended = [
        (number, worker.outcome)
        for number, worker in enumerate(group, 1)
        if worker.outcome is not None and worker.outcome.event in ("failed", "died")
    ]
    number, first = min(ended, key=lambda pair: (not pair[1].is_known, pair[1].event == "failed"))
    log.debug(first.traceback)
    if first.is_known:
        kinds = {INPUT_IS_WRONG: DataError, STOPPED_RESUMABLE: DiskFull}
        raise kinds.get(first.exit_code, TrainingError)(first.error)
    error = first.error
    if "finished reduction in the prior iteration" in error:
        error = "the network has parameters that no output depends on; use trainer.devices=1, or freeze them"
    raise TrainingError(f"device {number} of {len(group)}: {error}; what is done is kept; to go on: {go_on}")


def _learn_together(
    send: Send,
    stop: Stop,
    config: RunConfig,
    of_run: Run,
    step: str,
    shard: Shard,
    meeting_point: str,
    started: float,
) -> None:
    """Do the work of one process of the group: connect to the others, plan again, and run the step.

    Args:
        send: Sends a message to the parent process.
        stop: Whether it was asked to stop.
        config: The run's configuration.
        of_run: The run.
        step: The step.
        shard: The process's part of the group.
        meeting_point: The file through which they find each other.
        started: The start time of the command, on the clock of `time.monotonic`, which all processes share.
    """
    from mlpipe.learn.machine import device_group, hardware

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # From these variables, Lightning knows that processes are started externally, and which one this is.
    os.environ |= {"LOCAL_RANK": str(shard.rank), "NODE_RANK": "0"}
    follower = Follower(lambda name: None, lambda *facts: send("epoch", *facts))
    project = Project(config.project_dir)
    context = RunContext(project, Relay(send), stop, follower=follower, shard=shard, started=started)
    device_group.join(shard, meeting_point, hardware.backend(config.recipe.trainer))
    steps_by_name(config, context)[step].call(of_run)
