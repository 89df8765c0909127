"""Folder of the project whose code asks for it: its data lie in `data` beside the folder of its Python files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

# Folders of Python files that a configuration named and that are trusted, as their code objects have them.
_FOLDERS: set[str] = set()


def add(folder: Path) -> None:
    """Note a folder of the user's own Python files."""
    _FOLDERS.add(str(folder))


def is_own_code(frame: FrameType) -> bool:
    """Whether a stack frame runs code of one of the folders."""
    return os.path.dirname(frame.f_code.co_filename) in _FOLDERS  # noqa: PTH120


def project_folder() -> Path | None:
    """The folder above that of the code that asks, however deep in calls; None: no code of a project asks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_own_code(frame):
            return Path(frame.f_code.co_filename).parent.parent
        frame = frame.f_back
    return None


def get_current_project_path() -> str:
    """The folder of the project whose code asks; the current folder where no project's does."""
    return str(project_folder() or Path.cwd())


def get_current_project_data_path() -> str:
    """The folder `data` of the project whose code asks."""
    return os.path.join(get_current_project_path(), "data")  # noqa: PTH118


def project_data_path(path: str) -> str:
    """A relative path below the data folder of the project whose code asks, where it lies there; else as it is."""
    project = project_folder()
    inside = project / "data" / path if project is not None else None
    return str(inside) if inside is not None and inside.exists() else path
