"""Rows from tables or from Python: each a few named arrays that a network takes together, with one target."""

from __future__ import annotations

import copy
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from mlpipe import files, limits
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
# Rows that a program in Python made itself, by the names under which it asked for them to be held.
_HELD: dict[str, list[Record]] = {}


def hold(rows: Any) -> str:
    """Keep rows for this process, and give the name that stands for them in place of a file.

    Args:
        rows: A list of dictionaries, or a pandas data frame.

    Raises:
        TypeError: When it is neither.
    """
    name = f"held:{len(_HELD)}"
    _HELD[name] = records.as_records(rows)
    return name


def is_held(name: str) -> bool:
    """Whether a name stands for rows that a program in Python made itself."""
    return name in _HELD


class RecordRows(Source):
    """Rows of tables that a loader turns into named arrays; an id is the part and the row's number."""

    def roots(self) -> tuple[Path, ...]:
        """The files of rows; none where a program in Python holds them."""
        return tuple(Path(place) for place in self.task.source["parts"].values() if not is_held(place))

    @property
    def layout(self) -> Layout:
        """Layout of a row's arrays in one vector."""
        return Layout.from_plain(self.task.source["layout"])

    def inputs(self, channels: int, least: int | None = None) -> Read:
        """The vector of a row, shape (length, 1, 1)."""
        # What is stored of a task may come from elsewhere, and must not choose the code that runs.
        require_allowed(self.task.source, [])
        sets = dict(zip(("train", "val"), sets_of(self.task.source), strict=True))
        layout, ids = self.layout, self.task.samples.ids

        def read(row: int) -> Pixels:
            part, _, number = ids[row].partition("#")[0].partition(":")
            data_record = called(ids[row], sets[part].plain, int(number))
            return layout.vector(data_record, ids[row]).reshape(-1, 1, 1)

        return read


def augmentor_of(source: Mapping[str, Any]) -> RecordAugmentor:
    """The functions that vary training rows of a task."""
    require_allowed(source, [])
    return RecordAugmentor(
        [
            (imports.resolve(f"task.augmentor[{number}]", block["import"], {}), block.get("params") or {})
            for number, block in enumerate(source["augmentor"])
        ]
    )


def save_transformer(source: Mapping[str, Any], folder: Path) -> None:
    """Let the fitted transformer of a task write what it learned into a folder that is there."""
    require_allowed(source, [])
    called("task.transformer: save", sets_of(source)[0].transformer.save, str(folder))


def record_set_to_score(
    source: Mapping[str, Any], rows: Sequence[Record], folder: Path, trust: Sequence[str]
) -> RecordSet:
    """Rows to score, with the transformer that was saved in a folder.

    Args:
        source: `loader` and `transformer` as import blocks.
        rows: The rows.
        folder: Where the transformer's files are.
        trust: Modules outside the current folder that the user named.
    """
    require_allowed(source, trust)
    loader, transformer = _loader_and_transformer(source, RecordMode.SCORE)
    called("dataset.transformer: load", transformer.load, str(folder))
    return RecordSet(rows, RecordMode.SCORE, loader, transformer)


def read_records(key: str, name: str) -> list[Record]:
    """The rows of a file, or those that were held under a name.

    Raises:
        DataError: When there is no such file, or it holds no rows.
    """
    # Imported here, so that what only looks at a configuration stays quick.
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
            # Pandas would take the last of two values of one key.
            files.plain_json(limits.text(path), unique=True)
        frame = pd.read_csv(path) if path.suffix.lower() == ".csv" else pd.read_json(path)
        rows: list[Record] = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    except (OSError, ValueError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise DataError(problem(key, f"cannot be read as records ({reason})", got=name, fix="mend it")) from error
    return rows


def called(where: str, function: Callable[..., T], /, *given: Any, **named: Any) -> T:
    """The return value of the user's code; its error becomes a sentence.

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


def place(path: str) -> str:
    """The absolute path of a file of rows; a name that rows are held under stays as it is."""
    return path if path in _HELD else str(Path(path).expanduser().absolute())


def require_allowed(source: Mapping[str, Any], trust: Sequence[str]) -> None:
    """Refuse code that is not the user's own, and names that are not there, before any of it is called."""
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
    """The rows of each part, with loader and fitted transformer."""
    keys = ("parts", "loader", "transformer", "seed")
    places = [Path(place) for place in source["parts"].values() if place not in _HELD]
    stamp = tuple((str(place), place.stat().st_mtime_ns if place.is_file() else 0) for place in places)
    return _cached_record_sets(json.dumps({key: source[key] for key in keys}, sort_keys=True, default=str), stamp)


@lru_cache(maxsize=4)
def _cached_record_sets(text: str, stamp: tuple[Any, ...]) -> list[RecordSet]:
    """The rows of each part with fitted transformers; files that changed since (`stamp`) are read anew."""
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
    """Whether a class of the user's own is made with `params`, a mapping of its parameters, and not with each by its name."""
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
        # One mapping to a class that asks for it.
        arguments, keywords = ((params,), {}) if _takes_one_mapping(factory) else ((), params)
        part = called(f"task.{key}", factory, mode, *parts, *arguments, **keywords)
        if not isinstance(part, base):
            fix = f"derive it from {base.__name__}"
            raise DataError(problem(f"task.{key}", f"is no {base.__name__}", got=block["import"], fix=fix))
        parts.append(part)
    return parts[0], parts[1]
