"""Suggest the intended value for an invalid one: similar words, words of other programs, and other notations."""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType

_TRUTH = {
    "yes": "true",
    "on": "true",
    "y": "true",
    "no": "false",
    "off": "false",
    "n": "false",
    "none": "null",
    "nil": "null",
}


def squashed(word: str) -> str:
    """Normalise a word: ignore case, `-`, `_`, `.` and blanks; numbers are kept."""
    if re.fullmatch(r"-?[\d.]+", word):
        return word
    return re.sub(r"[-_. ]", "", word.lower())


def nearest(word: str, options: Iterable[str], cutoff: float) -> str:
    """Return the option most similar to a word, above a similarity threshold (0 to 1); empty if there is none."""
    by_lower = {option.lower().replace("-", "_"): option for option in options}
    near = difflib.get_close_matches(word.lower().replace("-", "_"), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else ""


def unique_completion(word: str, options: Iterable[str]) -> str:
    """Return the only option that begins with a word of three letters or more."""
    matches = [option for option in options if option.lower().startswith(word.lower())] if len(word) > 2 else []
    return matches[0] if len(matches) == 1 else ""


def for_value(key: str, value: object, options: Sequence[str] = ()) -> str:
    """Return the value of a key intended by another program's word or a similar word; empty if there is none.

    Args:
        key: The full key.
        value: The given value.
        options: The allowed values, if they are a list.
    """
    word = str(value)
    if meaning := value_synonyms(key).get(squashed(word)):
        return meaning
    if not isinstance(value, str) or not value:
        return ""
    same = {squashed(option): option for option in options}
    near = same.get(squashed(word)) or unique_completion(word, options) or nearest(word, options, 0.6)
    return near or value_synonyms(key).get(nearest(squashed(word), value_synonyms(key), 0.82), "")


def example(key: str) -> str:
    """Return an example for the value of a key that is hard to guess; empty for others."""
    return str(_synonyms().EXAMPLES.get(key, ""))


def sweep_advice(word: str) -> str:
    """Return advice on a sweep's value, `range(1,3)` or `choice(a,b)`, or a search's, `interval(0,1)`; else empty."""
    match = re.fullmatch(r"\s*(range|choice|interval|glob|shuffle|sort|tag)\s*\(.*\)\s*", word)
    if match is None:
        return ""
    return "search it with hpo=optuna" if match[1] in ("interval", "tag") else "add -m to run each of them"


def other_forms(value: object) -> list[tuple[str, object]]:
    """Return other notations of a value of the wrong type, as text and as plain data, likely ones first."""
    if isinstance(value, str):
        word = value.strip()
        near = _TRUTH.get(word.lower()) or nearest(word, ("true", "false", "null"), 0.6)
        forms: list[tuple[str, object]] = [(near, {"true": True, "false": False, "null": None}[near])] if near else []
        forms += [("false", False)] if near == "null" else []
        bare = word.replace("\u2212", "-").replace("\u2013", "-").lstrip("=").strip("[]() ").rstrip(",;")
        numbers = [bare, bare.replace(",", "."), bare.rstrip("%"), re.sub(r"(?<=\d)[ _,](?=\d{3}\b)", "", bare)]
        unit = re.fullmatch(r"([\d.]+) ?[a-z]+", bare, re.IGNORECASE)
        numbers += [unit[1]] if unit else []
        if bare.endswith("%") and isinstance(percent := plain(bare[:-1]), int | float):
            numbers.append(f"{percent / 100:g}")
        forms += [
            (text, number) for text in numbers if isinstance(number := plain(text), int | float) and text != value
        ]
        parts = [part for part in re.split(r"(?<=\d) *[x×] *(?=\d)|(?<=[a-z])\+(?=[a-z])|[,; ]+", bare) if part]
        items = [plain(part) for part in parts]
        return [*forms, (f"[{','.join(parts)}]", items)] if parts else forms
    if isinstance(value, bool) or value is None:
        return [("1" if value else "0", int(bool(value)))] if value is not None else []
    if isinstance(value, float) and value.is_integer():
        return [(str(int(value)), int(value)), (f"[{int(value)}]", [int(value)])]
    if isinstance(value, int) and value in (0, 1):
        return [(str(bool(value)).lower(), bool(value)), (f"[{value}]", [value])]
    if isinstance(value, list) and len(value) == 1:
        return [(str(value[0]).lower() if isinstance(value[0], bool) else str(value[0]), value[0])]
    if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        return []
    # A percentage instead of a share, a fractional number instead of an integer.
    shares: list[tuple[str, object]] = [(f"{value / 100:g}", value / 100)] if 5 <= value < 100 else []
    return [(f"[{value}]", [value]), (f"'\"{value}\"'", str(value)), *shares, (str(round(value)), round(value))]


def plain(text: str) -> object:
    """Return a text as a number if it is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text.strip())
        except ValueError:
            pass
    return text.strip()


@functools.cache
def value_synonyms(key: str) -> Mapping[str, str]:
    """Return other programs' words for the values of a key, normalised, with those values."""
    return {squashed(word): value for word, value in _synonyms().VALUES.get(key, {}).items()}


def _synonyms() -> ModuleType:
    """Return the tables of other programs' words, which are not loaded for correct commands."""
    from mlpipe.config import synonyms

    return synonyms
