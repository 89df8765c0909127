"""Decisions stored with a task, which apply to every later training that does not override them.

`mml create` stores the split given on its command line; a run that sets `task.max_unreadable` stores that value. Both
are in the task's file under `decided`. Keys of a later command take precedence, as does a recipe file with a split.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mlpipe import files, stored
from mlpipe.config import snapshot
from mlpipe.config.assemble import assemble
from mlpipe.config.schema import RunConfig
from mlpipe.data import task

_KEY = "decided"
# Keys of `create`, with the split keys that they set.
_OF_MODE = {"n_folds": "folds", "ensure_balancing": "stratify"}


_FIX = "take it from a copy, or run mml create again"


class _Split(TypedDict):
    """The stored split: its section, and the keys that were given."""

    section: dict[str, Any]
    given: list[str]


class _Decided(TypedDict):
    """The stored decisions for a task."""

    max_unreadable: NotRequired[int]
    split: NotRequired[_Split]


class _File(TypedDict):
    """The part of a task's file that is read here."""

    decided: NotRequired[_Decided]


def store(run_config: RunConfig, file: Path) -> None:
    """Add the command line's decisions to the task's file; nothing is written without a new decision.

    Args:
        run_config: The configuration, with the keys that were given.
        file: The task's existing file.
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

    def with_decisions() -> dict[str, Any] | None:
        before = stored.read(file, dict[str, Any], _FIX)
        new = {**before.get(_KEY, {}), **decisions}
        return {**before, _KEY: new} if new != before.get(_KEY) else None

    if with_decisions() is None:
        return
    with task.changing(file):
        if (content := with_decisions()) is not None:
            files.write_json(file, content)


def with_split(run_config: RunConfig, file: Path) -> RunConfig:
    """Return the configuration with the split stored for a task, unless the command names another.

    Args:
        run_config: The configuration; one that was stored with a run or a record is returned unchanged.
        file: The task's existing file.
    """
    if run_config.given is None or "split" in run_config.given:
        return run_config
    section = split_section(run_config.tree["split"], run_config.given, file, run_config.tree["trust"])
    if section == run_config.tree["split"]:
        return run_config
    return replace(assemble({**run_config.tree, "split": section}), given=run_config.given)


def split_section(section: Mapping[str, Any], keys: frozenset[str], file: Path, trust: Any) -> dict[str, Any]:
    """Return a section `split` with the decisions stored for a task.

    Args:
        section: The section.
        keys: The keys that the command sets, which take precedence.
        file: The task's file.
        trust: Modules and folders that the command line names as trusted.

    Raises:
        ConfigError: When the stored split is code of the user's own that the command does not name.
    """
    decided = _decisions_in(file).get("split")
    if decided is None:
        return dict(section)
    of_task = decided["section"]
    snapshot.check_code(str(file), {"split": of_task}, {"split": section}, trust)
    is_same = of_task["_target_"] == section["_target_"]
    own = [key for key in section if f"split.{key}" in keys]
    if not is_same and any(key not in of_task for key in own):
        # Such a key, as split.folds with a validation part, belongs to the command's kind of split.
        return dict(section)
    settings = {key: section[key] for key in own if key in of_task}
    return {**(section if is_same else of_task), **{key: of_task[key] for key in decided["given"]}, **settings}


def max_unreadable(run_config: RunConfig, file: Path) -> int:
    """Return how many unreadable images of a task are accepted: the command's value, else the larger stored one.

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
