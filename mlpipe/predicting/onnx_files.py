"""The facts that an exported ONNX file holds about itself: sealed with a checksum of the whole file, and read again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from mlpipe import files, limits, stored
from mlpipe.errors import ProjectError, problem

# The name in the file's metadata under which its facts lie as JSON.
METADATA = "mlpipe"
FORMAT = 1
# What stands in place of the checksum while it is computed.
_NONE = "0" * 32
_PLACE = re.compile(rb'"checksum": "([0-9a-f]{32})"')


class _Named(TypedDict):
    """What every format says."""

    format: int
    version: str


class Facts(TypedDict):
    """What a file says of itself, see `mlpipe.running.exported_facts`."""

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
    dtype: str
    size: list[int]
    resize: str
    interpolation: str
    fill: Any
    least: int | list[int] | None
    any_size: bool
    ensemble: str | None
    prior: list[float] | None
    card: dict[str, Any]
    cuts: dict[str, float]
    costs: list[list[float]] | None
    decide_above: list[float]
    set_above: dict[str, float]
    halfwidths: dict[str, float]


def text(facts: Mapping[str, Any]) -> str:
    """Facts as they go into a file's metadata, with a place for the checksum."""
    return files.json_text({**facts, "checksum": _NONE}).strip()


def seal(path: Path) -> None:
    """Put the checksum of a file, which holds facts as `text` wrote them, into its place.

    Raises:
        ValueError: When it has no such place, or several.
    """
    content = path.read_bytes()
    with path.open("r+b") as handle:
        handle.seek(_place(content)[0])
        handle.write(_digest(content).encode("ascii"))


def read(path: Path) -> bytes:
    """The content of a sealed file.

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
    """The facts of a file from their text.

    Args:
        plain: What its metadata hold.
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


def _place(content: bytes) -> tuple[int, int]:
    found = list(_PLACE.finditer(content))
    if len(found) != 1:
        raise ValueError("is no model that mml export wrote")
    return found[0].span(1)


def _digest(content: bytes) -> str:
    """The hash of a file with zeros in place of the checksum."""
    start, end = _place(content)
    state = hashlib.blake2b(content[:start], digest_size=16)
    state.update(_NONE.encode("ascii"))
    state.update(memoryview(content)[end:])
    return state.hexdigest()
