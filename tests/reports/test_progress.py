"""Live lines in a terminal of any width; plain lines now and then anywhere else."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from mlpipe.reports import progress
from mlpipe.reports.progress import Display, Fact, Line, LogLines, fitted

FACTS = (
    Fact("epoch 12/40", 0), Fact("loss 0.5312"), Fact("accuracy 0.853", 2), Fact("best 0.861", 3),
    Fact("110 images/s", 6), Fact("data wait 8 %", 7), Fact("GPU 3.1 GB", 8), Fact("run 0:02:10", 4),
)  # fmt: skip
FOLD = Line("fold 2 of 5", 0.3, FACTS, 23)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [50.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of a terminal that understands what moves its cursor."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    there = [80, 24]
    monkeypatch.setattr(progress, "_size", lambda stream: os.terminal_size(there))
    return there


def texts(rows: list[list[str]]) -> list[str]:
    return ["  ".join(filter(None, row)).rstrip() for row in rows]


def test_plain_lines_every_so_often(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream, every=10.0)
    display.start("fold 1/2", 100)
    for done in range(1, 61):
        clock[0] += 0.5
        display.update(done, facts=[Fact("loss 0.5")])
    assert stream.getvalue().splitlines() == [
        "fold 1/2, 20 %, loss 0.5, 0:00:40 left",
        "fold 1/2, 40 %, loss 0.5, 0:00:30 left",
        "fold 1/2, 60 %, loss 0.5, 0:00:20 left",
    ]
    display.close()


def test_plain_lines_stand_at_the_ends_of_epochs(clock: list[float]) -> None:
    """Epochs of 15 s have a line each; in one of 100 s there is one a minute."""
    stream = io.StringIO()
    display = Display(stream, every=10.0)
    display.start("fold 0", 1000)
    for second in range(1, 61):
        clock[0] += 1
        display.update(second, is_milestone=second % 15 == 0)
    assert [line.split(", ")[1] for line in stream.getvalue().splitlines()] == ["2 %", "3 %", "4 %", "6 %"]
    for second in range(61, 161):
        clock[0] += 1
        display.update(second, is_milestone=False)
    assert len(stream.getvalue().splitlines()) == 5


def test_the_log_of_a_day_is_no_flood(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.start("fold 0", 24 * 3600)
    for second in range(1, 24 * 3600, 5):
        clock[0] += 5
        display.update(second)
    # Every ten seconds it would be 8,640.
    assert 100 < len(stream.getvalue().splitlines()) < 600


def test_what_was_done_before_does_not_count_as_speed(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream, every=10.0)
    display.start("x", 100, done=50)
    clock[0] += 10
    display.update(60, what="y")
    assert stream.getvalue() == "y, 60 %, 0:00:40 left\n"


def test_time_of_the_fold_and_of_the_run(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream, every=10.0)
    display.heading = "job 2 of 6"
    display.start("fold 0", 100)
    clock[0] += 10
    display.update(10, left=20)
    clock[0] += 10
    # The only fold's time is the run's.
    display.update(20, left=80)
    display.ends_at = time.monotonic() + 7199.9
    clock[0] += 10
    display.update(30, left=20)
    assert stream.getvalue().splitlines() == [
        "job 2 of 6, fold 0, 10 %, run 0:01:30, 0:00:20 left",
        "job 2 of 6, fold 0, 20 %, 0:01:20 left",
        "job 2 of 6, fold 0, 30 %, run 2:00:00, 0:00:20 left",
    ]


def test_nothing_is_shown_of_what_is_quick(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.start("x", 0)
    for done in range(1000):
        display.update(done)
    display.close()
    assert stream.getvalue() == ""


def test_folds_side_by_side_in_a_pipe(clock: list[float]) -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.start("2 folds", 2000)
    clock[0] += 10
    display.update(500, beside=[FOLD, Line("predicting x")])
    assert stream.getvalue() == "fold 2 of 5, epoch 12/40 | predicting x, 25 %, 0:00:30 left\n"


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (24, "fold 2 of 5  epoch 12/40  0:00:23 left"),
        (57, "fold 2 of 5  epoch 12/40  accuracy 0.853  0:00:23 left"),
        (97, "fold 2 of 5  epoch 12/40  loss 0.5312  accuracy 0.853  best 0.861  run 0:02:10  0:00:23 left"),
        (
            157,
            "fold 2 of 5  ━━━━━━━───────────────  epoch 12/40  loss 0.5312  accuracy 0.853  best 0.861  110 images/s  "
            "data wait 8 %  GPU 3.1 GB  run 0:02:10  0:00:23 left",
        ),
    ],
)
def test_facts_are_left_out_by_their_rank(width: int, expected: str) -> None:
    assert texts(fitted([FOLD], width)) == [expected]


def test_lines_side_by_side_stand_in_columns() -> None:
    other = Line("fold 10 of 12", 1.0, (Fact("epoch 1/40", 0), Fact("loss 12.5312")), 7223)
    rows = texts(fitted([Line("fold 2 of 12", 0.5, FACTS[:2], 23), other, Line("12 folds", 0.5, (), 3)], 57))
    assert rows == [
        "fold 2 of 12   epoch 12/40  loss 0.5312   0:00:23 left",
        "fold 10 of 12  epoch 1/40   loss 12.5312  2:00:23 left",
        "12 folds  ━━━━━━━━━━━━━━━───────────────  0:00:03 left",
    ]


def test_the_heading_gives_way_to_what_is_under_way() -> None:
    line = Line("fold 0", 0.5, FACTS[:3], 23, "job 2 of 6, finetune")
    assert texts(fitted([line], 80)) == ["job 2 of 6, finetune, fold 0  epoch 12/40  accuracy 0.853  0:00:23 left"]
    assert texts(fitted([line], 60)) == ["fold 0  ━━━━─────  epoch 12/40  accuracy 0.853  0:00:23 left"]


def test_a_part_of_more_is_a_part_only_inside() -> None:
    display = Display(io.StringIO())
    with display.within("job 2 of 6"):
        with display.within("finetune"):
            assert display.heading == "job 2 of 6, finetune"
        with pytest.raises(ValueError, match="x"), display.within("linear"):
            raise ValueError("x")
        assert display.heading == "job 2 of 6"
    assert display.heading == ""


def test_no_line_of_a_terminal_is_too_long(clock: list[float], size: list[int]) -> None:
    for width in (20, 40, 60, 100, 160):
        size[0] = width
        stream = Terminal()
        display = Display(stream)
        display.start("a title that is longer than the narrowest terminal", 100)
        for done in range(1, 90):
            clock[0] += 0.05
            display.update(done, "fold 2 of 5", FACTS, left=23, beside=[FOLD, FOLD])
        display.close()
        plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
        drawn = [part for line in plain.split("\n") for part in line.split("\r") if part]
        assert max(map(len, drawn)) <= width - 3
        assert sum(part.startswith("fold 2 of 5") for part in drawn) > 60
        # Ten times a second at most, three lines each: 4.5 s went by.
        assert len(drawn) < 3 * 50


def test_a_terminal_gets_lines_that_go_away(size: list[int], clock: list[float]) -> None:
    stream = Terminal()
    display = Display(stream)
    display.start("first", 10)
    clock[0] += 1
    display.update(5, "now", [Fact("loss 1.0")])
    display.start("second", 4, done=1)
    display.close()
    display.close()
    shown = stream.getvalue()
    assert all(word in shown for word in ("first", "now", "loss 1.0", "second"))
    # The last thing is to erase the line and to show the cursor.
    assert shown.rstrip("\r").endswith("\x1b[2K") and shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")
    assert "\x1b[1m" in shown


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_no_colours_where_none_are_wanted(
    variable: str, size: list[int], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "dumb")
    stream = Terminal()
    display = Display(stream)
    display.start("first", 10)
    clock[0] += 20
    display.update(5)
    display.close()
    if variable == "TERM":
        assert stream.getvalue() == "first, 50 %, 0:00:20 left\n"
    else:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", stream.getvalue()) and "━" in stream.getvalue()


def test_a_narrower_terminal_has_no_rest_of_wider_lines(size: list[int], clock: list[float]) -> None:
    size[0] = 120
    stream = Terminal()
    display = Display(stream)
    display.start("fold", 10)
    clock[0] += 1
    display.update(5, facts=FACTS, left=23)
    before = len(stream.getvalue())
    size[0] = 40
    clock[0] += 1
    display.update(6, facts=FACTS, left=23)
    # A line of more than 80 characters has become three.
    assert stream.getvalue()[before:].startswith("\x1b[2K\x1b[1A\x1b[2K\x1b[1A\r\x1b[2K")
    display.close()


def test_messages_stand_above_the_lines(size: list[int], clock: list[float]) -> None:
    stream = Terminal()
    handler, display = LogLines(stream), Display(stream)
    display.start("fold 1", 10)
    handler.emit(logging.LogRecord("mlpipe", logging.INFO, "", 0, "a message", None, None))
    display.close()
    before, after = stream.getvalue().split("a message\n")
    # The line was erased before, and is drawn again after it.
    assert before.count("fold 1") >= 1 and re.search(r"fold 1[^\n]*\n?[^\n]*\x1b\[2K$", before) and "fold 1" in after


def test_messages_are_folded_between_words(size: list[int]) -> None:
    size[0] = 30
    stream, pipe = Terminal(), io.StringIO()
    long = "a sentence with a share of 12 % and more than thirty characters with /a/path/that/is/longer/than/a/line"
    said = [
        "short",
        long,
        "new images: mml predict mode.source=FOLDER proj=x",
        "a table   of more than thirty characters",
    ]
    # Units stay with their numbers.
    LogLines(stream).emit(
        logging.LogRecord("mlpipe", logging.INFO, "", 0, "all of it would take 4 min 13 s of it", None, None)
    )
    assert stream.getvalue().splitlines() == ["all of it would take 4 min", "  13 s of it"]
    stream.seek(0)
    stream.truncate()
    for target in (stream, pipe):
        for message in said:
            LogLines(target).emit(logging.LogRecord("mlpipe", logging.INFO, "", 0, message, None, None))
    assert pipe.getvalue().splitlines() == said
    assert stream.getvalue().splitlines() == [
        "short",
        "a sentence with a share of",
        "  12 % and more than thirty",
        "  characters with",
        "  /a/path/that/is/longer/than/a/line",
        *said[2:],
    ]


def test_a_notebook_gets_one_text_that_is_replaced(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Handle:
        def update(self, content: Any, raw: bool) -> None:
            said.append(content["text/plain"])

    handles = 0

    def display_(content: Any, **given: Any) -> Handle:
        nonlocal handles
        handles += 1
        said.append(content["text/plain"])
        return Handle()

    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display_))
    display = Display()
    display.start("fold 0", 10)
    clock[0] += 1
    display.update(5, facts=[Fact("loss 1.0")])
    display.close()
    assert [text.split("  ")[0] for text in said] == ["fold 0", "fold 0", ""] and "loss 1.0" in said[1]
    # What follows has the same place, so that no empty text is left between.
    display.start("fold 1", 10)
    assert said[3:] == ["fold 1"] and handles == 1


def test_of_one_run_of_many_warnings_alone_are_printed() -> None:
    log, out = logging.getLogger("mlpipe"), io.StringIO()
    handler = LogLines(out)
    handler.setLevel(logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        with pytest.raises(ValueError, match="wrong"), progress.quiet():
            log.info("a fold")
            log.warning("a warning")
            raise ValueError("wrong")
        log.info("the end")
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert out.getvalue().splitlines() == ["a warning", "the end"]


def test_what_is_under_way_is_named_until_it_ends(size: list[int]) -> None:
    stream = Terminal()
    display = progress.Display(stream)
    with pytest.raises(ValueError, match="wrong"), display.within("tuned"), display.during("measuring"):
        assert "tuned, measuring" in stream.getvalue()
        raise ValueError("wrong")
    assert progress._Screen.shown is None
    pipe = io.StringIO()
    with progress.Display(pipe).during("measuring"):
        pass
    assert pipe.getvalue() == ""


def test_the_bar_says_how_much_is_done() -> None:
    assert progress._bar(0.0, 20) == ""
    for share, width in ((0.25, 20), (0.5, 10), (1.0, 30), (1.7, 10)):
        assert progress._bar(share, width).count("━") == round(min(share, 1) * width)
        assert Console(file=io.StringIO()).measure(progress._bar(share, width)).maximum == width


SHOWN = """
import logging, sys, time
from mlpipe.reports.progress import Display, Fact, Line, LogLines
log = logging.getLogger("mlpipe")
log.setLevel(logging.INFO)
log.addHandler(LogLines(sys.stdout))
display = Display()
display.start("2 folds", 60)
for step in range(1, 61):
    time.sleep(0.05)
    facts = Fact(f"epoch {step}/60", 0), Fact("accuracy 0.853", 2), Fact("best 0.861", 3), Fact("9 images/s", 6)
    display.update(step, beside=[Line(f"fold {fold} of 2", step / 60, facts, 60 - step) for fold in (0, 1)])
    if step % 10 == 0:
        log.info(f"message {step} has " + "many words " * 12 + "and an end")
display.close()
print("THE END")
"""


@pytest.mark.services
@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux (apt-get install tmux)")
@pytest.mark.parametrize(("width", "later"), [(60, 60), (160, 160), (130, 60)])
def test_in_a_real_terminal(tmp_path: Path, width: int, later: int) -> None:
    """Nothing is overprinted, folded or left behind, where the terminal becomes narrower too."""
    (tmp_path / "shown.py").write_text(SHOWN, "utf-8")
    server = ["tmux", "-S", str(tmp_path / "socket"), "-f", "/dev/null"]

    def tmux(*words: str) -> str:
        return subprocess.run([*server, *words], capture_output=True, text=True, check=True).stdout

    command = f"env TERM=screen {sys.executable} {tmp_path / 'shown.py'}; sleep 60"
    tmux("new-session", "-d", "-x", str(width), "-y", "60", command)
    try:
        pictures = []
        began = time.monotonic()
        while "THE END" not in (picture := tmux("capture-pane", "-p")) and time.monotonic() < began + 120:
            pictures.append(picture)
            if later != width and "message 30" in picture:
                tmux("resize-window", "-x", str(later), "-y", "60")
                width = later
            time.sleep(0.1)
        assert tmux("display-message", "-p", "#{cursor_flag}") == "1\n"
        # With what a narrower terminal has folded, and what went above its upper end.
        everything = tmux("capture-pane", "-p", "-J", "-S", "-200")
    finally:
        tmux("kill-server")
    lines = [line.strip() for line in everything.splitlines() if line.strip()]
    assert lines[-1] == "THE END"
    words = "many words " * 12 + "and an end"
    # A message is whole, and nothing stands between messages or after them.
    assert " ".join(lines[:-1]) == " ".join(f"message {step} has {words}" for step in range(10, 61, 10))
    shown = [[line for line in one.splitlines() if re.match(r"(fold \d of 2|2 folds) ", line)] for one in pictures]
    whole = [one for one in shown if len(one) == 3]
    # A picture may be taken while the lines are drawn; none has more of them.
    assert len(whole) > 5 and max(map(len, shown)) == 3
    told = ["epoch" in one[0] and "left" in one[0] and one[2].startswith("2 folds  ") for one in whole]
    # One that is taken while a busy machine draws a line has the half of it.
    assert sum(told) > 0.8 * len(told)


def test_hours() -> None:
    assert [progress._clock(seconds) for seconds in (0.4, 59.6, 3661)] == ["0:00:00", "0:01:00", "1:01:01"]
