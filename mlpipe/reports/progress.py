"""Progress display: live lines at the bottom of a terminal, or a plain line at intervals anywhere else."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

# Seconds between two plain lines, the factor for lines within an epoch, and the least interval as a share of the elapsed time,
# so that the log of a day is not a hundred times longer than that of an hour.
_EVERY_SECONDS, _WITHIN_EPOCHS, _SHARE = 10.0, 6, 0.01
# Seconds between two updates of the live lines, in a terminal and in a notebook, whose updates are more expensive.
_REDRAW, _REDRAW_NOTEBOOK = 0.15, 0.5
# Columns that stay free at the right, where a terminal prints ^C.
_MARGIN = 3
_SHORTEST_BAR, _LONGEST_BAR = 8, 30
_HEADING_RANK = 3
_UNIT = re.compile(r"(?<=\d) (?=%|(?:s|ms|min|h|[kMG]?B|dB)\b)")


class Fact(NamedTuple):
    """A fact in a line.

    Attributes:
        text: In words, such as `loss 0.5312`.
        rank: Facts of the highest rank are left out first if a line is too long.
    """

    text: str
    rank: int = 5


@dataclass(frozen=True)
class Line:
    """A running activity.

    Attributes:
        title: Its title.
        share: The share that is done, 0 to 1.
        facts: Its facts in the order of display.
        left: Seconds until it ends; None: unknown.
        heading: The larger activity that it is a part of.
    """

    title: str
    share: float = 0.0
    facts: tuple[Fact, ...] = ()
    left: float | None = None
    heading: str = ""

    def called(self, *, whole: bool = True) -> str:
        """Return its title, with the heading if there is space."""
        return f"{self.heading}, {self.title}" if self.heading and whole else self.title


class Display:
    """Shows the progress of a run.

    Args:
        stream: The output; a terminal gets live lines, anything else plain ones. None: standard error, or the output of a
            notebook's cell.
        every: Seconds between two plain lines.

    Attributes:
        heading: The larger activity around everything shown, such as `job 2 of 6`.
        ends_at: When the whole run has to be over, on the clock of `time.monotonic`; None: there is no limit.
    """

    def __init__(self, stream: IO[str] | None = None, every: float = _EVERY_SECONDS) -> None:
        self.heading = ""
        self.ends_at: float | None = None
        self._stream = stream or sys.stderr
        self._screen: _Screen | _Cell | None = None
        self._cell: _Cell | None = None
        self._kind: type[_Screen] | type[_Cell] | None = None
        if stream is None and _in_notebook():
            self._kind = _Cell
        elif is_terminal(self._stream):
            self._kind = _Screen
        self._every = every
        self._redraw = _REDRAW_NOTEBOOK if self._kind is _Cell else _REDRAW
        self._title, self._total, self._first = "", 1, 0
        self._started = self._last = time.perf_counter()

    def start(self, label: str, total: int, done: int = 0) -> None:
        """Begin an activity of `total` units, of which `done` are done."""
        self.close()
        self._title, self._total, self._first = label, max(total, 1), done
        self._started = self._last = time.perf_counter()
        if self._kind is not None:
            # A notebook's cell has one text for consecutive activities: an empty text for each would push the rest down.
            if self._kind is _Cell:
                self._cell = self._cell or _Cell(self._stream)
            self._screen = self._cell or _Screen(self._stream)
            self._screen.draw([self._line(done, label, ())])

    def is_due(self, *, is_milestone: bool = True) -> bool:
        """Return whether `update` would show anything now, so that facts need to be collected.

        Args:
            is_milestone: Whether an epoch has just ended, or there are none.
        """
        now = time.perf_counter()
        if self._screen is not None:
            return now - self._last >= self._redraw
        wait = self._every if is_milestone else _WITHIN_EPOCHS * self._every
        return now - self._last >= max(wait, _SHARE * (now - self._started))

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
        """Show that `done` units are done.

        Args:
            done: The number.
            what: Replaces the label of `start`.
            facts: Its facts.
            left: Seconds until the current part ends, if that is not the whole activity.
            beside: Parallel activities, each with a line of its own.
            is_milestone: Whether an epoch has just ended, or there are none.
        """
        if not self.is_due(is_milestone=is_milestone):
            return
        self._last = time.perf_counter()
        line = self._line(done, what, facts, left)
        if self._screen is not None:
            self._screen.draw([*beside, line])
            return
        summary = " | ".join([", ".join([entry.title, *(fact.text for fact in entry.facts[:1])]) for entry in beside])
        parts = [summary or line.called(), f"{100 * line.share:.0f} %", *(fact.text for fact in line.facts)]
        parts += [f"{_clock(line.left)} left"] if line.left is not None else []
        # Work goes on where its progress cannot be written.
        with suppress(OSError):
            print(", ".join(part for part in parts if part), file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the live lines."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    @contextmanager
    def during(self, label: str) -> Iterator[None]:
        """Show an activity of unknown length; nothing is printed outside a terminal.

        Args:
            label: Its title.
        """
        self.start(label, 1)
        try:
            yield
        finally:
            self.close()

    @contextmanager
    def within(self, heading: str) -> Iterator[None]:
        """Show everything done inside as a part of a larger activity, such as `job 2 of 6`."""
        before = self.heading
        self.heading = ", ".join(part for part in (before, heading) if part)
        try:
            yield
        finally:
            self.heading = before

    def _line(self, count: int, label: str, facts: Sequence[Fact], left: float | None = None) -> Line:
        share, whole = count / self._total, None
        if count > self._first:
            whole = (time.perf_counter() - self._started) / (count - self._first) * (self._total - count)
        if self.ends_at is not None:
            whole = max(0.0, self.ends_at - time.monotonic())
        title, known = label or self._title, tuple(facts)
        if left is None or whole is None or whole - left < 1:
            return Line(title, share, known, whole if left is None else left, self.heading)
        return Line(title, share, (*known, Fact(f"run {_clock(whole)}", 4)), left, self.heading)


class LogLines(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints log messages above the live lines, and in a terminal wrapped between words.

    Lines with a command stay whole, so that they can be copied, and so do those of tables.

    Attributes:
        failure: The first error of writing a line, as of a full disk; the work goes on. None: there was none.
    """

    failure: OSError | None = None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Keep an error of the stream; other errors are printed with a traceback."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif self.failure is None:
            self.failure = error

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        with without_live_lines():
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the message as it is printed."""
        text = super().format(record)
        width = columns(self.stream)
        return text if width is None else "\n".join(_wrapped_line(line, width) for line in text.split("\n"))


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal that can move its cursor."""
    return bool(getattr(stream, "isatty", lambda: False)()) and os.environ.get("TERM", "") != "dumb"


def columns(stream: Any = None) -> int | None:
    """Return the width of a terminal; None for anything else, where lines may have any length.

    Args:
        stream: None: standard output.
    """
    stream = sys.stdout if stream is None else stream
    return _size(stream).columns if is_terminal(stream) else None


@contextmanager
def quiet() -> Iterator[None]:
    """Print only warnings, for one of many runs, each of which has its own log."""
    before = [
        (log_handler, log_handler.level)
        for log_handler in logging.getLogger("mlpipe").handlers
        if isinstance(log_handler, LogLines)
    ]
    for handler, _ in before:
        handler.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for handler, level in before:
            handler.setLevel(level)


@contextmanager
def without_live_lines() -> Iterator[None]:
    """Hide the live lines while something else is printed."""
    screen = _Screen.shown
    with nullcontext() if screen is None else screen.hidden_lines():
        yield


def fitted(lines: Sequence[Line], width: int) -> list[list[str]]:
    """Return the texts of as many live lines as fit, in columns: the title, a bar (its share as text), facts, the time left.

    Args:
        lines: The lines.
        width: The most characters of a line.

    Returns:
        For each line: its title, its bar (empty if there is none), its facts and its time.
    """
    cut = max((_HEADING_RANK, *(fact.rank for line in lines for fact in line.facts)))
    while True:
        texts = _in_columns([_texts(line, cut) for line in lines])
        longest = max(len("  ".join(filter(None, row)).rstrip()) for row in texts)
        if longest <= width or cut == 0:
            break
        cut -= 1
    # If the longest line leaves no space for a bar, a line without facts still has space for its own.
    spaces = [
        width - 2 - (len("  ".join(row)) if longest + _SHORTEST_BAR + 2 > width and not line.facts else longest)
        for row, line in zip(texts, lines, strict=True)
    ]
    bars = [_bar(line.share, min(space, _LONGEST_BAR)) for line, space in zip(lines, spaces, strict=True)]
    return [[row[0], bar if len(bar) >= _SHORTEST_BAR else "", *row[1:]] for row, bar in zip(texts, bars, strict=True)]


class _Screen:
    """Lines at the bottom of a terminal, redrawn in place; only one instance is shown at a time.

    Args:
        stream: The terminal.
    """

    shown: _Screen | None = None

    def __init__(self, stream: IO[str]) -> None:
        # Imported here so that only a terminal pays for the import time.
        from rich.console import Console

        self._stream = stream
        self._console = Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._text: Text | None = None
        self._lengths, self._width, self._is_drawing = list[int](), 0, False
        _Screen.shown = self

    def draw(self, lines: Sequence[Line]) -> None:
        """Replace the shown lines."""
        from rich.text import Text

        size = _size(self._stream)
        self._erase_folds(size.columns)
        self._console.size = size
        ascii_only = not (self._console.encoding or "").lower().startswith("utf")
        texts = [_styled(row, ascii_only) for row in fitted(lines, size.columns - _MARGIN)]
        for text in texts:
            text.truncate(size.columns - _MARGIN, overflow="ellipsis")
        self._lengths, self._width = [text.cell_len for text in texts], size.columns
        self._is_drawing = True
        self._text = Text("\n", no_wrap=True).join(texts)
        if self._live is None:
            self._start()
        else:
            self._live.update(self._text, refresh=True)
        self._is_drawing = False

    def _start(self) -> None:
        from rich.live import Live

        # A new instance each time, because a restarted one would erase as many lines as it had shown before it was stopped.
        self._live = Live(
            self._text,
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)
        # The cursor stays visible in case this process is killed.
        self._console.show_cursor(True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _erase_folds(self, width: int) -> None:
        """Erase the extra lines that a narrowed terminal made by wrapping."""
        from rich.control import Control
        from rich.segment import ControlType

        if self._live is not None and 0 < width < self._width:
            more = sum(max(1, math.ceil(length / width)) for length in self._lengths) - len(self._lengths)
            for _ in range(more):
                self._console.control(Control((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)))

    @contextmanager
    def hidden_lines(self) -> Iterator[None]:
        """Hide the lines for a while."""
        # A message from a signal handler may come while the lines are drawn: then it is printed among them.
        if self._is_drawing or self._live is None:
            yield
            return
        self._stop()
        try:
            yield
        finally:
            if _Screen.shown is self:
                self._start()

    def close(self) -> None:
        """Remove the lines for good."""
        if _Screen.shown is self:
            _Screen.shown = None
        self._stop()


class _Cell:
    """The output of a notebook's cell, whose text is replaced.

    Args:
        stream: Unused: the notebook shows it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._handle: Any = None

    def draw(self, lines: Sequence[Line]) -> None:
        """Replace the shown lines."""
        self._show("\n".join("  ".join(filter(None, row)).rstrip() for row in fitted(lines, 110)))

    def close(self) -> None:
        """Remove the lines."""
        if self._handle is not None:
            self._show("")

    def _show(self, text: str) -> None:
        from IPython.display import display

        if self._handle is None:
            self._handle = display({"text/plain": text}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update({"text/plain": text}, raw=True)


def _in_notebook() -> bool:
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _size(stream: Any) -> os.terminal_size:
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        size = shutil.get_terminal_size()
    return os.terminal_size((size.columns or 80, size.lines or 24))


def _styled(row: Sequence[str], ascii_only: bool) -> Text:
    """Return the texts of a line in colours, unless colours are disabled."""
    from rich.text import Text

    title, bar, *facts, left = row
    styled = Text(title, style="bold", no_wrap=True, end="")
    if bar:
        filled = bar.rstrip("─")
        blocks, rest = (filled.replace("━", "#"), "-") if ascii_only else (filled, "─")
        styled.append("  ").append(blocks, "not bold green").append(
            rest * (len(bar) - len(filled)), "not bold bright_black"
        )
    for text in filter(None, facts):
        styled.append("  ").append(text, "not bold")
    if left:
        styled.append("  ").append(left, "not bold cyan")
    return styled


def _bar(share: float, width: int) -> str:
    """Return the bar, which is empty until some progress is known."""
    if share <= 0:
        return ""
    length = round(min(share, 1.0) * width)
    return "━" * length + "─" * (width - length)


def _texts(line: Line, cut: int) -> list[str]:
    """Return the title, the facts up to a rank, and the time."""
    facts = [fact.text for fact in line.facts if fact.rank <= cut]
    return [line.called(whole=cut >= _HEADING_RANK), *facts, _remaining_text(line)]


def _in_columns(texts: list[list[str]]) -> list[list[str]]:
    """Align rows of texts in columns; rows with another number of texts stay as they are."""
    most = max(map(len, texts))
    widths = [max(map(len, column)) for column in zip(*(row for row in texts if len(row) == most), strict=True)]
    return [
        [text.ljust(wide) for text, wide in zip(row, widths, strict=True)] if len(row) == most else row for row in texts
    ]


def _remaining_text(line: Line) -> str:
    return "" if line.left is None else f"{_clock(line.left)} left"


def _wrapped_line(line: str, width: int) -> str:
    """Wrap a line that is too long for a terminal between words."""
    if len(line) <= width or "mml " in line or "  " in line.strip():
        return line
    # A unit stays with its number.
    whole = _UNIT.sub("\u00a0", line)
    parts = textwrap.wrap(whole, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(parts).replace("\u00a0", " ")


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
