"""The stages of a training as the configuration lists them, checked: options by name become what their files say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe import files
from mlpipe.config import catalog, components, signatures
from mlpipe.config.schema import Stage
from mlpipe.errors import did_you_mean, listing, problem


def resolved(section: Any) -> tuple[dict[str, Any], list[str]]:
    """The section with the names of options replaced by their files' content, and what is wrong with it.

    Args:
        section: `stages` of a configuration; None where it is missing.
    """
    given = dict(section) if isinstance(section, dict) else {}
    entries, found = given.get("list", []), []
    if not isinstance(entries, list):
        return {**given, "list": []}, [
            problem("stages.list", "must be a list of stages", got=entries, fix="use [] for one")
        ]
    filled = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            fix = "for example {epochs: 2, freeze: backbone}"
            found.append(problem(f"stages.list[{number}]", "must be a mapping", got=entry, fix=fix))
            continue
        entry = dict(entry)
        for group in ("loss", "lr_scheduler"):
            if isinstance(entry.get(group), str):
                entry[group] = _option(f"stages.list[{number}].{group}", group, entry[group], found)
        if isinstance(entry.get("callbacks"), list):
            key = f"stages.list[{number}].callbacks"
            options = [_option(key, "callbacks", name, found) for name in entry["callbacks"]]
            entry["callbacks"] = {name: node for option in options for name, node in (option or {}).items()}
        filled.append(entry)
    return {**given, "list": filled}, found


def checked(section: Mapping[str, Any], found: list[str], trust: tuple[str, ...]) -> tuple[Stage, ...]:
    """The stages of a resolved section; adds a sentence to `found` for everything that is wrong.

    Args:
        section: What `resolved` gave.
        found: Sentences so far.
        trust: Further modules that are allowed.
    """
    signature = signatures.read(f"{Stage.__module__}.{Stage.__qualname__}")
    assert signature is not None
    stages = []
    for number, entry in enumerate(section["list"]):
        key = f"stages.list[{number}]"
        wrong = signature.problems(key, entry)
        parts: dict[str, Any] = dict(entry)
        for group in ("loss", "lr_scheduler"):
            if parts.get(group) is not None:
                parts[group], problems = components.check(f"{key}.{group}", group, parts[group], trust=trust)
                wrong += problems
        if isinstance(parts.get("callbacks"), dict):
            built = {}
            for name, node in parts["callbacks"].items():
                built[name], problems = components.check(f"{key}.callbacks.{name}", "callbacks", node, trust=trust)
                wrong += problems
            parts["callbacks"] = built
        found += wrong
        if not wrong:
            stages.append(Stage(**parts))
    return tuple(stages)


def _option(key: str, group: str, name: Any, found: list[str]) -> Any:
    options = catalog.options(group)
    if name not in options:
        fix = did_you_mean(str(name), options, otherwise=f"options: {listing(options, most=20)}")
        found.append(problem(key, "unknown option", got=name, fix=fix))
        return None
    return files.plain_yaml(catalog.option_text(group, name))
