"""Options and values to one tree by Hydra: a choice of options is composed once, and kept for the next commands."""

from __future__ import annotations

import functools
import importlib.util
import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import omegaconf
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from mlpipe import files
from mlpipe.config import catalog

# Combinations of options that a process keeps; the jobs of a sweep mostly differ in values.
_KEPT = 16
# Combinations that are kept beside the byte code of this module.
_MOST_FILES = 200


class Composer:
    """Composes a configuration from options, then values: a choice of options is composed once, which takes most of the time.

    Args:
        choices: Overrides that choose options, as Hydra is given them.
        extra_dirs: Further folders of configuration files.

    Raises:
        HydraException: When the options do not go together (and what OmegaConf raises of the kind).
    """

    def __init__(self, choices: Sequence[str], extra_dirs: Sequence[Path] = ()) -> None:
        self._choices, self._folders = tuple(choices), tuple(extra_dirs)
        self._base = _composed(self._choices, self._folders, _state(self._folders))

    @property
    def base(self) -> DictConfig:
        """The configuration without values; it is not to be changed."""
        return self._base

    def put(self, texts: Sequence[str]) -> DictConfig:
        """The configuration with values, a copy of its own.

        Args:
            texts: Overrides that set, add or delete keys.

        Raises:
            HydraException: When one of them cannot be applied (and what OmegaConf raises of the kind).
        """
        if any(text.lstrip("+~").startswith("hydra") for text in texts):
            return _hydra([*self._choices, *texts], self._folders)
        # A copy by way of bytes: OmegaConf's own, node by node, takes four times as long.
        config: DictConfig = pickle.loads(pickle.dumps(self._base, pickle.HIGHEST_PROTOCOL))
        ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(list(texts)), config)
        return config


def _hydra(overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    search = [f"hydra.searchpath=[{','.join(f'file://{path}' for path in folders)}]"] if folders else []
    with initialize_config_dir(str(catalog.conf_dir()), version_base="1.3"):
        return hydra_compose("config", [*search, *overrides])


def _state(folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """What changes where a file in one of the folders does."""
    found = [(path, path.stat()) for folder in folders for path in folder.rglob("*.yaml")]
    return tuple(sorted((str(path), state.st_mtime_ns, state.st_size) for path, state in found))


@functools.lru_cache(maxsize=_KEPT)
def _composed(choices: tuple[str, ...], folders: tuple[Path, ...], state: object) -> DictConfig:
    if folders:
        return _hydra(choices, folders)
    # Kept as Python keeps byte code, and trusted as that is: beside the module, where it may write, and by content.
    file = _kept_file(choices)
    try:
        plain = json.loads(file.read_bytes())
    except (OSError, ValueError):
        plain = None
    if isinstance(plain, dict):
        return OmegaConf.create(plain, flags={"struct": True})
    composed = _hydra(choices, folders)
    _keep(composed, file)
    return composed


def _kept_file(choices: Sequence[str]) -> Path:
    """The file that holds what the options compose to, named by all that it depends on."""
    key = files.digest([*choices, _content(), hydra.__version__, omegaconf.__version__])
    return Path(importlib.util.cache_from_source(__file__)).with_name(f"composed-{key}.json")


@functools.cache
def _content() -> str:
    """A hash of the names and texts of all configuration files."""
    root = catalog.conf_dir()
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in root.rglob("*.yaml")}
    return files.digest(texts)


def _keep(composed: DictConfig, file: Path) -> None:
    """Write what was composed, unless it would be read as something else, or nothing may be written there."""
    plain = OmegaConf.to_container(composed, resolve=False)
    try:
        text = json.dumps(plain)
    except TypeError:
        return
    if sys.dont_write_bytecode or json.loads(text) != plain:
        return
    try:
        kept = sorted(file.parent.glob("composed-*.json"), key=lambda one: one.stat().st_mtime_ns)
        for old in kept[: max(0, len(kept) + 1 - _MOST_FILES)]:
            old.unlink(missing_ok=True)
        files.write_text(file, text)
    except OSError:
        # A folder of somebody else, a full disk, another process that removes the same files: the next command composes anew.
        return
