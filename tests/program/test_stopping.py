"""Signals: the first asks to stop, the second ends at once, and no process is left, however many there were."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mlpipe.cli import main

SMALL = [
    "task=digits", "mode.nested=false", "arch=test_resnet", "arch.pretrained=false", "arch.drop_rate=0.2",
    "preprocessing.size=16", "sys.threads=1", "split.folds=2",
]  # fmt: skip
TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


def group_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes of a session."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                state, _, _, session, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                if session == str(process.pid) and state not in "ZX":
                    found.append(int(folder.name))
    return found


@pytest.fixture
def training(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Whatever a test starts, nothing of it is left."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        for pid in group_of(process):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def start(training: list[subprocess.Popen[str]], tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """A training of many epochs with loader processes, in a session of its own, whose first states are saved."""
    command = [sys.executable, "-m", "mlpipe.cli", "train", *SMALL, "trainer.max_epochs=40", *words]
    process = subprocess.Popen(
        command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    training.append(process)
    many = 2 if "sys.fold_workers=2" in words else 1
    while len(list((tmp_path / "results").rglob("state.json"))) < many:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def gone(process: subprocess.Popen[str], seconds: float = 60.0) -> bool:
    """Whether all processes of the session end soon."""
    end = time.monotonic() + seconds
    while group_of(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not group_of(process)


def until_said(process: subprocess.Popen[str], words: str, seconds: float = 60.0) -> None:
    """Wait for words on the standard output, of which nothing is left to read up to them."""
    assert process.stdout is not None
    shown, end = b"", time.monotonic() + seconds
    while words.encode() not in shown:
        ready, _, _ = select.select([process.stdout], [], [], max(end - time.monotonic(), 0.0))
        assert ready, f"not said within {seconds:g} s: {shown.decode()}"
        shown += os.read(process.stdout.fileno(), 65536)
        assert process.poll() is None, shown.decode()


def interrupt_twice(process: subprocess.Popen[str], number: int) -> None:
    """Ask twice, while nothing but the process itself goes on, and see that all processes of the session end."""
    for pid in group_of(process):
        if pid != process.pid:
            os.kill(pid, signal.SIGSTOP)
    process.send_signal(number)
    # Half a second later by the clock of the program, which a busy machine reads late: what is said shows that it has.
    until_said(process, "press Ctrl-C again")
    time.sleep(0.8)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    # What serves forks to a run ends by itself when the run does; it was stopped above.
    for pid in group_of(process):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert gone(process)


@pytest.mark.parametrize(
    ("number", "folds"), [(TERM, "sys.fold_workers=2"), (INT, "sys.fold_workers=1"), (USR1, "sys.fold_workers=2")]
)
def test_a_signal_to_every_process_leaves_a_run_to_go_on_with(
    number: int, folds: str, tmp_path: Path, training: list[subprocess.Popen[str]]
) -> None:
    process = start(training, tmp_path, folds, "sys.num_workers=2")
    os.killpg(process.pid, number)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 75, shown
    assert "to go on: mml train continue=" in shown and "Traceback" not in shown
    assert gone(process)
    (journal,) = (tmp_path / "results").rglob("journal.jsonl")
    assert {json.loads(line)["event"] for line in journal.read_text().splitlines()[1:]} <= {"start", "interrupted"}


@pytest.mark.parametrize(("number", "folds"), [(TERM, "sys.fold_workers=1"), (INT, "sys.fold_workers=2")])
def test_twice_ends_every_process_at_once(
    number: int, folds: str, tmp_path: Path, training: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(training, tmp_path, folds, "sys.num_workers=2")
    # A process that does not get to its next batch: it is the signal that ends it.
    assert len([pid for pid in group_of(process) if pid != process.pid]) >= 2
    interrupt_twice(process, number)
    assert (
        "interrupted twice; what is saved is kept; to go on: mml train continue=" in process.communicate(timeout=60)[1]
    )
    assert main(["info"]) == 0


def test_twice_within_a_trial_ends_every_process_at_once(tmp_path: Path, training: list[subprocess.Popen[str]]) -> None:
    """A trial listens for itself; a second wish is one all the same, be the first from before it began."""
    search = ["hpo=optuna", "hpo.study=s", "hpo.trials=2", "optimizer.lr=interval(0.001,0.01)", "mode.folds=[0]"]
    process = start(training, tmp_path, *search, "sys.num_workers=1", "mode.subroutines=[train]")
    # The trial does not get to its next batch, which its loader process owes it.
    interrupt_twice(process, INT)
    shown = process.communicate(timeout=60)[1]
    assert "interrupted twice; what is saved is kept; run the same command again" in shown and "Traceback" not in shown


def test_loader_processes_end_with_the_one_they_work_for(tmp_path: Path, training: list[subprocess.Popen[str]]) -> None:
    process = start(training, tmp_path, "sys.num_workers=3")
    assert len(group_of(process)) >= 4
    process.kill()
    process.communicate(timeout=30)
    # By themselves they would look for it every five seconds only.
    assert gone(process, 4.0)
