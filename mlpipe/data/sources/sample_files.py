"""Samples in NumPy or HDF5 files, with class numbers, masks or other arrays as targets, or folders as classes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from mlpipe import hdf5
from mlpipe.data import task
from mlpipe.data.images import UnreadableImageError
from mlpipe.data.sources import mask_files, target_files
from mlpipe.data.sources.class_folders import finished
from mlpipe.data.sources.embedded import pixel_digest
from mlpipe.data.sources.mask_files import Mask
from mlpipe.data.sources.sample_form import Form, oriented
from mlpipe.data.sources.table_targets import raise_some
from mlpipe.data.task import NO_TARGET, Part, Row, Task
from mlpipe.errors import DataError, first_line, listing, no_such_file, problem

Array = np.ndarray[Any, Any]
_DAMAGED = (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile, MemoryError, OverflowError)
_ENDS = (".npy", ".npz", *hdf5.ENDS)


def samples(
    *,
    train: str | None = None,
    train_targets: str | None = None,
    test: str | None = None,
    test_targets: str | None = None,
    labels: Literal["files", "folders", "masks", "images", "none"] = "files",
    classes: list[str] | None = None,
    values: list[int] | None = None,
    ignore_index: Annotated[int, ">= 0", "<= 65535"] | None = None,
    layout: Literal["chw", "hwc"] = "chw",
    axes: Literal[1, 2, 3] | None = None,
    labelled: bool = True,
    name: str | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Arrays in .npy files (one sample each), .npz and .h5 files (many), read from a file or anywhere below a folder.

    Values reach the network as they are, as float32. Inputs and targets belong together in the order of their names.

    Args:
        train: The file or folder of training samples.
        train_targets: That of their class numbers, masks or images.
        test: The file or folder of test samples.
        test_targets: That of theirs.
        labels: Where classes come from: `files` (the targets), `folders` (the folder that a sample lies in), `masks` (the
            targets are arrays of a sample's size, with a class for every pixel), `images` (arrays of that size, or of
            samples with two axes all as many times as high and as wide, numbers to predict; each sample is its own
            target where none are named), or none.
        classes: The names of the classes; None: folders' names, or 0 to the largest number. Of images those of channels.
        values: With masks the value of each class; None: as for `masks`.
        ignore_index: With masks the value of pixels that count nowhere.
        layout: Where the channels of a sample are: first, or last (hwc); one without an axis of them has one channel.
        axes: How many axes samples have beside that of the channels, for volumes 3 and for series 1; None: 2, as images
            have, or 3 where the first array of all has four axes.
        labelled: With images, False: no sample has a target; the network is applied to them only.
        name: The task's name before the hash; None takes the file's or folder's.
        max_unreadable: As for `folder`; what cannot be read is an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: When files are missing or damaged, counts differ, or targets are no class numbers.
    """
    form = Form(layout, axes or _axes_of({"train": train, "test": test}))
    source: dict[str, Any] = {"type": "samples", "layout": layout, "axes": form.axes}
    if labels == "masks":
        targets_of = {"train": train_targets, "test": test_targets}
        return finished(
            _masked({"train": train, "test": test}, targets_of, source, name, (classes, values, ignore_index)),
            allow_overlap,
        )
    if labels == "images":
        _refuse_classes(values=values, ignore_index=ignore_index)
        targets_of = {"train": train_targets, "test": test_targets} if labelled else {}
        made = _imaged({"train": train, "test": test}, targets_of, source, name, classes, labelled)
        return finished(made, allow_overlap)
    found: list[tuple[Part, str, Array, str | int]] = []
    for part, inputs, targets in (("train", train, train_targets), ("test", test, test_targets)):
        if inputs is None:
            continue
        base = Path(inputs).expanduser().absolute()
        own: Part = "train" if part == "train" else "test"
        source[part] = str(base)
        taken = [(f"{part}/{key}", oriented(value, form, key)) for key, value in _arrays(base, f"task.{part}")]
        wanted = _labels(part, labels, targets, [key for key, _ in taken], base)
        found += [(own, key, value, label) for (key, value), label in zip(taken, wanted, strict=True)]
    if not found:
        raise DataError(problem("task.train", "a file or folder is needed", fix="add task.train=DIR"))
    names = classes or _classes([label for _, _, _, label in found])
    channels = _channels([value for _, _, value, _ in found], form)
    rows = [
        Row(key, part if label != "" else "unlabelled", _number(label, names, key), pixel_digest(value))
        for part, key, value, label in found
    ]
    title = name or Path(str(train or test)).expanduser().absolute().stem
    made = task.make(title, names, rows, channels=channels, dtype="float32", source=source)
    return finished(made, allow_overlap)


def arrays_below(base: Path, key: str, form: Form) -> Iterator[tuple[str, Array]]:
    """Every array of a file or folder with its name, shape (*spatial, channels), float32.

    Args:
        base: The file or folder.
        key: The configuration's key, for sentences.
        form: How arrays lie.

    Raises:
        DataError: When there is none, or one is damaged or has other axes.
    """
    for name, value in _arrays(base, key):
        yield name, oriented(value, form, name)


def rows_of(source: Mapping[str, Any]) -> Callable[[str], Array]:
    """A function from sample id to an array of shape (*spatial, channels) for a stored `samples` source."""
    form = Form.of(source)

    def read(name: str) -> Array:
        part, _, rest = name.partition("/")
        base = Path(source[part])
        file, _, key = rest.partition(":")
        return _read(base / file if base.is_dir() else base, key, form, rest)

    return read


def mask_rows_of(of: Task) -> Callable[[int], Array]:
    """As `mask_files.rows_of`, for a task of the masks of samples, or of targets that are numbers.

    Args:
        of: What `mask_files.task_of` or `target_files.task_of` gave.

    Raises:
        UnreadableImageError: By the function, for a row without a mask.
        DataError: By the function, for a mask that is not the one that the task was made of.
    """
    source = of.source["images"].source
    described, form = source["masks"] if "masks" in source else source["targets"], Form.of(source)
    found = mask_files.stored_values(described) if "masks" in source else None

    def read(row: int) -> Array:
        name, digest = of.samples.masks[row]
        if not name:
            raise UnreadableImageError("has no target")
        part, _, rest = name.partition("/")
        base = Path(described[part])
        file, _, key = rest.partition(":")
        value = _read(base / file if base.is_dir() else base, key, form, rest)
        if pixel_digest(value) != digest:
            fix = "run the command that created the task again, which makes a new task of what is there now"
            raise DataError(problem(name, f"has changed since the task {of.name} was created", fix=fix))
        return value if found is None else found.classes(value.astype(np.int64))

    return read


def _read(path: Path, key: str, form: Form, name: str) -> Array:
    try:
        if path.suffix in hdf5.ENDS:
            return oriented(hdf5.array(path, key), form, name)
        return oriented(_opened(path)[key] if key else np.load(path, allow_pickle=False), form, name)
    except (KeyError, *_DAMAGED) as error:
        raise UnreadableImageError(f"cannot be read ({first_line(error)})") from error


def _masked(
    inputs: Mapping[str, str | None],
    targets: Mapping[str, str | None],
    source: Mapping[str, Any],
    title: str | None,
    said: tuple[list[str] | None, list[int] | None, int | None],
) -> Task:
    """The task of samples with masks, before it has its final name; `said`: classes, values and what is ignored."""
    where, masks_in = _absolute(inputs), _absolute(targets)
    _demand_inputs(where)
    if "train" in where and "train" not in masks_in:
        raise DataError(problem("task.train_targets", "is needed", fix="name the file or folder of masks"))
    form = Form.of(source)
    own = {name: value for part, base in where.items() for name, value in _named(base, part, form, "")}
    of_sample = {
        sample: pair
        for part, base in masks_in.items()
        if part in where
        for sample, pair in _target_of_each(own, base, part, form, _mask_problems).items()
    }
    seen = {sample: _seen(value) for sample, (_, value) in of_sample.items()}
    values = mask_files.values_of(list(seen.values()), *said)
    unknown = {of_sample[sample][0]: found for sample, mask in seen.items() if (found := values.unknown(mask))}
    fix = "name them with task.values and task.classes"
    raise_some(
        [
            problem(name, f"has values that are no class ({listing(found, most=5)})", fix=fix)
            for name, found in unknown.items()
        ]
    )
    rows = []
    for name, value in own.items():
        part: Part = "unlabelled" if name not in seen else "train" if name.startswith("train/") else "test"
        shares = values.shares(seen[name]) if name in seen else (float("nan"),) * len(values.names)
        mask = (of_sample[name][0], seen[name].digest) if name in seen else ("", "")
        rows.append(Row(name, part, shares, pixel_digest(value), mask=mask))
    first = next(iter(where.values()))
    described = {**mask_files.described(first, values), **{part: str(base) for part, base in masks_in.items()}}
    return task.make(
        title or first.stem,
        values.names,
        rows,
        kind="segmentation",
        channels=_channels(list(own.values()), form),
        dtype="float32",
        source={**source, **{part: str(base) for part, base in where.items()}, "masks": described},
    )


def _imaged(
    inputs: Mapping[str, str | None],
    targets: Mapping[str, str | None],
    source: Mapping[str, Any],
    title: str | None,
    classes: list[str] | None,
    labelled: bool,
) -> Task:
    """The task of samples whose targets are arrays of numbers, before it has its final name."""
    where, others = _absolute(inputs), _absolute(targets)
    _demand_inputs(where)
    if "train" in where and others and "train" not in others:
        fix = "name it, or leave task.test_targets out: each sample is its own target then"
        raise DataError(problem("task.train_targets", "is needed", fix=fix))
    form, are_own = Form.of(source), labelled and not others
    own = {name: value for part, base in where.items() for name, value in _named(base, part, form, "")}
    of_sample = {
        sample: pair
        for part, base in others.items()
        if part in where
        for sample, pair in _target_of_each(own, base, part, form, _no_problems).items()
    }
    scale = _scale_of_all(own, of_sample, form)
    inputs_have = _channels(list(own.values()), form)
    outputs = _channels([value for _, value in of_sample.values()], form) if of_sample else inputs_have
    outputs = len(classes) if classes and not labelled else outputs
    if classes and len(classes) != outputs:
        fix = f"give {outputs} names, or leave it out"
        raise DataError(problem("task.classes", f"targets have {outputs} channels", got=classes, fix=fix))
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
    )


def _absolute(given: Mapping[str, str | None]) -> dict[str, Path]:
    """The paths of the parts that have one."""
    return {part: Path(path).expanduser().absolute() for part, path in given.items() if path is not None}


def _demand_inputs(where: Mapping[str, Path]) -> None:
    if not where:
        raise DataError(problem("task.train", "a file or folder is needed", fix="add task.train=DIR"))


def _refuse_classes(**given: object) -> None:
    wrong = [name for name, value in given.items() if value is not None]
    if wrong:
        raise DataError(
            [problem(f"task.{name}", "is for classes, not for images", fix="leave it out") for name in wrong]
        )


def _named(base: Path, part: str, form: Form, suffix: str) -> list[tuple[str, Array]]:
    """Every array of a part with its name, shape (*spatial, channels)."""
    key = f"task.{part}{suffix}"
    return [(f"{part}/{name}", oriented(value, form, name)) for name, value in _arrays(base, key)]


def _target_of_each(
    own: Mapping[str, Array], base: Path, part: str, form: Form, check: Callable[[str, Array, str, Array], list[str]]
) -> dict[str, tuple[str, Array]]:
    """Name and values of the target of each sample of a part, which is checked against it.

    Raises:
        DataError: With a sentence for each that does not fit.
    """
    masks, names = _named(base, part, form, "_targets"), [name for name in own if name.startswith(f"{part}/")]
    if len(masks) != len(names):
        fix = "give every sample one target, in the same order of names"
        found = f"has {len(masks)} targets for {len(names)} samples"
        raise DataError(problem(f"task.{part}_targets", found, got=str(base), fix=fix))
    pairs = dict(zip(names, masks, strict=True))
    raise_some([text for name, (mask, values) in pairs.items() for text in check(mask, values, name, own[name])])
    return pairs


def _mask_problems(name: str, mask: Array, sample: str, value: Array) -> list[str]:
    """A sentence for everything that is wrong with a mask of shape (*spatial, channels)."""
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
    """Nothing: targets of numbers are checked when all are there."""
    return []


def _number_problems(name: str, target: Array) -> list[str]:
    """A sentence for a target with values that are no numbers."""
    if np.isfinite(target).all():
        return []
    return [problem(name, "has values that are no numbers (NaN or infinite)", fix="replace them")]


def _scale_of_all(
    own: Mapping[str, Array], of_sample: Mapping[str, tuple[str, Array]], form: Form
) -> target_files.Scale:
    """How many times as high and as wide as their samples all targets are.

    Raises:
        DataError: With a sentence for each that is not as the others, or has values that are no numbers.
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
    what = f"has the shape {list(target.shape[:-1])}, its sample {sample} {list(value.shape[:-1])}"
    return problem(name, what, fix=fix)


def _seen(mask: Array) -> Mask:
    numbers, counts = np.unique(mask, return_counts=True)
    found = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
    return Mask(pixel_digest(mask), found, mask.shape[1], mask.shape[0])


def _channels(values: list[Array], form: Form) -> int:
    """How many channels all samples have.

    Raises:
        DataError: When they differ.
    """
    found = sorted({value.shape[-1] for value in values})
    if len(found) > 1:
        fix = f"check task.layout, which is {form.layout}"
        raise DataError(problem("task.train", f"samples have {listing(found)} channels", fix=fix))
    return int(found[0])


def _arrays(base: Path, key: str) -> Iterator[tuple[str, Array]]:
    """Every array of a file or folder with its name, files in the order of their names."""
    if not base.exists():
        raise DataError(no_such_file(key, base, otherwise="name an existing file or folder"))
    paths = [base] if base.is_file() else sorted(path for path in base.rglob("*") if path.suffix in _ENDS)
    if not paths or paths[0].suffix not in _ENDS:
        wrong = "holds no NumPy or HDF5 file"
        raise DataError(problem(key, wrong, got=str(base), fix=f"its files end in {listing(_ENDS)}"))
    for path in paths:
        place = path.relative_to(base).as_posix() if path != base else path.name
        try:
            if path.suffix == ".npy":
                yield place, np.load(path, allow_pickle=False)
            elif path.suffix in hdf5.ENDS:
                yield from ((f"{place}:{name}", value) for name, value in hdf5.arrays(path))
            else:
                yield from ((f"{place}:{name}", value) for name, value in _opened(path).items())
        except _DAMAGED as error:
            fix = "save it again with numpy.save or h5py"
            raise DataError(problem(str(path), f"cannot be read ({first_line(error)})", fix=fix)) from error


@lru_cache(maxsize=4)
def _opened(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored}


def _axes_of(given: Mapping[str, str | None]) -> int:
    """How many axes samples have where nobody says it, by the first of them."""
    for part, path in _absolute(given).items():
        for _, value in _arrays(path, f"task.{part}"):
            return 3 if value.ndim == 4 else 2
    return 2


def _labels(part: str, labels: str, targets: str | None, keys: list[str], base: Path) -> list[str | int]:
    """The class of each sample; empty text: none."""
    if labels == "folders":
        return [(base / key.partition("/")[2]).parent.name for key in keys]
    if labels == "none" or (targets is None and part == "test"):
        return [""] * len(keys)
    if targets is None:
        raise DataError(problem(f"task.{part}_targets", "is needed", fix="name the file or folder of class numbers"))
    key, found = f"task.{part}_targets", list(_arrays(Path(targets).expanduser().absolute(), f"task.{part}_targets"))
    if len(found) != len(keys):
        fix = "give every sample one target, in the same order of names"
        raise DataError(problem(key, f"has {len(found)} targets for {len(keys)} samples", got=targets, fix=fix))
    odd = [name for name, value in found if value.size != 1 or value.dtype.kind not in "buif" or value.sum() % 1]
    if odd:
        wrong = f"holds targets that are no class numbers: {listing(odd, most=3)}"
        raise DataError(problem(key, wrong, got=targets, fix="save one whole number for each sample"))
    return [int(value.reshape(())) if value.ndim == 0 else int(value.ravel()[0]) for _, value in found]


def _classes(labels: list[str | int]) -> list[str]:
    numbers = [label for label in labels if isinstance(label, int)]
    if numbers:
        return [str(number) for number in range(max(numbers) + 1)]
    return sorted({str(label) for label in labels} - {""})


def _number(label: str | int, names: list[str], key: str) -> int:
    if isinstance(label, int):
        if not 0 <= label < len(names):
            fix = f"class numbers are 0 to {len(names) - 1}"
            raise DataError(problem(key, "its class number is none of the classes", got=label, fix=fix))
        return label
    if label and label not in names:
        raise DataError(problem(key, "lies in a folder that is no class", got=label, fix=f"use {listing(names)}"))
    return names.index(label) if label else NO_TARGET
