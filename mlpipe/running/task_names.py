"""Names of the tasks in a data folder, before one of them is opened."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from mlpipe.config import catalog
from mlpipe.config.overrides import name_and_tags

_HASH = re.compile(r"-[0-9a-f]{8}$")


def file_of(data_dir: Path, name: str) -> Path:
    """Return the file that describes a task."""
    return data_dir / name / "task.json"


def created(data_dir: Path) -> tuple[str, ...]:
    """Return the names of the tasks in a data folder."""
    return tuple(sorted(file.parent.name for file in data_dir.glob("*/task.json"))) if data_dir.is_dir() else ()


def is_known(data_dir: Path, name: str) -> bool:
    """Return whether a task, or the task of a variant, is described in the data folder."""
    return file_of(data_dir, name_and_tags(name, created(data_dir))[0]).is_file()


def with_whole_names(
    texts: Sequence[str], names: Collection[str], extra_dirs: tuple[Path, ...] = ()
) -> tuple[list[str], list[str]]:
    """Complete the names of created tasks in `task=` overrides that omit the hash.

    Args:
        texts: The overrides.
        names: The names of all created tasks.
        extra_dirs: Further folders of configuration files, whose options are not such names.

    Returns:
        The overrides, and a line for each completed name. Names that match no task, or several, are unchanged.
    """
    overrides, notes, options = [], [], catalog.options("task", extra_dirs)
    for text in texts:
        key, _, name = text.lstrip("+").partition("=")
        base, plus, tags = name.partition("+")
        fitting = [
            candidate for candidate in names if _HASH.sub("", candidate) == base or candidate.startswith(f"{base}-")
        ]
        is_short = key == "task" and base not in (*names, *options) and len(fitting) == 1
        overrides.append(f"task={fitting[0]}{plus}{tags}" if is_short else text)
        notes += [f"task={base}: {fitting[0]}, the only task whose name begins so"] if is_short else []
    return overrides, notes
