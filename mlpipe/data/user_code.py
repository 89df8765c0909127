"""User code: Python files of a trusted folder, loaded so that a configuration can name their functions."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

from mlpipe import current_folder
from mlpipe.data import items, records
from mlpipe.data.items import derived_sets, project_folder, sets
from mlpipe.errors import DataError, did_you_mean, in_short, listing, problem
from mlpipe.names import ROW_PACKAGES

_FOLDER = "__mlpipe_folder__"
# Data sets that a Python program made itself, by the names that `hold` returned.
_HELD: dict[str, Any] = {}
# Folders that were named as trusted in this process.
_TRUSTED: set[Path] = set()
_TRUSTED_MODULES: set[str] = set()
# Why installed packages could not be imported by a project's code.
_FAILURES: dict[str, str] = {}
# Not empty while files of a project are being imported.
_IMPORTING: list[bool] = []


def hold(data_set: Any) -> str:
    """Keep a data set for this process, and return the name of a function in `functions` that returns it.

    Args:
        data_set: An object with a length and items by number.
    """
    name = next((name for name, function in _HELD.items() if function() is data_set), f"held{len(_HELD)}")
    _HELD[name] = lambda: data_set
    return name


def custom_objects() -> dict[str, Any]:
    """Return the objects that a Python program registered by name, see `mlpipe.data.items.get_custom_objects`."""
    return {**items.custom_models, **items.get_custom_objects()}


def check_trusted(folder: Path, trust: Sequence[str], key: str) -> None:
    """Refuse a folder of code that is not the user's own.

    Args:
        folder: The folder.
        trust: Folders that the user named.
        key: The configuration key of the folder.

    Raises:
        DataError: If it lies outside of the current folder and the project around it, and is not named.
    """
    place = folder.resolve()
    own = current_folder.holds(folder) or _is_around(place)
    _TRUSTED.update({place} & {current_folder.expanded(name).resolve() for name in trust})
    if not own and place not in _TRUSTED:
        fix = f"run mml in its project, or add trust=['{place}']"
        raise DataError(problem(key, "holds code from outside the current folder", got=str(folder), fix=fix))


def _is_around(modules: Path) -> bool:
    """Return whether a folder belongs to the project that has the current folder among its experiments."""
    cwd, project = Path.cwd().resolve(), modules.parent
    return modules.name == "modules" and (cwd == project or cwd.is_relative_to(project / "experiments"))


def check_imports(names: Sequence[str], folder: Path | None, trust: Sequence[str], key: str) -> None:
    """Refuse modules that are neither in the folder of code nor named by the user, because their code could do anything.

    Args:
        names: The modules.
        folder: The folder of code, already trusted.
        trust: Modules that the user named.
        key: The configuration key of the modules.

    Raises:
        DataError: If there is one.
    """
    _TRUSTED_MODULES.update(set(names) & set(trust))
    for name in names:
        inside = folder is not None and (folder / f"{name}.py").is_file()
        if not inside and name not in _TRUSTED_MODULES:
            fix = f"put it there, or add trust=[{name}]"
            raise DataError(problem(key, "is no file in the folder of modules", got=name, fix=fix))


def functions(folder: Path | None, extra: Sequence[str], stand_ins: Sequence[str]) -> dict[str, Any]:
    """Return the public functions and classes of a folder's files by name, and built-in sets under unused names.

    Args:
        folder: The folder; None: there is none.
        extra: Further modules to import.
        stand_ins: Packages that are replaced by `mlpipe.data.items` when they are imported, for code written for them.

    Raises:
        DataError: If a file cannot be imported.
    """
    callables = {name: getattr(sets, name) for name in sets.__all__} | _HELD | custom_objects()
    with standing_in(stand_ins):
        names = sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__") if folder else []
        if folder and str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        if folder:
            project_folder.add(folder)
        for name in dict.fromkeys([*names, *extra]):
            module = _imported(folder if name in names else None, name)
            callables |= {
                key: value
                for key, value in vars(module).items()
                if callable(value) and not key.startswith("_") and getattr(value, "__module__", name) == name
            }
    # A module may register its objects under other names.
    return callables | custom_objects()


def chosen(name: str, known: dict[str, Any], key: str) -> Any:
    """Return the function with this name.

    Raises:
        DataError: If there is none.
    """
    if name not in known:
        fix = did_you_mean(name, known, otherwise=f"there are {listing(known, most=20)}")
        raise DataError(problem(key, "no function of the project's modules has this name", got=name, fix=fix))
    return known[name]


@contextmanager
def standing_in(prefixes: Sequence[str]) -> Iterator[None]:
    """Make imports of these packages and their submodules return `mlpipe.data.items`, or `mlpipe.data.records`."""
    finder = _StandIns(tuple(prefixes))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Absent(ModuleType):
    """Placeholder for an import of a project's code that is not available: the error comes when it is used, not imported.

    While files are imported it may be a decorator, be called or be a base class; its results fail when they are used.
    """

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(self)(f"{self.__name__}.{name}")

    def __call__(self, *given: Any, **named: Any) -> Any:
        if not _IMPORTING:
            raise self._error()
        result = type(self)(self.__name__)
        if given and callable(given[0]):
            # A decorated function can be found by its name, and fails when it is called.
            vars(result)["__module__"] = getattr(given[0], "__module__", None)
        return result

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        def fail(*arguments: Any, **keywords: Any) -> Any:
            raise self._error()

        return (type(self.__name__.rpartition(".")[2], (), {"__new__": fail}),)

    def _error(self) -> DataError:
        package = self.__name__.partition(".")[0]
        wrong, fix = f"needs the module {package}, which is not installed", f"install {package}, or do without it"
        if package in _FAILURES:
            wrong = f"cannot be imported from {package} as it is installed here ({_FAILURES[package]})"
            fix = f"mend the installation of {package}, or do without it"
        return DataError(problem(self.__name__, wrong, fix=fix))


class _StandIn(_Absent):
    """A module, and all its submodules, with the names of `mlpipe.data.items` and `mlpipe.data.items.sets`."""

    def __getattr__(self, name: str) -> Any:
        is_of_rows = self.__name__.partition(".")[0] in ROW_PACKAGES
        for place in (records,) if is_of_rows else (items, sets, derived_sets, project_folder):
            if not name.startswith("_") and hasattr(place, name):
                return getattr(place, name)
        if is_of_rows and not name.startswith("__"):
            raise AttributeError(f"{self.__name__}.{name} is not available in this version of mlpipe")
        return super().__getattr__(name)

    def __call__(self, *given: Any, **named: Any) -> Any:
        # Decorators of these packages register a function and return it.
        if _IMPORTING and len(given) == 1 and not named and isinstance(given[0], FunctionType | type):
            return given[0]
        return super().__call__(*given, **named)

    def _error(self) -> DataError:
        fix = "write what it does into a file of the project"
        return DataError(problem(self.__name__, "is not available in this version of mlpipe", fix=fix))


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._prefixes = prefixes

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self._prefixes:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, as there is nothing to run."""


class _Missing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds packages that are not installed or fail to load, only for import statements of a project's own code."""

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self.names: set[str] = set()

    def note_missing(self, error: BaseException) -> bool:
        """Record what an import statement could not get; return False if that is nothing new, or for another error."""
        lacks = _lacking_name(error)
        if lacks is not None:
            is_new = lacks not in self.names
            self.names.add(lacks)
            _FAILURES[lacks.partition(".")[0]] = in_short(error)
            # `from package import name` looks here for names that the package lacks.
            sys.modules.setdefault(lacks, _Absent(lacks))
            return is_new
        package = _lacking_package(error)
        if package is None or package in self.packages:
            return False
        if importlib.util.find_spec(package) is not None:
            _FAILURES[package] = in_short(error)
        self.packages.add(package)
        return True

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.packages or not _is_asked_by_own_code():
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing, as there is nothing to run."""


def _is_asked_by_own_code() -> bool:
    """Return whether the running import statement is in a file of a project."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("importlib", "mlpipe"):
        frame = frame.f_back
    return project_folder.is_own_code(frame)


@contextmanager
def _during_import() -> Iterator[None]:
    _IMPORTING.append(True)
    try:
        yield
    finally:
        _IMPORTING.pop()


def _imported(folder: Path | None, name: str) -> ModuleType:
    where = f"{folder / name}.py" if folder else name
    try:
        if folder is None:
            return importlib.import_module(name)
        return _from_file(folder, name)
    except ModuleNotFoundError as error:
        fix = f"install {error.name}, or leave the file out" if error.name else "mend the import"
        raise DataError(problem(where, f"needs the module {error.name}, which is not installed", fix=fix)) from error
    except DataError:
        raise
    except Exception as error:
        wrong = f"cannot be imported ({in_short(error)})"
        raise DataError(problem(where, wrong, fix="mend it")) from error


def _from_file(folder: Path, name: str) -> ModuleType:
    old_module = sys.modules.get(name)
    # Another file of the folder may have imported this one before.
    is_same = old_module is not None and getattr(old_module, "__file__", None) == str(folder / f"{name}.py")
    if old_module is not None and (is_same or getattr(old_module, _FOLDER, None) == str(folder)):
        return old_module
    if old_module is not None and not hasattr(old_module, _FOLDER):
        wrong = "has the name of a module that is imported already"
        raise DataError(problem(f"{folder / name}.py", wrong, fix="rename it"))
    missing = _Missing()
    sys.meta_path.insert(0, missing)
    try:
        with _during_import():
            return _executed(folder, name, missing)
    finally:
        sys.meta_path.remove(missing)
        for absent_name in [key for key, module in sys.modules.items() if type(module) is _Absent]:
            # Libraries that treat a package as optional must not find the placeholder.
            del sys.modules[absent_name]


def _executed(folder: Path, name: str, missing: _Missing) -> ModuleType:
    """Import a file as a module; imports that are not available (missing, broken, lacking a name) fail when they are used.

    The file is executed until no new imports fail; imports in a `try` of the file itself are left to it.
    """
    while True:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        setattr(module, _FOLDER, str(folder))
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            if not missing.note_missing(error):
                raise
        except BaseException:
            del sys.modules[name]
            raise
        else:
            return module


def _lacking_name(error: BaseException) -> str | None:
    """Return `package.name` if the project's code imports a name that a package does not have (any more)."""
    match = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
    if type(error) is not ImportError or match is None:
        return None
    frames = _frames(error)
    is_librarys = match[2].partition(".")[0] not in _own_modules(frames[-1])
    return f"{match[2]}.{match[1]}" if is_librarys and project_folder.is_own_code(frames[-1]) else None


def _own_modules(frame: FrameType) -> set[str]:
    return {file.stem for file in Path(frame.f_code.co_filename).parent.glob("*.py")}


def _lacking_package(error: BaseException) -> str | None:
    """Return the package that the project's code could not import: not installed, or its own imports fail."""
    frames = _frames(error)
    own = max((number for number, frame in enumerate(frames) if project_folder.is_own_code(frame)), default=None)
    if own is None:
        return None
    if own + 1 < len(frames):
        inside = frames[own + 1]
        is_import = inside.f_code.co_name == "<module>"
        return str(inside.f_globals["__name__"]).partition(".")[0] if is_import else None
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return package if package and not importlib.util.find_spec(package) else None


def _frames(error: BaseException) -> list[FrameType]:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [entry for entry in frames if entry.f_globals.get("__name__", "").partition(".")[0] != "importlib"]
