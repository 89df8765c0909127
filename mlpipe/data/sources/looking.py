"""Hash image files and read their headers, once for each file: what was seen is remembered by size and time."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from mlpipe import files
from mlpipe.data import images
from mlpipe.data.images import UnreadableImageError


@dataclass(frozen=True)
class Look:
    """What is known of a file without decoding it.

    Attributes:
        digest: The hash of its bytes; empty when it cannot be opened.
        channels: 1 or 3, or 4 with transparency; 0 when it is no image (decoding will list it).
        bits: 8 or 16 for each channel.
    """

    digest: str
    channels: int
    bits: int


def look(paths: Sequence[Path], memory: Path | None = None) -> list[Look]:
    """Look at files, in threads.

    Args:
        paths: The files.
        memory: A JSON file that remembers what was seen; a file of the same size and modification time is not read
            again. None: read all.
    """
    known = _remembered(memory)
    marks = [_mark(path) for path in paths]
    missing = [index for index, mark in enumerate(marks) if mark is None or mark not in known]
    with ThreadPoolExecutor(max_workers=min(16, (os.cpu_count() or 1) + 4)) as pool:
        seen = dict(zip(missing, pool.map(_look, [paths[index] for index in missing]), strict=True))
    found = []
    for index, mark in enumerate(marks):
        found.append(seen[index] if index in seen else known[mark or ""])
    if memory is not None and missing:
        now = {mark: item for mark, item in zip(marks, found, strict=True) if mark is not None}
        content = {mark: [item.digest, item.channels, item.bits] for mark, item in now.items()}
        files.write_text(memory, json.dumps(content, separators=(",", ":")))
    return found


def memory_file(data_dir: str | None, root: Path) -> Path | None:
    """Where what was seen of a folder is remembered; None without a data folder."""
    if data_dir is None:
        return None
    return Path(data_dir).expanduser() / ".seen" / f"{files.digest(str(root))[:16]}.json"


def channels_of(looks: Sequence[Look]) -> int:
    """How many channels a task of these files has: grey when every image is, else colour."""
    return 3 if any(item.channels > 1 for item in looks) else 1


def bits_of(looks: Sequence[Look]) -> int:
    """16 when every readable image has 16 bits, else 8."""
    readable = [item.bits for item in looks if item.channels]
    return 16 if readable and min(readable) == 16 else 8


def _look(path: Path) -> Look:
    try:
        content = path.read_bytes()
    except OSError:
        return Look("", 0, 8)
    digest = files.digest_bytes(content)
    try:
        seen = images.look(content)
    except UnreadableImageError:
        return Look(digest, 0, 8)
    return Look(digest, seen.channels, seen.bits)


def _mark(path: Path) -> str | None:
    """What must stay the same for a file to count as unchanged; None when it cannot be opened."""
    try:
        state = path.stat()
    except OSError:
        return None
    return f"{path}|{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"


def _remembered(memory: Path | None) -> dict[str, Look]:
    try:
        stored = files.read_json(memory) if memory is not None and memory.is_file() else {}
        return {mark: Look(str(item[0]), int(item[1]), int(item[2])) for mark, item in stored.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        # A damaged memory costs reading the files again, nothing else.
        return {}
