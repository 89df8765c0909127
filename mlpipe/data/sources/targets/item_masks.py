"""Masks of items of user code: their values, the class of each value, and the class number of every pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlpipe import files
from mlpipe.data import items as protocol
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings.array_layout import pixel_digest
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.sources.targets.mask_files import Mask, Values
from mlpipe.data.task import Row, Task
from mlpipe.errors import DataError, listing, problem

Array = np.ndarray[Any, Any]
_TWO = ("background", "foreground")


def look(item: Any, where: str) -> tuple[Mask, int]:
    """Return the values of an item's mask, and its number of maps (0: a value for every pixel).

    Args:
        item: The item.
        where: The item's name in error messages.

    Raises:
        DataError: As for `mlpipe.data.items.mask_of`, and for values above 65535.
    """
    values, maps = protocol.mask_of(item, where)
    if values.max() > mask_files.LARGEST:
        wrong = f"its mask has values beyond 0 to {mask_files.LARGEST}"
        raise DataError(problem(where, wrong, got=int(values.max()), fix="give class numbers"))
    numbers, counts = np.unique(values, return_counts=True)
    value_counts = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
    return Mask(_digest(values), value_counts, values.shape[1], values.shape[0]), maps


def masked(
    rows: Sequence[Row],
    masks: Sequence[tuple[Mask, int]],
    names: Sequence[str],
    outputs: int | None,
    ignored: int | None,
) -> tuple[list[Row], Values]:
    """Return rows with the shares of classes as targets and with masks, and the value of each class.

    Args:
        rows: The rows with final ids.
        masks: The result of `look` for each.
        names: The class names, or only that of the foreground; empty: no names.
        outputs: The number of classes; None: as many as there are maps, else names, else values.
        ignored: The value of ignored pixels; None: there is none.

    Raises:
        DataError: If classes, maps and values do not fit each other.
    """
    values = _values(masks, names, outputs, ignored)
    fix = "give class numbers, or name what counts nowhere with task.ignore_index"
    raise_some(
        [
            problem(
                f"item {row.id.partition(':')[2]}", f"has values that are no class ({listing(odd, most=5)})", fix=fix
            )
            for row, (mask, _) in zip(rows, masks, strict=True)
            if (odd := values.unknown(mask))
        ]
    )
    return [
        row._replace(target=values.shares(mask), mask=(row.id, mask.digest))
        for row, (mask, _) in zip(rows, masks, strict=True)
    ], values


def described(values: Values) -> dict[str, Any]:
    """Return the masks as keys of a task's source."""
    return {"values": list(values.numbers), "ignored": values.ignored, "names": list(values.names)}


def rows_of(task: Task, item_of: Callable[[str], Any]) -> Callable[[int], Array]:
    """Return a function like that of `mask_files.rows_of`, for the masks of items.

    Args:
        task: The task.
        item_of: Returns the item of a sample's id.

    Raises:
        DataError: By the function, for an item that has changed since the task was made.
    """
    values = mask_files.stored_values(task.source["masks"])

    def read(row: int) -> Array:
        name, digest = task.samples.masks[row]
        item = item_of(name)
        mask, _ = protocol.mask_of(item, name)
        # If an item changes each time it is read, its image would not fit its mask.
        image = files.digest_bytes(np.ascontiguousarray(protocol.image_of(item, name)).tobytes())
        if _digest(mask) != digest or image != task.samples.digests[row]:
            fix = "let the data set give the same item each time, and create the task again where the data changed"
            raise DataError(problem(name, f"has changed since the task {task.name} was created", fix=fix))
        return values.classes(mask)[:, :, np.newaxis]

    return read


def _digest(values: Array) -> str:
    return pixel_digest(values.astype(np.uint16))


def _values(
    item_masks: Sequence[tuple[Mask, int]], names: Sequence[str], outputs: int | None, ignored: int | None
) -> Values:
    masks = [mask for mask, _ in item_masks]
    widths = sorted({maps for _, maps in item_masks if maps})
    if len(widths) > 1:
        wrong = f"items have maps of {listing(widths)} classes"
        raise DataError(problem("task.train", wrong, fix="let all have one number"))
    width = outputs or (widths[0] if widths else None)
    if width is not None and widths and widths[0] != width:
        wrong = f"y has maps of {widths[0]} classes, {width} are wanted"
        raise DataError(problem("task.outputs", wrong, fix="let both be the same"))
    # A single name is that of the foreground.
    classes = [_TWO[0], *names] if len(names) == 1 else list(names)
    if classes and width is not None and len(classes) != width:
        wrong = f"its set names {len(classes)} classes, its masks have {width}"
        raise DataError(problem("task.outputs", wrong, got=outputs, fix="let both be the same"))
    if not classes and width is not None:
        classes = list(_TWO) if width == 2 else [str(number) for number in range(width)]
    if not classes:
        _check_guess(masks, ignored)
    return mask_files.values_of(masks, classes or None, None, ignored)


def _check_guess(masks: Sequence[Mask], ignored: int | None) -> None:
    """Refuse values that do not determine the classes."""
    present = sorted({value for mask in masks for value in mask.counts} - {ignored})
    if len(present) < 2:
        wrong = f"the masks hold nothing but {listing(present) or 'what is ignored'}"
        raise DataError(problem("task.train", wrong, fix="say how many classes there are with task.outputs=2"))
    if present == [0, 1, 255]:
        wrong = "some masks hold 0 and 1, others 255"
        fix = "use one way for all, or task.ignore_index=255 where 255 counts nowhere"
        raise DataError(problem("task.train", wrong, fix=fix))
