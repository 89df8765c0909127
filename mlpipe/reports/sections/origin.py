"""The origin of the results: runs, differences of their configurations, versions and hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe import files, limits
from mlpipe.errors import ProjectError, first_line, problem
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.markup import Content, element, folded, joined, paragraph, table
from mlpipe.reports.sections.parts import Section
from mlpipe.runs import journal, records

# Keys that say where things are and how a run is done, not what is learned.
_ELSEWHERE = ("out_dir", "data_dir", "proj", "mode", "mode_name", "recommend", "logging", "hydra")
_MOST_VALUES = 60


def origin(facts: TaskFacts) -> Section:
    """The commands' stored configurations, what differs between recipes, and versions.

    Args:
        facts: The task.
    """
    configs = {recipe: _config(facts, recipe) for recipe in facts.recipes}
    trees = {recipe: tree for recipe, (tree, _) in configs.items()}
    parts: list[Content | None] = [_runs(facts), _differences(trees)]
    newest = facts.newest
    text, wrong = _text(facts, newest.recipe)
    parts += [
        paragraph(f"{sentence}.") for sentence in (*(one for _, one in configs.values() if one), wrong) if sentence
    ]
    if text:
        said = paragraph(f"The configuration of recipe {newest.recipe} as it was stored with record {newest.id}.")
        parts.append(folded(f"Configuration of recipe {newest.recipe}", joined([said, element("pre", text)])))
    parts.append(_versions(facts))
    return Section("Where this comes from", parts)


def _runs(facts: TaskFacts) -> Content | None:
    names: dict[str, list[str]] = {}
    for folds in facts.recipes.values():
        for record in folds:
            names.setdefault(record.run, []).append(record.recipe)
    made = {one.run: one.id for one in facts.ensembles}
    rows = []
    for name in sorted({*names, *made}, reverse=True):
        run = journal.Run(name, facts.project.run_dir(name))
        command, git = _asked(run)
        did = ", ".join(
            [*(f"recipe {one}" for one in dict.fromkeys(names.get(name, ()))), *([made[name]] if name in made else [])]
        )
        rows.append([name, element("code", command) if command else "", did, git[:12]])
    caption = "Runs, the newest first; each run's folder holds its whole configuration (config.yaml) and log"
    return table(caption, ["run", "command", "made", "git commit"], rows, numbers=range(0))


def _asked(run: journal.Run) -> tuple[str, str]:
    """The command and the commit of a run; what is wrong in place of the command where its plan cannot be read."""
    if not (run.folder / journal.PLAN_FILE).is_file():
        return "", ""
    try:
        plan = run.plan()
    except ProjectError as error:
        return error.problems[0], ""
    return plan.get("command", ""), str(plan.get("versions", {}).get("git") or "")


def _differences(configs: Mapping[str, dict[str, Any]]) -> Content | None:
    flat = {recipe: _flattened(tree) for recipe, tree in configs.items() if tree}
    if len(flat) < 2:
        return None
    keys = sorted({key for values in flat.values() for key in values})
    differing = [key for key in keys if len({repr(values.get(key)) for values in flat.values()}) > 1][:_MOST_VALUES]
    rows: list[list[Content]] = [
        [element("code", key), *(_value(values.get(key)) for values in flat.values())] for key in differing
    ]
    return table("What the recipes differ in", ["key", *flat], rows, numbers=range(0))


def _versions(facts: TaskFacts) -> Content | None:
    seen: dict[str, set[str]] = {}
    for folds in facts.recipes.values():
        for record in folds:
            for key, value in record.environment.items():
                seen.setdefault(key, set()).add(str(value))
    rows = [[key, ", ".join(sorted(values))] for key, values in seen.items()]
    return table("Versions and hardware of the records", ["what", "value"], rows, numbers=range(0))


def _text(facts: TaskFacts, recipe: str) -> tuple[str, str]:
    """The text of a recipe's configuration, and what is wrong where it cannot be read."""
    path = _file(facts, recipe)
    try:
        return (limits.text(path), "") if path.is_file() else ("", "")
    except (OSError, ValueError):
        # Said where its values are read.
        return "", ""


def _config(facts: TaskFacts, recipe: str) -> tuple[dict[str, Any], str]:
    """The values of a recipe's configuration, and what is wrong where it cannot be read."""
    path = _file(facts, recipe)
    try:
        tree = files.read_yaml(path) if path.is_file() else {}
    except (OSError, ValueError) as error:
        return {}, problem(str(path), f"cannot be read as a configuration ({first_line(error)})")
    return (tree, "") if isinstance(tree, dict) else ({}, problem(str(path), "is no configuration"))


def _file(facts: TaskFacts, recipe: str) -> Path:
    record = facts.recipes[recipe][-1]
    return facts.project.model_dir(record.pivot, record.id) / records.CONFIG_FILE


def _flattened(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if not above and key in _ELSEWHERE:
            continue
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, dict):
            found |= _flattened(value, name)
        else:
            found[name] = value
    return found


def _value(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
