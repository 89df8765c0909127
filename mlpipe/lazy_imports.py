"""Libraries that are imported when something of them is first used, so that a short command does not pay for them."""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """A module that is imported when something of it is first used.

    For libraries that many functions of a module use, of which few commands call one. Type checkers are shown the import:

        if TYPE_CHECKING:
            import pyarrow as pa
        else:
            pa = LazyModule("pyarrow")

    Args:
        name: The dotted name of the module.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(importlib.import_module(self._name), name)
        # The next time it is an attribute as any other.
        setattr(self, name, attribute)
        return attribute
