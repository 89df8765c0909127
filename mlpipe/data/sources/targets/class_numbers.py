"""Class numbers in arrays: the classes are the numbers that occur in training, whether or not they start at 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.spelling import plain, plain_all
from mlpipe.data.task import NO_TARGET
from mlpipe.errors import DataError, listing, problem

_MOST_CLASSES = 10_000
# The default number that means "no class".
NONE = -1


@dataclass(frozen=True)
class Numbered:
    """Map from numbers to classes.

    Attributes:
        names: The classes.
        places: The class of each number.
        none: The numbers that mean "no class".
    """

    names: list[str]
    places: Mapping[int, int]
    none: frozenset[float]

    def classes(self, numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the class of each number, `NO_TARGET` if it has none; shape (n,)."""
        values, inverse = np.unique(whole(numbers), return_inverse=True)
        places = np.array([self.places.get(number, NO_TARGET) for number in values.tolist()], np.int64)
        return places[inverse].reshape(-1)


def class_numbering(
    parts: Mapping[str, npt.NDArray[Any]],
    classes: Sequence[str] | None,
    where: str,
    missing: bool | Sequence[Any] | None = None,
    samples: Sequence[tuple[str, float]] = (),
) -> Numbered:
    """Return the map from numbers to classes for all parts.

    Without names, the classes are the numbers that occur in training, in ascending order. Given names belong to the numbers
    0, 1, 2, ...; if a number lies beyond them and as many numbers occur as there are names, they belong to the occurring
    numbers in ascending order; and if all names are numbers, each is the name of that number.

    Args:
        parts: The numbers of each part, NaN if a float is missing; `train` or else the first part defines the classes.
        classes: The class names, or None.
        where: The file, for error messages.
        missing: False: every number is a class; a list: the numbers that mean "no class". None, True: -1 does.
        samples: Name and number of each sample, for error messages that name one.

    Raises:
        DataError: With one sentence for each fault.
    """
    none = _no_class_numbers(missing)
    odd = [
        f"{part}, row {row}: {value!r}" for part, values in parts.items() for row, value in _fractional_numbers(values)
    ]
    if odd:
        fix = "save whole numbers, or add task.kind=regression"
        raise DataError(problem(where, f"has class numbers that are not whole ({listing(odd, most=3)})", fix=fix))
    large = [f"{part}, row {row}: {value}" for part, values in parts.items() for row, value in _inexact_numbers(values)]
    if large:
        fix = "number the classes anew, or save them as text"
        raise DataError(problem(where, f"has class numbers that are too large ({listing(large, most=3)})", fix=fix))
    occurring = {part: sorted(set(np.unique(whole(values)).tolist()) - none - {_GAP}) for part, values in parts.items()}
    first = "train" if "train" in occurring else next(iter(occurring))
    learned = occurring[first]
    everywhere = sorted({number for numbers in occurring.values() for number in numbers})
    _check(everywhere, learned, where, none)
    class_names = plain_all(classes)
    places = (
        {number: place for place, number in enumerate(learned)}
        if class_names is None
        else _class_by_number(class_names, everywhere, samples)
    )
    names = [str(number) for number in learned] if class_names is None else class_names
    foreign = {part: [number for number in numbers if number not in places] for part, numbers in occurring.items()}
    wrong = [
        problem(
            f"{where}, {part}", f"has class numbers that no training row has ({listing(numbers)})",
            fix=f"the classes are {listing(learned)}; correct them, or add training rows",
        )
        for part, numbers in foreign.items()
        if numbers
    ]  # fmt: skip
    if wrong:
        raise DataError(wrong)
    return Numbered(names, places, none)


def none_notes(classes: Numbered, parts: Mapping[str, npt.NDArray[Any]], where: str) -> list[str]:
    """Return notes about rows without a class, with the number that stands for it.

    Args:
        classes: The result of `class_numbering`.
        parts: Its argument `parts`.
        where: The file.
    """
    notes = []
    for part, numbers in parts.items():
        values = whole(numbers)
        counts = {number: int((values == number).sum()) for number in sorted(classes.none)}
        clauses = [f"{count} of {number}" for number, count in counts.items() if count]
        clauses += [f"{gaps} of NaN"] if (gaps := int((values == _GAP).sum())) else []
        if clauses:
            fix = "task.missing=false makes every number a class"
            notes.append(f"{where}, {part}: rows without a class are predicted only ({' and '.join(clauses)}); {fix}")
    return notes


# Stands for NaN among integers.
_GAP = int(np.iinfo(np.int64).min)


def whole(numbers: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return class numbers as integers, with `_GAP` for NaN; shape (n,)."""
    values = np.asarray(numbers).reshape(-1)
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    gaps = np.isnan(values)
    return np.where(gaps, _GAP, np.where(gaps, 0, values).astype(np.int64))


def _fractional_numbers(numbers: npt.NDArray[Any]) -> list[tuple[int, float]]:
    """Return row and value of the first numbers that are not integers."""
    values = np.asarray(numbers).reshape(-1)
    if values.dtype.kind != "f":
        return []
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero(np.isinf(values) | (~np.isnan(values) & (values % 1 != 0)))
    return [(int(row), float(values[row])) for row in rows[:4]]


def _inexact_numbers(numbers: npt.NDArray[Any]) -> list[tuple[int, Any]]:
    """Return row and value of the first numbers that a signed integer, or a float, does not represent exactly."""
    values = np.asarray(numbers).reshape(-1)
    most = 2**53 if values.dtype.kind == "f" else np.iinfo(np.int64).max
    with np.errstate(invalid="ignore"):
        rows = (
            np.flatnonzero((values > most) | (values < -most)) if values.dtype.kind in "fu" else np.empty(0, np.int64)
        )
    return [(int(row), values[row].item()) for row in rows[:4]]


def _no_class_numbers(missing: bool | Sequence[Any] | None) -> frozenset[float]:
    return frozenset({NONE}) if missing is None or missing is True else none_of(missing)


def none_of(missing: bool | Sequence[Any] | None) -> frozenset[float]:
    """Return the numbers that `task.missing` lists; empty if it lists none.

    Args:
        missing: A list of numbers, or any other value of the key.

    Raises:
        DataError: If the list has other values than numbers.
    """
    if missing is None or isinstance(missing, bool):
        return frozenset()
    try:
        numbers = [float(entry) for entry in missing if entry is not None and entry == entry]
    except (ValueError, TypeError) as error:
        fix = "give the numbers that mean no class, for example [-1,255]"
        raise DataError(
            problem("task.missing", "must be numbers where classes are numbers", got=missing, fix=fix)
        ) from error
    # Class numbers are told as whole ones; a fraction is no number but itself.
    return frozenset(int(number) if number.is_integer() else number for number in numbers)


def _check(everywhere: Sequence[int], learned: Sequence[int], where: str, none: frozenset[float]) -> None:
    if everywhere and everywhere[0] < 0 and none == {NONE}:
        fix = f"{NONE} means none; task.missing=false makes every number a class, task.missing=[...] names those that mean none"
        raise DataError(problem(where, f"has class number {everywhere[0]}", fix=fix))
    if len(learned) > _MOST_CLASSES:
        fix = "add task.kind=regression, if they are numbers to predict"
        raise DataError(problem(where, f"has {len(learned)} different class numbers", fix=fix))


def _class_by_number(
    names: Sequence[str], everywhere: Sequence[int], samples: Sequence[tuple[str, float]]
) -> dict[int, int]:
    """Return the class of each number by the given names.

    Raises:
        DataError: If numbers lie beyond the names, and differ in count.
    """
    by_name = {plain(name): place for place, name in enumerate(names)}
    if all(str(number) in by_name for number in everywhere) and all(name.lstrip("-").isdecimal() for name in by_name):
        return {int(name): place for name, place in by_name.items()}
    if all(0 <= number < len(names) for number in everywhere):
        return dict(enumerate(range(len(names))))
    if len(everywhere) == len(names) and not all(name.lstrip("-").isdecimal() for name in by_name):
        return {number: place for place, number in enumerate(everywhere)}
    odd = next((number for number in everywhere if not 0 <= number < len(names)), everywhere[0])
    if sample := next((name for name, number in samples if number == odd), None):
        fix = f"the class numbers that occur are {listing(everywhere)}: give as many names, or count classes from 0"
        raise DataError(problem(sample, "its class number is none of the classes", got=odd, fix=fix))
    wrong = f"{len(names)} names are given, and a target is class number {odd}"
    fix = f"give {len(everywhere)} names, of {listing(everywhere)} in this order, or count classes from 0"
    raise DataError(problem("task.classes", wrong, got=list(names), fix=fix))
