"""Output paths outside of results and data: the keys that name them, and who may set them.

The command line may name any path. A recipe, a stored run or a study may come from elsewhere: it may only name visible
paths in the current folder and beside itself, and may replace only files of the kind that is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mlpipe import current_folder
from mlpipe.config.catalog import ALIASES
from mlpipe.config.environment import base_folder
from mlpipe.config.overrides import parse
from mlpipe.errors import ConfigError, problem

KEY = "trust_paths"
# The last two are Lightning's.
_OF_CALLBACKS = ("file", "folder", "outfile", "dirpath", "exclude_batches_path")
# For each section, the keys whose text is a file or folder to write.
_WRITTEN: dict[str, tuple[str, ...]] = {
    "callbacks": _OF_CALLBACKS,
    "stages": _OF_CALLBACKS,
    "logging": ("log_dir", "save_dir", "dir", "tracking_uri"),
    "sys": ("outfile", "artifact_dir"),
    "mode": ("outfile", "outputs", "output"),
    "task": ("data_dir",),
    "hpo": ("storage",),
}
# A mode with this key writes its `file`, other modes read theirs.
_FORMAT = "format"
_FOLDERS = ("out_dir", "data_dir")
_DATABASE = re.compile(r"sqlite(?:\+\w+)?:///(?:file:)?(.*)", re.DOTALL)
# The first bytes of each kind of written file; tables and drawings are recognised by their text.
_BEGINNINGS = {".pt": b"PK", ".h5": b"\x89HDF", ".hdf5": b"\x89HDF"}
_TABLE = re.compile(rb"[\d\s.einfa+-]*")


def check(
    tree: Mapping[str, Any], words: Sequence[str], *, beside: Path | None = None, ours: Collection[str] = ()
) -> None:
    """Refuse paths that the command line does not name, if they lead to files that are not this program's.

    Args:
        tree: The configuration, partly read from a file.
        words: The command line's overrides.
        beside: The folder of that file, if the command line names it.
        ours: Keys set by the program itself.

    Raises:
        ConfigError: With a sentence for each of them.
    """
    # Arguments of commands without overrides, such as flags, are skipped.
    changes, _ = parse([text for text in words if "=" in text])
    own_keys = {
        ALIASES.get(first, first) + dot + rest for first, dot, rest in (change.key.partition(".") for change in changes)
    }
    trusted = next((change.value for change in changes if change.key == KEY), None) or []
    trusted_places = [_place(str(item)) for item in (trusted if isinstance(trusted, list) else [trusted])]
    folders = [
        _place(str(tree[key])) for key in _FOLDERS if key in own_keys or key in ours or not _is_named_by(tree, key)
    ]
    around = [Path.cwd().resolve(), *([beside.resolve()] if beside is not None else [])]

    def is_said(key: str) -> bool:
        parts = key.split(".")
        return key in ours or any(".".join(parts[:end]) in own_keys for end in range(1, len(parts) + 1))

    # A key named on the command line also covers keys that refer to it.
    texts = {text for key, text in paths(tree) if is_said(key)}
    problems = []
    for key, text in paths(tree):
        if is_said(key) or text in texts:
            continue
        try:
            wrong = _path_problem(_place(text), trusted_places, folders, around, is_folder=key in _FOLDERS)
        except (OSError, RuntimeError, ValueError) as error:
            wrong = f"is no path ({type(error).__name__})"
        if wrong:
            fix = f"read what names it, then add {KEY}=['{text}'] or write {key}=PATH yourself"
            problems.append(problem(key, wrong, got=text, fix=fix))
    if problems:
        raise ConfigError(problems)


def paths(tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the keys of a configuration that name output paths, and their paths.

    Args:
        tree: The configuration.
    """
    for key in _FOLDERS:
        if isinstance(tree.get(key), str):
            yield key, tree[key]
    mode = tree.get("mode")
    file = mode.get("file") if isinstance(mode, Mapping) and _FORMAT in mode else None
    if isinstance(file, str) and file:
        yield "mode.file", file
    for section, names in _WRITTEN.items():
        for key, text in _texts(tree.get(section), section, names):
            if section != "hpo" and not key.endswith("tracking_uri"):
                yield key, text
            elif (database := _DATABASE.fullmatch(text)) is not None:
                # MLflow, and SQLite in a `file:` URI, decode percent-encoding, one after the other.
                yield from ((key, place) for place in _decoded(database[1]))
            elif "://" not in text:
                yield key, text


def _decoded(text: str) -> Iterator[str]:
    """Return a text and its percent-decoded forms: decoded once, twice, as often as possible."""
    yield text
    while (plain := unquote(text)) != text:
        text = plain
        yield text


def _texts(node: Any, key: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}", names)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key, names)
    elif isinstance(node, str) and node and key.rpartition(".")[2] in names:
        yield key, node


def _is_named_by(tree: Mapping[str, Any], key: str) -> bool:
    """Return whether a folder is not the default folder of results or data."""
    return _place(str(tree[key])) != _place(base_folder(key, None))


def _place(text: str) -> Path:
    return (Path.cwd() / current_folder.expanded(text)).resolve()


def _path_problem(
    place: Path, trusted_places: Sequence[Path], folders: Sequence[Path], around: Sequence[Path], *, is_folder: bool
) -> str:
    """Explain what is wrong with a path that the command line does not name; empty if nothing is."""
    if any(place.is_relative_to(folder) for folder in (*trusted_places, *folders)):
        return ""
    inside = [folder for folder in around if place.is_relative_to(folder)]
    if not inside:
        return "leads outside of this folder, and the command line does not name it"
    if any(part.startswith(".") for part in place.relative_to(inside[0]).parts):
        return "is hidden, and the command line does not name it"
    if not is_folder:
        for file in (place, *(place.with_name(f"{place.stem}_{part}{place.suffix}") for part in ("train", "test"))):
            if file.is_file() and not _is_output_format(file):
                return f"would replace {file.name}, which is of another kind, and the command line does not name it"
    return ""


def _is_output_format(file: Path) -> bool:
    """Return whether a file is of a kind that is written here, so that a training may replace an earlier one's."""
    with file.open("rb") as handle:
        start = handle.read(4096)
    beginning = _BEGINNINGS.get(file.suffix.lower())
    if beginning is not None:
        return start.startswith(beginning)
    return start.startswith((b"digraph ", b"SQLite format 3")) or _TABLE.fullmatch(start) is not None
