"""Child processes of a run: how they start, the messages that they send, and how they end.

Processes are forked from a server that has only imported what training needs, because a process in which torch has
computed, or that holds a GPU, must not be forked. A child plans the run again from its configuration and runs some of
its steps; the journal, the log and the progress bar stay with the parent process.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Literal

from mlpipe import current_folder, files
from mlpipe.config.schema import RunConfig
from mlpipe.errors import STEP_FAILED, STOPPED_RESUMABLE, DiskFull, Interrupted, MlpipeError, in_short
from mlpipe.reports.progress import Display, Fact, Line
from mlpipe.running.steps import RunContext, Step, Stop

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

log = logging.getLogger("mlpipe")

# Modules that the fork server imports before it forks.
_PRELOADED = [
    "mlpipe.learn.fit",
    "mlpipe.predicting.records",
    "mlpipe.modes.train",
    "mlpipe.running.processes.fold_processes",
    "mlpipe.running.processes.device_processes",
]
# Seconds between two reports of progress, and of one wait for messages.
_EVERY, _WAIT = 0.5, 0.2

Send = Callable[..., None]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a process.

    Attributes:
        event: `died`: the process ended without a message.
        error: The error, as a sentence.
        exit_code: The exit code of a command that fails in this way.
        is_known: Whether the error was expected, so that it is not a consequence of another process's end.
        traceback: The traceback of an unexpected error.
    """

    event: Literal["done", "interrupted", "failed", "died"]
    error: str = ""
    exit_code: int = STEP_FAILED
    is_known: bool = False
    traceback: str = ""


@dataclass
class Worker:
    """A child process as seen by its parent.

    Attributes:
        process: The process.
        messages: Its messages; None: it has closed its end of the pipe.
        outcome: Its outcome; None: still running.
    """

    process: ForkServerProcess
    messages: Connection | None
    outcome: Outcome | None = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process unless it has closed its pipe.

        Only the pipe tells whether it is alive: `multiprocessing` asks the fork server, which may have been ended by a
        signal to every process of a group or a job.

        Args:
            number: The signal.
        """
        if self.messages is not None and self.process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def note_close(self, timeout: float | None) -> None:
        """Note that no further message follows.

        Args:
            timeout: Seconds to wait for its end; None: no limit.
        """
        assert self.messages is not None
        self.messages.close()
        self.messages = None
        self.process.join(timeout=timeout)
        if self.outcome is None:
            self.outcome = Outcome("died", f"its process {_ending_text(self.process.exitcode)}")


class Pool:
    """Child processes of a run: asked to stop when the run is, and killed when it cannot continue.

    Args:
        stop: Whether the user asked the run to stop.
        wish: The signal that passes the request on.
        grace: Seconds that a process has to end after closing its pipe; None: no limit.
    """

    def __init__(self, stop: Stop, wish: signal.Signals, *, grace: float | None = None) -> None:
        self.workers: list[Worker] = []
        self._stop, self._wish, self._grace = stop, wish, grace
        self._has_told = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        """Kill the remaining processes: after an error of this process, nobody would read their messages."""
        for worker in self.workers:
            worker.send(signal.SIGKILL)
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()

    def start(self, do: Callable[..., None], *arguments: Any, quiet: bool = False, abrupt: bool = False) -> Worker:
        """Start a process that does some work.

        Args:
            do: A module-level function, called with a function that sends a message, the request to stop, and the
                arguments.
            arguments: The arguments for the process.
            quiet: Whether its log and messages are passed on only after it was asked to stop.
            abrupt: Whether it ends without Python's usual shutdown.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_PRELOADED)
        ours, theirs = context.Pipe(duplex=False)
        terms = theirs, log.getEffectiveLevel(), self._wish, quiet, abrupt
        process = context.Process(target=_work, args=(*terms, do, arguments))
        with current_folder.isolated_processes():
            process.start()
        theirs.close()
        self.workers.append(Worker(process, ours))
        return self.workers[-1]

    def listen(self, take: Callable[[Worker, str, list[Any]], None]) -> None:
        """Pass on a request to stop, wait briefly for messages, and handle one of each process that sent some.

        Args:
            take: Called with the process, the kind of a message and its facts; log lines are logged here.
        """
        if self._stop() and not self._has_told:
            # Sent once; messages are read until the processes end: each saves its state or aborts by itself.
            self._has_told = True
            for worker in self.workers:
                worker.send(self._wish)
        by_pipe = {worker.messages: worker for worker in self.workers if worker.messages is not None}
        for pipe in connection.wait(list(by_pipe), timeout=_WAIT):
            assert isinstance(pipe, connection.Connection)
            worker = by_pipe[pipe]
            try:
                kind, *facts = pipe.recv()
            except (EOFError, OSError):
                worker.note_close(self._grace)
                continue
            if kind == "log":
                log.log(*facts)
            elif kind == "end":
                (worker.outcome,) = facts
            else:
                take(worker, kind, facts)


def steps_by_name(config: RunConfig, context: RunContext) -> dict[str, Step]:
    """Return the steps of a run by name, for a process that runs some of them."""
    current_folder.exclude(config.out_dir, config.data_dir, *current_folder.task_folders(config.tree["task"]))
    return {step.name: step for step in config.scheduler.build(config, context).plan()}


def _work(
    messages: Connection,
    verbosity: int,
    wish: signal.Signals,
    quiet: bool,
    abrupt: bool,
    do: Callable[..., None],
    arguments: Sequence[Any],
) -> None:
    """Run a child process: send its log to the parent, do its work, and report the outcome.

    Args:
        messages: The pipe to the parent process.
        verbosity: The minimum log level.
        wish: The signal that asks to stop. Ctrl-C reaches every process of the terminal, USR1 and USR2 every process of
            a Slurm job; only the parent decides, and passes the request on.
        quiet: Whether messages are sent only after it was asked to stop.
        abrupt: Whether it ends without Python's usual shutdown.
        do: The work.
        arguments: Its arguments.
    """
    stop = Stop()
    for number in {signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2} - {wish}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(wish, lambda number, frame: setattr(stop, "asked", True))

    def send(*message: Any) -> None:
        try:
            messages.send(message)
        except OSError:
            # The parent process has died: save the state and stop.
            stop.asked = True

    def send_heard(*message: Any) -> None:
        if not quiet or stop.asked:
            send(*message)

    for name in ("mlpipe", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Sender(send_heard)], False
        logger.setLevel(verbosity)
    logging.captureWarnings(True)
    outcome = _outcome(lambda: do(send_heard, stop, *arguments))
    send("end", outcome)
    messages.close()
    code = 0 if outcome.event == "done" else STEP_FAILED
    if abrupt:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _outcome(call: Callable[[], None]) -> Outcome:
    try:
        call()
    except Interrupted:
        return Outcome("interrupted")
    except DiskFull as error:
        return Outcome("failed", error.reason, STOPPED_RESUMABLE, is_known=True)
    except MlpipeError as error:
        return Outcome("failed", str(error), error.exit_code, is_known=True)
    except Exception as error:
        if files.disk_is_full(error):
            return Outcome("failed", files.why_full(error), STOPPED_RESUMABLE, is_known=True)
        return Outcome("failed", in_short(error), traceback=traceback.format_exc())
    return Outcome("done")


def _ending_text(code: int | None) -> str:
    """Describe the end of a process without a message, from its exit code."""
    return f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"


class _Sender(logging.Handler):
    """Send log records as messages.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one log record."""
        self._send("log", record.levelno, self.format(record))


class Relay(Display):
    """Send progress, a few times a second, as messages `start` and `progress` with a display's arguments.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Send) -> None:
        super().__init__(io.StringIO())
        self._send, self._last_sent_at = send, 0.0

    def start(self, label: str, total: int, done: int = 0) -> None:
        """Report the start of something."""
        self._send("start", label, total, done)

    def is_due(self, *, is_milestone: bool = True) -> bool:
        """Return whether the last message is old enough."""
        return time.perf_counter() - self._last_sent_at >= _EVERY

    def update(
        self,
        done: int,
        what: str = "",
        facts: Sequence[Fact] = (),
        *,
        left: float | None = None,
        beside: Sequence[Line] = (),
        is_milestone: bool = True,
    ) -> None:
        """Report progress, if the last message is old enough."""
        if self.is_due():
            self._last_sent_at = time.perf_counter()
            self._send("progress", done, what, tuple(facts), left)

    def close(self) -> None:
        """Do nothing: the parent process closes its display."""
