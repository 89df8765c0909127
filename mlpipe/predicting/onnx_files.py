"""The content of an exported ONNX file: facts about itself, sealed with a checksum of the whole file, and no external files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from mlpipe import files, limits, stored
from mlpipe.data.preprocessing import Interpolation, Resize
from mlpipe.errors import ProjectError, problem

# The metadata key of the facts, as JSON.
METADATA = "mlpipe"
FORMAT = 1
# The placeholder of the checksum while it is computed.
_NONE = "0" * 32
_PLACE = re.compile(rb'"checksum": "([0-9a-f]{32})"')
# Nested messages by their field numbers, as far as they can contain operators and tensors
# (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
# The fields of a tensor that refer to external data, the name of a node's operator, and the operators that repeat a subgraph
# until it ends the loop itself; a Scan ends with its input rows.
_ELSEWHERE = {("tensor", 13), ("tensor", 14)}
_OPERATOR = ("node", 4)
_LOOPS = {b"Loop", b"BeamSearch", b"GreedySearch", b"Sampling", b"WhisperBeamSearch"}
# The fields of a node and of a function that identify an operator: its domain, its name and its overload.
_NAMES: Mapping[str, tuple[int, ...]] = {"node": (7, 4, 8), "function": (10, 1, 13)}
_Name = tuple[bytes, ...]
# Bytes of the field types of fixed size.
_FIXED = {1: 8, 5: 4}


class _Named(TypedDict):
    """Facts that every format has."""

    format: int
    version: str


class Facts(TypedDict):
    """Facts of a file about itself, see `mlpipe.running.exported_facts`."""

    format: int
    version: str
    task: str
    kind: str
    classes: list[str]
    is_dense: bool
    has_probabilities: bool
    one_is_true: bool
    mask_values: list[int]
    source: dict[str, Any]
    background: Any
    channels: int
    dtype: Literal["uint8", "uint16", "float32"]
    size: list[int]
    resize: Resize
    interpolation: Interpolation
    fill: int
    least: int | list[int] | None
    any_size: bool
    ensemble: str | None
    prior: list[float] | None
    card: dict[str, Any]
    columns: list[str]
    numbers: list[tuple[str, int, float]]
    cuts: list[float]
    costs: list[list[float]] | None
    choices: dict[str, list[list[float]]]
    lists: dict[str, list[float]]
    endings: list[str]
    computed: str


def text(facts: Mapping[str, Any]) -> str:
    """Return facts as text for a file's metadata, with a placeholder for the checksum."""
    return files.json_text({**facts, "checksum": _NONE}).strip()


def seal(path: Path) -> None:
    """Replace the placeholder in a file, whose facts `text` wrote, by the file's checksum.

    Raises:
        ValueError: When it has no placeholder, or several.
    """
    content = path.read_bytes()
    with path.open("r+b") as handle:
        handle.seek(_place(content)[0])
        handle.write(_digest(content).encode("ascii"))


def read(path: Path) -> bytes:
    """Return the content of a sealed file.

    Raises:
        ProjectError: When it cannot be read, was not sealed, or was changed since.
    """
    try:
        content = limits.content(path, limits.STORED)
    except OSError as error:
        raise ProjectError(problem(str(path), f"cannot be read ({error})", fix="export it again")) from error
    try:
        start, end = _place(content)
    except ValueError as error:
        raise ProjectError(problem(str(path), str(error), fix="give a file that mml export wrote")) from error
    if _digest(content).encode("ascii") != content[start:end]:
        wrong = "was changed since it was written: its checksum does not fit"
        raise ProjectError(problem(str(path), wrong, fix="export it again"))
    return content


def checked(plain: str, path: Path) -> dict[str, Any]:
    """Parse the facts of a file.

    Args:
        plain: The text in its metadata.
        path: The file, for the sentence.

    Raises:
        ProjectError: When they are of a newer version, or damaged.
    """
    try:
        facts = stored.checked(_Named, files.plain_json(plain))
        its, version = facts["format"], facts["version"]
        if its <= FORMAT:
            stored.checked(Facts, facts)
    except (ValueError, TypeError) as error:
        wrong = f"holds no facts of a model ({error})"
        raise ProjectError(problem(str(path), wrong, fix="give a file that mml export wrote")) from error
    if its > FORMAT:
        wrong = f"is of a newer version ({version}, format {its}), this one reads format {FORMAT}"
        raise ProjectError(problem(str(path), wrong, fix="update this program, or export it with this version"))
    return {**facts}


def require_bounded(content: bytes, path: Path) -> None:
    """Refuse a model that reads other files or contains loops, before any of it is loaded.

    Args:
        content: The content of the file, as `read` returns it.
        path: The file, for the sentence.

    Raises:
        ProjectError: When it refers to external data, has an operator that loops, or is damaged.
    """
    # How often each operator occurs in the graph, and in each function of the file.
    calls, names = [Counter[_Name]()], dict[_Name, int]()
    waiting: list[tuple[str, memoryview, int]] = [("model", memoryview(content), 0)]
    try:
        while waiting:
            kind, part, owner = waiting.pop()
            texts = dict[int, bytes]()
            for number, value in _fields(part):
                if (kind, number) in _ELSEWHERE and value:
                    raise ValueError("names data in other files, which are not read")
                if isinstance(value, int):
                    continue
                if (kind, number) == _OPERATOR and bytes(value) in _LOOPS:
                    raise ValueError("repeats parts of itself, which no exported model does")
                if inner := _MESSAGES.get(kind, {}).get(number):
                    is_function = inner == "function"
                    waiting.append((inner, value, len(calls) if is_function else owner))
                    calls += [Counter()] * is_function
                elif number in _NAMES.get(kind, ()):
                    texts[number] = bytes(value)
            if kind in _NAMES:
                name = tuple(texts.get(number, b"") for number in _NAMES[kind])
                if kind == "function":
                    names[name] = owner
                else:
                    calls[owner][name] += 1
        if _nodes(0, calls, names, {}) > limits.NODES:
            raise ValueError(f"stands for more than {limits.NODES:,} operators")
    except (ValueError, IndexError, RecursionError) as error:
        wrong = str(error) if isinstance(error, ValueError) else "is damaged"
        raise ProjectError(problem(str(path), wrong, fix="give a file that mml export wrote")) from error


def _nodes(owner: int, calls: Sequence[Mapping[_Name, int]], names: Mapping[_Name, int], known: dict[int, int]) -> int:
    """Return the number of operators of a graph or function with all functions inlined, as a runtime inlines them.

    Raises:
        RecursionError: When functions call themselves.
    """
    if owner not in known:
        inner = {name: _nodes(names[name], calls, names, known) if name in names else 1 for name in calls[owner]}
        known[owner] = sum(count * inner[name] for name, count in calls[owner].items())
    return known[owner]


def _fields(part: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield number and value of each field of a message (https://protobuf.dev/programming-guides/encoding).

    Raises:
        ValueError: When a field extends beyond the message, or is of a type that ONNX does not use.
        IndexError: When the message ends in the middle of a field.
    """
    place = 0
    while place < len(part):
        key, place = _number(part, place)
        wire = key & 7
        if wire == 0:
            value, place = _number(part, place)
            yield key >> 3, value
            continue
        if wire == 2:
            size, place = _number(part, place)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError("is damaged")
        if place + size > len(part):
            raise ValueError("is damaged")
        yield key >> 3, part[place : place + size]
        place += size


def _number(part: memoryview, place: int) -> tuple[int, int]:
    """Return a varint (7 bits per byte), and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        byte = part[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("is damaged")


def _place(content: bytes) -> tuple[int, int]:
    matches = list(_PLACE.finditer(content))
    if len(matches) != 1:
        raise ValueError("is no model that mml export wrote")
    return matches[0].span(1)


def _digest(content: bytes) -> str:
    """Return the hash of a file with zeros in place of the checksum."""
    start, end = _place(content)
    state = hashlib.blake2b(content[:start], digest_size=16)
    state.update(_NONE.encode("ascii"))
    state.update(memoryview(content)[end:])
    return state.hexdigest()
