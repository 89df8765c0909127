"""The differences between stored configurations of recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe import files
from mlpipe.config import schema
from mlpipe.errors import first_line, problem
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

# Keys for locations and for how a run is executed, which do not affect what is learned.
_ELSEWHERE = ("out_dir", "data_dir", "proj", "mode", "mode_name", "recommend", "logging", "hydra", "given")
_MOST, _LONGEST = 60, 200


def configuration(project: Project, record: ModelRecord) -> tuple[dict[str, Any], str]:
    """Return the values of a record's stored configuration, and the error if it cannot be read.

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
    """Return the keys whose values differ between configurations, with the values as text; empty where a key is missing.

    Args:
        configs: Configurations as read.
    """
    flat = [_flattened(tree) for tree in configs]
    keys = sorted({key for values in flat for key in values})
    differing = [key for key in keys if len({repr(values.get(key)) for values in flat}) > 1][:_MOST]
    return [(key, [_text(values.get(key)) for values in flat]) for key in differing]


def hash_without_seed(tree: Mapping[str, Any], task: str) -> str:
    """Return a hash that is equal for stored configurations that learn the same except for their `seed`.

    Args:
        tree: A configuration as read.
        task: The task.

    Returns:
        The hash; empty if the configuration lacks a part that it depends on.
    """
    try:
        own = schema.recipe_hash(tree, task, None)
        # The initial weights of models, and the keys of the mode that a recipe's own hash takes from records.
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
    text = "" if value is None else _plain(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _plain(value: Any) -> str:
    """Return a value as people write it: `true`, `[0, 1]`, and a component as `random_crop(padding=0.1)`."""
    if isinstance(value, list):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, dict):
        target = str(value.get("_target_", "")).rpartition(".")[2]
        return f"{target}({', '.join(f'{key}={_plain(item)}' for key, item in value.items() if key != '_target_')})"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)
