"""Typed readers for the files of a project, as strict as the checks of user input.

Every JSON file that this program reads again goes through one of them, so that edited files give a clear error message.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from mlpipe import files, limits
from mlpipe.errors import ProjectError, first_line, is_out_of_memory, problem

log = logging.getLogger("mlpipe")

Made = TypeVar("Made")
# Larger than every signed 64-bit integer.
_MOST = 2**63


def read(path: Path, annotation: type[Made], fix: str) -> Made:
    """Read a JSON file that this program wrote.

    Args:
        path: The file.
        annotation: A dataclass, a TypedDict or another annotation, as for `made`, `checked` and `fits`.
        fix: What to do if the file is damaged.

    Raises:
        ProjectError: When it cannot be read, is not JSON, or has other content; the message names the file.
    """
    try:
        return of(annotation, files.read_json(path, limits.RECORD))
    except (OSError, ValueError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        raise ProjectError(problem(str(path), f"is damaged ({first_line(error)})", fix=fix)) from error


def of(annotation: type[Made], plain: Any) -> Made:
    """Convert JSON data to the type of an annotation.

    Raises:
        TypeError: As for `made` and `checked`, or when the data has another type.
    """
    if dataclasses.is_dataclass(annotation):
        return made(annotation, plain)
    if typing.is_typeddict(annotation):
        return checked(annotation, plain)
    if not fits(plain, annotation):
        raise TypeError("it is of another type")
    return typing.cast(Made, plain)


def made(kind: type[Made], stored: Any) -> Made:
    """Create a dataclass from a stored mapping, with the type of every value checked.

    Raises:
        TypeError: When a key is missing or unknown, or a value has another type.
    """
    if not isinstance(stored, Mapping):
        raise TypeError("it is no mapping")
    hints = _hints(kind)  # type: ignore[arg-type]
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in stored and not fits(stored[field.name], hints[field.name]):
            raise TypeError(f"{field.name} is of another type")
    return kind(**{key: _field_value(value, hints.get(key)) for key, value in stored.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the evaluated annotations of a dataclass or a TypedDict."""
    return typing.get_type_hints(kind, include_extras=True)


def _field_value(value: Any, annotation: Any) -> Any:
    """Convert a value for a field of a dataclass, which may be a dataclass itself."""
    for option in typing.get_args(annotation) or (annotation,):
        if isinstance(option, type) and dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return made(option, value)
    return value


def checked(kind: type[Made], stored: Any) -> Made:
    """Return a mapping after checking its known keys against a TypedDict; further keys are left as they are.

    Raises:
        TypeError: When a required key is missing, or a value has another type.
    """
    if not isinstance(stored, dict):
        raise TypeError("it is no mapping")
    for key, annotation in _hints(kind).items():  # type: ignore[arg-type]
        may_miss = typing.get_origin(annotation) is typing.NotRequired
        if key not in stored and not may_miss:
            raise TypeError(f"it has no {key}")
        if key in stored and not fits(stored[key], typing.get_args(annotation)[0] if may_miss else annotation):
            raise TypeError(f"{key} is of another type")
    return typing.cast(Made, stored)


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a JSON value has the type of an annotation; strings must be valid UTF-8."""
    if annotation is Any:
        return True
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(fits(value, option) for option in inner)
    if origin is typing.Literal:
        return any(value == literal and type(value) is type(literal) for literal in inner)
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is tuple:
        return (
            isinstance(value, list)
            and len(value) == len(inner)
            and all(fits(item, item_type) for item, item_type in zip(value, inner, strict=True))
        )
    if origin is dict:
        return isinstance(value, dict) and all(
            fits(key, inner[0]) and fits(item, inner[1]) for key, item in value.items()
        )
    if typing.is_typeddict(annotation) or dataclasses.is_dataclass(annotation):
        try:
            of(annotation, value)
        except TypeError:
            return False
        return True
    if annotation in (int, float):
        is_number = isinstance(value, int if annotation is int else int | float) and not isinstance(value, bool)
        # This program writes neither NaN nor infinity, and no integers beyond those of arrays.
        return is_number and (abs(value) < _MOST if isinstance(value, int) else math.isfinite(value))
    if annotation is str:
        return isinstance(value, str) and (
            value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
        )
    return isinstance(value, annotation)


@cache
def tell_left_out(sentence: str) -> None:
    """Log once that an unreadable file is skipped.

    Args:
        sentence: What is wrong with it.
    """
    log.warning(f"{sentence}; it is left out")
