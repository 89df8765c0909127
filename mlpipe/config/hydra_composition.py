"""Hydra's composition of chosen options, remembered within a process, and values put into it as Hydra puts them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from mlpipe.config import catalog

# Combinations of options that are kept; the jobs of a sweep mostly differ in values.
_KEPT = 16


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
        config = copy.deepcopy(self._base)
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
    return _hydra(choices, folders)
