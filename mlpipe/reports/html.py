"""The report: one HTML file about everything in a project, readable offline, on paper or on a phone.

It is written to `reports/report.html`; each of its plots is also written beside it, as `plots/TASK_NAME.png` and `.csv`.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby
from pathlib import Path

import mlpipe
from mlpipe import files
from mlpipe.errors import counted
from mlpipe.reports import facts as gathered
from mlpipe.reports import kind as report_kind
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Markup, bullets, element, heading, joined, paragraph
from mlpipe.reports.plots import style
from mlpipe.reports.sections import (
    ensemble,
    healing,
    heat_maps,
    more_data,
    origin,
    overview,
    prevalence,
    samples,
    side_by_side,
    studies,
    training,
    trust,
)
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import ensembles, records
from mlpipe.runs.project import Project

# The most columns of a screen, as in the style sheet.
_MOST_COLUMNS = 4
_STYLE, _SCRIPT = Path(__file__).with_name("report.css"), Path(__file__).with_name("report.js")
# The sections on results, which a kind adds, come between these.
_FIRST: tuple[Callable[[TaskFacts], Section], ...] = (
    overview.summary,
    overview.leaderboard,
)
_LAST: tuple[Callable[[TaskFacts], Section], ...] = (
    heat_maps.heat_maps,
    ensemble.ensembles,
    overview.out_of_fold_and_test,
    prevalence.prevalence,
    trust.decisions,
    training.curves,
    training.trained,
    side_by_side.side_by_side,
    healing.recoveries,
    samples.samples,
    more_data.more_data,
    studies.studies,
    origin.origin,
)


def write(project: Project, data_dir: Path, positive: str | None = None) -> Path:
    """Write the report of all tasks of a project, and its plots.

    Args:
        project: The project.
        data_dir: The folder of all tasks, for the descriptions and images of the tasks.
        positive: The positive class or label; None: the stored one, else the second of two classes.

    Returns:
        The page.

    Raises:
        ProjectError: When a record or predictions are damaged.
    """
    tasks = gathered.gather(project, data_dir, positive)
    pairs = [(task, _sections(task)) for task in tasks]
    for _, sections in pairs:
        for section in sections:
            for plot in section.plots:
                style.write(plot, project.plots_dir())
    path = project.reports_dir() / "report.html"
    wrong = [*records.broken(project), *ensembles.broken(project)]
    files.write_text(path, page(project.name, [(task.name, sections) for task, sections in pairs], wrong))
    return path


def _sections(task: TaskFacts) -> list[Section]:
    sections = [make(task) for make in (*_FIRST, *report_kind.of(task.kind).SECTIONS, *_LAST)]
    return [section for section in sections if not section.is_empty]


def page(name: str, tasks: Sequence[tuple[str, Sequence[Section]]], wrong: Sequence[str] = ()) -> str:
    """Return the whole page.

    Args:
        name: The project's name.
        tasks: Each task's name and sections.
        wrong: Sentences about what could not be read and is left out.
    """
    subtitle = (
        f"{counted(len(tasks), 'task')}; written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by mlpipe {mlpipe.__version__}."
    )
    left_out = joined([paragraph("Left out, since it cannot be read:"), bullets(wrong)]) if wrong else None
    parts = [
        element("a", "To the results", class_="skip", href="#results"),
        element("header", joined([heading(1, f"Project {name}"), paragraph(subtitle, class_="muted"), left_out])),
        _contents(tasks),
        element(
            "main",
            joined(
                [_task(place, task, sections) for place, (task, sections) in enumerate(tasks, 1)] or [_empty_page()]
            ),
            id="results",
        ),
    ]
    script = _SCRIPT.read_text("utf-8")
    # The policy forbids all requests and all scripts but this one, whatever a class or file is called.
    allowed = f"script-src '{_digest(script)}'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; {allowed}">\n'
        f'<title>{escape(name)}: results</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_STYLE.read_text('utf-8')}</style>\n</head>\n<body>\n{joined(parts)}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _digest(script: str) -> str:
    """Return the hash with which a content security policy allows a script (CSP level 2)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"


def _contents(tasks: Sequence[tuple[str, Sequence[Section]]]) -> Markup | None:
    """Return links to every section of every task, which are folded on a narrow screen."""
    entries = []
    for place, (name, sections) in enumerate(tasks, 1):
        links = bullets(
            element("a", section.title, href=f"#{_anchor(place, number)}") for number, section in enumerate(sections, 1)
        )
        entries.append(joined([element("a", name, href=f"#task-{place}", class_="task"), links]))
    inside = joined([element("summary", "Contents"), *entries])
    # Open if scripts are disabled; the page's own script folds it on a small screen.
    return (
        element("nav", element("details", inside, open="open"), class_="contents", aria_label="Contents")
        if entries
        else None
    )


def _anchor(place: int, number: int) -> str:
    return f"task-{place}-{number}"


def _task(place: int, name: str, sections: Sequence[Section]) -> Markup:
    bodies = [
        element(
            "section",
            joined([heading(3, section.title), section.body()]),
            class_="wide" if section.is_wide else "",
            id=_anchor(place, number),
        )
        for number, section in enumerate(sections, 1)
    ]
    title = heading(2, name, anchor=f"task-{place}")
    return element("article", joined([title, *_in_columns(sections, bodies)]))


def _in_columns(sections: Sequence[Section], bodies: Sequence[Markup]) -> Iterator[Markup]:
    """Group sections that stand side by side into columns, between the wide ones.

    A single one is as wide as those, and its own tables and plots stand side by side.
    """
    for is_wide, run in groupby(zip(sections, bodies, strict=True), key=lambda pair: pair[0].is_wide):
        pairs = list(run)
        together = [body for _, body in pairs]
        if is_wide:
            yield joined(together)
        elif len(together) == 1:
            yield element("div", joined(together), class_="alone")
        else:
            count = filled_columns([_height(section, body) for section, body in pairs])
            yield element("div", joined(together), class_="columns", style=f"--count: {count}")


def filled_columns(heights: Sequence[float], most: int = _MOST_COLUMNS) -> int:
    """Return the largest number of columns without an empty one, as a browser balances them: in order, of similar heights.

    Args:
        heights: Heights of the sections, in any unit; sections are not broken.
        most: The largest number of columns.
    """
    for count in range(min(most, len(heights)), 1, -1):
        whole = sorted({sum(heights[first:last]) for last in range(len(heights) + 1) for first in range(last)})
        if next(used for high in whole if (used := _columns_of_height(heights, high)) <= count) == count:
            return count
    return 1


def _columns_of_height(heights: Sequence[float], most: float) -> float:
    """Return how many columns of a height sections need; infinite if one is higher."""
    columns, left = 1.0, most
    for height in heights:
        columns, left = (columns, left - height) if height <= left else (columns + 1, most - height)
        if left < 0:
            return math.inf
    return columns


def _height(section: Section, body: Markup) -> float:
    """Estimate the height of a section in a column, in pixels: its plots with captions, rows of tables, and the rest."""
    drawings = sum(96 * plot.figure.get_size_inches()[1] + 90 for plot in section.plots)
    return float(drawings) + 30 * body.html.count("<tr") + 30 * body.html.count("<p") + 60


def _empty_page() -> Markup:
    return paragraph("Nothing has been trained yet: mml train makes the first record.")
