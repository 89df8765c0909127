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
    """The resolved configuration as YAML, in its own order."""
    return files.yaml_text(dict(tree), allow_unicode=True, width=120)


def stored(tree: Mapping[str, Any]) -> str:
    """The resolved configuration as it is kept: without what a command trusted, which each command says anew.

    So a run that is continued, and had to be told whom to trust, keeps what one keeps that was not interrupted.
    """
    content = {**tree, **{key: [] for key in ("trust", "trust_paths") if key in tree}}
    if isinstance(tree.get("task"), Mapping) and "trust" in tree["task"]:
        content["task"] = {**tree["task"], "trust": []}
    return text(content)


def save(run_config: RunConfig, path: Path) -> None:
    """Durably write the resolved configuration as it is kept."""
    files.write_text(path, stored(run_config.tree))


def load(
    path: Path,
    *,
    allowed: Mapping[str, Any] | None = None,
    trust: Any = (),
    without: Collection[str] = (),
    **replaced: Any,
) -> RunConfig:
    """The `RunConfig` that a snapshot describes.

    What it trusts is left out, so that a project from elsewhere cannot name the code that it runs: who loads it says
    again which modules are trusted.

    Args:
        path: A file that `save` wrote.
        allowed: The configuration that this command's own words made, whose code may run; None: there is none.
        trust: Modules and folders that the command line names as trusted.
        without: Sections whose code is not run by whom loads it.
        replaced: Top-level values that differ now, such as the folders of a project that was moved.

    Raises:
        ProjectError: When the file is missing or is not such a snapshot.
        ConfigError: When it no longer passes the checks, or names code that this command does not.
    """
    try:
        tree = files.read_yaml(path)
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"cannot be read as a configuration ({error})")) from error
    if not isinstance(tree, dict) or "mode_name" not in tree:
        raise ProjectError(problem(str(path), "is not the configuration of a run"))
    check_code(str(path), {key: value for key, value in tree.items() if key not in without}, allowed, trust)
    try:
        return assemble({**tree, **replaced, "trust": trust if isinstance(trust, str) else list(trust or ())})
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"is not the configuration of a run ({type(error).__name__}: {error})"
        raise ProjectError(problem(str(path), wrong, fix="start a new run")) from error


def check_code(where: str, tree: Any, allowed: Any, trust: Any) -> None:
    """Refuse what is stored where it names code of the user's own that this command does not name itself.

    Args:
        where: What is stored, for the sentence.
        tree: Its content.
        allowed: The configuration that this command's own words made; None: there is none.
        trust: Modules and folders that the command line names as trusted.

    Raises:
        ConfigError: With one sentence that lists what would run.
    """
    trusted_names = [entry for entry in trust if isinstance(entry, str)] if isinstance(trust, list | tuple) else []
    if new_names := current_folder.unallowed_code(tree, allowed, trusted_names):
        wrong = f"{where} would run code of this folder that this command does not name"
        names = ",".join(f"'{name}'" if "/" in name else name for name in [*trusted_names, *new_names])
        fix = f"read it, then add trust=[{names}]"
        raise ConfigError(problem("trust", wrong, got=listing(list(new_names.values()), most=20), fix=fix))
