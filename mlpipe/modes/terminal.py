"""Text layout for a terminal: columns and paragraphs of the terminal's width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

_WIDEST = 36


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Format rows in columns; the last column is wrapped at the terminal's width.

    Args:
        rows: The cells of each row, the same number in every row.

    Returns:
        The lines.
    """
    all_rows = [tuple(row) for row in rows]
    if not all_rows:
        return []
    widths = [min(max(len(row[place]) for row in all_rows), _WIDEST) for place in range(len(all_rows[0]) - 1)]
    indent = 2 + sum(width + 2 for width in widths)
    lines = []
    for row in all_rows:
        start = "  " + "".join(f"{text:{width}}  " for text, width in zip(row, widths, strict=False))
        rest = paragraph(row[-1], indent) or [""]
        if len(start) > indent:
            lines += [start.rstrip(), *rest]
        else:
            lines += [(start + rest[0].strip()).rstrip(), *rest[1:]]
    return lines


def paragraph(text: str, indent: int = 0) -> list[str]:
    """Wrap a text at the terminal's width, or at 110 characters without a terminal.

    Args:
        text: The text.
        indent: The number of blanks before every line.
    """
    width = max(shutil.get_terminal_size((110, 24)).columns, indent + 40)
    margin = " " * indent
    return textwrap.wrap(text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
