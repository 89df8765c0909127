"""The report: one HTML file of everything in a project, readable without a network, on paper or on a phone.

It lies at `reports/report.html`; each of its plots also lies beside it, as `plots/TASK_NAME.png` and `.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from html import escape
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
    training,
    trust,
)
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import ensembles, records
from mlpipe.runs.project import Project

_STYLE = Path(__file__).with_name("report.css")
# Sections on results, which a kind adds, stand between these.
_FIRST: tuple[Callable[[TaskFacts], Section], ...] = (
    overview.summary,
    overview.leaderboard,
    training.trained,
    training.curves,
    healing.recoveries,
)
_LAST: tuple[Callable[[TaskFacts], Section], ...] = (
    heat_maps.heat_maps,
    ensemble.ensembles,
    prevalence.prevalence,
    trust.decisions,
    more_data.more_data,
    origin.origin,
)


def write(project: Project, data_dir: Path) -> Path:
    """Write the report of all tasks of a project, and its plots.

    Args:
        project: The project.
        data_dir: The folder of all tasks, for the descriptions and images of the tasks.

    Returns:
        The page.

    Raises:
        ProjectError: When a record or predictions are damaged.
    """
    tasks = gathered.gather(project, data_dir)
    made = [(task, _sections(task)) for task in tasks]
    for _, sections in made:
        for section in sections:
            for plot in section.plots:
                style.write(plot, project.plots_dir())
    path = project.reports_dir() / "report.html"
    wrong = [*records.broken(project), *ensembles.broken(project)]
    files.write_text(path, page(project.name, [(task.name, sections) for task, sections in made], wrong))
    return path


def _sections(task: TaskFacts) -> list[Section]:
    made = [make(task) for make in (*_FIRST, *report_kind.of(task.kind).SECTIONS, *_LAST)]
    return [section for section in made if not section.is_empty]


def page(name: str, tasks: Sequence[tuple[str, Sequence[Section]]], wrong: Sequence[str] = ()) -> str:
    """The whole page.

    Args:
        name: The project's name.
        tasks: Each task's name and sections.
        wrong: Sentences about what could not be read and is left out.
    """
    links = bullets(element("a", task, href=f"#task-{place}") for place, (task, _) in enumerate(tasks, 1))
    contents = element("nav", links, aria_label="Tasks") if links is not None and len(tasks) > 1 else None
    made = (
        f"{counted(len(tasks), 'task')}; written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by mlpipe {mlpipe.__version__}."
    )
    left_out = joined([paragraph("Left out, since it cannot be read:"), bullets(wrong)]) if wrong else None
    parts = [
        element("a", "To the results", class_="skip", href="#results"),
        element("header", joined([heading(1, f"Project {name}"), paragraph(made, class_="muted"), left_out, contents])),
        element(
            "main",
            joined([_task(place, task, sections) for place, (task, sections) in enumerate(tasks, 1)] or [_nothing()]),
            id="results",
        ),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Nothing is to be fetched or run, whatever a class or file is called.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
        f'<title>{escape(name)}: results</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{_STYLE.read_text('utf-8')}</style>\n</head>\n<body>\n{joined(parts)}\n</body>\n</html>\n"
    )


def _task(place: int, name: str, sections: Sequence[Section]) -> Markup:
    bodies = [element("section", joined([heading(3, section.title), section.body()])) for section in sections]
    return element("article", joined([heading(2, name, anchor=f"task-{place}"), *bodies]))


def _nothing() -> Markup:
    return paragraph("Nothing has been trained yet: mml train makes the first record.")
