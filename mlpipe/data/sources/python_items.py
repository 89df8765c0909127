"""Images and targets that functions of the user's own Python files give, item by item."""

from __future__ import annotations

import inspect
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import files
from mlpipe.data import items as protocol
from mlpipe.data import task, user_code
from mlpipe.data.items import preprocessors
from mlpipe.data.items import sets as item_sets
from mlpipe.data.sources import item_masks, item_targets, set_changes, set_words
from mlpipe.data.sources.class_folders import finished, groups_of
from mlpipe.data.sources.mask_files import Mask
from mlpipe.data.task import Dtype, Kind, Part, Row, Task
from mlpipe.errors import DataError, in_short, listing, problem

_PARTS: tuple[tuple[str, Part], ...] = (
    ("train", "train"), ("validation", "val"), ("test", "test"), ("extra", "extra"),
)  # fmt: skip
_DTYPES: dict[str, Dtype] = {"uint8": "uint8", "uint16": "uint16", "float32": "float32"}


def items(
    *,
    kind: Literal["classification", "multilabel", "regression", "segmentation"],
    train: list[dict[str, Any]],
    validation: list[dict[str, Any]] | None = None,
    test: list[dict[str, Any]] | None = None,
    extra: list[dict[str, Any]] | None = None,
    preprocessing: list[dict[str, Any]] | None = None,
    augmenter: dict[str, Any] | None = None,
    holdout: dict[str, Any] | None = None,
    after_holdout: dict[str, Any] | None = None,
    strata: dict[str, Any] | None = None,
    steps_dir: str | None = None,
    modules: str | None = None,
    imports: list[str] | None = None,
    root: str | None = None,
    name: str | None = None,
    outputs: Annotated[int, ">= 1"] | None = None,
    heads: list[dict[str, Any]] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    group: str | None = None,
    stand_ins: list[str] | None = None,
    trust: list[str] | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """The items of data sets (`mlpipe.data.items`) that functions give, in their order.

    Every item is read once to describe the task, and once more into the cache.

    Args:
        kind: What is predicted; for classes y is one-hot or a class number, for segmentation a mask
            (`mlpipe.data.items.mask_of`).
        train: Functions with their arguments, `{call: NAME, arguments: [...]}`; their sets are joined.
        validation: The same for a validation part of the task's own.
        test: The same for a test part of the task's own.
        extra: The same for items that every fold learns from and none validates on.
        preprocessing: A chain of functions over the items of all parts (`mlpipe.data.items.preprocessors`), `{call: NAME,
            arguments: {...}}`.
        augmenter: A function that makes another set of that of the train part, after the chain; written alike.
        holdout: Take a test part from the items of the train part here already, as `split=shuffled` draws it: `{fraction:
            0.2, seed: 123, stratify: false}`; None: none, or the split does.
        after_holdout: A function that makes another set of the train part, of what the holdout leaves; written like
            `augmenter`.
        strata: A function that is given a set and returns a class for each of its items, which stratified folds spread
            evenly, for sets without `get_stratify_class`; written alike.
        steps_dir: Where `disk-cache` in a chain keeps items; None: it keeps nothing.
        modules: The folder of Python files with the functions; None: built-in sets only.
        imports: Modules to import beside those of the folder; only those that `trust` names.
        root: The folder that relative paths among the arguments of built-in sets are relative to.
        name: The task's name before the hash; None takes the first function's.
        outputs: How many numbers y has; None: as many as it has. Of masks how many classes, the background being one.
        heads: With kind=regression what numbers go through, for outputs that stand side by side: `{outputs: 4,
            activation: softmax}`, activations by Keras's names; None: they are as they are, scaled by their deviation.
        ignore_index: With kind=segmentation the value of pixels that count neither in the loss nor in any score.
        group: A regular expression with one group, looked for in the items' ids, as for `folder`.
        stand_ins: Packages whose imports give `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run; always those of the root's `trust`.
        max_unreadable: As for `folder`; an item that cannot be read is always an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: When a folder is not trusted, a function is not there or fails, or items do not fit the kind.
    """
    _check_code(modules, imports or [], trust or [])
    source = {
        "type": "items",
        "parts": {
            "train": train,
            "validation": validation or [],
            "test": test or [],
            **({"extra": extra} if extra else {}),
        },
        **_given(preprocessing=preprocessing, augmenter=augmenter, holdout=holdout, after_holdout=after_holdout),
        **({"steps_dir": steps_dir} if preprocessing else {}),
        **({"heads": heads} if heads else {}),
        "modules": modules,
        "imports": list(imports or []),
        "stand_ins": list(stand_ins or []),
        "base": root,
    }
    if heads:
        item_targets.check_heads(heads, kind)
        outputs = sum(one["outputs"] for one in heads)
    if ignore_index is not None and kind != "segmentation":
        raise DataError(problem("task.ignore_index", "is for task.kind=segmentation", got=kind, fix="leave it out"))
    sets, of_sets = _opened(source)
    described = [(part, one, index) for part, one in sets for index in range(len(one))]
    if not described:
        raise DataError(problem("task.train", "its functions give no items", fix="look at their arguments"))
    shapes: set[tuple[int, str]] = set()
    rows, masks, stratum = [], list[tuple[Mask, int]](), _strata(source, strata, sets)
    words = {id(one): set_words.of(one) for _, one in sets}
    for number, (part, one, index) in enumerate(described):
        row = _row(number, part, one, index, kind, outputs, shapes, masks, words[id(one)])
        rows.append(row._replace(stratum=stratum(one, index)) if part in ("train", "val") else row)
    if len(shapes) > 1:
        shown = listing([f"{channels} channels of {dtype}" for channels, dtype in sorted(shapes)])
        raise DataError(problem("task.train", f"items have images of several kinds ({shown})", fix="convert them"))
    channels, dtype = next(iter(shapes))
    groups, of_groups = groups_of([row.id.partition(":")[2] for row in rows], group, [row.part for row in rows])
    rows = [row._replace(group=one) for row, one in zip(rows, groups, strict=True)]
    own = list(words[id(sets[0][1])].classes)
    if kind == "segmentation":
        rows, values = item_masks.masked(rows, masks, own, outputs, ignore_index)
        names, source = list(values.names), {**source, "masks": item_masks.described(values)}
    else:
        rows, own = item_targets.counted(rows, own, kind, outputs)
        names = item_targets.names_of(own, item_targets.width_of(rows, kind, outputs), outputs)
    title = name or str(train[0]["call"])
    made = task.make(
        title,
        names,
        rows,
        kind=kind,
        channels=channels,
        dtype=_DTYPES[dtype],
        source=source,
        notes=[*of_sets, *of_groups],
    )
    return finished(made, allow_overlap)


def _strata(
    source: Mapping[str, Any], entry: Mapping[str, Any] | None, sets: Sequence[tuple[Part, Any]]
) -> Callable[[Any, int], str]:
    learned = [one for part, one in sets if part in ("train", "val")]
    return set_changes.strata(entry, learned, _known(source) if entry else {})


def _known(source: Mapping[str, Any]) -> dict[str, Any]:
    """The functions that a source's code has by name."""
    folder = Path(source["modules"]) if source["modules"] else None
    return user_code.functions(folder, source["imports"], source["stand_ins"])


def _given(**values: Any) -> dict[str, Any]:
    """What is neither missing nor empty."""
    return {key: value for key, value in values.items() if value}


def rows_of(source: Mapping[str, Any]) -> Callable[[str], np.ndarray[Any, Any]]:
    """A function from a sample's id to its image, for a task that `items` made."""
    item_of = _item_of(source)
    return lambda name: protocol.image_of(item_of(name), name)


def mask_rows_of(of: Task) -> Callable[[int], np.ndarray[Any, Any]]:
    """As `mask_files.rows_of`, for a task of the masks of items; `of` is what `mask_files.task_of` gave."""
    return item_masks.rows_of(of, _item_of(of.source["images"].source))


def _item_of(source: Mapping[str, Any]) -> Callable[[str], Any]:
    """A function from a sample's id to its item, for a task that `items` made."""
    if not isinstance(source.get("parts"), dict) or {"modules", "imports", "stand_ins", "base"} - set(source):
        fix = "create the task again"
        raise DataError(problem("task.json", "does not say which functions give its items", fix=fix))
    # What is stored of a task may come from elsewhere, and must not choose the code that runs.
    _check_code(source["modules"], source["imports"], [])
    sets = _sets(source)
    places = [(one, index) for _, one in sets for index in range(len(one))]
    lock = threading.Lock()

    def read(name: str) -> Any:
        one, index = places[int(name.partition(":")[0])]
        # Code of users need not bear several threads.
        with lock:
            return protocol.item_of(one, index)

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
    """The data sets that functions give, as `items` is told of them, in the order in which it numbers their items.

    Args:
        calls: Functions with their arguments, `{call: NAME, arguments: [...]}`.
        validation: Those of a validation part.
        test: Those of a test part.
        augmenter: As for `items`; None: sets are as they are.
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
        DataError: When the code is not trusted, or a function is not there or fails.
    """
    _check_code(modules, imports, trust)
    parts = {"train": list(calls), "validation": list(validation), "test": list(test)}
    source: dict[str, Any] = {"parts": parts, "modules": modules, "imports": list(imports), "base": root}
    source |= {"stand_ins": list(stand_ins)}
    source |= {"preprocessing": list(preprocessing), "steps_dir": steps_dir}
    source |= _given(augmenter=augmenter, holdout=holdout, after_holdout=after_holdout)
    return [one for _, one in _sets(source)]


def _check_code(modules: str | None, imports: Sequence[str], trust: Sequence[str]) -> None:
    """Refuse code that is not the user's own and was not named by the user."""
    folder = Path(modules) if modules else None
    if folder is not None:
        user_code.check_trusted(folder, trust, "task.modules")
    user_code.check_imports(imports, folder, trust, "task.imports")


def _sets(source: Mapping[str, Any]) -> list[tuple[Part, Any]]:
    """The data sets of each part, made by their functions."""
    return _opened(source)[0]


def _opened(source: Mapping[str, Any]) -> tuple[list[tuple[Part, Any]], list[str]]:
    """The data sets of each part, and what they say that a person should know."""
    folder = Path(source["modules"]) if source["modules"] else None
    stamp = tuple((file.name, file.stat().st_mtime_ns) for file in sorted(folder.glob("*.py"))) if folder else ()
    # What masks turned out to hold changes no set.
    return _made(json.dumps({key: value for key, value in source.items() if key != "masks"}, sort_keys=True), stamp)


@lru_cache(maxsize=4)
def _made(text: str, stamp: tuple[Any, ...]) -> tuple[list[tuple[Part, Any]], list[str]]:
    """The sets of a source as JSON; files that changed since (`stamp`) make them anew."""
    source = json.loads(text)
    folder = Path(source["modules"]) if source["modules"] else None
    known = _known(source)
    found: list[tuple[Part, Any]] = []
    notes: dict[str, None] = {}
    for key, part in _PARTS:
        for entry in source["parts"].get(key, []):
            name, given = str(entry["call"]), entry.get("arguments") or []
            function = user_code.chosen(name, known, f"task.{key}")
            base = Path(source["base"]) if source["base"] and function.__module__.startswith("mlpipe.") else None
            made = _called(function, name, given, base, source["stand_ins"])
            notes |= dict.fromkeys(made.notes if isinstance(made, item_sets.Noted) else ())
            found.append((part, _changed(source, part, made, known, folder)))
    return set_changes.held_out(source, found, known), list(notes)


def _changed(source: Mapping[str, Any], part: Part, made: Any, known: Mapping[str, Any], folder: Path | None) -> Any:
    """A set after the chain of the task, and in training after its augmenter."""
    if source.get("preprocessing"):
        hashes = [files.digest_file(file) for file in sorted(folder.glob("*.py"))] if folder else []
        code = files.digest([*hashes, *map(_text, user_code.custom().values())])
        steps = Path(source["steps_dir"]) if source.get("steps_dir") else None
        made = preprocessors.Chain(known, code, steps).applied(source["preprocessing"], made)
    augmenter = source.get("augmenter")
    if part != "train" or not augmenter:
        return made
    return set_changes.remade("augmenter", augmenter, made, known)


def _text(function: Any) -> str:
    """What tells a function that a program in Python registered from another one."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return repr(getattr(getattr(function, "__code__", None), "co_code", function))


def _called(function: Any, name: str, given: Any, base: Path | None, stand_ins: Sequence[str]) -> Any:
    named = given if isinstance(given, dict) else {}
    listed = [] if named else given
    if base is not None:
        listed = [_below(base, value) for value in listed]
        named = {key: _below(base, value) for key, value in named.items()}
    try:
        with user_code.standing_in(stand_ins):
            made = function(*listed, **named)
            len(made)
    except DataError:
        raise
    except Exception as error:
        wrong = f"fails ({in_short(error)})"
        raise DataError(problem(f"task: {name}", wrong, got=given, fix="mend it or its arguments")) from error
    return made


def _below(base: Path, value: Any) -> Any:
    """A path among the arguments of a built-in set, below the data folder where it lies there."""
    if isinstance(value, list):
        return [_below(base, one) for one in value]
    if isinstance(value, str) and not os.path.isabs(value) and (base / value).exists():  # noqa: PTH117
        return str(base / value)
    return value


def _row(
    number: int,
    part: Part,
    one: Any,
    index: int,
    kind: Kind,
    outputs: int | None,
    shapes: set[tuple[int, str]],
    masks: list[tuple[Mask, int]],
    words: set_words.Words,
) -> Row:
    """The row of an item; `shapes` and `masks` are told of its image and its mask."""
    item = protocol.item_of(one, index)
    where = f"item {index} of {type(one).__name__}"
    pixels = protocol.image_of(item, where)
    shapes.add((pixels.shape[2], str(pixels.dtype)))
    if kind == "segmentation":
        masks.append(item_masks.look(item, where))
        # Which classes there are is known when all masks are.
        target: int | tuple[float, ...] = ()
    else:
        target = item_targets.target_of(item, kind, outputs, where)
    if part == "train" and index in words.holdout:
        part = "test"
    weight = set_words.asked(one, "sample_weight", index, float)
    return Row(
        f"{number:07d}:{getattr(item, 'id', index)}",
        part,
        target,
        files.digest_bytes(np.ascontiguousarray(pixels).tobytes()),
        weight=1.0 if weight is None else weight,
        fold=words.folds.get(index, -1) if part == "train" else -1,
        positive=set_words.asked(one, "isPositive", index, bool),
    )
