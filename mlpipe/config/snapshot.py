"""Save a run's resolved configuration as YAML, and load it again without composing anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mlpipe import current_folder, files
from mlpipe.config.assemble import assemble
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, ProjectError, listing, problem


def text(tree: Mapping[str, Any]) -> str:
    """Format the resolved configuration as YAML, in its own order."""
    return files.yaml_text(dict(tree), allow_unicode=True, width=120)


def stored(tree: Mapping[str, Any]) -> str:
    """Return the resolved configuration for storage: without trusted modules, which each command names again.

    A continued run that needed trusted modules therefore stores the same as an uninterrupted one.
    """
    content = {**tree, **{key: [] for key in ("trust", "trust_paths") if key in tree}}
    if isinstance(tree.get("task"), Mapping) and "trust" in tree["task"]:
        content["task"] = {**tree["task"], "trust": []}
    return text(content)


def save(run_config: RunConfig, path: Path) -> None:
    """Durably write the stored form of the resolved configuration."""
    files.write_text(path, stored(run_config.tree))


def load(
    path: Path,
    *,
    allowed: Mapping[str, Any] | None = None,
    trust: Any = (),
    without: Collection[str] = (),
    **replaced: Any,
) -> RunConfig:
    """Return the `RunConfig` that a snapshot describes.

    Its trusted modules are ignored, so that a project from elsewhere cannot choose the code that it runs: the loading
    command names the trusted modules again.

    Args:
        path: A file that `save` wrote.
        allowed: The configuration made from this command's own words, whose code may run; None: there is none.
        trust: Modules and folders that the command line names as trusted.
        without: Sections whose code the caller does not run.
        replaced: Top-level values that differ now, such as the folders of a project that was moved.

    Raises:
        ProjectError: When the file is missing or is not such a snapshot.
        ConfigError: When it no longer passes the checks, or names code that this command does not name.
    """
    try:
        tree = files.read_yaml(path)
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"cannot be read as a configuration ({error})")) from error
    if not isinstance(tree, dict) or "mode_name" not in tree:
        raise ProjectError(problem(str(path), "is not the configuration of a run"))
    check_code(str(path), {key: value for key, value in tree.items() if key not in without}, allowed, trust)
    try:
        changed = _replaced(tree, replaced)
        return assemble({**changed, "trust": trust if isinstance(trust, str) else list(trust or ())})
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"is not the configuration of a run ({type(error).__name__}: {error})"
        raise ProjectError(problem(str(path), wrong, fix="start a new run")) from error


def _replaced(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with other top-level values, also in the recipes of a preset and where the task repeats one."""
    task, changed = tree.get("task"), {**tree, **values}
    if "data_dir" in values and isinstance(task, Mapping) and "data_dir" in task:
        # Written as ${data_dir}, and resolved before it was stored.
        is_same = task["data_dir"] == tree.get("data_dir")
        changed["task"] = {**task, "data_dir": values["data_dir"]} if is_same else task
    preset = tree.get("preset")
    if isinstance(preset, Mapping) and isinstance(trees := preset.get("trees"), Mapping):
        recipes = {name: _replaced(recipe, values) for name, recipe in trees.items() if isinstance(recipe, Mapping)}
        changed["preset"] = {**preset, "trees": {**trees, **recipes}}
    return changed


def check_code(where: str, tree: Any, allowed: Any, trust: Any) -> None:
    """Refuse stored data that names code of the user's own that this command does not name itself.

    Args:
        where: The stored data, for the message.
        tree: Its contents.
        allowed: The configuration made from this command's own words; None: there is none.
        trust: Modules and folders that the command line names as trusted.

    Raises:
        ConfigError: With one sentence that lists the code that would run.
    """
    trusted_names = [entry for entry in trust if isinstance(entry, str)] if isinstance(trust, list | tuple) else []
    if new_names := current_folder.unallowed_code(tree, allowed, trusted_names):
        wrong = f"{where} would run code of this folder that this command does not name"
        names = ",".join(f"'{name}'" if "/" in name else name for name in [*trusted_names, *new_names])
        fix = f"read it, then add trust=[{names}]"
        raise ConfigError(problem("trust", wrong, got=listing(list(new_names.values()), most=20), fix=fix))
