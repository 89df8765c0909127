"""Your own functions, from a folder of Python files, as losses, networks, views and metrics."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpipe import errors
from mlpipe.data import code_digests, user_code
from mlpipe.data.items import sets
from mlpipe.errors import ConfigError


@dataclass(frozen=True)
class Code:
    """The location of the user's own functions, and the trusted code.

    Attributes:
        modules: Folder of Python files; None: no folder.
        imports: Modules to import in addition.
        stand_ins: Packages whose imports are replaced by `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.
    """

    modules: str | None = None
    imports: Sequence[str] = ()
    stand_ins: Sequence[str] = ()
    trust: Sequence[str] = ()

    def functions(self, key: str) -> dict[str, Any]:
        """Return functions and classes by name.

        Args:
            key: The configuration section, for messages.

        Raises:
            DataError: When the folder is not the user's own and not trusted, or a file cannot be imported.
        """
        folder = Path(self.modules) if self.modules else None
        if folder is not None:
            user_code.check_trusted(folder, self.trust, f"{key}.modules")
        user_code.check_imports(self.imports, folder, self.trust, f"{key}.imports")
        functions = user_code.functions(folder, self.imports, self.stand_ins)
        built_in = set(sets.__all__)
        return {
            name: function
            for name, function in functions.items()
            if name not in built_in or function is not getattr(sets, name)
        }

    def function(self, key: str, name: str) -> Any:
        """Return the function or class with a name.

        Args:
            key: The configuration section, for messages.
            name: The name.

        Raises:
            DataError: As for `functions`, and when the name is unknown.
        """
        return user_code.chosen(name, self.functions(key), key)

    def digests(self) -> dict[str, str]:
        """Return the hash of each Python file with functions, by module, and of those they depend on (`code_digests`)."""
        folder = [] if self.modules is None else sorted(Path(self.modules).glob("*.py"))
        imported = {name: getattr(sys.modules.get(name), "__file__", None) for name in self.imports}
        paths = {path.stem: path for path in folder}
        # By the module, not the file: those of packages all have the same name.
        paths |= {name: Path(file) for name, file in imported.items() if file is not None}
        return code_digests.digests(paths)


def called(key: str, name: str, function: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    """Call a user's function and return its value.

    Args:
        key: The configuration section, for messages.
        name: The function's name.
        function: The function.
        given: Positional arguments.
        named: Keyword arguments.

    Raises:
        ConfigError: When it fails, with its own error in a few words.
    """
    with errors.own_code(ConfigError, key, name):
        return function(*given, **named)


def accepted_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the given arguments that a function has parameters for."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(given)
    names = {parameter.name for parameter in parameters}
    return {key: value for key, value in given.items() if key in names}
