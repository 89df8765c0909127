"""Interpolation: `${key}` is another key's value, `=2*${key}` a number; no environment, no functions, no bombs.

OmegaConf's own resolvers can read the environment (`oc.env`), which would end in stored configurations; and a few references
to references can stand for billions of values. Here a reference names a key, and what all of them stand for is counted. A
text that begins with `=` and has references is a formula (`mlpipe.formulas`).
"""

from __future__ import annotations

import re
from typing import Any

from mlpipe import formulas
from mlpipe.errors import ConfigError, problem
from mlpipe.files import MOST_NODES

_REFERENCE = re.compile(r"(?<!\\)\$\{([^{}]*)\}")
_KEY = re.compile(r"\.*[A-Za-z_0-9-]+(\.[A-Za-z_0-9-]+)*")
_MOST_TEXT = 10_000


def resolved(tree: dict[str, Any]) -> dict[str, Any]:
    """A copy of a configuration in which every `${key}` is that key's value.

    A name counts from the top, `${.key}` is a neighbour, `${..key}` one section further up. A text that is one reference
    takes the value as it is; inside a longer text it is written out. `=0.1*${key}` is computed.

    Raises:
        ConfigError: With a sentence for every reference that is not a key, leads nowhere or to itself.
    """
    found: list[str] = []
    state = _State(tree, found)
    result = {key: state.value(value, (str(key),)) for key, value in tree.items()}
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    return result


class _State:
    """A tree, what is being resolved, and how many values were made."""

    def __init__(self, tree: dict[str, Any], found: list[str]) -> None:
        self._tree, self._found = tree, found
        self._open: list[tuple[str, ...]] = []
        self._made = 0

    def value(self, value: Any, path: tuple[str, ...]) -> Any:
        self._made += 1
        if self._made > MOST_NODES:
            raise ConfigError(
                problem("configuration", f"stands for more than {MOST_NODES:,} values", fix="make it smaller")
            )
        if isinstance(value, dict):
            return {key: self.value(item, (*path, str(key))) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, (*path, str(index))) for index, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) and "${" in value else value

    def _text(self, text: str, path: tuple[str, ...]) -> Any:
        whole = _REFERENCE.fullmatch(text)
        if whole:
            return self._referred(whole[1], path)
        written = _REFERENCE.sub(lambda match: str(self._referred(match[1], path)), text)
        if len(written) > _MOST_TEXT:
            self._wrong(path, f"stands for more than {_MOST_TEXT:,} letters", text)
            return ""
        if _REFERENCE.sub("", text).replace("\\${", "").count("${"):
            self._wrong(path, "an interpolation names a key", text)
        if text.startswith("="):
            return self._computed(written[1:], path)
        return written.replace("\\${", "${")

    def _computed(self, text: str, path: tuple[str, ...]) -> Any:
        if self._found:
            # What it refers to is wrong already.
            return text
        try:
            return formulas.value(text)
        except ConfigError as error:
            self._found += [one.replace("formula:", f"{'.'.join(path)}:", 1) for one in error.problems]
            return text

    def _referred(self, name: str, path: tuple[str, ...]) -> Any:
        if not _KEY.fullmatch(name):
            return self._wrong(path, "an interpolation names a key", f"${{{name}}}")
        dots = len(name) - len(name.lstrip("."))
        if dots > len(path):
            return self._wrong(path, "an interpolation leads out of the configuration", f"${{{name}}}")
        base = path[: len(path) - dots] if dots else ()
        target = (*base, *name.lstrip(".").split("."))
        if target in self._open or target == path:
            return self._wrong(path, "an interpolation leads to itself", f"${{{name}}}")
        node: Any = self._tree
        for part in target:
            if isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                return self._wrong(path, "an interpolation names a key that is not there", f"${{{name}}}")
        self._open.append(target)
        try:
            return self.value(node, target)
        finally:
            self._open.pop()

    def _wrong(self, path: tuple[str, ...], wrong: str, got: str) -> None:
        fix = "write ${key} or ${section.key}; the environment and functions are not read"
        self._found.append(problem(".".join(path), wrong, got=got, fix=fix))
