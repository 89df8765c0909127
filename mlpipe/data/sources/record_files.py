"""Records from tables or from Python, each a few named arrays that a network takes together, with one target."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import numpy as np

from mlpipe import files
from mlpipe.data import imports, records, task
from mlpipe.data.records import (
    IdentityTransformer,
    KeySelector,
    Record,
    RecordAugmentor,
    RecordLoader,
    RecordMode,
    RecordSet,
    RecordTransformer,
)
from mlpipe.data.records import layout as record_layout
from mlpipe.data.records.layout import Layout
from mlpipe.data.sources.class_folders import finished
from mlpipe.data.task import Kind, Part, Row, Task
from mlpipe.errors import DataError, MlpipeError, in_short, listing, problem

T = TypeVar("T")
Block = dict[str, Any]
_KNOWN = {"KeySelector": KeySelector, "IdentityTransformer": IdentityTransformer}
_PARTS: tuple[tuple[str, Part, RecordMode], ...] = (
    ("train", "train", RecordMode.TRAIN),
    ("validation", "val", RecordMode.VALIDATION),
)
_IDENTITY: Block = {"import": "IdentityTransformer"}
# Records that a program in Python made itself, by the names under which it asked for them to be held.
_HELD: dict[str, list[Record]] = {}


def hold(given: Any) -> str:
    """Keep records for this process, and give the name that stands for them in place of a file.

    Args:
        given: A list of dictionaries, or a pandas data frame.

    Raises:
        TypeError: When it is neither.
    """
    name = f"held:{len(_HELD)}"
    _HELD[name] = records.as_records(given)
    return name


def records_of(
    *,
    kind: Literal["classification", "multilabel", "regression"],
    train: str,
    validation: str,
    loader: dict[str, Any],
    output: str | list[str],
    kinds: list[str] | None = None,
    transformer: dict[str, Any] | None = None,
    augmentor: list[dict[str, Any]] | None = None,
    sample_count: str | None = None,
    seed: Annotated[int, ">= 0"] | None = None,
    outputs: Annotated[int, ">= 1"] | None = None,
    name: str | None = None,
    trust: list[str] | None = None,
    max_unreadable: Annotated[int, ">= 0"] = 0,
    allow_overlap: bool = False,
) -> Task:
    """Records (`mlpipe.data.records`) as loader and transformer leave them; the arrays of each become one long vector.

    Every record is read once to describe the task, and once more into the cache. What stands before a network takes
    the vector apart again (`arch=records`).

    Args:
        kind: What is predicted; for classes y is one-hot or a class number.
        train: A table (.csv) or a list (.json) of training records.
        validation: The validation records.
        loader: What makes arrays of a record: `{import: NAME, params: {...}}`.
        output: The name of the output that is learned, or the names of several, whose numbers stand side by side.
        kinds: With several outputs the kind of each; `kind` is then regression.
        transformer: What learns from the training records and changes arrays; None changes nothing.
        augmentor: Functions that vary the arrays of training records anew in every epoch, in their order.
        sample_count: The key of how often a training record comes in an epoch.
        seed: What the global random numbers start from while the transformer learns; None: 0.
        outputs: How many numbers or classes there are; None: as many as the targets have.
        name: The task's name before the hash; None: the training file's.
        trust: Modules outside the current folder whose code may run; always those of the root's `trust`.
        max_unreadable: As for `folder`; a record that cannot be read is always an error.
        allow_overlap: As for `folder`.

    Raises:
        DataError: When an import is not allowed or not there, code of the user fails, or records do not fit.
    """
    heads = _heads(output, kind, kinds)
    source = {
        "type": "records",
        "parts": {"train": _place(train), "validation": _place(validation)},
        "loader": loader,
        "transformer": transformer or _IDENTITY,
        "augmentor": list(augmentor or []),
        "sample_count": sample_count,
        "seed": seed or 0,
        "output": output,
    }
    _allow(source, trust or [])
    sets = _sets(source)
    layout: Layout | None = None
    rows: list[Row] = []
    for part, found in zip(_PARTS, sets, strict=True):
        for index in range(len(found)):
            where = f"record {index} of task.{part[0]}"
            data_record = called(where, found.plain, index)
            layout = layout or record_layout.of(data_record, heads, where)
            rows += _rows(
                part[1], index, data_record, layout, where, found, sample_count if part[0] == "train" else None
            )
    if layout is None:
        raise DataError(problem("task.train", "has no records", got=train, fix="give a file with records"))
    numbers = sorted({int(row.target) for row in rows if row.part == "train" and isinstance(row.target, int)})
    if outputs is None and layout.width is None and numbers != list(range(len(numbers))):
        # Class numbers from 1, or with gaps: the classes are those that occur in training.
        layout = layout.counted(numbers)
        rows = [row._replace(target=layout.outputs[0].place(int(row.target), row.id)) for row in rows]  # type: ignore[arg-type]
    width = outputs or layout.width or max(int(row.target) for row in rows if isinstance(row.target, int)) + 1
    highest = max((int(row.target) for row in rows if isinstance(row.target, int)), default=0)
    if (layout.width or width) != width or highest >= width:
        wrong = f"the targets need {max(layout.width or 0, highest + 1)}"
        raise DataError(problem("task.outputs", wrong, got=outputs, fix="leave it out, or give the right number"))
    source |= {"layout": layout.as_plain(), "network_params": _network_params(sets[0])}
    title = name or ("records" if train in _HELD else Path(train).stem)
    labels = _labels(layout, width) if not layout.outputs[0].numbers else [str(number) for number in numbers]
    made = task.make(title, labels, rows, kind=kind, channels=1, dtype="float32", source=source)
    return finished(made, allow_overlap)


def rows_of(source: Mapping[str, Any]) -> Callable[[str], np.ndarray[Any, Any]]:
    """A function from a sample's id to its vector, for a task that `records_of` made; shape (length, 1, 1)."""
    # What is stored of a task may come from elsewhere, and must not choose the code that runs.
    _allow(source, [])
    sets, layout = dict(zip(("train", "val"), _sets(source), strict=True)), Layout.from_plain(source["layout"])

    def read(name: str) -> np.ndarray[Any, Any]:
        part, _, number = name.partition("#")[0].partition(":")
        data_record = called(name, sets[part].plain, int(number))
        return layout.vector(data_record, name).reshape(-1, 1, 1)

    return read


def augmentor_of(source: Mapping[str, Any]) -> RecordAugmentor:
    """The functions that vary training records of a task."""
    _allow(source, [])
    return RecordAugmentor(
        [
            (imports.resolve(f"task.augmentor[{number}]", block["import"], {}), block.get("params") or {})
            for number, block in enumerate(source["augmentor"])
        ]
    )


def save_transformer(source: Mapping[str, Any], folder: Path) -> None:
    """Let the fitted transformer of a task write what it learned into a folder that is there."""
    _allow(source, [])
    called("task.transformer: save", _sets(source)[0].transformer.save, str(folder))


def scoring(source: Mapping[str, Any], found: Sequence[Record], folder: Path, trust: Sequence[str]) -> RecordSet:
    """Records to score, with the transformer that was saved in a folder.

    Args:
        source: `loader` and `transformer` as import blocks.
        found: The records.
        folder: Where the transformer's files are.
        trust: Modules outside the current folder that the user named.
    """
    _allow(source, trust)
    loader, transformer = _made(source, RecordMode.SCORE)
    called("dataset.transformer: load", transformer.load, str(folder))
    return RecordSet(found, RecordMode.SCORE, loader, transformer)


def read_records(key: str, given: str) -> list[Record]:
    """The records of a file, or those that were held under a name.

    Raises:
        DataError: When there is no such file, or it holds no records.
    """
    # Imported here, so that what only looks at a configuration stays quick.
    import pandas as pd

    if given in _HELD:
        return _HELD[given]
    path = Path(given)
    if path.suffix.lower() not in (".csv", ".json"):
        raise DataError(problem(key, "must be a .csv or .json file", got=given, fix="convert it"))
    if not path.is_file():
        raise DataError(problem(key, "there is no such file", got=given, fix="name an existing one"))
    try:
        frame = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_json(path)
        found: list[Record] = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    except (OSError, ValueError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise DataError(problem(key, f"cannot be read as records ({reason})", got=given, fix="mend it")) from error
    return found


def called(where: str, function: Callable[..., T], /, *given: Any, **named: Any) -> T:
    """What code of the user returns; its error becomes a sentence.

    Raises:
        DataError: When it fails.
    """
    try:
        return function(*given, **named)
    except MlpipeError:
        raise
    except Exception as error:
        wrong = f"cannot be read ({in_short(error)})"
        raise DataError(
            problem(where, wrong, fix="look at the loader and the transformer, and at the record")
        ) from error


def _place(given: str) -> str:
    return given if given in _HELD else str(Path(given).expanduser().absolute())


def _allow(source: Mapping[str, Any], trust: Sequence[str]) -> None:
    """Refuse code that is not the user's own, and names that are not there, before any of it is called."""
    blocks = {"task.loader": source["loader"], "task.transformer": source["transformer"]}
    blocks |= {f"task.augmentor[{number}]": one for number, one in enumerate(source.get("augmentor") or [])}
    found = []
    for key, block in blocks.items():
        path = block.get("import") if isinstance(block, Mapping) else None
        if not isinstance(path, str):
            found.append(problem(f"{key}.import", "is needed", got=block, fix="write {import: NAME, params: {...}}"))
            continue
        try:
            imports.resolve(key, path, {} if "augmentor" in key else _KNOWN, trust)
        except DataError as error:
            found += error.problems
    if found:
        raise DataError(found)


def _sets(source: Mapping[str, Any]) -> list[RecordSet]:
    keys = ("parts", "loader", "transformer", "seed")
    places = [Path(place) for place in source["parts"].values() if place not in _HELD]
    stamp = tuple((str(place), place.stat().st_mtime_ns if place.is_file() else 0) for place in places)
    return _opened(json.dumps({key: source[key] for key in keys}, sort_keys=True, default=str), stamp)


@lru_cache(maxsize=4)
def _opened(text: str, stamp: tuple[Any, ...]) -> list[RecordSet]:
    """The records of each part with fitted transformers; files that changed since (`stamp`) are read anew."""
    source = json.loads(text)
    found = {key: read_records(f"task.{key}", source["parts"][key]) for key, _, _ in _PARTS}
    sets = []
    with tempfile.TemporaryDirectory(prefix="mlpipe-records-") as folder:
        for key, _, mode in _PARTS:
            loader, transformer = _made(source, mode)
            if mode is RecordMode.TRAIN:
                with records.drawing_from(source["seed"]):
                    called("task.transformer: fit", transformer.fit, copy.deepcopy(found[key]))
                called("task.transformer: save", transformer.save, folder)
            else:
                called("task.transformer: load", transformer.load, folder)
            sets.append(RecordSet(found[key], mode, loader, transformer))
    return sets


def _made(source: Mapping[str, Any], mode: RecordMode) -> tuple[RecordLoader, RecordTransformer]:
    parts: list[Any] = []
    for key, base in (("loader", RecordLoader), ("transformer", RecordTransformer)):
        block = source[key]
        made = imports.resolve(f"task.{key}", block["import"], _KNOWN)
        one = called(f"task.{key}", made, mode, *parts, **(block.get("params") or {}))
        if not isinstance(one, base):
            fix = f"derive it from {base.__name__}"
            raise DataError(problem(f"task.{key}", f"is no {base.__name__}", got=block["import"], fix=fix))
        parts.append(one)
    return parts[0], parts[1]


def _rows(
    part: Part,
    index: int,
    data_record: records.DataRecord,
    layout: Layout,
    where: str,
    found: RecordSet,
    sample_count: str | None,
) -> list[Row]:
    """A record's row, and one for each time more that it comes in an epoch."""
    vector = layout.vector(data_record, where)
    target, weight = layout.target(data_record, where), layout.weight(data_record, where)
    digest = files.digest_bytes(vector.tobytes())
    times = called(where, records.repeats, found.records[index], sample_count)
    names = [f"{part}:{index:07d}" + (f"#{number}" if number else "") for number in range(times)]
    return [Row(name, part, target, digest, weight=weight) for name in names]


def _heads(output: str | list[str], kind: Kind, kinds: list[str] | None) -> list[tuple[str, Kind]]:
    """Name and kind of each output."""
    names = [output] if isinstance(output, str) else output
    given = [kind] if len(names) == 1 else list(kinds or [])
    if len(given) != len(names) or len(set(names)) != len(names) or not set(given) <= set(task.KINDS):
        fix = f"give one of {listing(task.KINDS)} for each output"
        raise DataError(problem("task.kinds", "do not fit the outputs", got=kinds, fix=fix))
    if len(names) > 1 and kind != "regression":
        raise DataError(problem("task.kind", "must be regression for several outputs", got=kind, fix="set it"))
    return list(zip(names, cast("list[Kind]", given), strict=True))


def _labels(layout: Layout, width: int) -> list[str]:
    """A name for each number of a target."""
    if layout.is_single:
        return [str(number) for number in range(width)]
    return [
        output.name if output.width == 1 else f"{output.name}[{number}]"
        for output in layout.outputs
        for number in range(output.width)
    ]


def _network_params(found: RecordSet) -> dict[str, Any]:
    params = found.transformer.network_params
    try:
        plain: dict[str, Any] = json.loads(json.dumps(params, default=_as_plain))
    except TypeError as error:
        fix = "let them be numbers, texts, lists and dictionaries"
        raise DataError(
            problem("task.transformer", f"its network_params are no plain data ({error})", fix=fix)
        ) from error
    return plain


def _as_plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none")
