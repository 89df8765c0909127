"""Folder of the project whose code is running: its data are in `data`, beside the folder of its Python files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

# Trusted folders of Python files that a configuration named, spelt as in their code objects.
_FOLDERS: set[str] = set()


def add(folder: Path) -> None:
    """Register a folder of the user's own Python files."""
    _FOLDERS.add(str(folder))


def is_own_code(frame: FrameType) -> bool:
    """Return whether a stack frame runs code of one of the folders."""
    return os.path.dirname(frame.f_code.co_filename) in _FOLDERS  # noqa: PTH120


def project_folder() -> Path | None:
    """Return the parent of the folder with the calling code, at any call depth; None: no project's code is calling."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_own_code(frame):
            return Path(frame.f_code.co_filename).parent.parent
        frame = frame.f_back
    return None


def get_current_project_path() -> str:
    """Return the folder of the project whose code is calling, or the current folder."""
    return str(project_folder() or Path.cwd())


def get_current_project_data_path() -> str:
    """Return the folder `data` of the project whose code is calling."""
    return os.path.join(get_current_project_path(), "data")  # noqa: PTH118


def project_data_path(path: str) -> str:
    """Return a relative path below the data folder of the calling project, if it exists there; else unchanged."""
    project = project_folder()
    inside = project / "data" / path if project is not None else None
    return str(inside) if inside is not None and inside.exists() else path
