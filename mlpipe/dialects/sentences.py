"""Sentences about native keys, told with the keys and lines of the file of another program that said them."""

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
# Keys with a point that stand anywhere in a sentence; names of files and numbers have none such.
_DOTTED = re.compile(rf"(?<![\w./'\"-])([a-z_]\w*\.{_KEY})(?![\w./-])")
_STEP = re.compile(r"[^.\[\]]+|\[\d+\]")


@contextmanager
def of_file(overrides: Sequence[str]) -> Iterator[None]:
    """Tell errors raised inside with the keys of the recipe file that overrides name, where another program's file is one.

    Args:
        overrides: The command line's; of keys that they give themselves nothing is changed.

    Raises:
        MlpipeError: The error that was raised, each sentence `FILE, line N: KEY: ... (NATIVE KEY)`.
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
    """What a file says under which keys.

    Args:
        path: The file.
        translation: What it means.
        own: The native keys that the command line gives.
    """

    def __init__(self, path: Path, translation: Translation, own: set[str]) -> None:
        self._path, self._own = path, own
        self._root = _node(path)
        pairs = self._root.value if _is_of_kind(self._root, "mapping") else []
        # The key of a mapping around all others, as `neural_network`, which reports leave out.
        self._around = [str(key.value) for key, value in pairs if len(pairs) == 1 and _is_of_kind(value, "mapping")]
        self._places: dict[str, list[str]] = {}
        for line in translation.report:
            for place in _places(line):
                self._places.setdefault(place, []).append(line.key)
                if place == "arch.file":
                    # Its content, once it was read.
                    self._places.setdefault("arch.layers", []).append(line.key)

    @classmethod
    def of(cls, overrides: Sequence[str]) -> _Words | None:
        """Those of the file that overrides name; None where there is none, or it cannot be translated itself."""
        recipe = recipe_file.named(overrides)
        if recipe is None or not recipe_file.path_of(recipe).is_file():
            return None
        from mlpipe.dialects import detect

        try:
            translation = detect.command_translation(recipe, overrides)
        except MlpipeError:
            # Its sentences have its keys.
            return None
        return cls(recipe_file.path_of(recipe), translation, set(map(option_of, overrides)))

    def told(self, sentence: str) -> str:
        """A sentence that begins with a native key of the file's, with the file's key."""
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
        """The file's key for a native one, or for the nearest mapping that it lies in, with its line where it stands there."""
        steps = _STEP.findall(native)
        for count in range(len(steps), 0, -1):
            place = _dotted(steps[:count])
            if place in self._own:
                # The command line says it.
                return None
            if keys := self._places.get(place):
                keys = list(dict.fromkeys(keys))
                shared = keys[:1] if len(keys) == 1 else _shared_key(keys)
                # Of several keys without a mapping around them none says what lies below the place.
                keys = shared or (keys if count == len(steps) else [])
                return self._nearest(keys, steps[count:]) if keys else None
        return None

    def _nearest(self, keys: Sequence[str], rest: Sequence[str]) -> tuple[str, int | None]:
        """The first key that stands in the file, with as much behind it as stands there."""
        for end in range(len(rest), -1, -1):
            for key in keys:
                longer = [*_STEP.findall(key), *rest[:end]]
                for steps in (longer, [*self._around, *longer]):
                    if (line := _line(self._root, steps)) is not None:
                        return _dotted(steps), line
        return _dotted([*self._around, *_STEP.findall(keys[0])]), None


def _places(line: Line) -> list[str]:
    """The native keys that a line of the report names."""
    if line.fate == "ignored" or not line.place:
        return []
    place = line.place.partition("=")[0]
    return [place] if re.fullmatch(_KEY, place) else []


def _node(path: Path) -> Any:
    """The nodes of a YAML or JSON text, for their lines; None where they cannot be had."""
    try:
        # JSON may be indented by tabs, which changes no line.
        text = recipe_file.text_of(path).replace("\t", " ")
        return files.yaml_nodes(text)
    except (MlpipeError, ValueError):
        return None


def _is_of_kind(node: Any, kind: str) -> bool:
    return node is not None and node.id == kind


def _line(node: Any, steps: Sequence[str]) -> int | None:
    """The line of what keys and places in lists lead to; None where nothing is there."""
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
    """The key of the mapping or list that several keys lie in; empty where they share none."""
    columns = zip(*map(_STEP.findall, keys), strict=False)
    first = list(itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    return [_dotted([column[0] for column in first])] if first else []


def _dotted(steps: Sequence[str]) -> str:
    return "".join(step if step.startswith("[") or not number else f".{step}" for number, step in enumerate(steps))
