"""Decisions stored with a task, which hold for every later training that says nothing else.

`mml create` stores the split that its command line names; a run that names `task.max_unreadable` stores that. The file of
the task has both under `decided`. A later command's own keys win, as does a recipe file that names a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mlpipe import files, stored
from mlpipe.config.assemble import assemble
from mlpipe.config.schema import RunConfig

_KEY = "decided"
# The keys of `create` and those of the split that they set.
_OF_MODE = {"n_folds": "folds", "ensure_balancing": "stratify"}


_FIX = "take it from a copy, or run mml create again"


class _Split(TypedDict):
    """The split that was decided: its section, and the keys that were given."""

    section: dict[str, Any]
    given: list[str]


class _Decided(TypedDict):
    """What was decided for a task."""

    max_unreadable: NotRequired[int]
    split: NotRequired[_Split]


class _File(TypedDict):
    """What is read here of a task's file."""

    decided: NotRequired[_Decided]


def store(run_config: RunConfig, file: Path) -> None:
    """Add what the command line decides to the task's file; nothing is written where it decides nothing new.

    Args:
        run_config: The configuration, with the keys that were given.
        file: The task's file, which is there.
    """
    keys = run_config.given or frozenset()
    decisions: dict[str, Any] = {}
    if "task.max_unreadable" in keys:
        decisions["max_unreadable"] = run_config.task.params["max_unreadable"]
    if run_config.mode == "create":
        of_mode = {_OF_MODE[key] for key in _OF_MODE if f"mode.{key}" in keys}
        own = {key.partition(".")[2] for key in keys if key.startswith("split.")} | of_mode
        section = run_config.tree["split"]
        if own or "split" in keys:
            decisions["split"] = {"section": section, "given": sorted(key for key in own if key in section)}
    if not decisions:
        return
    before = stored.read(file, dict[str, Any], _FIX)
    new = {**before.get(_KEY, {}), **decisions}
    if new != before.get(_KEY):
        files.write_json(file, {**before, _KEY: new})


def with_split(run_config: RunConfig, file: Path) -> RunConfig:
    """The configuration with the split that was decided for a task, where the command names no other.

    Args:
        run_config: The configuration; one that was stored with a run or a record stays as it is.
        file: The task's file, which is there.
    """
    if run_config.given is None or "split" in run_config.given:
        return run_config
    section = split_section(run_config.tree["split"], run_config.given, file)
    if section == run_config.tree["split"]:
        return run_config
    return replace(assemble({**run_config.tree, "split": section}), given=run_config.given)


def split_section(section: Mapping[str, Any], keys: frozenset[str], file: Path) -> dict[str, Any]:
    """A section `split` with what was decided for a task.

    Args:
        section: The section.
        keys: The keys that the command names, which win.
        file: The task's file.
    """
    decided = _decisions_in(file).get("split")
    if decided is None:
        return dict(section)
    of_task = decided["section"]
    is_same = of_task["_target_"] == section["_target_"]
    own = [key for key in section if f"split.{key}" in keys]
    if not is_same and any(key not in of_task for key in own):
        # Such a key, split.folds beside a validation part, belongs to the command's kind of split.
        return dict(section)
    settings = {key: section[key] for key in own if key in of_task}
    return {**(section if is_same else of_task), **{key: of_task[key] for key in decided["given"]}, **settings}


def max_unreadable(run_config: RunConfig, file: Path) -> int:
    """How many unreadable images of a task are accepted: what the command says, else the larger of what is stored.

    Args:
        run_config: The configuration.
        file: The task's file.
    """
    own = int(run_config.task.params.get("max_unreadable", 0))
    if "task.max_unreadable" in (run_config.given or ()):
        return own
    return max(own, int(_decisions_in(file).get("max_unreadable", 0)))


def _decisions_in(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    decided: dict[str, Any] = {**stored.read(file, _File, _FIX).get("decided", {})}
    return decided
