"""Plugins: installed packages with options, modes, sources and losses, declared by the entry point `mlpipe.plugins`.

```toml
[project.entry-points."mlpipe.plugins"]
mine = "mlpipe_mine"
```

The package's folder `conf/` is an additional folder of configuration files, and `_target_` may name its modules. A plugin is
imported only when a configuration uses it. Declarations in the current folder are ignored.
"""

from __future__ import annotations

import functools
import importlib.machinery
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

GROUP = "mlpipe.plugins"
# Suffixes of metadata folders of distributions; in an egg it is the whole name.
_DECLARING = (".dist-info", "egg-info")


@dataclass(frozen=True)
class Plugin:
    """An installed package that declares the entry point.

    Attributes:
        name: The entry point's name.
        package: The package that it names.
        distribution: Name and version of the installed distribution.
        folder: The package's folder; None: not found.
    """

    name: str
    package: str
    distribution: str
    folder: Path | None

    @property
    def conf(self) -> Path | None:
        """Its folder of configuration files; None: it has none."""
        conf = self.folder / "conf" if self.folder is not None else None
        return conf if conf is not None and conf.is_dir() else None

    @property
    def options(self) -> list[tuple[str, str]]:
        """Return group and name of each of its options."""
        conf = self.conf
        paths = sorted(conf.rglob("*.yaml")) if conf is not None else []
        return [(file.parent.relative_to(conf).as_posix(), file.stem) for file in paths]  # type: ignore[arg-type]


def installed() -> tuple[Plugin, ...]:
    """Return the plugins, sorted by name."""
    current_folder = Path.cwd().resolve()
    return _installed(tuple(place for place in sys.path if place and Path(place).resolve() != current_folder))


def folders(extra: Sequence[Path] = ()) -> tuple[Path, ...]:
    """Return the configuration folders of all plugins, followed by additional ones.

    Args:
        extra: The additional folders.
    """
    own = (plugin.conf for plugin in installed())
    return tuple(dict.fromkeys([*(conf for conf in own if conf is not None), *extra]))


def owns(module: str) -> bool:
    """Return whether a module belongs to a plugin's package and its file is in the package's folder.

    Args:
        module: A dotted name.
    """
    for plugin in installed():
        if plugin.folder is not None and (module == plugin.package or module.startswith(f"{plugin.package}.")):
            place = plugin.folder.joinpath(*module.removeprefix(plugin.package).split(".")[1:])
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            return file.is_file() and file.resolve().is_relative_to(plugin.folder.resolve())
    return False


@functools.cache
def _installed(places: tuple[str, ...]) -> tuple[Plugin, ...]:
    plugins: dict[str, Plugin] = {}
    likely = list(dict.fromkeys(_likely(places)))
    if not likely:
        return ()
    # A late import, because most installations have no plugin.
    from importlib import metadata

    for distribution in metadata.distributions(path=likely):
        for point in distribution.entry_points.select(group=GROUP):
            title = f"{distribution.name} {distribution.version}"
            package = point.value.partition(":")[0].strip()
            plugins.setdefault(point.name, Plugin(point.name, package, title, _folder(package, places)))
    return tuple(plugins[name] for name in sorted(plugins))


def _likely(places: Sequence[str]) -> Iterator[str]:
    """Yield metadata folders whose entry points contain the group name, and archives, which are not read here."""
    for place in places:
        try:
            with os.scandir(place) as entries:
                declared = [entry.path for entry in entries if entry.name.lower().endswith(_DECLARING)]
        except NotADirectoryError:
            yield place
            continue
        except OSError:
            continue
        if any(_has_group_name(folder) for folder in declared):
            yield place


def _has_group_name(folder: str) -> bool:
    """Return whether a distribution's entry points contain the group name."""
    try:
        with open(f"{folder}/entry_points.txt", "rb") as file:  # noqa: PTH123
            return GROUP.encode() in file.read()
    except OSError:
        return False


def _folder(package: str, places: tuple[str, ...]) -> Path | None:
    """Return the folder of an installed package without importing it."""
    first, *rest = package.split(".")
    spec = importlib.machinery.PathFinder.find_spec(first, list(places))
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place).joinpath(*rest)
        if folder.is_dir():
            return folder
    return None
