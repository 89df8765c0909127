"""What processes that work for a run have in common: how they tell the parent, and how their end is put in words."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mlpipe.running.scheduler import Stop

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

# What a server of forks has imported before it forks.
PRELOADED = ["mlpipe.learn.fit", "mlpipe.predicting.records", "mlpipe.modes.train", "mlpipe.running.fold_processes"]
# Seconds between two reports of progress.
EVERY = 0.5


def sender(messages: Connection, stop: Stop) -> Callable[..., None]:
    """What sends a message to the parent; where that has died, the process is asked to save its state and end.

    Args:
        messages: The pipe.
        stop: The process's wish to stop.
    """

    def send(*message: Any) -> None:
        try:
            messages.send(message)
        except OSError:
            stop.asked = True

    return send


def send_log(send: Callable[..., None], verbosity: int) -> None:
    """From now on what is logged in this process goes to the parent.

    Args:
        send: Sends a message.
        verbosity: The least level.
    """
    for name in ("mlpipe", "py.warnings"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Sender(send)], False
        logger.setLevel(verbosity)
    logging.captureWarnings(True)


def how_it_ended(code: int | None) -> str:
    """The end of a process that left no word, from its exit code."""
    return f"was ended by {signal.Signals(-code).name}" if code and code < 0 else f"ended with exit code {code}"


class _Sender(logging.Handler):
    """Sends what is logged to the parent.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Callable[..., None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        self._send("log", record.levelno, self.format(record))
