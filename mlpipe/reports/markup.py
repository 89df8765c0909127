"""Pieces of an HTML page with escaped contents: tables with captions, figures, folded blocks.

A `Markup` is text that is HTML already; anything else that is put into a piece is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Markup:
    """Text that is HTML already."""

    html: str

    def __str__(self) -> str:
        return self.html


Content = Markup | str
# The word length from which a row's name may be broken inside the word, so that its figures fit beside it.
_LONG = 24
# All columns but the first.
_ALL = range(1, 1000)


def joined(parts: Iterable[Content | None]) -> Markup:
    """Concatenate pieces; None is left out."""
    return Markup("\n".join(_html(part) for part in parts if part is not None))


def for_notebook(parts: Iterable[Content | None]) -> Markup:
    """Return pieces for the output of a notebook's cell, with the colours of its theme; what is too wide scrolls.

    Args:
        parts: The pieces; None is left out.
    """
    return element("div", joined(parts), style="overflow-x: auto; max-width: 100%")


def element(tag: str, content: Content = "", **attributes: str) -> Markup:
    """Return an element with attributes; an underscore in a name becomes a hyphen, a trailing one is dropped.

    Args:
        tag: Its name.
        content: Its content.
        attributes: Its attributes; empty ones are left out.
    """
    text = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items() if value
    )
    return Markup(f"<{tag}{text}>{_html(content)}</{tag}>")


def paragraph(*sentences: Content, class_: str = "") -> Markup:
    """Return sentences in a paragraph."""
    return element("p", Markup(" ".join(_html(sentence) for sentence in sentences)), class_=class_)


def heading(level: int, text: str, *, anchor: str = "") -> Markup:
    """Return a heading of a level from 1 to 6."""
    return element(f"h{level}", text, id=anchor)


def bullets(items: Iterable[Content]) -> Markup | None:
    """Return a list; None when it is empty."""
    entries = [element("li", item) for item in items]
    return element("ul", joined(entries)) if entries else None


def table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[Content]], *, numbers: range = _ALL
) -> Markup | None:
    """Return a table that scrolls separately if it is too wide; None without rows.

    Args:
        caption: What it shows.
        header: The columns' names; columns that are empty in all rows are left out.
        rows: The cells; a row's first cell is its name.
        numbers: The columns that are aligned to the right.
    """
    filled = [list(row) for row in rows]
    if not filled:
        return None
    columns = [column for column in range(len(header)) if any(_html(row[column]) for row in filled)]
    head = joined(
        element("th", header[column], scope="col", class_="number" if column in numbers else "") for column in columns
    )
    body = joined(element("tr", _cells(row, columns, numbers)) for row in filled)
    inside = joined(
        [element("caption", element("span", caption)), element("thead", element("tr", head)), element("tbody", body)]
    )
    # A scrollable region must be reachable by keyboard.
    return element("div", element("table", inside), class_="scroll", tabindex="0", role="region", aria_label=caption)


def tiles(figures: Iterable[tuple[str, str, str]]) -> Markup | None:
    """Return figures in large type side by side; None without any.

    Args:
        figures: The label of each, the figure, and the text under it; those without a figure are left out.
    """
    cells = [
        element("div", joined([element("dt", name), element("dd", value), element("dd", more) if more else None]))
        for name, value, more in figures
        if value
    ]
    return element("dl", joined(cells), class_="numbers") if cells else None


def details_block(summary: str, content: Content) -> Markup:
    """Return content that is folded behind a summary."""
    return element("details", joined([element("summary", summary), content]))


def figure(content: Content, caption: Content) -> Markup:
    """Return a figure with its caption."""
    return element("figure", joined([content, element("figcaption", caption)]))


def grid(figures: Iterable[Markup | None]) -> Markup | None:
    """Return figures side by side where there is room; None when there is none."""
    items = [item for item in figures if item is not None]
    return element("div", joined(items), class_="figures") if items else None


def image(source: str, alt: str, *, class_: str = "") -> Markup:
    """Return a picture.

    Args:
        source: A data URI.
        alt: What it shows.
        class_: Its class.
    """
    attribute = f' class="{escape(class_)}"' if class_ else ""
    return Markup(f'<img src="{escape(source)}" alt="{escape(alt)}"{attribute}>')


def _cells(row: Sequence[Content], columns: Sequence[int], numbers: range) -> Markup:
    cells = []
    for column in columns:
        if column == 0:
            longest = max(map(len, re.sub(r"<[^>]*>", "", _html(row[0])).split()), default=0)
            cells.append(element("th", row[0], scope="row", class_="long" if longest > _LONG else ""))
        else:
            cells.append(element("td", row[column], class_="number" if column in numbers else ""))
    return joined(cells)


def _html(content: Content) -> str:
    return content.html if isinstance(content, Markup) else escape(content)
