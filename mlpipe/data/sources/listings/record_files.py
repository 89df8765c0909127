"""Rows from tables or from Python: each becomes a few named arrays that a network takes together, with one target."""

from __future__ import annotations

import copy
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mlpipe import current_folder, files, limits
from mlpipe.data import imports, records
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
from mlpipe.data.records.layout import Layout
from mlpipe.data.sources.source import Pixels, Read, Source
from mlpipe.data.task import Part
from mlpipe.errors import DataError, MlpipeError, in_short, problem

T = TypeVar("T")
Block = dict[str, Any]
_KNOWN = {"KeySelector": KeySelector, "IdentityTransformer": IdentityTransformer}
PARTS: tuple[tuple[str, Part, RecordMode], ...] = (
    ("train", "train", RecordMode.TRAIN),
    ("validation", "val", RecordMode.VALIDATION),
)
IDENTITY: Block = {"import": "IdentityTransformer"}
# Rows that a Python program made itself, by the names that `hold` returned.
_HELD: dict[str, list[Record]] = {}


def hold(rows: Any) -> str:
    """Keep rows for this process, and return the name that stands for them instead of a file.

    Args:
        rows: A list of dictionaries, or a pandas data frame.

    Raises:
        TypeError: If it is neither.
    """
    name = f"held:{len(_HELD)}"
    _HELD[name] = records.as_records(rows)
    return name


def is_held(name: str) -> bool:
    """Return whether a name stands for rows that a Python program made itself."""
    return name in _HELD


class RecordRows(Source):
    """Rows of tables that a loader turns into named arrays; an id is the part and the row's number."""

    def roots(self) -> tuple[Path, ...]:
        """Return the files of rows; none for rows held by a Python program."""
        return tuple(Path(place) for place in self.task.source["parts"].values() if not is_held(place))

    @property
    def layout(self) -> Layout:
        """Return the layout of a row's arrays in one vector."""
        return Layout.from_plain(self.task.source["layout"])

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """Return a function from row number to the row's vector, shape (length, 1, 1)."""
        # A stored task may come from elsewhere, and must not choose the code that runs.
        require_allowed(self.task.source, [])
        sets = dict(zip(("train", "val"), sets_of(self.task.source), strict=True))
        layout, ids = self.layout, self.task.samples.ids

        def read(row: int) -> Pixels:
            part, _, number = ids[row].partition("#")[0].partition(":")
            data_record = called(ids[row], sets[part].plain, int(number))
            return layout.vector(data_record, ids[row]).reshape(-1, 1, 1)

        return read


def augmentor_of(source: Mapping[str, Any]) -> RecordAugmentor:
    """Return the functions that vary training rows of a task."""
    require_allowed(source, [])
    return RecordAugmentor(
        [
            (imports.resolve(f"task.augmentor[{number}]", block["import"], {}), block.get("params") or {})
            for number, block in enumerate(source["augmentor"])
        ]
    )


def save_transformer(source: Mapping[str, Any], folder: Path) -> None:
    """Save the fitted transformer of a task in an existing folder."""
    require_allowed(source, [])
    called("task.transformer: save", sets_of(source)[0].transformer.save, str(folder))


def record_set_to_score(
    source: Mapping[str, Any], rows: Sequence[Record], folder: Path, trust: Sequence[str]
) -> RecordSet:
    """Return rows to score, with the transformer that was saved in a folder.

    Args:
        source: `loader` and `transformer` as import blocks.
        rows: The rows.
        folder: The folder of the transformer's files.
        trust: Modules outside of the current folder that the user named.
    """
    require_allowed(source, trust)
    loader, transformer = _loader_and_transformer(source, RecordMode.SCORE)
    called("dataset.transformer: load", transformer.load, str(folder))
    return RecordSet(rows, RecordMode.SCORE, loader, transformer)


def read_records(key: str, name: str) -> list[Record]:
    """Return the rows of a file, or those that were held under a name.

    Raises:
        DataError: If there is no such file, or it holds no rows.
    """
    # Imported here, so that commands that only read a configuration stay fast.
    import pandas as pd

    if name in _HELD:
        return _HELD[name]
    path = Path(name)
    if path.suffix.lower() not in (".csv", ".json"):
        raise DataError(problem(key, "must be a .csv or .json file", got=name, fix="convert it"))
    if not path.is_file():
        raise DataError(problem(key, "there is no such file", got=name, fix="name an existing one"))
    try:
        if path.suffix.lower() == ".json":
            # pandas would silently take the last of two values of one key.
            files.plain_json(limits.text(path), unique=True)
        frame = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_json(path)
        rows: list[Record] = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    except (OSError, ValueError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise DataError(problem(key, f"cannot be read as records ({reason})", got=name, fix="mend it")) from error
    return rows


def called(where: str, function: Callable[..., T], /, *given: Any, **named: Any) -> T:
    """Call the user's code and return its value; its error becomes a sentence.

    Raises:
        DataError: If it fails.
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


def place(path: str) -> str:
    """Return the absolute path of a file of rows; the name of held rows is returned unchanged."""
    return path if path in _HELD else str(current_folder.expanded(path).absolute())


def require_allowed(source: Mapping[str, Any], trust: Sequence[str]) -> None:
    """Refuse code that is not the user's own, and missing names, before any of it is called."""
    blocks = {"task.loader": source["loader"], "task.transformer": source["transformer"]}
    blocks |= {f"task.augmentor[{number}]": augmentor for number, augmentor in enumerate(source.get("augmentor") or [])}
    problems = []
    for key, block in blocks.items():
        path = block.get("import") if isinstance(block, Mapping) else None
        if not isinstance(path, str):
            problems.append(problem(f"{key}.import", "is needed", got=block, fix="write {import: NAME, params: {...}}"))
            continue
        try:
            target = imports.resolve(key, path, {} if "augmentor" in key else _KNOWN, trust)
        except DataError as error:
            problems += error.problems
            continue
        if not callable(target):
            fix = "name a function" if "augmentor" in key else "name a class"
            problems.append(problem(f"{key}.import", f"{path} cannot be called", got=type(target).__name__, fix=fix))
    if problems:
        raise DataError(problems)


def sets_of(source: Mapping[str, Any]) -> list[RecordSet]:
    """Return the rows of each part, with loader and fitted transformer."""
    keys = ("parts", "loader", "transformer", "seed")
    places = [Path(place) for place in source["parts"].values() if place not in _HELD]
    stamp = tuple((str(place), place.stat().st_mtime_ns if place.is_file() else 0) for place in places)
    return _cached_record_sets(json.dumps({key: source[key] for key in keys}, sort_keys=True, default=str), stamp)


@lru_cache(maxsize=4)
def _cached_record_sets(text: str, stamp: tuple[Any, ...]) -> list[RecordSet]:
    """Return the rows of each part with fitted transformers; files that have changed (`stamp`) are read again."""
    source = json.loads(text)
    rows = {key: read_records(f"task.{key}", source["parts"][key]) for key, _, _ in PARTS}
    sets = []
    with tempfile.TemporaryDirectory(prefix="mlpipe-records-") as folder:
        for key, _, mode in PARTS:
            loader, transformer = _loader_and_transformer(source, mode)
            if mode is RecordMode.TRAIN:
                with records.drawing_from(source["seed"]):
                    called("task.transformer: fit", transformer.fit, copy.deepcopy(rows[key]))
                called("task.transformer: save", transformer.save, folder)
            else:
                called("task.transformer: load", transformer.load, folder)
            sets.append(RecordSet(rows[key], mode, loader, transformer))
    return sets


def _takes_one_mapping(factory: Any) -> bool:
    """Return whether a user's class takes `params`, one mapping of its parameters, instead of keyword arguments."""
    is_own = isinstance(factory, type) and issubclass(factory, RecordLoader | RecordTransformer)
    parameters = list(inspect.signature(factory).parameters.values()) if is_own else []
    is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return not is_open and bool(parameters) and parameters[-1].name == "params"


def _loader_and_transformer(source: Mapping[str, Any], mode: RecordMode) -> tuple[RecordLoader, RecordTransformer]:
    parts: list[Any] = []
    for key, base in (("loader", RecordLoader), ("transformer", RecordTransformer)):
        block = source[key]
        factory = imports.resolve(f"task.{key}", block["import"], _KNOWN)
        params = dict(block.get("params") or {})
        # Pass one mapping to a class that takes one.
        arguments, keywords = ((params,), {}) if _takes_one_mapping(factory) else ((), params)
        part = called(f"task.{key}", factory, mode, *parts, *arguments, **keywords)
        if not isinstance(part, base):
            fix = f"derive it from {base.__name__}"
            raise DataError(problem(f"task.{key}", f"is no {base.__name__}", got=block["import"], fix=fix))
        parts.append(part)
    return parts[0], parts[1]
