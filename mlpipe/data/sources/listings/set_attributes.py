"""Attributes of a user's data set besides its items: class names, folds, a holdout, facts about an item.

All are optional, and users have attributes of the same names with other meanings (`self.classes = 4`): values that do not
fit are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from mlpipe import errors
from mlpipe.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Words:
    """Attributes of a set.

    Attributes:
        classes: The names of its outputs; empty: it has none.
        folds: The validating fold of each item, by the item's number, for items that have one.
        holdout: The numbers of its test items.
    """

    classes: tuple[str, ...]
    folds: Mapping[int, int]
    holdout: frozenset[int]


def of(data_set: Any) -> Words:
    """Return the attributes of a data set: `classes` (a list), `folds` (pairs of item numbers), `holdoutArr` (item numbers).

    Raises:
        DataError: If reading one of them fails.
    """
    folds: dict[int, int] = {}
    for number, pair in enumerate(_folds(_attribute(data_set, "folds"))):
        for row in pair:
            folds.setdefault(row, number)
    names = _list_or_none(_attribute(data_set, "classes"))
    return Words(
        tuple(str(name) for name in names or ()), folds, frozenset(_numbers(_attribute(data_set, "holdoutArr")) or ())
    )


def asked(data_set: Any, name: str, index: int, read: Callable[[Any], T]) -> T | None:
    """Return the result of a set's method for an item; None if it has no such method.

    Args:
        data_set: The set.
        name: The method, which takes the item's number.
        index: The number.
        read: Converts its result, such as `float`.

    Raises:
        DataError: If the method fails, or its result cannot be converted.
    """
    method = _attribute(data_set, name)
    if not callable(method):
        return None
    where = f"item {index} of {type(data_set).__name__}"
    with errors.own_code(DataError, where, name, fix="mend the data set"):
        return read(method(index))


def _attribute(data_set: Any, name: str) -> Any:
    with errors.own_code(DataError, type(data_set).__name__, name, fix="mend the data set"):
        return getattr(data_set, name, None)


def _list_or_none(value: Any) -> list[Any] | None:
    """Return a list's values; None: it is not a list. A set has no order, and a text is a single name."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    if getattr(value, "ndim", None) == 1 and hasattr(value, "tolist") and not isinstance(value, type):
        return list(value.tolist())
    return None


def _numbers(value: Any) -> list[int] | None:
    """Return a list of item numbers; None: it is not such a list."""
    listed = sorted(value) if isinstance(value, set | frozenset) and _are_whole(value) else _list_or_none(value)
    return [int(row) for row in listed] if listed is not None and _are_whole(listed) else None


def _are_whole(values: Any) -> bool:
    return all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values)


def _folds(value: Any) -> list[list[int]]:
    """Return the validation part of each fold; none if the value is not a list of pairs of item numbers."""
    pairs = [_list_or_none(pair) for pair in _list_or_none(value) or []]
    folds = [_numbers(pair[1]) for pair in pairs if pair is not None and len(pair) == 2]
    return [fold for fold in folds if fold is not None] if len(folds) == len(pairs) and None not in folds else []
