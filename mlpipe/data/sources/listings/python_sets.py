"""Data sets from functions in the user's own Python files: images and targets, item by item."""

from __future__ import annotations

import inspect
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import errors, files
from mlpipe.data import code_digests, user_code
from mlpipe.data import items as protocol
from mlpipe.data.items import preprocessors
from mlpipe.data.items import sets as item_sets
from mlpipe.data.sources.listings import set_changes
from mlpipe.data.sources.source import ByName, Read
from mlpipe.data.sources.targets import item_masks
from mlpipe.data.task import Part
from mlpipe.errors import DataError, problem

_PARTS: tuple[tuple[str, Part], ...] = (
    ("train", "train"), ("validation", "val"), ("test", "test"), ("extra", "extra"),
)  # fmt: skip


def functions_of(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the functions of a source's code by name."""
    folder = Path(source["modules"]) if source["modules"] else None
    return user_code.functions(folder, source["imports"], source["stand_ins"])


def present(**values: Any) -> dict[str, Any]:
    """Return the values that are neither missing nor empty."""
    return {key: value for key, value in values.items() if value}


class PythonItems(ByName):
    """Items of data sets that functions return; an id begins with the item's number."""

    def by_name(self) -> Callable[[str], np.ndarray[Any, Any]]:
        """Return a function from sample id to the image of its item."""
        item_of = _item_of(self.task.source)
        return lambda name: protocol.image_of(item_of(name), name)

    def targets(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the class numbers of an item's mask."""
        return item_masks.rows_of(self.task, _item_of(self.task.source))


def _item_of(source: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a function from a sample's id to its item, for a task that `items` made."""
    if not isinstance(source.get("parts"), dict) or {"modules", "imports", "stand_ins", "base"} - set(source):
        fix = "create the task again"
        raise DataError(problem("task.json", "does not say which functions give its items", fix=fix))
    # A stored task may come from elsewhere, and must not choose the code that runs.
    check_code(source["modules"], source["imports"], [])
    sets = _sets(source)
    places = [(item_set, index) for _, item_set in sets for index in range(len(item_set))]
    lock = threading.Lock()

    def read(name: str) -> Any:
        data_set, index = places[int(name.partition(":")[0])]
        # User code may not be thread-safe.
        with lock:
            return protocol.item_of(data_set, index)

    return read


def opened(
    calls: Sequence[Mapping[str, Any]],
    *,
    validation: Sequence[Mapping[str, Any]] = (),
    test: Sequence[Mapping[str, Any]] = (),
    augmenter: Mapping[str, Any] | None = None,
    holdout: Mapping[str, Any] | None = None,
    after_holdout: Mapping[str, Any] | None = None,
    modules: str | None = None,
    imports: Sequence[str] = (),
    stand_ins: Sequence[str] = (),
    root: str | None = None,
    preprocessing: Sequence[Mapping[str, Any]] = (),
    steps_dir: str | None = None,
    trust: Sequence[str] = (),
) -> list[Any]:
    """Return the data sets that functions return, in the order in which `items` numbers their items.

    Args:
        calls: Functions with their arguments, `{call: NAME, arguments: [...]}`.
        validation: The functions of a validation part.
        test: The functions of a test part.
        augmenter: As for `items`; None: sets are unchanged.
        holdout: As for `items`.
        after_holdout: As for `items`.
        modules: As for `items`.
        imports: As for `items`.
        stand_ins: As for `items`.
        root: As for `items`.
        preprocessing: As for `items`.
        steps_dir: As for `items`.
        trust: As for `items`.

    Raises:
        DataError: If the code is not trusted, or a function is missing or fails.
    """
    check_code(modules, imports, trust)
    parts = {"train": list(calls), "validation": list(validation), "test": list(test)}
    source: dict[str, Any] = {"parts": parts, "modules": modules, "imports": list(imports), "base": root}
    source |= {"stand_ins": list(stand_ins)}
    source |= {"preprocessing": list(preprocessing), "steps_dir": steps_dir}
    source |= present(augmenter=augmenter, holdout=holdout, after_holdout=after_holdout)
    return [data_set for _, data_set in _sets(source)]


def check_code(modules: str | None, imports: Sequence[str], trust: Sequence[str]) -> None:
    """Refuse code that is not the user's own and was not named by the user."""
    folder = Path(modules) if modules else None
    if folder is not None:
        user_code.check_trusted(folder, trust, "task.modules")
    user_code.check_imports(imports, folder, trust, "task.imports")


def _sets(source: Mapping[str, Any]) -> list[tuple[Part, Any]]:
    """Return the data sets of each part, made by their functions."""
    return opened_parts(source)[0]


def opened_parts(source: Mapping[str, Any]) -> tuple[list[tuple[Part, Any]], list[str]]:
    """Return the data sets of each part, and their notes for the user."""
    folder = Path(source["modules"]) if source["modules"] else None
    stamp = tuple((file.name, file.stat().st_mtime_ns) for file in sorted(folder.glob("*.py"))) if folder else ()
    # Facts about masks and images were added later, and do not change the sets.
    plain = {key: value for key, value in source.items() if key not in ("masks", "inputs")}
    return _cached_sets(json.dumps(plain, sort_keys=True), stamp)


@lru_cache(maxsize=4)
def _cached_sets(text: str, stamp: tuple[Any, ...]) -> tuple[list[tuple[Part, Any]], list[str]]:
    """Return the sets of a source given as JSON; they are made again if files have changed (`stamp`)."""
    source = json.loads(text)
    folder = Path(source["modules"]) if source["modules"] else None
    known = functions_of(source)
    sets: list[tuple[Part, Any]] = []
    notes: dict[str, None] = {}
    for key, part in _PARTS:
        for entry in source["parts"].get(key, []):
            name, arguments = str(entry["call"]), entry.get("arguments") or []
            function = user_code.chosen(name, known, f"task.{key}")
            base = Path(source["base"]) if source["base"] and function.__module__.startswith("mlpipe.") else None
            data_set = _called(function, name, arguments, base, source["stand_ins"])
            notes |= dict.fromkeys(data_set.notes if isinstance(data_set, item_sets.Noted) else ())
            sets.append((part, _preprocessed_set(source, part, data_set, known, folder)))
    return set_changes.held_out(source, sets, known), list(notes)


def _preprocessed_set(
    source: Mapping[str, Any], part: Part, data_set: Any, known: Mapping[str, Any], folder: Path | None
) -> Any:
    """Return a set after the task's chain, and for training after its augmenter."""
    if source.get("preprocessing"):
        own = {file.stem: file for file in sorted(folder.glob("*.py"))} if folder else {}
        imported = code_digests.of_modules(name for name in source["imports"] if name not in own)
        hashes = [*code_digests.digests(own).values(), *imported.values()]
        code = files.digest([*hashes, *map(_text, user_code.custom_objects().values())])
        steps = Path(source["steps_dir"]) if source.get("steps_dir") else None
        data_set = preprocessors.Chain(known, code, steps).applied(source["preprocessing"], data_set)
    augmenter = source.get("augmenter")
    if part != "train" or not augmenter:
        return data_set
    return set_changes.transformed_set("augmenter", augmenter, data_set, known)


def _text(function: Any) -> str:
    """Return a text that distinguishes a function registered by a Python program from others."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return repr(getattr(getattr(function, "__code__", None), "co_code", function))


def _called(function: Any, name: str, arguments: Any, base: Path | None, stand_ins: Sequence[str]) -> Any:
    keywords = arguments if isinstance(arguments, dict) else {}
    listed = [] if keywords else arguments
    if base is not None:
        listed = [_path_below(base, value) for value in listed]
        keywords = {key: _path_below(base, value) for key, value in keywords.items()}
    fails = errors.own_code(DataError, f"task: {name}", "", got=arguments, fix="mend it or its arguments")
    with fails, user_code.standing_in(stand_ins):
        data_set = function(*listed, **keywords)
        len(data_set)
    return data_set


def _path_below(base: Path, value: Any) -> Any:
    """Return a path in the arguments of a built-in set, below the data folder if it exists there."""
    if isinstance(value, list):
        return [_path_below(base, item) for item in value]
    if isinstance(value, str) and not os.path.isabs(value) and (base / value).exists():  # noqa: PTH117
        return str(base / value)
    return value
