"""Changes of data sets before folds are drawn: a holdout, a function over the rest, classes to stratify by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlpipe.data import items as protocol
from mlpipe.data import user_code
from mlpipe.data.items import preprocessors
from mlpipe.data.items.derived_sets import CompositeDataSet, SubDataSet
from mlpipe.data.sources.listings import set_attributes
from mlpipe.data.splits import shuffled
from mlpipe.data.task import Part
from mlpipe.errors import DataError, problem

_ORDER: tuple[Part, ...] = ("train", "val", "test", "extra")


def held_out(
    source: Mapping[str, Any], sets: list[tuple[Part, Any]], known: Mapping[str, Any]
) -> list[tuple[Part, Any]]:
    """Return the sets after taking a test part from the train part, and applying a function to the rest.

    Args:
        source: `holdout` and `after_holdout` as for `mlpipe.data.sources.items`.
        sets: The sets of each part.
        known: Functions by name.

    Raises:
        DataError: If the holdout cannot be drawn, or the function returns no data set.
    """
    holdout, then = source.get("holdout"), source.get("after_holdout")
    if not holdout and not then:
        return sets
    whole: Any = CompositeDataSet([data_set for part, data_set in sets if part == "train"])
    others = [(part, data_set) for part, data_set in sets if part != "train"]
    if holdout:
        stay, test = _rows_of_holdout(holdout, whole)
        others.append(("test", SubDataSet(whole, test.tolist())))
        whole = SubDataSet(whole, stay.tolist())
    if then:
        whole = transformed_set("after_holdout", then, whole, known)
    return [("train", whole), *sorted(others, key=lambda pair: _ORDER.index(pair[0]))]


def _rows_of_holdout(holdout: Mapping[str, Any], whole: Any) -> tuple[Any, Any]:
    fraction, seed = holdout.get("fraction"), holdout.get("seed", 123)
    known = set(holdout) <= {"fraction", "seed", "stratify"} and isinstance(seed, int)
    if not known or not isinstance(fraction, float) or not 0 < fraction < 1:
        fix = "for example {fraction: 0.2, seed: 123}"
        raise DataError(problem("task.holdout", "needs a fraction above 0 and below 1", got=dict(holdout), fix=fix))
    strata = None
    if holdout.get("stratify"):
        table = np.array(
            [_holdout_stratum(protocol.item_of(whole, index), f"item {index}") for index in range(len(whole))]
        )
        # Use the class number of one-hot targets, as the task will.
        one_hot = table.shape[1] > 1 and bool(((table == 1).sum(axis=1) == 1).all())
        strata = shuffled.strata_of(table.argmax(axis=1) if one_hot else table, 2)
    try:
        return shuffled.test_rows(len(whole), fraction, seed, strata)
    except ValueError as error:
        wrong = f"cannot be drawn ({error})"
        raise DataError(problem("task.holdout", wrong, got=dict(holdout), fix="use another fraction")) from error


def _holdout_stratum(item: Any, where: str) -> np.ndarray[Any, Any]:
    """Return the stratum of an item in a holdout: the target, or for a mask whether it is only background."""
    if isinstance(item.y, np.ndarray) and item.y.ndim > 1:
        return np.array([float(not protocol.mask_of(item, where)[0].any())])
    return protocol.target_of(item, where)


def strata(entry: Mapping[str, Any] | None, sets: Sequence[Any], known: Mapping[str, Any]) -> Callable[[Any, int], str]:
    """Return a function from a set and an item's number to the name of its stratum; empty if there is none.

    Args:
        entry: `strata` as for `mlpipe.data.sources.items`.
        sets: The sets for training and validation.
        known: Functions by name.

    Raises:
        DataError: If there is no such function, or it does not return a class for each item.
    """
    class_names: dict[int, list[str]] = {}
    for data_set in sets if entry else ():
        assert entry is not None
        called = str(entry["call"])
        function = user_code.chosen(called, dict(known), "task.strata")
        classes = preprocessors.called("task.strata", called, function, data_set, **dict(entry.get("arguments") or {}))
        names = [str(name) for name in classes] if np.ndim(classes) == 1 else []
        if len(names) != len(data_set):
            wrong = f"{called} gives {len(names)} classes for {len(data_set)} items"
            raise DataError(problem("task.strata", wrong, fix="let it return one for each item of the set"))
        class_names[id(data_set)] = names

    def name(item_set: Any, index: int) -> str:
        own = set_attributes.asked(item_set, "get_stratify_class", index, str)
        if own is not None:
            return own
        return class_names[id(item_set)][index] if id(item_set) in class_names else ""

    return name


def transformed_set(key: str, entry: Mapping[str, Any], data_set: Any, known: Mapping[str, Any]) -> Any:
    """Return the set that a function makes of another one, either directly or by the function that it returns.

    Args:
        key: The configuration key of the function.
        entry: `{call: NAME, arguments: {...}}`.
        data_set: The set.
        known: Functions by name.

    Raises:
        DataError: If there is no such function, or it fails or returns no data set.
    """
    name, arguments = str(entry["call"]), dict(entry.get("arguments") or {})
    where = f"task.{key}"
    function = user_code.chosen(name, dict(known), where)
    if _takes_set(function, arguments):
        changed = preprocessors.called(where, name, function, data_set, **arguments)
    else:
        changed = preprocessors.called(where, name, preprocessors.called(where, name, function, **arguments), data_set)
    if not hasattr(changed, "__len__") or not hasattr(changed, "__getitem__"):
        fix = "let it return a data set, or a function from one to another"
        raise DataError(problem(where, f"{name} gives no data set", got=type(changed).__name__, fix=fix))
    return changed


def _takes_set(function: Any, arguments: Mapping[str, Any]) -> bool:
    """Return whether a function takes the set itself, instead of returning a function that does.

    It does if it has a parameter without a value: one without a default, or a first one whose name or annotation says
    that it is a data set.
    """
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    free = [
        parameter
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind in kinds and parameter.name not in arguments
    ]
    if any(parameter.default is parameter.empty for parameter in free):
        return True
    if not free:
        return False
    kind = free[0].annotation if isinstance(free[0].annotation, str) else getattr(free[0].annotation, "__name__", "")
    return kind.endswith("DataSet") or free[0].name.lower() in ("ds", "data", "dataset", "data_set", "train")
