"""Heat maps: the places of images that support the predictions, as `mml explain` has drawn them for a task."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NotRequired, TypedDict

from mlpipe import files, limits, stored
from mlpipe.errors import ProjectError
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import element, figure, image, joined, paragraph
from mlpipe.reports.sections.parts import Section
from mlpipe.runs.project import Project

INDEX = "index.json"
# The most bytes of one picture, because a report holds all of them.
_PICTURE = 16 << 20
_TITLE = "Why: heat maps"


def folder_of(project: Project, task: str) -> Path:
    """Return the folder of a task's pictures and their index.

    Args:
        project: The project.
        task: The task.
    """
    return project.reports_dir() / "explain" / files.safe_name(task)


class Drawn(TypedDict):
    """A picture in the index: its file, its image, and the text below it; only the name if the image is unreadable."""

    file: NotRequired[str]
    image: str
    words: NotRequired[list[str]]


class Index(TypedDict):
    """The content of the index of a task's pictures."""

    images: list[Drawn]


def index_of(project: Project, task: str) -> Index | None:
    """Return the index of a task's pictures; None if there is none that can be read.

    Args:
        project: The project.
        task: The task.
    """
    path = folder_of(project, task) / INDEX
    if not path.exists():
        return None
    try:
        return stored.read(path, Index, "run mml explain again")
    except ProjectError as error:
        stored.tell_left_out(error.problems[0])
        return None


def heat_maps(facts: TaskFacts) -> Section:
    """The pictures, with the text of each.

    Args:
        facts: A task.
    """
    index = index_of(facts.project, facts.name)
    folder, cells = folder_of(facts.project, facts.name), []
    for entry in index["images"] if index else []:
        path = folder / Path(entry.get("file", "")).name
        if "file" not in entry or path.is_symlink() or not path.is_file():
            continue
        try:
            content = limits.content(path, _PICTURE)
        except OSError as error:
            stored.tell_left_out(f"{path}: cannot be read ({error})")
            continue
        uri = f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
        words = [element("span", line) for line in entry.get("words", [])]
        cells.append(figure(image(uri, f"Image {entry['image']} and its heat map"), joined(words)))
    if not cells:
        return Section(_TITLE)
    text = "Bright is where an image speaks for what it is explained for; below are the training images that are most like it."
    return Section(_TITLE, [paragraph(text), element("div", joined(cells), class_="pictures")], is_wide=True)
