"""The user's own code: which Python files of the current folder may run, and what a stored configuration names of them.

The current folder is where the user works. Folders of results, of data and of tasks, which others may have filled, are no
part of it though they lie there. It is never on the import path: libraries look for optional packages there, and would run
any file that has the name of one. `importable` finds the user's own modules for those who ask for them by name, and for
imports that stand in the user's own files.
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

# Folders in which results and data lie where nothing else is said.
_USUAL = ("results", "mlpipe_data")
_PACKAGES = {"site-packages", "dist-packages"}
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
# Keys whose text is code of the user's own: a folder of Python files, and modules beside it.
_FOLDER_KEY, _MODULES_KEY = "modules", "imports"
# Folders that commands of this process named for results, data and tasks.
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
    """Refuse a file of the current folder that Matplotlib would read while it is imported, where that fails or never ends.

    Raises:
        ConfigError: When `matplotlibrc` is no ordinary file, or no text.
    """
    path = Path("matplotlibrc")
    try:
        limits.text(path)
    except (FileNotFoundError, IsADirectoryError):
        return
    except (OSError, ValueError) as error:
        wrong = f"cannot be read, and Matplotlib reads it wherever it is imported ({error})"
        raise ConfigError(problem(str(path), wrong, fix="remove it, or work in another folder")) from error


def exclude(*folders: Path) -> None:
    """Note folders that hold results or data, so that no code below them counts as the user's own.

    Args:
        folders: The folders. One that the current folder lies in excludes what this program keeps there.
    """
    _OTHERS.update(Path(folder).expanduser().resolve() for folder in folders)


def task_folders(task: Any) -> Iterator[Path]:
    """The folders below the current one in which the data of a task lie, as a configuration's section names them.

    Args:
        task: The section; code that it names is no data.
    """
    cwd = Path.cwd().resolve()
    for key, text in _leaves(task, ""):
        if key in (_FOLDER_KEY, _MODULES_KEY, "trust", "_target_", "import") or not text or "\0" in text:
            continue
        try:
            place = (cwd / Path(text).expanduser()).resolve()
            folder = place if place.is_dir() else place.parent if place.is_file() else cwd
        except (OSError, RuntimeError):
            # Too long for a name, or the home of nobody.
            continue
        if folder != cwd and folder.is_relative_to(cwd):
            yield folder


def holds(path: Path) -> bool:
    """Whether a file or folder is the user's own: in the current folder, and neither installed nor of results or data.

    Where the current folder holds Python itself, such as `/`, its library and its packages are not the user's own.

    Args:
        path: The place; a link counts as what it leads to.
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
    """Whether a path lies in a folder of results or data; of one around the current folder, in what is kept there."""
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
    """The file of a module of the user's own, the folder where it is a package without a file; None: it is none.

    No name of Python's own library or of this program is one. Nothing is imported.

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
    # As Python looks: a package before a file of the same name.
    for place in (base / parts[-1] / "__init__.py", base / f"{parts[-1]}.py", base / parts[-1]):
        if place.is_file() or (place.is_dir() and place.name == parts[-1]):
            return place if holds(place) else None
    return None


def is_installed(first: str) -> bool:
    """Whether a package or module of this name is found without the current folder.

    Args:
        first: A name without dots.
    """
    return bool(_import_paths(first))


def is_on_path(first: str) -> bool:
    """Whether a package or module is the user's own by a folder of theirs that they put on the import path.

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
    """What of the user's own code a configuration names: modules and folders, with the full name of what would run.

    Args:
        tree: Plain data: a configuration, or a part of one.
    """
    code: dict[str, str] = {}
    for key, text in _leaves(tree, ""):
        if key == "trust" or not text or "\0" in text:
            continue
        if key == _FOLDER_KEY:
            code.setdefault(str(Path(text).expanduser().resolve()), f"every file of {text}")
        elif key == _MODULES_KEY:
            code.setdefault(text, text)
        elif _DOTTED.fullmatch(text):
            module = text.rpartition(".")[0]
            if module_place(module) is not None:
                code.setdefault(module, text)
    return code


def unallowed_code(tree: Any, allowed: Any, trust: Sequence[str]) -> dict[str, str]:
    """What of the user's own code a stored configuration names that this command does not name itself.

    Args:
        tree: The stored configuration.
        allowed: The configuration that this command's own words made; None: there is none.
        trust: Modules and folders that the command line named.
    """
    allowed_names = {*named_code(allowed), *trust, *(str(Path(entry).expanduser().resolve()) for entry in trust)}
    return {
        name: description
        for name, description in named_code(tree).items()
        if not any(name == prefix or name.startswith(f"{prefix}.") for prefix in allowed_names)
    }


def _leaves(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text of plain data, with the key that it stands at."""
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
    """Let Python processes that are started meanwhile find no module in the current folder, however they are started.

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
    """Finds the user's own modules in the current folder, for those who may ask."""

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module's place; None where it is no module of the user's own, or a library asks."""
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
    """Let modules of the current folder be imported: those named, and what the user's own files import of it.

    The user's files may import later too, inside their functions; that is found as well.

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
    """Whether the import statement that is running stands in a file of the user's own."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (
        frame.f_globals.get("__name__", "").partition(".")[0] == "importlib" or frame.f_globals is globals()
    ):
        frame = frame.f_back
    if frame is None:
        return False
    file = frame.f_code.co_filename
    return not file.startswith("<") and holds(Path(file))
