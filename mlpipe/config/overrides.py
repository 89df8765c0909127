"""Parse command-line overrides in Hydra's grammar, after quoting what that grammar cannot tokenise.

Most overrides are a key with a word, a number or a list, which is parsed here; Hydra is imported for the others.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpipe import limits
from mlpipe.config.catalog import ALIASES
from mlpipe.errors import ConfigError, first_line, problem

if TYPE_CHECKING:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override

# List items that name a record of a project, such as PROJ#3, and are not quoted yet.
_REFERENCE = re.compile(r"(?<=[\[,])\s*([^\[\]{},:'\"]*#[^\[\]{},:'\"]*)(?=[\],])")

# The grammar parses larger texts slowly, and each bracket takes a part of the stack.
_MOST_LETTERS, _DEEPEST = 20_000, 30

# Words or quoted texts without escapes, and numbers, as in the grammar's lexer; several such tokens in a row are a
# text.
_NAME = "[A-Za-z_][A-Za-z0-9_-]*"
_ONE = r"""(?:'[^'"\\$]*'|"[^'"\\$]*"|[A-Za-z0-9_/.+%*@?|:-]+)"""
_PLAIN = re.compile(
    rf"((?:\+\+?)?)({_NAME}(?:\.(?:{_NAME}|0|[1-9][0-9]*))*)=({_ONE}|\[[ \t]*(?:{_ONE}(?:[ \t]*,[ \t]*{_ONE})*)?[ \t]*\])"
)
_WHOLE = "(?:0|[1-9](?:_?[0-9])*)"
_POINT = rf"(?:{_WHOLE}\.|{_WHOLE}?\.[0-9](?:_?[0-9])*)"
_INT = re.compile(rf"[+-]?{_WHOLE}")
_FLOAT = re.compile(rf"[+-]?(?:{_POINT}|(?:{_POINT}|{_WHOLE})[eE][+-]?[0-9](?:_?[0-9])*|(?i:inf|nan))")
_WORDS = {"true": True, "false": False, "null": None}
# Python does not parse longer numbers.
_MOST_DIGITS = 1000


@dataclass(frozen=True)
class Change:
    """One override.

    Attributes:
        key: The key or group, with aliases replaced (`cbs` is `callbacks`).
        value: The value as plain data.
        text: The override in Hydra's form.
        deletes: Whether it deletes the key.
    """

    key: str
    value: Any
    text: str
    deletes: bool = False


def name_and_tags(name: str, known: Collection[str]) -> tuple[str, str]:
    """Split a task's name from its tags: `digits+subset?0.1` is `digits` and `subset?0.1`.

    Args:
        name: The name; a task's own name may contain `+` too.
        known: The names of tasks.
    """
    cuts = [place for place, letter in enumerate(name) if letter == "+"]
    longest = next((place for place in reversed(cuts) if name[:place] in known), None)
    if name in known or not cuts:
        return name, ""
    place = cuts[0] if longest is None else longest
    return name[:place], name[place + 1 :]


def parse(texts: Sequence[str]) -> tuple[list[Change], list[str]]:
    """Parse overrides; return the changes, and a sentence for each invalid text."""
    changes, problems = [], []
    for text in texts:
        parsed = _parsed(text, sweeping=False)
        if isinstance(parsed, str):
            problems.append(parsed)
            continue
        changes.append(parsed if isinstance(parsed, Change) else _change(parsed))
    return changes, problems


def plain(text: str) -> Change | None:
    """Return the change of an override that does not need the grammar; None if it does, or is invalid.

    Args:
        text: `key=value`, `+key=value` or `++key=value` with a word, a number, a quoted text or a list of them.
    """
    if len(text) > _MOST_LETTERS or (parts := _PLAIN.fullmatch(text)) is None:
        return None
    prefix, name, value_text = parts.groups()
    is_list = value_text.startswith("[")
    items = re.findall(_ONE, value_text[1:-1]) if is_list else [value_text]
    if any(len(item) > _MOST_DIGITS for item in items):
        return None
    values = [_item(item) for item in items]
    key = option_of(name)
    return Change(key, values if is_list else values[0], f"{prefix}{key}={value_text}")


def _item(text: str) -> str | float | bool | None:
    """Parse a word, a number or a quoted text."""
    if text[0] in ("'", '"'):
        return text[1:-1]
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def quoted(value: str) -> str:
    """Return a text in quotes, which the grammar reads as it is; a backslash is literal there except before a quote."""
    escaped = re.sub(r"(\\*)('|$)", lambda match: match[1] * 2 + ("\\'" if match[2] else ""), value)
    return f"'{escaped}'"


def key_of(text: str) -> str:
    """Return the key or group of an override as written."""
    return text.lstrip("+~").partition("=")[0]


def option_of(text: str) -> str:
    """Return the key or group with aliases replaced (`cbs` is `callbacks`)."""
    group, dot, rest = key_of(text).partition(".")
    return ALIASES.get(group, group) + dot + rest


def value_of(key: str, texts: Sequence[str]) -> str | None:
    """Return the value of a plain override, before anything is composed; the last one counts.

    Args:
        key: The key.
        texts: Overrides; invalid ones are reported later, by composing.

    Returns:
        The text, without quotes; None: it is missing, empty or null.
    """
    changes, _ = parse([text for text in texts if text.lstrip("+").partition("=")[0] == key])
    if not changes or changes[-1].value in (None, ""):
        return None
    value = changes[-1].value
    return value if isinstance(value, str) else changes[-1].text.partition("=")[2]


def expand(texts: Sequence[str]) -> list[list[str]]:
    """Return the jobs of a sweep: every combination of the comma-separated values.

    Raises:
        ConfigError: With a sentence for each invalid text, or when there are more than `limits.JOBS`.
    """
    choices, problems = [], []
    for text in texts:
        parsed = _parsed(text, sweeping=True)
        if isinstance(parsed, str):
            problems.append(parsed)
        elif isinstance(parsed, Change):
            choices.append([text])
        elif parsed.is_sweep_override() and not parsed.is_discrete_sweep():
            fix = "list values, or search it with hpo=optuna"
            problems.append(
                problem(parsed.key_or_group, "has no end of values to run", got=text.partition("=")[2], fix=fix)
            )
        elif parsed.is_sweep_override() and hasattr(parsed.value(), "include"):
            wrong, fix = "is a pattern of options, which are not looked up", "list them, separated by commas"
            problems.append(problem(parsed.key_or_group, wrong, got=text.partition("=")[2], fix=fix))
        elif parsed.is_sweep_override():
            key, count = parsed.get_key_element(), _length(parsed)
            if count > limits.JOBS:
                problems.append(_too_many(parsed.key_or_group, count, text.partition("=")[2]))
            else:
                choices.append([f"{key}={value}" for value in parsed.sweep_string_iterator()])
        else:
            choices.append([text])
    if problems:
        raise ConfigError(problems)
    if (count := math.prod(map(len, choices))) > limits.JOBS:
        raise ConfigError(_too_many("--multirun", count, None))
    return [list(job) for job in itertools.product(*choices)]


def _length(sweep: Override) -> float:
    """Return the number of values of a sweep without creating them; infinity if its ends or its step give no number."""
    value: Any = sweep.value()
    if hasattr(value, "list"):
        return len(value.list)
    step = 1 if value.step is None else value.step
    try:
        count: float = math.ceil((value.stop - value.start) / step)
    except (ArithmeticError, ValueError):
        return math.inf
    return max(0.0, count)


def _too_many(key: str, count: float, text: str | None) -> str:
    fix = f"at most {limits.JOBS:,} are run; use a larger step, or hpo=optuna"
    wrong = f"makes {count:,.0f} runs" if math.isfinite(count) else "makes runs without end"
    return problem(key, wrong, got=text, fix=fix)


@functools.cache
def _grammar() -> OverridesParser:
    """Return Hydra's grammar, whose import takes longer than most commands."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def _parsed(text: str, *, sweeping: bool) -> Change | Override | str:
    """Parse a text: return a plain change, the grammar's result, or a sentence if it is invalid."""
    if wrong := _oversized(text):
        return wrong
    text = _REFERENCE.sub(r"'\1'", text)
    if (change := plain(text)) is not None:
        return change
    key, equals, _ = text.partition("=")
    if (not equals and not text.startswith("~")) or not key.strip("~+ "):
        return problem(text, "is not an override", fix="write key=value")
    return _read_by_grammar(text, sweeping=sweeping)


def _read_by_grammar(text: str, *, sweeping: bool) -> Override | str:
    from hydra.errors import HydraException

    parser = _grammar()
    key, _, value = text.partition("=")
    try:
        override = parser.parse_override(text)
        if override.is_delete() and not isinstance(override.value(), str | None):
            return problem(key, "takes the name of an option or nothing", got=value, fix=f"write {key}")
        if override.package is not None:
            fix = f"write {override.key_or_group}={value}"
            return problem(key, "options cannot be moved to another place with @", fix=fix)
        if sweeping or not override.is_sweep_override():
            return override
    except (HydraException, ValueError) as error:
        if value[:1] in ("[", "{", "'", '"'):
            reason = first_line(error)
            return problem(key, f"its value cannot be read ({reason})", got=value, fix="check brackets and quotes")
    try:
        return parser.parse_override(f"{key}={quoted(value)}")
    except (HydraException, ValueError):
        dotted = re.sub(r"[./:\[\]]+", ".", key).strip(".")
        is_name = dotted != key and re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", dotted)
        return problem(
            key, "is not a key that can be set", fix=f"write {f'{dotted}={value}' if is_name else 'key=value'}"
        )


def _oversized(text: str) -> str:
    """Explain why a text is not even parsed; empty if it is."""
    key, _, value = text.partition("=")
    if len(text) > _MOST_LETTERS:
        fix = "put it into a file, and name its folder with --config-dir"
        return problem(key[:100], f"has a value of {len(value):,} letters", fix=fix)
    depth = max(itertools.accumulate((letter in "[{(") - (letter in "]})") for letter in value), default=0)
    return (
        problem(key, f"has {depth} brackets in each other", fix="a configuration has a few") if depth > _DEEPEST else ""
    )


def _change(override: Override) -> Change:
    key = option_of(override.key_or_group)
    text = override.input_line or ""
    prefix = text[: len(text) - len(text.lstrip("+~"))]
    deletes = prefix.startswith("~")
    _, equals, value_text = text.partition("=")
    value = None if deletes else override.value()
    return Change(key, _plain(value), f"{prefix}{key}{equals}{value_text}", deletes)


def _plain(value: Any) -> Any:
    text = getattr(value, "text", None)
    if text is not None:
        return str(text)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
