"""Compose options and values with Hydra; a choice of options is composed once, and cached for later commands.

Plain values are set without Hydra: most commands import neither it nor OmegaConf.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlpipe import files
from mlpipe.config import catalog
from mlpipe.config.overrides import Change, plain

# The number of option combinations cached in a process; the jobs of a sweep mostly differ in values.
_KEPT = 16
# The number of combinations cached beside the byte code of this module.
_MOST_FILES = 200

Given = TypeVar("Given")


class Refused(ValueError):
    """Hydra's error for options that do not go together, or for a value that cannot be set."""


class Composer:
    """Compose a configuration from options, then values; the options, which take most of the time, are composed once.

    Args:
        choices: Overrides that choose options, in Hydra's form.
        extra_dirs: Further folders of configuration files.

    Raises:
        Refused: When the options do not go together.
    """

    def __init__(self, choices: Sequence[str], extra_dirs: Sequence[Path] = ()) -> None:
        self._choices, self._folders = tuple(choices), tuple(extra_dirs)
        self._base = _composed(self._choices, self._folders, _state(self._folders))

    @property
    def base(self) -> dict[str, Any]:
        """The configuration without values, with unresolved references; it must not be changed."""
        return self._base

    def put(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return a new copy of the configuration with values, with unresolved references.

        Args:
            texts: Overrides that set, add or delete keys.

        Raises:
            Refused: When one of them cannot be applied.
        """
        if any(text.lstrip("+~").startswith("hydra") for text in texts):
            return _hydra([*self._choices, *texts], self._folders)
        config: dict[str, Any] = _copied(self._base)
        if all(_put_without_hydra(config, text) for text in texts):
            return config
        return _put_by_hydra(self._base, texts)


def _put_without_hydra(config: dict[str, Any], text: str) -> bool:
    """Set a plain value at an existing key, or at a new one for `++`; return False if Hydra is needed.

    Raises:
        Refused: Like Hydra, if the key does not exist.
    """
    change = plain(text)
    if change is None or not change.text.startswith((change.key, "++")):
        return False
    is_new, parts = change.text.startswith("++"), change.key.split(".")
    node: Any = config
    for part in parts[:-1]:
        if not isinstance(node, dict) or (is_new and part not in node):
            return False
        node = _child(node, part, change)
    if not isinstance(node, dict) or isinstance(node.get(parts[-1]), dict):
        return False
    if not is_new:
        _child(node, parts[-1], change)
    node[parts[-1]] = change.value
    return True


def _child(node: dict[str, Any], part: str, change: Change) -> Any:
    if part not in node:
        raise Refused(f"Could not override '{change.key}'.\nTo append to your config use +{change.text}")
    return node[part]


def _copied(value: Any) -> Any:
    """Return a copy of plain data, faster than `copy.deepcopy`, which looks for shared parts."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value


def _with_one_error(call: Callable[..., Given]) -> Callable[..., Given]:
    """Wrap a function that uses Hydra, so that all errors of Hydra and OmegaConf become one type."""

    @functools.wraps(call)
    def refusing(*arguments: Any) -> Given:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        try:
            return call(*arguments)
        # They let the last three exceptions through for an entry of a list.
        except (HydraException, OmegaConfBaseException, ValueError, IndexError, TypeError) as error:
            raise Refused(str(error) or type(error).__name__) from error

    return refusing


@_with_one_error
def _hydra(overrides: Sequence[str], folders: Sequence[Path]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    search = [f"hydra.searchpath=[{','.join(f'file://{path}' for path in folders)}]"] if folders else []
    with initialize_config_dir(str(catalog.conf_dir()), version_base="1.3"):
        config = compose("config", [*search, *overrides])
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


@_with_one_error
def _put_by_hydra(base: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    config = OmegaConf.create(base, flags={"struct": True})
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(list(texts)), config)
    return OmegaConf.to_container(config, resolve=False)  # type: ignore[return-value]


def _state(folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Return the state of the folders, which changes with any file in them."""
    entries = [(path, path.stat()) for folder in folders for path in folder.rglob("*.yaml")]
    return tuple(sorted((str(path), state.st_mtime_ns, state.st_size) for path, state in entries))


@functools.lru_cache(maxsize=_KEPT)
def _composed(choices: tuple[str, ...], folders: tuple[Path, ...], state: object) -> dict[str, Any]:
    if folders:
        return _hydra(choices, folders)
    # Stored and trusted like Python's byte code: beside the module, if writable, and by content.
    file = _cache_file(choices)
    try:
        stored = json.loads(file.read_bytes())
    except (OSError, ValueError):
        stored = None
    if isinstance(stored, dict):
        return stored
    composed = _hydra(choices, folders)
    _write_cache(composed, file)
    return composed


def _cache_file(choices: Sequence[str]) -> Path:
    """Return the cache file of composed options, whose name depends on all inputs."""
    key = files.digest([*choices, _content(), *map(_version_text, ("hydra/__init__.py", "omegaconf/version.py"))])
    return Path(importlib.util.cache_from_source(__file__)).with_name(f"composed-{key}.json")


def _version_text(file: str) -> str:
    """Return the text of a library's version file, without importing the library."""
    package, _, rest = file.partition("/")
    spec = importlib.util.find_spec(package)
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return "".join(Path(place, rest).read_text("utf-8") for place in places[:1])


@functools.cache
def _content() -> str:
    """Return a hash of the names and texts of all configuration files."""
    root = str(catalog.conf_dir())
    texts = {}
    for folder, _, names in os.walk(root):
        for name in names:
            if name.endswith(".yaml"):
                path = f"{folder}/{name}"
                # With about two hundred files, `pathlib` would take three times as long.
                with open(path, encoding="utf-8") as file:  # noqa: PTH123
                    texts[path[len(root) :]] = file.read()
    return files.digest(texts)


def _write_cache(composed: dict[str, Any], file: Path) -> None:
    """Cache the composed configuration, unless it would be read back differently or the folder is not writable."""
    try:
        text = json.dumps(composed)
    except TypeError:
        return
    if sys.dont_write_bytecode or json.loads(text) != composed:
        return
    try:
        cache_files = sorted(file.parent.glob("composed-*.json"), key=lambda path: path.stat().st_mtime_ns)
        for old in cache_files[: max(0, len(cache_files) + 1 - _MOST_FILES)]:
            old.unlink(missing_ok=True)
        files.write_text(file, text)
    except OSError:
        # Another user's folder, a full disk, or another process that deletes the same files: later commands compose
        # again.
        return
