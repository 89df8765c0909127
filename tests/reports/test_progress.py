"""A bar in a terminal; plain lines now and then anywhere else."""

from __future__ import annotations

import io

import pytest

from mlpipe.reports import progress
from mlpipe.reports.progress import Display


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_plain_lines_every_so_often(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream, every=10.0)
    display.start("fold 1/2", 100)
    for done in range(1, 61):
        clock[0] += 0.5
        display.update(done, facts="loss 0.5")
    assert stream.getvalue().splitlines() == [
        "fold 1/2, 20 %, loss 0.5, 0:00:40 left",
        "fold 1/2, 40 %, loss 0.5, 0:00:30 left",
        "fold 1/2, 60 %, loss 0.5, 0:00:20 left",
    ]
    display.close()


def test_what_was_done_before_does_not_count_as_speed(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream, every=10.0)
    display.start("x", 100, done=50)
    clock[0] += 10
    display.update(60, what="y")
    assert stream.getvalue() == "y, 60 %, 0:00:40 left\n"


def test_nothing_is_shown_of_what_is_quick(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.start("x", 0)
    for done in range(1000):
        display.update(done)
    display.close()
    assert stream.getvalue() == ""


def test_a_terminal_gets_one_bar() -> None:
    stream = Terminal()
    display = Display(stream)
    display.start("first", 10)
    display.update(5, "now", "loss 1.0")
    display.start("second", 4, done=1)
    display.close()
    display.close()
    shown = stream.getvalue()
    assert "first" in shown and "second" in shown
    assert "\n" not in shown


def test_hours() -> None:
    assert [progress._clock(seconds) for seconds in (0.4, 59.6, 3661)] == ["0:00:00", "0:01:00", "1:01:01"]
