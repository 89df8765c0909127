"""Blueprints: sections of one configuration that replace another's as a whole, with a list of changes.

The keys are those of the modes reference's `pipeline_keys`. A section is replaced, never merged. From `mode`, only keys
that affect the weights are taken, because the others define what this run does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config.catalog import ALIASES
from mlpipe.config.schema import OPTIONAL_SECTIONS, RECIPE_SECTIONS
from mlpipe.errors import ConfigError, did_you_mean, first_line, listing, problem

# Keys of `mode` that affect training.
LEARNING_KEYS = ("cv", "nested", "store_parameters", "store_best", "multitask", "co_tasks", "task_weights", "freeze")


# All sections of a recipe, whether taken from a blueprint or not.
_RECIPE = (*RECIPE_SECTIONS, *OPTIONAL_SECTIONS, "stages")


def read(path: Path) -> dict[str, Any]:
    """Read the sections of a blueprint's file, or of a record's stored configuration; `cbs` is `callbacks`.

    Raises:
        ConfigError: When it is unreadable or not a mapping of sections.
    """
    try:
        stored = files.read_yaml(path)
    except (OSError, ValueError) as error:
        reason = first_line(error)
        raise ConfigError(problem("reuse.blueprint", f"cannot be read ({reason})", got=str(path))) from error
    if not isinstance(stored, dict) or not stored:
        fix = "write sections such as arch: and optimizer:"
        raise ConfigError(problem("reuse.blueprint", "holds no sections", got=str(path), fix=fix))
    return {ALIASES.get(str(key), str(key)): value for key, value in stored.items()}


def applied(
    tree: Mapping[str, Any], sections: Mapping[str, Any], keys: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Return a copy of a configuration with the sections of a blueprint, and a line for every change.

    Args:
        tree: The configuration; it is not changed.
        sections: The result of `read`.
        keys: The sections that may be replaced.

    Raises:
        ConfigError: When the blueprint has a section that no configuration has.
    """
    new = copy.deepcopy(dict(tree))
    if unknown := [key for key in sections if key not in tree and key != "mode_name"]:
        raise ConfigError(
            [
                problem("reuse.blueprint", f"unknown section {key!r}", fix=did_you_mean(key, tree) or "remove it")
                for key in unknown
            ]
        )
    # Only requested sections are taken, and all other differences are reported, so that a user who believes that the
    # same recipe is trained again learns before the result that it is not.
    section_names = [key for key in dict.fromkeys(ALIASES.get(key, key) for key in keys) if key in tree]
    for key in section_names:
        if key not in sections:
            continue
        if key == "mode":
            theirs = sections[key] if isinstance(sections[key], Mapping) else {}
            new[key] |= {name: theirs[name] for name in LEARNING_KEYS if name in theirs and name in new[key]}
        else:
            new[key] = copy.deepcopy(sections[key])
    notes = [
        f"blueprint: {changed}: {_short_text(old)} -> {_short_text(value)}"
        for key in section_names
        for changed, old, value in differences(tree[key], new[key], key)
    ]
    if absent := [key for key in section_names if key not in sections]:
        notes.append(f"blueprint: it has no {listing(absent)}, which stay as they are")
    notes = notes or ["blueprint: everything that is taken of it is as it was"]
    if left := [
        key for key in _RECIPE if key in sections and key not in section_names and _differs(tree, sections, key)
    ]:
        all_keys = ",".join([*dict.fromkeys(keys), *left])
        notes.append(
            f"blueprint: its {listing(left)} differ and are not taken; mode.pipeline_keys=[{all_keys}] takes them"
        )
    return new, notes


def _differs(tree: Mapping[str, Any], sections: Mapping[str, Any], key: str) -> bool:
    """Return whether a section of a blueprint sets something that the configuration does not have."""
    return bool(differences(tree.get(key), sections[key], key))


def differences(old: Any, new: Any, key: str) -> list[tuple[str, Any, Any]]:
    """Return every key below `key` whose value differs, with both values; None if it is missing."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        return [item for name in names for item in differences(old.get(name), new.get(name), f"{key}.{name}")]
    return [] if old == new else [(key, old, new)]


def _short_text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
