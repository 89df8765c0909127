"""Hashes and headers of image files, read once per file and cached by its size and time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

from mlpipe import current_folder, files
from mlpipe.data.decoding import images
from mlpipe.data.decoding.images import UnreadableImageError
from mlpipe.errors import DataError, problem

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Look:
    """Facts about a file that need no decoding.

    Attributes:
        digest: The hash of its bytes; empty if it cannot be opened.
        channels: 1 or 3, or 4 with transparency; 0 if it is not an image (reported when it is decoded).
        bits: 8 or 16 per channel.
        width: Width in pixels, upright; 0 if it is not an image.
        height: Height in pixels, likewise.
        orientation: The EXIF orientation that is applied to it, 1 to 8.
        is_transparent: Whether any pixel is transparent.
        is_respread: Whether its greys are rescaled by `mlpipe.data.decoding.value_rules.RULE`.
        open_range: The type of its values if that does not define which value is white, such as floating-point.
        extent: The smallest and the largest of such values; NaN if any is NaN.
    """

    digest: str
    channels: int
    bits: int
    width: int = 0
    height: int = 0
    orientation: int = 1
    is_transparent: bool = False
    is_respread: bool = False
    open_range: str = ""
    extent: tuple[float, float] = (0.0, 0.0)


def look(paths: Sequence[Path], memory: Path | None = None) -> list[Look]:
    """Read the facts about files, in threads.

    Args:
        paths: The files.
        memory: A JSON file that caches facts; a file of the same size and modification time is not read again.
            None: read all files.
    """

    def plain(one: Look) -> list[Any]:
        extent = [None if value != value else value for value in one.extent]
        return [*astuple(one)[:-1], *extent]

    def again(item: list[Any]) -> Look:
        digest, *numbers = item
        channels, bits, width, height, orientation = (int(number) for number in numbers[:5])
        low, high = (float("nan") if number is None else float(number) for number in numbers[8:])
        flags = bool(numbers[5]), bool(numbers[6])
        return Look(str(digest), channels, bits, width, height, orientation, *flags, str(numbers[7]), (low, high))

    return remembered_facts(paths, memory, _look, plain, again)


def remembered_facts(
    paths: Sequence[Path],
    memory: Path | None,
    see: Callable[[Path], Seen],
    plain: Callable[[Seen], list[Any]],
    again: Callable[[list[Any]], Seen],
) -> list[Seen]:
    """Return facts about each file, read in threads; files that have not changed since the last time are not opened.

    Args:
        paths: The files.
        memory: The JSON file that caches facts; None: no cache.
        see: Reads the facts about a file.
        plain: Converts them to JSON data.
        again: Converts them back.
    """
    known = _stored_facts(memory, again)
    marks = [_mark(path) for path in paths]
    missing = [index for index, mark in enumerate(marks) if mark is None or mark not in known]
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 4)) as pool:
        new_facts = dict(zip(missing, pool.map(see, [paths[index] for index in missing]), strict=True))
    facts = []
    for index, mark in enumerate(marks):
        facts.append(new_facts[index] if index in new_facts else known[mark or ""])
    if memory is not None and missing:
        now = {mark: item for mark, item in zip(marks, facts, strict=True) if mark is not None}
        content = {mark: plain(item) for mark, item in now.items()}
        files.write_text(memory, json.dumps(content, separators=(",", ":")))
    return facts


def memory_file(data_dir: str | None, root: Path, purpose: str = "") -> Path | None:
    """Return the file that caches facts about a folder's files, one per `purpose`; None without a data folder."""
    if data_dir is None:
        return None
    return current_folder.expanded(data_dir) / ".seen" / f"{files.digest(f'{root}{purpose}')[:16]}.json"


def channels_of(looks: Sequence[Look]) -> int:
    """Return the number of channels of a task of these files: grey if all images are, else colour."""
    return 3 if any(item.channels > 1 for item in looks) else 1


def bits_of(looks: Sequence[Look]) -> int:
    """Return 16 if every readable image has 16 bits, else 8."""
    readable = [item.bits for item in looks if item.channels]
    return 16 if readable and min(readable) == 16 else 8


def _look(path: Path) -> Look:
    try:
        content = images.content(path)
    except OSError:
        return Look("", 0, 8)
    except UnreadableImageError:
        return Look(files.digest_file(path), 0, 8)
    digest = files.digest_bytes(content)
    try:
        header = images.look(content)
        # Only files that may be transparent are decoded here, because headers do not say whether any pixel is.
        is_transparent = header.has_opacity and images.is_transparent(content)
        extent = images.extent(content) if header.open_range else (0.0, 0.0)
    except UnreadableImageError:
        return Look(digest, 0, 8)
    turned = header.orientation in (5, 6, 7, 8)
    width, height = (header.height, header.width) if turned else (header.width, header.height)
    size = (width, height, header.orientation)
    return Look(
        digest, header.channels, header.bits, *size, is_transparent, header.is_respread, header.open_range, extent
    )


def _mark(path: Path) -> str | None:
    """Return a value that changes whenever the file does; None if it cannot be opened."""
    try:
        state = path.stat()
    except OSError:
        return None
    return f"{path}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"


def _stored_facts(memory: Path | None, again: Callable[[list[Any]], Seen]) -> dict[str, Seen]:
    try:
        stored = files.read_json(memory) if memory is not None and memory.is_file() else {}
        return {mark: again(item) for mark, item in stored.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        # If the cache is damaged, files are just read again.
        return {}


def unchanged(path: Path, digest: str, task: str) -> bytes:
    """Return the bytes of an image file, which must not have changed since the task was made.

    Args:
        path: The file.
        digest: The hash of its content at that time.
        task: The task's name.

    Raises:
        OSError: If it cannot be opened.
        DataError: If it has changed.
        UnreadableImageError: If it has not changed, but is not an image.
    """
    try:
        content = images.content(path)
    except UnreadableImageError:
        if files.digest_file(path) == digest:
            raise
        content = b""
    check_unchanged(path, content, digest, task)
    return content


def check_unchanged(path: Path, content: bytes, digest: str, task: str) -> None:
    """Refuse a file that has changed since the task was made.

    Args:
        path: The file.
        content: Its current content.
        digest: The hash of its content at that time.
        task: The task's name.

    Raises:
        DataError: If the two differ.
    """
    if files.digest_bytes(content) != digest:
        fix = "run the command that created the task again, which makes a new task of what is there now"
        raise DataError(problem(str(path), f"has changed since the task {task} was created", fix=fix))
