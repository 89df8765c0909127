"""What the stored configurations of recipes differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe import files
from mlpipe.config import schema
from mlpipe.errors import first_line, problem
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

# Keys that say where things are and how a run is done, not what is learned.
_ELSEWHERE = ("out_dir", "data_dir", "proj", "mode", "mode_name", "recommend", "logging", "hydra", "given")
_MOST, _LONGEST = 60, 200


def configuration(project: Project, record: ModelRecord) -> tuple[dict[str, Any], str]:
    """The values of a record's stored configuration, and what is wrong where it cannot be read.

    Args:
        project: The project.
        record: The record.
    """
    path = project.model_dir(record.pivot, record.id) / records.CONFIG_FILE
    try:
        tree = files.read_yaml(path) if path.is_file() else {}
    except (OSError, ValueError) as error:
        return {}, problem(str(path), f"cannot be read as a configuration ({first_line(error)})")
    return (tree, "") if isinstance(tree, dict) else ({}, problem(str(path), "is no configuration"))


def differences(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The keys whose values are not the same in all configurations, with the values as text; empty where one lacks it.

    Args:
        configs: Configurations as read.
    """
    flat = [_flattened(tree) for tree in configs]
    keys = sorted({key for values in flat for key in values})
    differing = [key for key in keys if len({repr(values.get(key)) for values in flat}) > 1][:_MOST]
    return [(key, [_text(values.get(key)) for values in flat]) for key in differing]


def hash_without_seed(tree: Mapping[str, Any], task: str) -> str:
    """A hash that stored configurations share which differ in nothing of what is learned but their `seed`.

    Args:
        tree: A configuration as read.
        task: The task.

    Returns:
        The hash; empty where the configuration does not say all that it is made of.
    """
    try:
        own = schema.recipe_hash(tree, task, None)
        # What models start from, and what of the mode a recipe's own hash has from records.
        rest = {key: value for key, value in tree["mode"].items() if key not in ("subroutines", "folds")}
        return files.digest([own, rest, tree.get("reuse")])
    except (KeyError, TypeError, AttributeError):
        return ""


def _flattened(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if not above and key in _ELSEWHERE:
            continue
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, dict):
            leaves |= _flattened(value, name)
        else:
            leaves[name] = value
    return leaves


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
