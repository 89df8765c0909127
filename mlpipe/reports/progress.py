"""Progress for a person: one bar in a terminal, a plain line every so often anywhere else."""

from __future__ import annotations

import sys
import time
from typing import IO, Any

from tqdm import tqdm

_EVERY_SECONDS = 10.0


class Display:
    """Shows how far a run is.

    Args:
        stream: Where to; a terminal gets a bar, anything else plain lines.
        every: Seconds between two plain lines.
    """

    def __init__(self, stream: IO[str] | None = None, every: float = _EVERY_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._every = every
        self._bar: Any = None
        self._is_terminal = bool(getattr(self._stream, "isatty", lambda: False)())
        self._started = self._last = time.perf_counter()
        self._first = 0

    def start(self, what: str, total: int, done: int = 0) -> None:
        """Begin something of `total` units, of which `done` are done."""
        self.close()
        self._what, self._total, self._first = what, max(total, 1), done
        self._started = self._last = time.perf_counter()
        if self._is_terminal:
            form = "{desc} |{bar:20}| {percentage:3.0f}%{postfix} [{elapsed} < {remaining}]"
            self._bar = tqdm(
                total=self._total, initial=done, desc=what, file=self._stream, bar_format=form, leave=False
            )

    def update(self, done: int, what: str = "", facts: str = "") -> None:
        """Show that `done` units are done; `what` replaces the description, `facts` stand behind the bar."""
        if self._bar is not None:
            self._bar.set_description_str(what or self._what, refresh=False)
            self._bar.set_postfix_str(facts, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.perf_counter()
        if now - self._last >= self._every:
            self._last = now
            left = (now - self._started) / max(done - self._first, 1) * (self._total - done)
            parts = [what or self._what, f"{100 * done / self._total:.0f} %", facts, f"{_clock(left)} left"]
            print(", ".join(part for part in parts if part), file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
