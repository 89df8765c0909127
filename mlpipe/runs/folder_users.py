"""The processes that currently use a folder: a small file for each, deleted when the process ends."""

from __future__ import annotations

import atexit
import os
import platform
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.runs import journal

_PREFIX = ".used-by-"


def mark_in_use(folder: Path) -> None:
    """Mark a folder as used by this process, until the process ends."""
    path = folder / f"{_PREFIX}{files.safe_name(platform.node())}-{os.getpid()}.json"
    if journal.is_owned(path):
        return
    for other in folder.glob(f"{_PREFIX}*.json"):
        if journal.live_owner(other) is None:
            other.unlink(missing_ok=True)
    files.write_json(path, journal.identity())
    atexit.register(path.unlink, missing_ok=True)


def other_users(folder: Path) -> list[dict[str, Any]]:
    """Return the other processes that use a folder; one of another machine counts until its file is deleted by hand."""
    return [owner for path in sorted(folder.glob(f"{_PREFIX}*.json")) if (owner := journal.live_owner(path))]
