"""Slice sets in a configuration: their keys, the types of their values, and the problems of both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.config import signatures
from mlpipe.names import name_of

_FUNCTION = "mlpipe.data.volumes.slices.slice_set"


def problems(place: str, given: Mapping[str, Any]) -> list[str]:
    """A sentence for every key of a slice set that is unknown, missing or of another type.

    Args:
        place: The set's key.
        given: The set.
    """
    signature = signatures.read(_FUNCTION)
    assert signature is not None
    return signature.problems(place, dict(given))


def of_task(task: Mapping[str, Any]) -> list[str]:
    """The same for the sets of `task=slices`; nothing for other tasks.

    Args:
        task: The section.
    """
    if name_of(str(task.get("_target_", ""))) != "slices":
        return []
    given = task.get("slices")
    entries = given if isinstance(given, list) else []
    return [
        sentence
        for number, one in enumerate(entries)
        if isinstance(one, Mapping)
        for sentence in problems(f"task.slices[{number}]", one)
    ]
