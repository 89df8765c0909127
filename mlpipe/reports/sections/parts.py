"""A section of the page: its title, its content, and the plots that are also written as files."""

from __future__ import annotations

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
        is_wide: Whether it takes the whole width of a page instead of standing beside another section.
    """

    title: str
    content: Sequence[Content | None] = ()
    plots: Sequence[Plot] = field(default=())
    below: Sequence[Content | None] = ()
    is_wide: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.plots and not any(part is not None for part in (*self.content, *self.below))

    def body(self) -> Markup:
        """Return everything but the heading."""
        return joined([*self.content, grid(style.inline(plot) for plot in self.plots), *self.below])
