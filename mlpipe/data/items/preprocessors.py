"""Preprocessing chains: functions over the items of data sets, with memory and disk caches that detect changes."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import errors, files, limits
from mlpipe.data import user_code
from mlpipe.data.items import PredictionItem, is_marked
from mlpipe.data.items.derived_sets import Derived
from mlpipe.errors import DataError, did_you_mean, first_line, listing, problem

# The configuration key of the functions of a chain.
_KEY = "task.preprocessing"
_BRANCHES = ("split-preprocessor", "split-concat-preprocessor")


@dataclass
class Chain:
    """Context in which the entries of a chain are applied.

    Attributes:
        functions: The user's functions and classes by name.
        code: The hash of their files.
        folder: The folder where `disk-cache` stores items; None: it stores nothing.
        done: The entries applied so far, as plain data.
        named: The results of entries with a name.
        source: The set at the start of the chain.
    """

    functions: Mapping[str, Any]
    code: str
    folder: Path | None
    done: list[Any] = field(default_factory=list)
    named: dict[str, Any] = field(default_factory=dict)
    source: Any = None

    def applied(self, entries: Sequence[Mapping[str, Any]], data_set: Any) -> Any:
        """Return the data set after a chain; items are computed when they are requested.

        Args:
            entries: `{call: NAME, arguments: {...}}`; the arguments of branching entries are lists of chains.
            data_set: The set.

        Raises:
            DataError: If there is no function of a name, or one cannot be used.
        """
        self.source = data_set if self.source is None else self.source
        for entry in entries:
            data_set = self._set_after_step(str(entry["call"]), entry.get("arguments") or {}, data_set)
            self.done.append(dict(entry))
        return data_set

    def _set_after_step(self, name: str, arguments: Any, data_set: Any) -> Any:
        if name in _BRANCHES or name == "transform-preprocessor":
            return self._branches(name, arguments, data_set)
        if name == "seq-preprocessor":
            return self._inner(arguments, data_set)
        if name == "pass":
            return data_set
        if name in ("cache", "disk-cache"):
            keywords = arguments if isinstance(arguments, Mapping) else {}
            data_set = self._input_set(keywords.get("inputs"), data_set)
            result: Any = _Cached(data_set)
            if name == "disk-cache" and self.folder is not None:
                result = _OnDisk(
                    data_set, self.folder, [*self.done, {"inputs": keywords.get("inputs")}], self.code, self.source
                )
            if "name" in keywords:
                self.named[str(keywords["name"])] = result
            return result
        function = user_code.chosen(name, dict(self.functions), _KEY)
        listed, keywords = (arguments, {}) if isinstance(arguments, list) else ([], dict(arguments))
        # Every step may have a name, and may use the results of named steps, unless its function has such a parameter.
        own = {
            key: keywords.pop(key)
            for key in ("name", "inputs")
            if key in keywords and not _has_parameter(function, key)
        }
        result = self._set_of_function(name, function, self._input_set(own.get("inputs"), data_set), listed, keywords)
        if "name" in own:
            self.named[str(own["name"])] = result
        return result

    @staticmethod
    def _set_of_function(name: str, function: Any, data_set: Any, listed: list[Any], keywords: dict[str, Any]) -> Any:
        """Return the set that a user's function makes of another set."""
        if is_marked(function, "dataset_transformer"):
            return called(_KEY, name, function, data_set, *listed, **keywords)
        if inspect.isclass(function):
            return _Mapped(data_set, name, called(_KEY, name, function, *listed, **keywords), [], {})
        return _Mapped(data_set, name, function, listed, keywords)

    def _inner(self, entries: Any, data_set: Any, part: int | None = None) -> Any:
        steps = [*self.done, *([{"part": part}] if part is not None else [])]
        inner = Chain(self.functions, self.code, self.folder, steps, self.named, self.source)
        return inner.applied(entries, data_set)

    def _branches(self, name: str, branches: Any, data_set: Any) -> Any:
        if name == "transform-preprocessor":
            parts = [self._inner(branch, _Part(data_set, number), number) for number, branch in enumerate(branches)]
            return _Each(data_set, parts)
        joined = name == "split-concat-preprocessor"
        return _Each(data_set, [self._inner(branch, data_set) for branch in branches], joined=joined)

    def _input_set(self, names: Any, data_set: Any) -> Any:
        if not names:
            return data_set
        step_names = [str(entry) for entry in (names if isinstance(names, list) else [names])]
        for name in step_names:
            if name not in self.named:
                known = listing(self.named) if self.named else "none: give one of them name: NAME"
                fix = did_you_mean(name, self.named, otherwise=f"named steps before it are {known}")
                raise DataError(problem(f"{_KEY}: inputs", "no step before it has this name", got=name, fix=fix))
        data_sets = [self.named[step_name] for step_name in step_names]
        return data_sets[0] if len(data_sets) == 1 else _Each(data_sets[0], data_sets)


def called(key: str, name: str, function: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    """Call a user's function and return its value.

    Args:
        key: The configuration key that names it, for error messages.
        name: Its name.
        function: The function.
        given: Its positional arguments.
        named: Its keyword arguments.

    Raises:
        DataError: If it fails, with its own error in a few words.
    """
    with errors.own_code(DataError, key, name, fix="mend it or its arguments"):
        return function(*given, **named)


class _Over(Derived):
    """A set with as many items as another one, to which all further attributes are delegated."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __len__(self) -> int:
        return len(self._inner)

    def place(self, item: int) -> tuple[Any, int]:
        return self._inner, item

    def sets(self) -> Sequence[Any]:
        return [self._inner]

    def __getattr__(self, name: str) -> Any:
        if name in ("folds", "holdoutArr", "classes", "name"):
            return getattr(self._inner, name)
        return super().__getattr__(name)


class _Mapped(_Over):
    """Items that a function changes: their x, or the whole item if its parameter is annotated with PredictionItem."""

    def __init__(
        self, inner: Any, name: str, function: Callable[..., Any], listed: list[Any], keywords: dict[str, Any]
    ) -> None:
        super().__init__(inner)
        self._name, self._function, self._arguments, self._keywords = name, function, listed, keywords
        self._takes_whole_item = _takes_items(function)

    def __getitem__(self, item: int) -> PredictionItem:
        before = self._inner[item]
        result = called(
            _KEY,
            self._name,
            self._function,
            _changeable(before) if self._takes_whole_item else _copied(before.x),
            *self._arguments,
            **self._keywords,
        )
        if not self._takes_whole_item:
            result = PredictionItem(before.id, result, before.y)
        return _derived_item(result, before)


class _Part(_Over):
    """Items whose x is one part of the result of a split."""

    def __init__(self, inner: Any, number: int) -> None:
        super().__init__(inner)
        self._number = number

    def __getitem__(self, item: int) -> PredictionItem:
        before = self._inner[item]
        return _derived_item(PredictionItem(before.id, before.x[self._number], before.y), before)


class _Each(_Over):
    """Items whose x is a list with the x of each branch, or their concatenation along the last axis; y is the first's."""

    def __init__(self, inner: Any, branches: Sequence[Any], *, joined: bool = False) -> None:
        super().__init__(branches[0] if branches else inner)
        self._branches, self._joined = branches, joined

    def __getitem__(self, item: int) -> PredictionItem:
        items = [branch[item] for branch in self._branches]
        parts = [entry.x for entry in items]
        x = called(_KEY, "split-concat-preprocessor", np.concatenate, parts, axis=-1) if self._joined else parts
        return _derived_item(PredictionItem(items[0].id, x, items[0].y), items[0])


class _Cached(_Over):
    """Items that are computed once."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self._cached_items: dict[int, PredictionItem] = {}

    def __getitem__(self, item: int) -> PredictionItem:
        if item not in self._cached_items:
            self._cached_items[item] = self._inner[item]
        return self._cached_items[item]


class _OnDisk(_Over):
    """Items that are computed once for all runs, as long as the chain, the code and the original items stay the same."""

    def __init__(self, inner: Any, folder: Path, chain: list[Any], code: str, source: Any) -> None:
        super().__init__(inner)
        key = {"chain": chain, "code": code, "items": _digest(source), "numpy": np.__version__.partition(".")[0]}
        self._folder = folder / files.digest(key)[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / "manifest.json").is_file():
            files.write_json(self._folder / "manifest.json", key)

    def __getitem__(self, item: int) -> PredictionItem:
        path = self._folder / f"{item}.npz"
        if path.is_file():
            return _read(path)
        result: PredictionItem = self._inner[item]
        _write(path, result)
        return result


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _takes_items(function: Callable[..., Any]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    kind = parameters[0].annotation if parameters else None
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).rpartition(".")[2] == "PredictionItem"


def _changeable(item: Any) -> Any:
    """Return a copy of an item that a function may change, because caches and other branches share the item."""
    result = copy.copy(item)
    # A user's own item class may not allow it.
    with suppress(AttributeError):
        result.x, result.y = _copied(item.x), _copied(item.y)
    return result


def _copied(part: Any) -> Any:
    if type(part) in (list, tuple):
        return type(part)(_copied(value) for value in part)
    return part.copy(order="K") if isinstance(part, np.ndarray) else part


def _derived_item(item: Any, before: Any) -> PredictionItem:
    """Return an item with a reference to the item that it was derived from."""
    if not all(hasattr(item, name) for name in ("id", "x", "y")):
        fix = "return an item, or annotate the parameter otherwise to be given x"
        raise DataError(problem(_KEY, "a function gives no item", got=type(item).__name__, fix=fix))
    item.before = before
    result: PredictionItem = item
    return result


def _digest(data_set: Any) -> str:
    """Return the hash of all items of a set."""
    parts = []
    for index in range(len(data_set)):
        item = data_set[index]
        parts += [
            str(item.id),
            *(f"{array.dtype}{array.shape}{files.digest_bytes(array.tobytes())}" for array in _arrays(item)),
        ]
    return files.digest(parts)


def _arrays(item: Any) -> list[np.ndarray[Any, Any]]:
    values = [array for part in (item.x, item.y) for array in (part if isinstance(part, list | tuple) else [part])]
    return [np.ascontiguousarray(value) for value in values]


def _write(path: Path, item: Any) -> None:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    shape: dict[str, Any] = {"id": str(item.id)}
    for key, part in (("x", item.x), ("y", item.y)):
        several = isinstance(part, list | tuple)
        shape[key] = len(part) if several else None
        arrays |= {f"{key}{number}": np.asarray(value) for number, value in enumerate(part if several else [part])}
    if any(array.dtype == object for array in arrays.values()):
        fix = "leave disk-cache out, or give arrays of numbers"
        raise DataError(problem(_KEY, f"item {item.id} cannot be kept on disk", fix=fix))
    with files.durable(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, about=np.array(json.dumps(shape)), **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> PredictionItem:
    try:
        limits.require_ordinary(path)
        with np.load(path, allow_pickle=False) as stored:
            limits.require_members(stored.zip)
            about = files.plain_json(str(stored["about"]))
            parts = [
                stored[f"{key}0"] if about[key] is None else [stored[f"{key}{number}"] for number in range(about[key])]
                for key in ("x", "y")
            ]
        return PredictionItem(str(about["id"]), *parts)
    except (*limits.DAMAGED_ARRAY, KeyError, TypeError, AttributeError) as error:
        fix = "delete it: it is made again"
        raise DataError(problem(str(path), f"is damaged ({first_line(error)})", fix=fix)) from error
