"""Text for a terminal: columns and paragraphs that end where its lines do."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

_WIDEST = 36


def table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Rows in columns, the last of which is wrapped where the terminal ends.

    Args:
        rows: The cells of each, as many in every row.

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
    """A text in lines of the terminal's width, of 110 letters where there is no terminal.

    Args:
        text: The text.
        indent: Blanks before every line.
    """
    width = max(shutil.get_terminal_size((110, 24)).columns, indent + 40)
    margin = " " * indent
    return textwrap.wrap(text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
