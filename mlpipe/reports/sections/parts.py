"""A section of the page: its title, its content and the plots that lie beside the page as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlpipe.reports.markup import Content, Markup, grid, joined
from mlpipe.reports.plots import style
from mlpipe.reports.plots.style import Plot


@dataclass(frozen=True)
class Section:
    """One subject of one task.

    Attributes:
        title: Its heading.
        content: The pieces above the plots.
        plots: Drawn in the page, and written beside it.
        below: The pieces under the plots.
    """

    title: str
    content: Sequence[Content | None] = ()
    plots: Sequence[Plot] = field(default=())
    below: Sequence[Content | None] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.plots and not any(part is not None for part in (*self.content, *self.below))

    def body(self) -> Markup:
        """Everything but the heading."""
        return joined([*self.content, grid(style.inline(one) for one in self.plots), *self.below])


def percent(share: float) -> str:
    """`86.1 %`."""
    return f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """Four decimals as everywhere in the project; of large numbers four digits; empty for what is not there."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    """`0.1000 to 0.2000`, empty for what is not there."""
    return f"{number(low)} to {number(high)}" if number(low) and number(high) else ""


def counted(many: int, what: str, several: str = "") -> str:
    """`1 image`, `3 images`."""
    return f"{many} {what}" if many == 1 else f"{many} {several or what + 's'}"
