"""Masks and numbers as targets of samples that are arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import current_folder
from mlpipe.data import task, visible_files
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.data.sources.error_lists import raise_some
from mlpipe.data.sources.listings.array_files import ENDS, array_of, arrays_below, channels_of, require_numbers
from mlpipe.data.sources.listings.array_layout import Form, pixel_digest
from mlpipe.data.sources.targets import mask_files, target_files
from mlpipe.data.sources.targets.mask_files import Mask
from mlpipe.data.task import Part, Row, Task
from mlpipe.errors import DataError, counted, listing, problem

Array = np.ndarray[Any, Any]


def masked(
    inputs: Mapping[str, str | None],
    targets: Mapping[str, str | None],
    source: Mapping[str, Any],
    title: str | None,
    settings: tuple[list[str] | None, list[int] | None, int | None],
) -> Task:
    """Return the task of samples with masks, before it has its final name.

    Args:
        inputs: The file or folder of the samples of each part.
        targets: The file or folder of their masks.
        source: The axis order of samples.
        title: The task's name; None: the name of the file or folder.
        settings: The classes, their values and the ignored value, each None if it is not given.

    Raises:
        DataError: With one sentence for each fault.
    """
    where, masks_in = absolute_paths(inputs), absolute_paths(targets)
    _demand_inputs(where)
    if "train" in where and "train" not in masks_in:
        raise DataError(problem("task.train_targets", "is needed", fix="name the file or folder of masks"))
    form = Form.of(source)
    own = {name: value for part, base in where.items() for name, value in _named_arrays(base, part, form, "")}
    of_sample = {
        sample: pair
        for part, base in masks_in.items()
        if part in where
        for sample, pair in _target_of_each(own, base, part, form, _mask_problems).items()
    }
    masks = {sample: _mask_facts(value) for sample, (_, value) in of_sample.items()}
    values = mask_files.values_of(list(masks.values()), *settings)
    unknown = {
        of_sample[sample][0]: odd_values for sample, mask in masks.items() if (odd_values := values.unknown(mask))
    }
    fix = "name them with task.values and task.classes"
    raise_some(
        [
            problem(name, f"has values that are no class ({listing(numbers, most=5)})", fix=fix)
            for name, numbers in unknown.items()
        ]
    )
    require_numbers(own.items())
    rows = []
    for name, value in own.items():
        part: Part = "unlabelled" if name not in masks else "train" if name.startswith("train/") else "test"
        shares = values.shares(masks[name]) if name in masks else (float("nan"),) * len(values.names)
        mask = (of_sample[name][0], masks[name].digest) if name in masks else ("", "")
        rows.append(Row(name, part, shares, pixel_digest(value), mask=mask))
    first = next(iter(where.values()))
    notes = hidden_notes({**where, **{f"{part} masks": base for part, base in masks_in.items()}})
    described = {**mask_files.described(first, values), **{part: str(base) for part, base in masks_in.items()}}
    return task.make(
        title or first.stem,
        values.names,
        rows,
        kind="segmentation",
        channels=channels_of(list(own.values()), form),
        dtype="float32",
        source={**source, **{part: str(base) for part, base in where.items()}, "masks": described},
        notes=notes,
    )


def array_target_task(
    inputs: Mapping[str, str | None],
    targets: Mapping[str, str | None],
    source: Mapping[str, Any],
    title: str | None,
    classes: list[str] | None,
    labelled: bool,
) -> Task:
    """Return the task of samples whose targets are arrays of numbers, before it has its final name.

    Args:
        inputs: The file or folder of the samples of each part.
        targets: The file or folder of their targets; empty: each sample is its own target.
        source: The axis order of samples.
        title: The task's name; None: the name of the file or folder.
        classes: The names of the targets' channels; None: their numbers.
        labelled: Whether samples have targets at all.

    Raises:
        DataError: With one sentence for each fault.
    """
    where, others = absolute_paths(inputs), absolute_paths(targets)
    _demand_inputs(where)
    if "train" in where and others and "train" not in others:
        fix = "name it, or leave task.test_targets out: each sample is its own target then"
        raise DataError(problem("task.train_targets", "is needed", fix=fix))
    form, are_own = Form.of(source), labelled and not others
    own = {name: value for part, base in where.items() for name, value in _named_arrays(base, part, form, "")}
    of_sample = {
        sample: pair
        for part, base in others.items()
        if part in where
        for sample, pair in _target_of_each(own, base, part, form, _no_problems).items()
    }
    scale = _scale_of_all(own, of_sample, form)
    require_numbers(own.items())
    inputs_have = channels_of(list(own.values()), form)
    outputs = channels_of([value for _, value in of_sample.values()], form) if of_sample else inputs_have
    outputs = len(classes) if classes and not labelled else outputs
    if classes and len(classes) != outputs:
        fix = f"give {outputs} names, or leave it out"
        raise DataError(problem("task.classes", f"targets have {counted(outputs, 'channel')}", got=classes, fix=fix))
    rows = []
    for name, value in own.items():
        known = are_own or name in of_sample
        part: Part = "unlabelled" if not known else "train" if name.startswith("train/") else "test"
        mask = (of_sample[name][0], pixel_digest(of_sample[name][1])) if name in of_sample else ("", "")
        rows.append(Row(name, part, (1.0 if known else float("nan"),) * outputs, pixel_digest(value), mask=mask))
    first = next(iter(where.values()))
    root = next(iter(others.values())) if others else None
    return task.make(
        title or first.stem,
        classes or target_files.names_of(outputs, of_files=False),
        rows,
        kind="images",
        channels=inputs_have,
        dtype="float32",
        source={
            **source,
            **{part: str(base) for part, base in where.items()},
            "targets": target_files.described(root, outputs, "float32", others, scale),
        },
        notes=hidden_notes({**where, **{f"{part} targets": base for part, base in others.items()}}),
    )


def hidden_notes(where: Mapping[str, Path]) -> list[str]:
    """Return notes about files that are left out of folders."""
    return visible_files.notes([base for base in where.values() if base.is_dir()], ENDS)


def absolute_paths(paths: Mapping[str, str | None]) -> dict[str, Path]:
    """Return the paths of the parts that have one."""
    return {part: current_folder.expanded(path).absolute() for part, path in paths.items() if path is not None}


def _demand_inputs(where: Mapping[str, Path]) -> None:
    if not where:
        raise DataError(problem("task.train", "a file or folder is needed", fix="add task.train=DIR"))


def rows_of(task: Task) -> Callable[[int], Array]:
    """Return a function like that of `mask_files.rows_of`, for the masks of samples or for numerical targets.

    Args:
        task: The task.

    Raises:
        UnreadableImageError: By the function, for a row without a mask.
        DataError: By the function, for a mask that has changed since the task was made.
    """
    source = task.source
    described, form = source["masks"] if "masks" in source else source["targets"], Form.of(source)
    class_values = mask_files.stored_values(described) if "masks" in source else None

    def read(row: int) -> Array:
        name, digest = task.samples.masks[row]
        if not name:
            raise UnreadableImageError("has no target")
        value = array_of(described, name, form)
        if pixel_digest(value) != digest:
            fix = "run the command that created the task again, which makes a new task of what is there now"
            raise DataError(problem(name, f"has changed since the task {task.name} was created", fix=fix))
        return value if class_values is None else class_values.classes(value.astype(np.int64))

    return read


def _named_arrays(base: Path, part: str, form: Form, suffix: str) -> list[tuple[str, Array]]:
    """Return every array of a part with its name, shape (*spatial, channels)."""
    key = f"task.{part}{suffix}"
    return [(f"{part}/{name}", value) for name, value in arrays_below(base, key, form)]


def _target_of_each(
    own: Mapping[str, Array], base: Path, part: str, form: Form, check: Callable[[str, Array, str, Array], list[str]]
) -> dict[str, tuple[str, Array]]:
    """Return name and values of the target of each sample of a part, after checking them against the sample.

    Raises:
        DataError: With a sentence for each target that does not fit.
    """
    masks, names = _named_arrays(base, part, form, "_targets"), [name for name in own if name.startswith(f"{part}/")]
    if len(masks) != len(names):
        fix = "give every sample one target, in the same order of names"
        fault = f"has {counted(len(masks), 'target')} for {counted(len(names), 'sample')}"
        raise DataError(problem(f"task.{part}_targets", fault, got=str(base), fix=fix))
    pairs = dict(zip(names, masks, strict=True))
    raise_some([text for name, (mask, values) in pairs.items() for text in check(mask, values, name, own[name])])
    return pairs


def _mask_problems(name: str, mask: Array, sample: str, value: Array) -> list[str]:
    """Return a sentence for each fault of a mask of shape (*spatial, channels)."""
    if mask.shape[-1] != 1:
        return [problem(name, f"has {mask.shape[-1]} channels, a mask has one number for each pixel", fix="save one")]
    if wrong := _size_problems(name, mask, sample, value):
        return wrong
    if (mask % 1).any() or not 0 <= mask.min() <= mask.max() <= mask_files.LARGEST:
        return [
            problem(
                name, f"is no mask: whole numbers from 0 to {mask_files.LARGEST} are wanted", fix="save class numbers"
            )
        ]
    return []


def _no_problems(name: str, target: Array, sample: str, value: Array) -> list[str]:
    """Return nothing, because numerical targets are checked all together."""
    return []


def _number_problems(name: str, target: Array) -> list[str]:
    """Return a sentence for a target with NaN or infinite values."""
    if np.isfinite(target).all():
        return []
    return [problem(name, "has values that are no numbers (NaN or infinite)", fix="replace them")]


def _scale_of_all(
    own: Mapping[str, Array], of_sample: Mapping[str, tuple[str, Array]], form: Form
) -> target_files.Scale:
    """Return the common scale of targets, relative to the height and width of their samples.

    Raises:
        DataError: With a sentence for each target of another scale, or with NaN or infinite values.
    """
    scale = target_files.SAME
    if form.axes == 2:
        sizes = {name: (target.shape[:2], own[name].shape[:2]) for name, (_, target) in of_sample.items()}
        scale = target_files.common_scale(list(sizes.values()))
        odd = [name for name, both in sizes.items() if not target_files.has_scale(*both, scale)]
    else:
        odd = [name for name, (_, target) in of_sample.items() if target.shape[:-1] != own[name].shape[:-1]]
    fix = target_files.in_words(scale)
    wrong = [_size_problem(*of_sample[name], name, own[name], fix) for name in odd]
    wrong += [text for name, (target, value) in of_sample.items() for text in _number_problems(target, value)]
    raise_some(wrong)
    return scale


def _size_problems(name: str, target: Array, sample: str, value: Array) -> list[str]:
    if target.shape[:-1] == value.shape[:-1]:
        return []
    return [_size_problem(name, target, sample, value, "make them of one size")]


def _size_problem(name: str, target: Array, sample: str, value: Array, fix: str) -> str:
    fault = f"has the shape {list(target.shape[:-1])}, its sample {sample} {list(value.shape[:-1])}"
    return problem(name, fault, fix=fix)


def _mask_facts(mask: Array) -> Mask:
    numbers, counts = np.unique(mask, return_counts=True)
    value_counts = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
    return Mask(pixel_digest(mask), value_counts, mask.shape[1], mask.shape[0])
