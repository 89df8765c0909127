"""Rules for the user's own code: which Python files of the current folder may run, and which a stored configuration names.

The current folder is the user's workplace. Folders of results, data and tasks, which others may have filled, do not count as
part of it even if they are inside it. The current folder is never on the import path: libraries look for optional packages
there, and would run any file with the name of one. `importable` enables the user's modules for explicit imports by name,
and for imports in the user's own files.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from mlpipe import limits
from mlpipe.errors import ConfigError, problem

# Default folders of results and data.
_USUAL = ("results", "mlpipe_data")
_PACKAGES = {"site-packages", "dist-packages"}
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
# Keys that name the user's own code: a folder of Python files, and further modules.
_FOLDER_KEY, _MODULES_KEY = "modules", "imports"
# Folders of results, data and tasks in the commands of this process.
_OTHERS: set[Path] = set()


def require() -> None:
    """Refuse to work in a folder that was removed meanwhile, or whose name no stored file could hold.

    Raises:
        ConfigError: When it is one.
    """
    try:
        name = str(Path.cwd())
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        wrong = "is not UTF-8, as names in stored files are"
        raise ConfigError(
            problem("the current folder", wrong, got=name, fix="rename it, or work in another")
        ) from error
    except OSError as error:
        wrong = f"cannot be used ({error.strerror})"
        raise ConfigError(problem("the current folder", wrong, fix="go into one that is there")) from error


def require_plain_settings() -> None:
    """Refuse a `matplotlibrc` in the current folder that would make the import of Matplotlib fail or hang.

    Raises:
        ConfigError: When `matplotlibrc` is not an ordinary file, or not text.
    """
    path = Path("matplotlibrc")
    try:
        limits.text(path)
    except (FileNotFoundError, IsADirectoryError):
        return
    except (OSError, ValueError) as error:
        wrong = f"cannot be read, and Matplotlib reads it wherever it is imported ({error})"
        raise ConfigError(problem(str(path), wrong, fix="remove it, or work in another folder")) from error


def expanded(path: str | Path) -> Path:
    """Return a path with the `~` or `~user` at its beginning replaced by that user's home folder.

    The `~name` of an unknown user is part of a file's name, as in a shell.

    Args:
        path: The path as somebody wrote it.
    """
    try:
        return Path(os.path.expanduser(path))  # noqa: PTH111 - `Path.expanduser` fails for an unknown user
    except ValueError:
        # A zero byte, which no file's name has.
        return Path(path)


def unknown_home(key: str, path: str) -> list[str]:
    """Return a sentence for a path to write that begins with the `~name` of an unknown user.

    Args:
        key: The key that names the path.
        path: The path as somebody wrote it; a file or folder of that name may exist in the current folder.
    """
    first = Path(path).parts[:1]
    if not path.startswith("~") or expanded(path) != Path(path) or os.path.lexists(first[0]):
        return []
    fix = f"write the whole path, or ./{first[0]} for a folder of that name"
    return [problem(key, f"there is no home folder {first[0]}", got=path, fix=fix)]


def exclude(*folders: Path) -> None:
    """Register folders of results or data, so that code in them does not count as the user's own.

    Args:
        folders: The folders. In one that contains the current folder, only this program's own subfolders are excluded.
    """
    _OTHERS.update(expanded(folder).resolve() for folder in folders)


def task_folders(task: Any) -> Iterator[Path]:
    """Yield the folders below the current one that hold the data of a task.

    Args:
        task: The section `task` of a configuration; code that it names is not data.
    """
    cwd = Path.cwd().resolve()
    for key, text in _leaves(task, ""):
        if key in (_FOLDER_KEY, _MODULES_KEY, "trust", "_target_", "import") or not text or "\0" in text:
            continue
        try:
            place = (cwd / expanded(text)).resolve()
            folder = place if place.is_dir() else place.parent if place.is_file() else cwd
        except (OSError, RuntimeError):
            # Too long for a file name, or the home of an unknown user.
            continue
        if folder != cwd and folder.is_relative_to(cwd):
            yield folder


def holds(path: Path) -> bool:
    """Return whether a file or folder is the user's own: in the current folder, but not installed and not results or data.

    If the current folder contains Python itself, as `/` does, its library and packages are not the user's own.

    Args:
        path: The file or folder; links are resolved.
    """
    cwd, inside = Path.cwd().resolve(), path.resolve()
    if not inside.is_relative_to(cwd) or _PACKAGES & set(inside.relative_to(cwd).parts):
        return False
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    if any(inside.is_relative_to(folder) for folder in installed):
        return False
    paths = (os.environ.get(name) for name in ("MML_RESULTS_PATH", "MML_DATA_PATH"))
    others = {*_OTHERS, *(cwd / name for name in _USUAL), *(Path(name).resolve() for name in paths if name)}
    return not any(_lies_in(inside, folder, cwd) for folder in others)


def _lies_in(path: Path, folder: Path, cwd: Path) -> bool:
    """Return whether a path is in a folder of results or data; if that contains the current folder, in a subfolder kept there."""
    if not path.is_relative_to(folder):
        return False
    if not cwd.is_relative_to(folder):
        return True
    parts = path.relative_to(folder).parts
    top = folder / parts[0] if parts else folder
    if cwd.is_relative_to(top):
        return False
    is_kept = any((top / name).is_dir() for name in ("runs", "tasks", "cache", "reports"))
    return parts[:1] == ("archives",) or is_kept or (top / "task.json").is_file()


def module_place(module: str) -> Path | None:
    """Return the file of one of the user's own modules, or the folder of a package without `__init__.py`; None: not their own.

    Names of the standard library and of this program are never the user's own. Nothing is imported.

    Args:
        module: A dotted name.
    """
    parts = module.split(".")
    if parts[0] in ("", "mlpipe") or parts[0] in sys.stdlib_module_names or not all(map(str.isidentifier, parts)):
        return None
    base = Path.cwd()
    for part in parts[:-1]:
        base = base / part
        if (base / "__init__.py").is_file() and not holds(base / "__init__.py"):
            return None
    # In Python's order: a package before a file of the same name.
    for place in (base / parts[-1] / "__init__.py", base / f"{parts[-1]}.py", base / parts[-1]):
        if place.is_file() or (place.is_dir() and place.name == parts[-1]):
            return place if holds(place) else None
    return None


def is_installed(first: str) -> bool:
    """Return whether a package or module of this name exists outside the current folder.

    Args:
        first: A name without dots.
    """
    return bool(_import_paths(first))


def is_on_path(first: str) -> bool:
    """Return whether a package or module is the user's own and in a folder that they put on the import path.

    Args:
        first: A name without dots.
    """
    places = _import_paths(first)
    return bool(places) and first not in sys.stdlib_module_names and all(map(holds, places))


def _import_paths(first: str) -> list[Path]:
    cwd = Path.cwd().resolve()
    folders = [place for place in sys.path if place and Path(place).resolve() != cwd]
    spec = importlib.machinery.PathFinder.find_spec(first, folders) if first.isidentifier() else None
    if spec is None:
        return []
    return [Path(place) for place in ([spec.origin] if spec.origin else spec.submodule_search_locations or ())]


def named_code(tree: Any) -> dict[str, str]:
    """Return the user's own code that a configuration names: modules and folders, with a description of what would run.

    Args:
        tree: Plain data: a configuration, or a part of one.
    """
    code: dict[str, str] = {}
    for key, text in _leaves(tree, ""):
        if key == "trust" or not text or "\0" in text:
            continue
        if key == _FOLDER_KEY:
            code.setdefault(str(expanded(text).resolve()), f"every file of {text}")
        elif key == _MODULES_KEY:
            code.setdefault(text, text)
        elif _DOTTED.fullmatch(text):
            module = text.rpartition(".")[0]
            if module_place(module) is not None:
                code.setdefault(module, text)
    return code


def unallowed_code(tree: Any, allowed: Any, trust: Sequence[str]) -> dict[str, str]:
    """Return the user's own code that a stored configuration names but this command does not.

    Args:
        tree: The stored configuration.
        allowed: The configuration from this command's own words; None: there is none.
        trust: Modules and folders named on the command line.
    """
    allowed_names = {*named_code(allowed), *trust, *(str(expanded(entry).resolve()) for entry in trust)}
    return {
        name: description
        for name, description in named_code(tree).items()
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed_names)
    }


def _leaves(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield every string in plain data, with its key."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, str(name))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _leaves(value, key)
    elif isinstance(node, str):
        yield key, node


@contextmanager
def isolated_processes() -> Iterator[None]:
    """Prevent Python processes that are started meanwhile from importing modules of the current folder.

    https://docs.python.org/3/using/cmdline.html#envvar-PYTHONSAFEPATH
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = before


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the user's own modules in the current folder, for permitted imports only."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module; None if it is not the user's own, or a library imports it."""
        if path is not None:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, [str(Path.cwd())])
        if spec is None or fullname in self.wanted:
            return spec
        places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        if fullname in sys.stdlib_module_names or not all(holds(Path(place)) for place in places):
            return None
        return spec if not is_installed(fullname) and _is_asked_by_own_code() else None


_FINDER = _Finder()


@contextmanager
def importable(*firsts: str) -> Iterator[None]:
    """Allow imports of the named modules of the current folder, and of others by the user's own files.

    The latter stay possible afterwards, for imports inside the user's functions.

    Args:
        firsts: Names of modules or packages, without dots.
    """
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.wanted += firsts
    try:
        yield
    finally:
        for first in firsts:
            _FINDER.wanted.remove(first)


def _is_asked_by_own_code() -> bool:
    """Return whether the running import statement is in one of the user's own files."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        frame.f_globals.get("__name__", "").partition(".")[0] == "importlib" or frame.f_globals is globals()
    ):
        frame = frame.f_back
    if frame is None:
        return False
    file = frame.f_code.co_filename
    return not file.startswith("<") and holds(Path(file))
