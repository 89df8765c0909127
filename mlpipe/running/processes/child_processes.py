"""Child processes of a run: how they start, the messages that they send, and how they end.

A process is forked from a server that has imported what training needs and nothing else: one in which torch has
computed, or that holds a GPU, must not be forked. It plans the run again from its configuration and does some of its
steps; the journal, the log and the progress bar stay with the process that started it.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Literal

from mlpipe import files
from mlpipe.errors import STEP_FAILED, STOPPED_RESUMABLE, Interrupted, MlpipeError, in_short
from mlpipe.reports.progress import Display
from mlpipe.running.steps import Stop

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

log = logging.getLogger("mlpipe")

# What the server of forks has imported before it forks.
_PRELOADED = [
    "mlpipe.learn.fit",
    "mlpipe.predicting.records",
    "mlpipe.modes.train",
    "mlpipe.running.processes.fold_processes",
    "mlpipe.running.processes.device_processes",
]
# Seconds between two reports of progress, and for which messages are waited for at a time.
_EVERY, _WAIT = 0.5, 0.2

Send = Callable[..., None]


@dataclass(frozen=True)
class Outcome:
    """How the work of a process ended.

    Attributes:
        event: `died`: the process left no word.
        error: What went wrong, as a sentence.
        exit_code: What a command ends with that fails so.
        is_known: Whether the error was foreseen, so that it is no consequence of another process's end.
        traceback: Where it went wrong, of an error that was not foreseen.
    """

    event: Literal["done", "interrupted", "failed", "died"]
    error: str = ""
    exit_code: int = STEP_FAILED
    is_known: bool = False
    traceback: str = ""


@dataclass
class Worker:
    """A process as the one that started it sees it.

    Attributes:
        process: The process.
        messages: What it sends; None: it has closed its end of the pipe.
        outcome: How its work ended; None: not yet.
    """

    process: ForkServerProcess
    messages: Connection | None
    outcome: Outcome | None = None

    def ask_to_stop(self, by: signal.Signals) -> None:
        """Pass the wish to stop on, to a process that lives.

        Args:
            by: The signal that its work takes for the wish.
        """
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, by)

    def closed(self, timeout: float | None) -> None:
        """Note that no message follows.

        Args:
            timeout: Seconds to wait for its end; None: as long as it takes.
        """
        assert self.messages is not None
        self.messages.close()
        self.messages = None
        self.process.join(timeout=timeout)
        if self.outcome is None:
            self.outcome = Outcome("died", f"its process {_how_it_ended(self.process.exitcode)}")


def start(work: Callable[..., None], *arguments: Any) -> Worker:
    """A process that does some work.

    Args:
        work: A function of a module, given the pipe for messages, the level of what it logs, and the arguments.
        arguments: What the process is told.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(theirs, log.getEffectiveLevel(), *arguments))
    process.start()
    theirs.close()
    return Worker(process, ours)


def listen(
    workers: Sequence[Worker], take: Callable[[int, str, list[Any]], None], *, timeout: float | None = None
) -> None:
    """Wait a moment for messages, and take one of each worker that sent some.

    Args:
        workers: The workers; those that have closed their pipes send nothing.
        take: Told the worker's position, the kind of a message and its facts; lines of the log are logged here.
        timeout: Seconds that a process which has closed its pipe has to end; None: as long as it takes.
    """
    by_pipe = {worker.messages: place for place, worker in enumerate(workers) if worker.messages is not None}
    for pipe in connection.wait(list(by_pipe), timeout=_WAIT):
        assert isinstance(pipe, connection.Connection)
        place = by_pipe[pipe]
        try:
            kind, *facts = pipe.recv()
        except (EOFError, OSError):
            workers[place].closed(timeout)
            continue
        if kind == "log":
            log.log(*facts)
        elif kind == "end":
            (workers[place].outcome,) = facts
        else:
            take(place, kind, facts)


def work(
    messages: Connection,
    verbosity: int,
    wish: signal.Signals,
    do: Callable[[Send, Stop], None],
    is_heard: Callable[[Stop], bool] = lambda stop: True,
) -> Outcome:
    """Do a process's work and tell how it ended.

    Args:
        messages: The pipe to the process that started this one.
        verbosity: The least level of what is logged.
        wish: The signal that asks to stop. Ctrl-C reaches every process of the terminal, USR1 and USR2 every one of a
            Slurm job: the process that started this one alone decides, and passes the wish on.
        do: The work, given what sends a message and the wish to stop.
        is_heard: Whether what this process logs and sends is passed on.
    """
    stop = Stop()
    for number in {signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2} - {wish}:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(wish, lambda number, frame: setattr(stop, "asked", True))

    def send(*message: Any) -> None:
        try:
            messages.send(message)
        except OSError:
            # The process that started this one has died: the state is saved, and the work ends.
            stop.asked = True

    def send_heard(*message: Any) -> None:
        if is_heard(stop):
            send(*message)

    for name in ("mlpipe", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Sender(send_heard)], False
        logger.setLevel(verbosity)
    logging.captureWarnings(True)
    outcome = _outcome(lambda: do(send_heard, stop))
    send("end", outcome)
    messages.close()
    return outcome


def _outcome(call: Callable[[], None]) -> Outcome:
    try:
        call()
    except Interrupted:
        return Outcome("interrupted")
    except MlpipeError as error:
        return Outcome("failed", str(error), error.exit_code, is_known=True)
    except Exception as error:
        if files.disk_is_full(error):
            return Outcome("failed", "the disk is full", STOPPED_RESUMABLE, is_known=True)
        return Outcome("failed", in_short(error), traceback=traceback.format_exc())
    return Outcome("done")


def _how_it_ended(code: int | None) -> str:
    """The end of a process that left no word, from its exit code."""
    return f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"


class _Sender(logging.Handler):
    """Sends what is logged.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._send("log", record.levelno, self.format(record))


class Relay(Display):
    """Sends progress, a few times a second, as messages `start` and `progress` with the facts of a display's methods.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Send) -> None:
        self._send, self._sent = send, 0.0

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Tell what begins."""
        self._send("start", what, total, done)

    def update(self, done: int, what: str = "", facts: str = "") -> None:
        """Tell how far it is, if the last time is long enough ago."""
        now = time.perf_counter()
        if now - self._sent >= _EVERY:
            self._sent = now
            self._send("progress", done, what, facts)

    def close(self) -> None:
        """Nothing: the process that shows the progress closes its display."""
