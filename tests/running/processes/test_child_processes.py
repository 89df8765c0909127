"""Whom the process of a run asks to stop, and whom it kills."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from mlpipe.running.processes.child_processes import Pool, Worker
from mlpipe.running.steps import Stop


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that sleeps until a signal ends it."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def worker_of(pid: int) -> Worker:
    """What a run knows of a process whose server of forks was ended, by the same signal as all: it is taken for dead."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = SimpleNamespace(
        pid=pid, end=theirs, exitcode=255, is_alive=lambda: False, kill=lambda: None, join=lambda timeout=None: None
    )
    return Worker(cast("multiprocessing.context.ForkServerProcess", process), ours)


def test_a_wish_reaches_a_process_whose_server_of_forks_has_ended(sleeper: subprocess.Popen[bytes]) -> None:
    stop = Stop()
    pool = Pool(stop, signal.SIGTERM)
    pool.workers = [worker_of(sleeper.pid)]
    pool.listen(lambda *facts: None)
    assert sleeper.poll() is None
    stop.asked = True
    pool.listen(lambda *facts: None)
    assert sleeper.wait(10) == -signal.SIGTERM


def test_after_an_error_it_is_killed_as_well(sleeper: subprocess.Popen[bytes]) -> None:
    with pytest.raises(KeyError), Pool(Stop(), signal.SIGTERM) as pool:
        pool.workers = [worker_of(sleeper.pid)]
        raise KeyError
    assert sleeper.wait(10) == -signal.SIGKILL
