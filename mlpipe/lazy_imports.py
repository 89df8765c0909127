"""Modules that are imported on first use, so that short commands do not wait for them."""

from __future__ import annotations

import importlib
from typing import Any


class LazyModule:
    """A module that is imported when one of its attributes is first used.

    For libraries that many functions of a module use, but few commands call. Type checkers see the real import:

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
        # Later accesses find an ordinary attribute.
        setattr(self, name, attribute)
        return attribute
