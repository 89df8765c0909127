"""Error messages about native keys, rewritten with the keys and lines of the other program's file that set them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config import recipe_file
from mlpipe.config.overrides import option_of
from mlpipe.dialects.translation import Line, Translation
from mlpipe.errors import ConfigError, DataError, MlpipeError, ProjectError

_KEY = r"[a-z_]\w*(?:\.\w+|\[\d+\])*"
_SENTENCE = re.compile(rf"^({_KEY}): ")
# Dotted keys anywhere in a sentence; file names and numbers do not match.
_DOTTED = re.compile(rf"(?<![\w./'\"-])([a-z_]\w*\.{_KEY})(?![\w./-])")
_STEP = re.compile(r"[^.\[\]]+|\[\d+\]")


@contextmanager
def of_file(overrides: Sequence[str]) -> Iterator[None]:
    """Rewrite errors raised inside with the keys of the recipe file in the overrides, if it is another program's file.

    Args:
        overrides: Overrides of the command line; keys that they set themselves are not rewritten.

    Raises:
        MlpipeError: The error that was raised, each sentence as `FILE, line N: KEY: ... (NATIVE KEY)`.
    """
    try:
        yield
    except MlpipeError as error:
        words = _Words.of(overrides)
        if words is not None:
            _retell(error, words)
        raise


def _retell(error: MlpipeError, words: _Words) -> None:
    if isinstance(error, ConfigError | DataError | ProjectError):
        error.problems = tuple(map(words.told, error.problems))
        error.args = ("\n".join(error.problems),)
    elif len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = ("\n".join(map(words.told, error.args[0].splitlines())),)


class _Words:
    """The keys of a file by the native keys that they set.

    Args:
        path: The file.
        translation: Its translation.
        own: The native keys that the command line sets.
    """

    def __init__(self, path: Path, translation: Translation, own: set[str]) -> None:
        self._path, self._own = path, own
        self._root = _node(path)
        pairs = self._root.value if _is_of_kind(self._root, "mapping") else []
        # The key of a mapping around all others, such as `neural_network`, which reports leave out.
        self._around = [str(key.value) for key, value in pairs if len(pairs) == 1 and _is_of_kind(value, "mapping")]
        self._places: dict[str, list[str]] = {}
        for line in translation.report:
            for place in _places(line):
                self._places.setdefault(place, []).append(line.key)
                if place == "arch.file":
                    # The content of the file, after it was read.
                    self._places.setdefault("arch.layers", []).append(line.key)

    @classmethod
    def of(cls, overrides: Sequence[str]) -> _Words | None:
        """Return the words of the file in the overrides; None if there is none, or it cannot be translated itself."""
        recipe = recipe_file.named(overrides)
        if recipe is None or not recipe_file.path_of(recipe).is_file():
            return None
        from mlpipe.dialects import detect

        try:
            translation = detect.command_translation(recipe, overrides)
        except MlpipeError:
            # The errors of the translation already have the file's keys.
            return None
        return cls(recipe_file.path_of(recipe), translation, set(map(option_of, overrides)))

    def told(self, sentence: str) -> str:
        """Replace the native key at the start of a sentence by the file's key."""
        match = _SENTENCE.match(sentence)
        theirs = self._key(match[1]) if match else None
        if match is None or theirs is None:
            return sentence
        key, line = theirs
        others = {}
        for other in _DOTTED.findall(sentence[match.end() :]):
            exact = [candidate for candidate in self._places.get(other, []) if candidate not in (other, key)]
            if exact and other not in (match[1], key):
                others[other] = exact[0]
        notes = [match[1]] if match[1] != key else []
        notes += [f"{other} is {exact_key} here" for other, exact_key in others.items()]
        where = f"{self._path.name}, line {line}" if line else self._path.name
        end = f" ({'; '.join(notes)})" if notes else ""
        return f"{where}: {key}: {sentence[match.end() :]}{end}"

    def _key(self, native: str) -> tuple[str, int | None] | None:
        """Return the file's key for a native one, or for the nearest mapping around it, with its line if it is in the file."""
        steps = _STEP.findall(native)
        for count in range(len(steps), 0, -1):
            place = _dotted(steps[:count])
            if place in self._own:
                # The command line sets it.
                return None
            if keys := self._places.get(place):
                keys = list(dict.fromkeys(keys))
                shared = keys[:1] if len(keys) == 1 else _shared_key(keys)
                # Several keys without a common mapping do not determine which one sets the keys below.
                keys = shared or (keys if count == len(steps) else [])
                return self._nearest(keys, steps[count:]) if keys else None
        return None

    def _nearest(self, keys: Sequence[str], rest: Sequence[str]) -> tuple[str, int | None]:
        """Return the first key that is in the file, extended by as many of the further steps as are in the file."""
        for end in range(len(rest), -1, -1):
            for key in keys:
                longer = [*_STEP.findall(key), *rest[:end]]
                for steps in (longer, [*self._around, *longer]):
                    if (line := _line(self._root, steps)) is not None:
                        return _dotted(steps), line
        return _dotted([*self._around, *_STEP.findall(keys[0])]), None


def _places(line: Line) -> list[str]:
    """Return the native keys in a line of the report."""
    if line.fate == "ignored" or not line.place:
        return []
    place = line.place.partition("=")[0]
    return [place] if re.fullmatch(_KEY, place) else []


def _node(path: Path) -> Any:
    """Return the nodes of a YAML or JSON text, for their lines; None if it cannot be parsed."""
    try:
        # JSON may be indented by tabs; replacing them keeps the line numbers.
        text = recipe_file.text_of(path).replace("\t", " ")
        return files.yaml_nodes(text)
    except (MlpipeError, ValueError):
        return None


def _is_of_kind(node: Any, kind: str) -> bool:
    return node is not None and node.id == kind


def _line(node: Any, steps: Sequence[str]) -> int | None:
    """Return the line of the node at a path of keys and list indices; None if there is none."""
    line = None
    for step in steps:
        if step.startswith("[") and _is_of_kind(node, "sequence") and int(step[1:-1]) < len(node.value):
            node = node.value[int(step[1:-1])]
            line = node.start_mark.line + 1
            continue
        pairs = node.value if _is_of_kind(node, "mapping") else []
        pair = next((pair for pair in pairs if pair[0].value == step), None)
        if pair is None:
            return None
        line, node = pair[0].start_mark.line + 1, pair[1]
    return line


def _shared_key(keys: Sequence[str]) -> list[str]:
    """Return the key of the mapping or list that contains all of several keys; empty if there is none."""
    columns = zip(*map(_STEP.findall, keys), strict=False)
    first = list(itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return [_dotted([column[0] for column in first])] if first else []


def _dotted(steps: Sequence[str]) -> str:
    return "".join(step if step.startswith("[") or not number else f".{step}" for number, step in enumerate(steps))
