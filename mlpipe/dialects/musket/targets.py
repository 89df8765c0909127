"""What an experiment predicts and which data sets it names, for those who ask in Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.dialects.musket.data import additions, calls, outputs_of
from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.musket.work import Work


def targets_of(source: Mapping[str, Any]) -> tuple[str, int | None]:
    """The native kind of task, and how many numbers a target has.

    Args:
        source: The experiment's configuration, common.yaml merged in.
    """
    work = Work(source, Home(Path("config.yaml"), Path()), lenient=True)
    return work.kind, outputs_of(work)


def data_of(source: Mapping[str, Any], home: Home, name: str | None = None) -> dict[str, Any]:
    """The functions that give a data set of an experiment, its chain, and where they are, as `task=items` takes them.

    Args:
        source: The experiment's configuration, common.yaml merged in.
        home: Where it lies.
        name: An entry of `datasets`; None: the data set that is trained on, all its parts.

    Raises:
        ConfigError: When there is no such data set.
    """
    work = Work(source, home, lenient=True)
    parts = [source.get("dataset")] if name is None else [name]
    key = "dataset" if name is None else "datasets"
    if (
        name is None
        and isinstance(parts[0], Mapping)
        and parts[0]
        and set(parts[0]) <= {"train", "validation", "holdout"}
    ):
        parts = [parts[0][part] for part in ("train", "validation", "holdout") if part in parts[0]]
    found = [call for part in parts for call in calls(work, key, part)]
    if name is None and "holdout" in source:
        found += calls(work, "holdout", source["holdout"])
    added = additions(work)
    work.require_none_wrong()
    chain = {key: value for key, value in added.items() if key in ("preprocessing", "steps_dir")}
    return {"calls": found, **work.code(), "root": str(home.project / "data"), **chain}


def additions_of(source: Mapping[str, Any], home: Home) -> dict[str, Any]:
    """What else happens to data sets that are given in Python, as keys of `task=items`; empty: nothing.

    Args:
        source: The experiment's configuration, common.yaml merged in.
        home: Where it lies.

    Raises:
        ConfigError: When it names what is not there.
    """
    work = Work(source, home, lenient=True)
    added = additions(work)
    work.require_none_wrong()
    return {**added, **work.code(), "root": str(home.project / "data")} if added else {}


def code_of(source: Mapping[str, Any], home: Home) -> dict[str, Any]:
    """Where the functions of an experiment's project are: `modules`, `imports` and `stand_ins`.

    Args:
        source: The experiment's configuration, common.yaml merged in.
        home: Where it lies.
    """
    return Work(source, home, lenient=True).code()
