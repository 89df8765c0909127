"""Resolution of import strings in a configuration: a short name for mlpipe's objects, a dotted path for the user's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe import current_folder, plugins
from mlpipe.data import user_code
from mlpipe.errors import DataError, did_you_mean, in_short, listing, problem
from mlpipe.names import ROW_PACKAGES

_OWN = (*ROW_PACKAGES, "mlpipe")
# Modules outside of the current folder that the user named as trusted in this process.
_TRUSTED: set[str] = set()


def resolve(key: str, path: str, known: Mapping[str, Any], trust: Sequence[str] = ()) -> Any:
    """Return the object that an import string names.

    Args:
        key: The configuration key, for error messages.
        path: A short name, a dotted one of mlpipe or of `names.ROW_PACKAGES`, or MODULE.NAME of the user's own code.
        known: The objects by short name; the last part of a dotted name of mlpipe is such a short name.
        trust: Modules outside of the current folder that the user named.

    Raises:
        DataError: If there is no such object, it is not the user's own code, or it cannot be imported.
    """
    module, _, name = path.rpartition(".")
    if not module or module.partition(".")[0] in _OWN:
        if name in known:
            return known[name]
        otherwise = f"there are {listing(known)}" if known else "write MODULE.NAME"
        fix = did_you_mean(name, known, otherwise=otherwise)
        more = " (your own need their module: MODULE.NAME)" if not module else ""
        raise DataError(problem(key, f"there is nothing of this name{more}", got=path, fix=fix))
    check_own(key, module, trust)
    if current_folder.module_place(module.partition(".")[0]) is not None:
        _forget_other(module.partition(".")[0])
    namespace = _imported(key, module)
    if not hasattr(namespace, name):
        public = [attribute for attribute in vars(namespace) if not attribute.startswith("_")]
        fix = did_you_mean(name, public, otherwise=f"it has {listing(public)}")
        raise DataError(problem(key, f"the module {module} has no such name", got=name, fix=fix))
    return getattr(namespace, name)


def check_own(key: str, module: str, trust: Sequence[str] = ()) -> None:
    """Refuse a module that is neither in the current folder nor named by the user, because its code could do anything.

    Raises:
        DataError: If it is neither.
    """
    _TRUSTED.update(trust)
    if any(module == prefix or module.startswith(f"{prefix}.") for prefix in _TRUSTED):
        return
    first, *rest = module.split(".")
    if not all(part.isidentifier() for part in (first, *rest)):
        raise DataError(problem(key, "is no name of a module", got=module, fix="write MODULE.NAME"))
    if first in ("tensorflow", "tf", "keras"):
        fix = "write a module of your own that does it with torch or numpy"
        raise DataError(problem(key, "names something of TensorFlow that has no counterpart here", got=module, fix=fix))
    is_own = current_folder.module_place(module) is not None or current_folder.is_on_path(first)
    if is_own or (first not in sys.stdlib_module_names and plugins.owns(module)):
        return
    fix = f"put the file into the folder you work in, or add trust=[{module}]"
    raise DataError(problem(key, "names code from outside the current folder", got=module, fix=fix))


def _forget_other(first: str) -> None:
    """Unload a module of the same name from another folder, so that the current folder's can be imported."""
    file = getattr(sys.modules.get(first), "__file__", None)
    if file is not None and not Path(file).resolve().is_relative_to(Path.cwd().resolve()):
        for name in [name for name in sys.modules if name == first or name.startswith(f"{first}.")]:
            del sys.modules[name]


def _imported(key: str, module: str) -> Any:
    try:
        with user_code.standing_in(ROW_PACKAGES), current_folder.importable(module.partition(".")[0]):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            fix = "see that its file lies in the folder you work in"
            raise DataError(problem(key, "there is no such module", got=module, fix=fix)) from error
        wrong = f"needs the module {error.name}, which is not installed"
        fix = f"install {error.name}, or do without it"
        if str(error.name).partition(".")[0] in ("tensorflow", "keras", "tf_keras"):
            fix = "write it with torch, in which networks, losses and metrics are computed here"
        raise DataError(problem(f"{key}: {module}", wrong, fix=fix)) from error
    except Exception as error:
        wrong = f"cannot be imported ({in_short(error)})"
        raise DataError(problem(f"{key}: {module}", wrong, fix="mend it")) from error
