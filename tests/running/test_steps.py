"""The first signal asks a run to stop, the second ends it."""

from __future__ import annotations

import math
import shlex
import signal
from functools import partial

import pytest

from mlpipe import cli
from mlpipe.command_line import Call
from mlpipe.running import steps
from mlpipe.running.steps import Deadline, Stop

TERM, INT, USR1 = signal.SIGTERM, signal.SIGINT, signal.SIGUSR1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(steps.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("signals", "ends"),
    [
        ([INT], False),
        ([INT, INT], True),
        ([TERM, TERM], True),
        ([INT, TERM], True),
        ([USR1, USR1, USR1], False),
        # A cluster warns with SIGUSR1, and means it with SIGTERM.
        ([USR1, TERM], False),
        ([USR1, TERM, TERM], True),
        ([TERM, USR1], False),
    ],
)
def test_the_second_signal_ends_at_once(signals: list[int], ends: bool, clock: list[float]) -> None:
    ended: list[str] = []
    stop = Stop(ended.append)
    stop.go_on = "to go on: mml train continue=latest"
    for number in signals:
        stop._handle(number, None)
        clock[0] += 1.0
    assert stop() and ended[:1] == [stop.go_on] * ends


def test_a_time_within_a_wish_hears_the_second_signal_of_it(clock: list[float]) -> None:
    """The first came before the time began; both end what was asked for first."""
    ended: list[str] = []
    stop = Stop(ended.append)
    stop._handle(INT, None)
    clock[0] += 1.0
    part = Deadline(stop, math.inf)
    part.go_on = "to go on: mml train continue=latest"
    assert part() and not ended
    part._handle(INT, None)
    assert ended == ["run the same command again"]


def test_a_signal_that_is_passed_on_is_one_wish(clock: list[float]) -> None:
    stop = Stop()
    for _ in range(3):
        stop._handle(INT, None)
        clock[0] += 0.1
    clock[0] += 0.4
    with pytest.raises(KeyboardInterrupt):
        stop._handle(INT, None)


@pytest.mark.parametrize("go_on", ["run the same command again", ""])
def test_what_ends_at_once_says_how_to_go_on(go_on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[bytes] = []
    monkeypatch.setattr(steps.os, "write", lambda handle, text: said.append(text))
    monkeypatch.setattr(steps.os, "_exit", lambda code: said.append(str(code).encode()))
    steps.end_process(go_on)
    told = b"; what is saved is kept; run the same command again" if go_on else b""
    assert said == [b"\ninterrupted twice" + told + b"\n", b"130"]


def test_who_asks_twice_is_told_where_the_project_lies(clock: list[float]) -> None:
    ended: list[str] = []
    stop = Stop(ended.append)
    stop.completed = partial(cli._with_project, Call("train", ["proj=p", "seed=1"]))
    stop.go_on = "to go on: mml train continue=RUN"
    for _ in range(2):
        stop._handle(INT, None)
        clock[0] += 1.0
    assert ended == ["to go on: mml train continue=RUN proj=p"]
    assert stop.completed("run the same command again") == "run the same command again"


def test_a_command_to_resume_can_be_copied_and_has_what_it_needs() -> None:
    call = Call("train", ["out_dir=a folder", "seed=1"])
    told = cli._with_project(call, "to go on: mml train continue=RUN", ["trust=[own]"])
    assert shlex.split(told)[4:] == ["train", "continue=RUN", "out_dir=a folder", "trust=[own]"]
