"""Hashes of the user's own code: of a module, of its package, and of what it imports from the folder that it lies in."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mlpipe import files

_START = "__init__.py"
# The folders of installed packages, whose imports are not followed.
_INSTALLED = frozenset(("site-packages", "dist-packages"))


def digests(paths: Mapping[str, Path]) -> dict[str, str]:
    """Return the hash of each file, and of every file that its result may depend on.

    These are all files of its package, and what they import from the folder that holds the module or its package, followed
    from file to file. What is imported under a name that is only known at run time is not found outside of packages.

    Args:
        paths: The files by the dotted names of their modules.

    Returns:
        The hashes of the given files by their names, then those of the others by their paths below that folder, in order.
    """
    modules = {name: path for name, path in paths.items() if path.is_file()}
    known = {path.resolve() for path in modules.values()}
    others: dict[str, Path] = {}
    listed: set[Path] = set()
    queue = [(_root(name, path), path) for name, path in modules.items()]
    while queue:
        root, path = queue.pop()
        for other in _beside(root, path, listed):
            if (resolved := other.resolve()) not in known:
                known.add(resolved)
                others[other.relative_to(root).as_posix()] = other
                queue.append((root, other))
    return {name: files.digest_file(path) for name, path in [*modules.items(), *sorted(others.items())]}


def of_modules(names: Iterable[str]) -> dict[str, str]:
    """Return `digests` of modules that are loaded from files.

    Args:
        names: Dotted names.
    """
    places = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return digests({name: Path(place) for name, place in places.items() if place is not None})


def of_own_modules(names: Iterable[str]) -> dict[str, str]:
    """Return `digests` of those of these loaded modules that are neither installed nor part of this program.

    Args:
        names: Dotted names, such as those of the modules of some classes.
    """
    own = sorted(name for name in set(names) if name.partition(".")[0] != "mlpipe")
    places = {name: Path(place) for name in own if (place := getattr(sys.modules.get(name), "__file__", None))}
    return digests({name: place for name, place in places.items() if not _INSTALLED & set(place.parts)})


def _root(name: str, path: Path) -> Path:
    """Return the folder that holds a module, or the outermost package of a module, by its dotted name."""
    depth = name.count(".") + (path.name == _START)
    return path.parents[depth] if depth < len(path.parents) else path.parent


def _beside(root: Path, path: Path, listed: set[Path]) -> Iterator[Path]:
    """Yield the files of the outermost package that a file lies in, and those that it imports from the root.

    Args:
        root: The folder that imports start from.
        path: The file.
        listed: The packages whose files were yielded before, which are left out; those yielded now are added.
    """
    top = root / path.relative_to(root).parts[0] if path.is_relative_to(root) else path
    if (top / _START).is_file():
        yield from _package_files(top, listed)
    if _INSTALLED & set(root.parts):
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _located(root, alias.name.split("."), listed)
        elif isinstance(node, ast.ImportFrom):
            base = root if not node.level else path.parents[node.level - 1] if node.level <= len(path.parents) else None
            parts = node.module.split(".") if node.module else []
            if base is not None and base.is_relative_to(root):
                for alias in node.names:
                    yield from _located(base, [*parts, alias.name], listed)


def _package_files(package: Path, listed: set[Path]) -> Iterator[Path]:
    """Yield the files of a package and of the packages inside it, unless they were listed before."""
    if package in listed:
        return
    listed.add(package)
    yield from sorted(package.glob("*.py"))
    for folder in sorted(package.iterdir()):
        if (folder / _START).is_file():
            yield from _package_files(folder, listed)


def _located(folder: Path, parts: list[str], listed: set[Path]) -> Iterator[Path]:
    """Yield the files of a dotted name below a folder: its packages, or its module; the last part may be any name in it."""
    for part in parts:
        module = folder / f"{part}.py"
        folder = folder / part
        if (folder / _START).is_file():
            yield from _package_files(folder, listed)
        elif module.is_file():
            yield module
            return
        elif not folder.is_dir():
            return
