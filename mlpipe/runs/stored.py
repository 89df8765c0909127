"""Checks of values read from a project, as strict as those of a user's input: types, names, numbers."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

Made = TypeVar("Made")


def made(kind: type[Made], stored: Any) -> Made:
    """A dataclass from a stored mapping, every value of the type that its field says.

    Raises:
        TypeError: When a key is missing or unknown, or a value is of another type.
    """
    if not isinstance(stored, Mapping):
        raise TypeError("it is no mapping")
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in stored and not _fits(stored[field.name], hints[field.name]):
            raise TypeError(f"{field.name} is of another type")
    return kind(**stored)


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in inner)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())
    if wanted in (int, float):
        return isinstance(value, int if wanted is int else int | float) and not isinstance(value, bool)
    return isinstance(value, wanted)
