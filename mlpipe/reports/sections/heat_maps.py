"""Where images speak for what was predicted of them: what `mml explain` has drawn of a task."""

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
# Bytes of one picture: a report holds all of them.
_PICTURE = 16 << 20
_TITLE = "Why: heat maps"


def folder_of(project: Project, task: str) -> Path:
    """Where the pictures of a task lie, and the index of them.

    Args:
        project: The project.
        task: The task.
    """
    return project.reports_dir() / "explain" / files.safe_name(task)


class Drawn(TypedDict):
    """A picture of the index: its file, the image that it is of, what stands below it; of what is unreadable only the name."""

    file: NotRequired[str]
    image: str
    words: NotRequired[list[str]]


class Index(TypedDict):
    """What the index of a task's pictures says."""

    images: list[Drawn]


def index_of(project: Project, task: str) -> Index | None:
    """The index of a task's pictures; None where there is none that can be read.

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
    """The pictures, with the words of each.

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
