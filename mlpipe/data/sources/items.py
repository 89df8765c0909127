"""Items from functions in the user's own Python files: mml train task=items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import files
from mlpipe.data import items as protocol
from mlpipe.data import task
from mlpipe.data.sources.listings import set_attributes, set_changes
from mlpipe.data.sources.listings.path_groups import groups_of
from mlpipe.data.sources.listings.python_sets import check_code, functions_of, opened_parts, present
from mlpipe.data.sources.source import finished
from mlpipe.data.sources.targets import item_masks, item_targets
from mlpipe.data.sources.targets.mask_files import Mask
from mlpipe.data.task import Dtype, Part, Row, Task
from mlpipe.errors import DataError, listing, problem

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
    """The items of data sets (`mlpipe.data.items`) that the user's functions return, in their order.

    Every item is read once to describe the task, and once more to fill the cache.

    Args:
        kind: What is predicted; for classes y is one-hot or a class number, for segmentation a mask
            (`mlpipe.data.items.mask_of`).
        train: Functions with their arguments, `{call: NAME, arguments: [...]}`; their sets are concatenated.
        validation: The same for the task's own validation part.
        test: The same for the task's own test part.
        extra: The same for items that every fold trains on and none validates on.
        preprocessing: A chain of functions applied to the items of all parts (`mlpipe.data.items.preprocessors`),
            `{call: NAME, arguments: {...}}`.
        augmenter: A function that turns the set of the train part into another set, after the chain; same form.
        holdout: Draw a test part from the items of the train part when the task is made, as `split=shuffled` does:
            `{fraction: 0.2, seed: 123, stratify: false}`; None: no, or the split does so.
        after_holdout: A function that turns what the holdout leaves of the train part into another set; form as for
            `augmenter`.
        strata: A function that takes a set and returns a class for each item, for stratified folds; for sets without
            `get_stratify_class`; same form.
        steps_dir: The folder where `disk-cache` in a chain stores items; None: it stores nothing.
        modules: The folder of Python files with the functions; None: built-in sets only.
        imports: Further modules to import; only those that `trust` names.
        root: The folder that relative paths in the arguments of built-in sets are relative to.
        name: The task's name before the hash; None: the first function's name.
        outputs: The number of outputs; None: the length of y. For masks the number of classes, including the background.
        heads: With kind=regression, the activations of outputs that are concatenated in y: `{outputs: 4, activation:
            softmax}`, with Keras's names; None: no activation, and outputs are scaled by their standard deviation.
        ignore_index: With kind=segmentation, the value of pixels that are left out of the loss and all scores.
        group: A regular expression with one capturing group, searched for in the items' ids, as for `folder`.
        stand_ins: Packages that are replaced by `mlpipe.data.items` when code imports them.
        trust: Folders outside the current one, and modules, whose code may run; always those of the root's `trust`.
        max_unreadable: As for `folder`; an item that cannot be read is always an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: If a folder is not trusted, a function is missing or fails, or items do not fit the kind.
    """
    check_code(modules, imports or [], trust or [])
    source = {
        "type": "items",
        "parts": {
            "train": train,
            "validation": validation or [],
            "test": test or [],
            **({"extra": extra} if extra else {}),
        },
        **present(preprocessing=preprocessing, augmenter=augmenter, holdout=holdout, after_holdout=after_holdout),
        **({"steps_dir": steps_dir} if preprocessing else {}),
        **({"heads": heads} if heads else {}),
        "modules": modules,
        "imports": list(imports or []),
        "stand_ins": list(stand_ins or []),
        "base": root,
    }
    if heads:
        item_targets.check_heads(heads, kind)
        outputs = sum(head["outputs"] for head in heads)
    if ignore_index is not None and kind != "segmentation":
        raise DataError(problem("task.ignore_index", "is for task.kind=segmentation", got=kind, fix="leave it out"))
    sets, of_sets = opened_parts(source)
    words = {id(data_set): set_attributes.of(data_set) for _, data_set in sets}
    rows, masks, (channels, dtype, inputs) = _rows(sets, words, kind, outputs, _strata(source, strata, sets))
    source |= {"inputs": list(inputs)} if inputs else {}
    groups, of_groups = groups_of([row.id.partition(":")[2] for row in rows], group, [row.part for row in rows])
    rows = [row._replace(group=row_group) for row, row_group in zip(rows, groups, strict=True)]
    own = list(words[id(sets[0][1])].classes)
    if kind == "segmentation":
        rows, values = item_masks.masked(rows, masks, own, outputs, ignore_index)
        names, source = list(values.names), {**source, "masks": item_masks.described(values)}
    else:
        rows, own = item_targets.renumbered_from_zero(rows, own, kind, outputs)
        names = item_targets.names_of(own, item_targets.width_of(rows, kind, outputs), outputs)
    new_task = task.make(
        name or str(train[0]["call"]),
        names,
        rows,
        kind=kind,
        channels=channels,
        dtype=_DTYPES[dtype],
        source=source,
        notes=[*of_sets, *of_groups],
    )
    return finished(new_task, allow_overlap)


def _strata(
    source: Mapping[str, Any], entry: Mapping[str, Any] | None, sets: Sequence[tuple[Part, Any]]
) -> Callable[[Any, int], str]:
    learned = [data_set for part, data_set in sets if part in ("train", "val")]
    return set_changes.strata(entry, learned, functions_of(source) if entry else {})


def _rows(
    sets: Sequence[tuple[Part, Any]],
    words: Mapping[int, set_attributes.Words],
    kind: str,
    outputs: int | None,
    stratum: Callable[[Any, int], str],
) -> tuple[list[Row], list[tuple[Mask, int]], tuple[int, str, tuple[int, ...]]]:
    """Return the rows of all items, their masks, and their images' channels, dtype and channels of each of several inputs.

    Raises:
        DataError: If there is no item, or images are of several kinds.
    """
    described = [(part, item_set, index) for part, item_set in sets for index in range(len(item_set))]
    if not described:
        raise DataError(problem("task.train", "its functions give no items", fix="look at their arguments"))
    shapes: set[tuple[int, str, tuple[int, ...]]] = set()
    rows, masks = list[Row](), list[tuple[Mask, int]]()
    for number, (part, data_set, index) in enumerate(described):
        row = _row(number, part, data_set, index, kind, outputs, shapes, masks, words[id(data_set)])
        rows.append(row._replace(stratum=stratum(data_set, index)) if part in ("train", "val") else row)
    if len(shapes) > 1:
        kinds = listing(
            [f"{channels} channels{_channels_text(parts)} of {dtype}" for channels, dtype, parts in sorted(shapes)]
        )
        raise DataError(problem("task.train", f"items have images of several kinds ({kinds})", fix="convert them"))
    return rows, masks, next(iter(shapes))


def _channels_text(inputs: Sequence[int]) -> str:
    return f" ({' + '.join(map(str, inputs))})" if inputs else ""


def _row(
    number: int,
    part: Part,
    data_set: Any,
    index: int,
    kind: str,
    outputs: int | None,
    shapes: set[tuple[int, str, tuple[int, ...]]],
    masks: list[tuple[Mask, int]],
    words: set_attributes.Words,
) -> Row:
    """Return the row of an item; add its image to `shapes` and its mask to `masks`."""
    item = protocol.item_of(data_set, index)
    where = f"item {index} of {type(data_set).__name__}"
    pixels = protocol.image_of(item, where)
    shapes.add((pixels.shape[2], str(pixels.dtype), tuple(protocol.inputs_of(item))))
    if kind == "segmentation":
        masks.append(item_masks.look(item, where))
        # The classes are known once all masks have been read.
        target: int | tuple[float, ...] = ()
    else:
        target = item_targets.target_of(item, kind, outputs, where)
    if part == "train" and index in words.holdout:
        part = "test"
    weight = set_attributes.asked(data_set, "sample_weight", index, float)
    return Row(
        f"{number:07d}:{getattr(item, 'id', index)}",
        part,
        target,
        files.digest_bytes(np.ascontiguousarray(pixels).tobytes()),
        weight=1.0 if weight is None else weight,
        fold=words.folds.get(index, -1) if part == "train" else -1,
        positive=set_attributes.asked(data_set, "isPositive", index, bool),
    )
