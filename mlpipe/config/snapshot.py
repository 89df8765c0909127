"""Save a run's resolved configuration as YAML, and load it again without composing anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config.assemble import assemble
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ProjectError, problem


def text(tree: Mapping[str, Any]) -> str:
    """The resolved configuration as YAML, in its own order."""
    return files.yaml_text(dict(tree), allow_unicode=True, width=120)


def save(run_config: RunConfig, path: Path) -> None:
    """Durably write the resolved configuration."""
    files.write_text(path, text(run_config.tree))


def load(path: Path, **replaced: Any) -> RunConfig:
    """The `RunConfig` that a snapshot describes.

    What it trusts is left out, so that a project from elsewhere cannot name the code that it runs: who loads it says
    again which modules are trusted.

    Args:
        path: A file that `save` wrote.
        replaced: Top-level values that differ now, such as the folders of a project that was moved, or `trust`.

    Raises:
        ProjectError: When the file is missing or is not such a snapshot.
        ConfigError: When it no longer passes the checks.
    """
    try:
        tree = files.read_yaml(path)
    except (OSError, ValueError) as error:
        raise ProjectError(problem(str(path), f"cannot be read as a configuration ({error})")) from error
    if not isinstance(tree, dict) or "mode_name" not in tree:
        raise ProjectError(problem(str(path), "is not the configuration of a run"))
    try:
        return assemble({**tree, "trust": [], **replaced})
    except (KeyError, TypeError, AttributeError) as error:
        wrong = f"is not the configuration of a run ({type(error).__name__}: {error})"
        raise ProjectError(problem(str(path), wrong, fix="start a new run")) from error
