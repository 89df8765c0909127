"""Where images speak for what was predicted of them: what `mml explain` has drawn of a task."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import element, figure, image, joined, paragraph
from mlpipe.reports.sections.parts import Section
from mlpipe.runs.project import Project

INDEX = "index.json"
_TITLE = "Why: heat maps"


def folder_of(project: Project, task: str) -> Path:
    """Where the pictures of a task lie, and the index of them.

    Args:
        project: The project.
        task: The task.
    """
    return project.reports_dir() / "explain" / files.safe_name(task)


def stored(project: Project, task: str) -> dict[str, Any] | None:
    """The index of a task's pictures; None where there is none that can be read.

    Args:
        project: The project.
        task: The task.
    """
    path = folder_of(project, task) / INDEX
    try:
        found = files.read_json(path) if path.is_file() else None
    except (OSError, ValueError, ProjectError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("images"), list) else None


def heat_maps(facts: TaskFacts) -> Section:
    """The pictures, with the words of each.

    Args:
        facts: A task.
    """
    index = stored(facts.project, facts.name)
    folder, cells = folder_of(facts.project, facts.name), []
    for one in index["images"] if index else []:
        path = folder / Path(str(one.get("file"))).name
        if path.is_file() and not path.is_symlink():
            uri = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
            words = [element("span", str(line)) for line in one.get("words", [])]
            cells.append(figure(image(uri, f"Image {one.get('image')} and its heat map"), joined(words)))
    if not cells:
        return Section(_TITLE)
    said = "Bright is where an image speaks for what it is explained for; below are the training images that are most like it."
    return Section(_TITLE, [paragraph(said), element("div", joined(cells), class_="pictures")])
