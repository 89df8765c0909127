"""Format numbers of what a project holds; the only place that will know older ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.errors import ProjectError, problem

RECORD = 2
RUN = 1
ENSEMBLE = 1


def check(stored: Mapping[str, Any], wanted: int, path: Path) -> None:
    """Refuse a file of another format.

    Raises:
        ProjectError: When its `format` is not `wanted`.
    """
    if stored.get("format") != wanted:
        fix = f"this version of mlpipe reads format {wanted}"
        raise ProjectError(problem(str(path), "has another format", got=stored.get("format"), fix=fix))
