"""The catalogue of groups and options, from file names and first lines in the conf folder; imports nothing heavy."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from mlpipe.errors import ConfigError, did_you_mean, listing, problem

_TARGET = re.compile(r"_target_: *[\"']?(mlpipe(?:\.\w+)+)")
ALIASES = {"cbs": "callbacks"}
# Folders that are not groups: they are selected by a key of another section, or by Hydra.
_INNER = ("hydra", "artifacts", "console")


@functools.cache
def conf_dir() -> Path:
    """Return the folder of configuration files: inside the package in a wheel, else at the top of the repository."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


@functools.cache
def docs_dir() -> Path:
    """Return the folder of the documentation: inside the package in a wheel, else at the top of the repository."""
    package = Path(__file__).parents[1]
    inside = package / "docs"
    return inside if inside.is_dir() else package.parent / "docs"


def groups(extra: tuple[Path, ...] = ()) -> list[str]:
    """Return the names of the config groups."""
    names = {entry.name for root in (conf_dir(), *extra) for entry in root.iterdir() if entry.is_dir()}
    return sorted(names.difference(_INNER))


def options(group: str, extra: tuple[Path, ...] = ()) -> list[str]:
    """Return the options of one group."""
    return sorted({file.stem for root in (conf_dir(), *extra) for file in (root / group).glob("*.yaml")})


@functools.cache
def targets(group: str) -> frozenset[str]:
    """Return the functions and classes of mlpipe that the options of a group name, and thereby register."""
    return frozenset(name for option in options(group) for name in _TARGET.findall(option_text(group, option)))


def named(group: str) -> str:
    """Return a group with its short name, if any: `callbacks (cbs for short)`."""
    short = [alias for alias, name in ALIASES.items() if name == group]
    return f"{group} ({short[0]} for short)" if short else group


def check_mode(mode: str, extra: tuple[Path, ...] = (), *, also: Iterable[str] = ()) -> None:
    """Check that a mode exists.

    Args:
        mode: The name.
        extra: Further folders of configuration files.
        also: Other words that may have been intended.

    Raises:
        ConfigError: When it does not exist.
    """
    modes = options("mode", extra)
    if mode in modes:
        return
    if not mode:
        raise ConfigError(problem("mode", "the first word is the mode", fix=f"one of {listing(modes, most=20)}"))
    fix = did_you_mean(mode, [*modes, *also], otherwise=f"modes: {listing(modes, most=20)}")
    raise ConfigError(problem("mode", "unknown mode", got=mode, fix=fix))


def purpose(group: str, option: str) -> str:
    """Return the purpose of an option: the first comment line of its file that states it."""
    for line in option_text(group, option).splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ").strip()
    return ""


def option_text(group: str, option: str, extra_dirs: Iterable[Path] = ()) -> str:
    """Return the text of an option's file, comments included; further folders take precedence over the program's own."""
    places = [folder / group / f"{option}.yaml" for folder in extra_dirs]
    file = next((place for place in places if place.is_file()), conf_dir() / group / f"{option}.yaml")
    return file.read_text("utf-8")
