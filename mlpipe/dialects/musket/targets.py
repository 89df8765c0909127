"""What an experiment predicts, for data that is given in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.dialects.musket.data import outputs_of
from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.musket.work import Work


def targets_of(source: Mapping[str, Any]) -> tuple[str, int | None]:
    """The native kind of task, and how many numbers a target has.

    Args:
        source: The experiment's configuration, common.yaml merged in.
    """
    work = Work(source, Home(Path("config.yaml"), Path()), lenient=True)
    return work.kind, outputs_of(work)
