"""Life of loader processes: they end with the process that they work for, and leave signals to it.

A signal to a whole group (Ctrl-C in a terminal, a cluster that preempts a job) reaches loader processes too. They ignore
it, so that the batch at hand is finished; the process that they work for ends them, and when that one dies, even by
SIGKILL, the system does.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import connection

_PR_SET_PDEATHSIG = 1


def begin(worker: int) -> None:
    """Prepare a loader process, as a DataLoader's `worker_init_fn`.

    Args:
        worker: Its number, not used.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=_end_when_told, args=(parent.pid,), daemon=True).start()
    if multiprocessing.get_start_method() == "forkserver":
        # The server is the parent of this process, and outlives the one that it works for.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        # It died before the system was told to watch it.
        os._exit(0)


def _end_with(sentinel: int) -> None:
    """End when the process that this one works for has ended, however it did."""
    connection.wait([sentinel])
    os._exit(0)


def _end_when_told(parent: int | None) -> None:
    """End at a SIGTERM of the parent; only a thread that waits for a signal learns who sent it."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
