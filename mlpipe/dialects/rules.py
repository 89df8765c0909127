"""Composable rules for values of a JSON configuration; every rule lists all problems of a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlpipe.errors import counted, did_you_mean, listing, problem

# Maps a dotted key and a value to a sentence for each problem of the value.
Rule = Callable[[str, Any], list[str]]


def fitting(expected: str, fits: Callable[[Any], bool], fix: str = "give it such a value") -> Rule:
    """Accept values that pass a test.

    Args:
        expected: Description of valid values, for the error message.
        fits: The test.
        fix: What to do about other values.
    """
    return lambda key, value: [] if fits(value) else [_unfit(key, expected, value, fix)]


def _unfit(key: str, expected: str, value: Any, fix: str) -> str:
    return problem(key, f"must be {expected}", got="null" if value is None else value, fix=fix)


text = fitting("text", lambda value: isinstance(value, str), "give it in quotes")
mapping = fitting("a mapping", lambda value: isinstance(value, Mapping), "use {}")
flag = fitting("true or false", lambda value: isinstance(value, bool), "without quotes")


def maybe(rule: Rule) -> Rule:
    """Accept null, or a value that fits a rule."""
    return lambda key, value: [] if value is None else rule(key, value)


def either(expected: str, *options: Rule) -> Rule:
    """Accept a value that fits one of several rules.

    Args:
        expected: Description of valid values, for the error message.
        options: The rules.
    """
    return fitting(expected, lambda value: any(not rule("", value) for rule in options))


def flag_or_count(key: str, value: Any) -> list[str]:
    """Accept true, false, or a count: 0, 1, ..."""
    return [] if isinstance(value, bool) else whole(0)(key, value)


def word(*options: str) -> Rule:
    """Accept one of some strings, in any case."""
    return _word_rule(options, lambda value: value.lower() in [option.lower() for option in options])


def one_of(*options: str) -> Rule:
    """Accept one of some strings."""
    return _word_rule(options, lambda value: value in options)


def _word_rule(options: Sequence[str], fits: Callable[[str], bool]) -> Rule:
    def rule(key: str, value: Any) -> list[str]:
        if isinstance(value, str) and fits(value):
            return []
        fix = did_you_mean(value, options) if isinstance(value, str) else ""
        return [_unfit(key, " or ".join(options), value, fix or "choose one of them")]

    return rule


def whole(least: int, most: int | None = None, *, is_written_so: bool = False) -> Rule:
    """Accept an integer; as in JSON schema, 1.0 is one, unless `is_written_so` is set."""
    requirement = f"a whole number from {least} to {most}" if most is not None else f"a whole number >= {least}"

    def fits(value: Any) -> bool:
        is_whole = _is_number(value) and (isinstance(value, int) if is_written_so else float(value).is_integer())
        return bool(is_whole and value >= least and (most is None or value <= most))

    return fitting(requirement, fits, "give it such a number")


def number(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> Rule:
    """Accept a finite number within bounds."""
    bounds = {">": above, ">=": least, "<": below, "<=": most}
    condition = " and".join(f" {sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)

    def fits(value: Any) -> bool:
        inside = _is_number(value) and (above is None or value > above) and (least is None or value >= least)
        return bool(inside and (below is None or value < below) and (most is None or value <= most))

    return fitting(f"a number{condition}", fits, "give it such a number")


def many(item: Rule, expected: str = "a list", *, least: int = 0) -> Rule:
    """Accept a list of at least `least` values that fit a rule; `expected` describes it in the error message."""

    def rule(key: str, value: Any) -> list[str]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return [_unfit(key, expected, value, "write it as [...]")]
        if len(value) < least:
            return [
                problem(key, f"must have at least {counted(least, 'entry', 'entries')}", got=list(value), fix="add one")
            ]
        return [sentence for index, entry in enumerate(value) for sentence in item(f"{key}[{index}]", entry)]

    return rule


def number_or(otherwise: Rule, plain: Rule) -> Rule:
    """Apply one rule to numbers, and another one to other values."""

    def rule(key: str, value: Any) -> list[str]:
        return otherwise(key, value) if isinstance(value, Mapping) else plain(key, value)

    return rule


@dataclass(frozen=True)
class Block:
    """A mapping with known keys.

    Attributes:
        required: Rules of required keys.
        optional: Rules of optional keys.
        is_open: Whether other keys are allowed.
        others: Rule of other keys that are allowed; None: any value.
        expected: Description of the mapping, for the error message.
    """

    required: Mapping[str, Rule] = field(default_factory=dict)
    optional: Mapping[str, Rule] = field(default_factory=dict)
    is_open: bool = False
    others: Rule | None = None
    expected: str = "a mapping"

    def __call__(self, key: str, value: Any) -> list[str]:
        """Return a sentence for every missing, unknown or wrong key."""
        if not isinstance(value, Mapping):
            fix = f"with the keys {listing(self.required)}" if self.required else "use {}"
            return [_unfit(key, self.expected, value, fix)]
        known = {**self.required, **self.optional}
        sentences = [
            problem(_dotted(key, name), "is needed", fix=self._misspelling_advice(name, value, known))
            for name in self.required
            if name not in value
        ]
        for name, entry in value.items():
            if name in known:
                sentences += known[name](_dotted(key, str(name)), entry)
            elif self.others is not None:
                sentences += self.others(_dotted(key, str(name)), entry)
            elif not self.is_open:
                sentences.append(unknown_key(_dotted(key, str(name)), known))
        return sentences

    def strangers(self, key: str, value: Any) -> list[str]:
        """Return the sentences for unknown keys only."""
        if not isinstance(value, Mapping):
            return []
        known, sentences = {**self.required, **self.optional}, list[str]()
        for name, entry in value.items():
            rule = known.get(name)
            if isinstance(rule, Block | Chosen):
                sentences += rule.strangers(_dotted(key, str(name)), entry)
            elif rule is None and not self.is_open:
                sentences.append(unknown_key(_dotted(key, str(name)), known))
        return sentences

    def _misspelling_advice(self, name: str, value: Mapping[str, Any], known: Mapping[str, Rule]) -> str:
        """Return advice for a missing key: an unknown key may be a misspelling of it."""
        strangers = [str(key) for key in value if key not in known]
        near = did_you_mean(name, strangers)
        return f"is {near.split(chr(39))[1]!r} meant to be it?" if near else "add it"


@dataclass(frozen=True)
class Chosen:
    """A mapping whose known keys depend on its content.

    Attributes:
        choose: Returns the rules for a value.
    """

    choose: Callable[[Any], Block]

    def __call__(self, key: str, value: Any) -> list[str]:
        """Return a sentence for every problem."""
        return self.choose(value)(key, value)

    def strangers(self, key: str, value: Any) -> list[str]:
        """Return the sentences for unknown keys only."""
        return self.choose(value).strangers(key, value)


def unknown_key(key: str, known: Mapping[str, Any]) -> str:
    """Return the error message for an unknown key, with the nearest known one."""
    fix = did_you_mean(key.rpartition(".")[2], known, otherwise=f"known keys: {listing(known, most=20)}")
    return problem(key, "unknown key", fix=fix)


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
