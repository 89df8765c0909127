"""Rules for values of a JSON configuration, in small pieces; every piece lists all that is wrong with a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe.errors import did_you_mean, listing, problem

# (dotted key, value) to a sentence for everything wrong with the value.
Rule = Callable[[str, Any], list[str]]


def text(key: str, value: Any) -> list[str]:
    """Any text."""
    return [] if isinstance(value, str) else [problem(key, "must be text", got=value, fix="give it in quotes")]


def mapping(key: str, value: Any) -> list[str]:
    """Any mapping."""
    return [] if isinstance(value, Mapping) else [problem(key, "must be a mapping", got=value, fix="use {}")]


def flag(key: str, value: Any) -> list[str]:
    """True or false."""
    return [] if isinstance(value, bool) else [problem(key, "must be true or false", got=value, fix="without quotes")]


def anything(key: str, value: Any) -> list[str]:
    """Any value."""
    return []


def maybe(rule: Rule) -> Rule:
    """Null, or a value that fits a rule."""
    return lambda key, value: [] if value is None else rule(key, value)


def flag_or_count(key: str, value: Any) -> list[str]:
    """True or false, or how much: 0, 1, ..."""
    return [] if isinstance(value, bool) else whole(0)(key, value)


def word(*options: str) -> Rule:
    """One of some texts, in any case."""

    def rule(key: str, value: Any) -> list[str]:
        if isinstance(value, str) and value.lower() in [option.lower() for option in options]:
            return []
        fix = did_you_mean(value, options) if isinstance(value, str) else ""
        return [problem(key, f"must be {' or '.join(options)}", got=value, fix=fix or "choose one of them")]

    return rule


def one_of(*options: str) -> Rule:
    """One of some texts."""

    def rule(key: str, value: Any) -> list[str]:
        if isinstance(value, str) and value in options:
            return []
        fix = did_you_mean(value, options) if isinstance(value, str) else ""
        return [problem(key, f"must be {' or '.join(options)}", got=value, fix=fix or "choose one of them")]

    return rule


def whole(least: int, most: int | None = None) -> Rule:
    """A whole number; as in JSON schema 1.0 is one."""
    wanted = f"a whole number from {least} to {most}" if most is not None else f"a whole number >= {least}"

    def rule(key: str, value: Any) -> list[str]:
        fits = _is_number(value) and float(value).is_integer() and value >= least and (most is None or value <= most)
        return [] if fits else [problem(key, f"must be {wanted}", got=value, fix="give it such a number")]

    return rule


def number(*, above: float | None = None, least: float | None = None) -> Rule:
    """A finite number, where a bound is given larger than one or not smaller than another."""
    wanted = (
        f"a number > {above:g}" if above is not None else f"a number >= {least:g}" if least is not None else "a number"
    )

    def rule(key: str, value: Any) -> list[str]:
        fits = _is_number(value) and (above is None or value > above) and (least is None or value >= least)
        return [] if fits else [problem(key, f"must be {wanted}", got=value, fix="give it such a number")]

    return rule


def many(item: Rule, *, least: int = 0) -> Rule:
    """A list of at least so many values that fit a rule."""

    def rule(key: str, value: Any) -> list[str]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return [problem(key, "must be a list", got=value, fix="write it as [...]")]
        if len(value) < least:
            return [problem(key, f"must have at least {least} entry", got=list(value), fix="add one")]
        return [sentence for index, one in enumerate(value) for sentence in item(f"{key}[{index}]", one)]

    return rule


def number_or(otherwise: Rule, plain: Rule) -> Rule:
    """A number that fits one rule, or anything else that fits another."""

    def rule(key: str, value: Any) -> list[str]:
        return otherwise(key, value) if isinstance(value, Mapping) else plain(key, value)

    return rule


@dataclass(frozen=True)
class Block:
    """A mapping with known keys.

    Attributes:
        required: Keys that must be there, with their rules.
        optional: Keys that may be.
        is_open: Whether others are let through.
    """

    required: Mapping[str, Rule]
    optional: Mapping[str, Rule]
    is_open: bool = False

    def __call__(self, key: str, value: Any) -> list[str]:
        """A sentence for every missing, unknown or wrong key."""
        if not isinstance(value, Mapping):
            return [problem(key, "must be a mapping", got=value, fix=f"with the keys {listing(self.required)}")]
        known = {**self.required, **self.optional}
        found = [
            problem(_dotted(key, name), "is needed", fix=self._near(name, value, known))
            for name in self.required
            if name not in value
        ]
        for name, one in value.items():
            if name in known:
                found += known[name](_dotted(key, str(name)), one)
            elif not self.is_open:
                found.append(unknown_key(_dotted(key, str(name)), known))
        return found

    def strangers(self, key: str, value: Any) -> list[str]:
        """The sentences for unknown keys alone."""
        if not isinstance(value, Mapping):
            return []
        known, found = {**self.required, **self.optional}, list[str]()
        for name, one in value.items():
            rule = known.get(name)
            if isinstance(rule, Block | Chosen):
                found += rule.strangers(_dotted(key, str(name)), one)
            elif rule is None and not self.is_open:
                found.append(unknown_key(_dotted(key, str(name)), known))
        return found

    def _near(self, name: str, value: Mapping[str, Any], known: Mapping[str, Rule]) -> str:
        """Advice for a missing key: an unknown one that is there may be a misspelling of it."""
        strangers = [str(one) for one in value if one not in known]
        near = did_you_mean(name, strangers)
        return f"is {near.split(chr(39))[1]!r} meant to be it?" if near else "add it"


@dataclass(frozen=True)
class Chosen:
    """A mapping whose known keys depend on what is in it.

    Attributes:
        choose: The rules for a value.
    """

    choose: Callable[[Any], Block]

    def __call__(self, key: str, value: Any) -> list[str]:
        """A sentence for everything that is wrong."""
        return self.choose(value)(key, value)

    def strangers(self, key: str, value: Any) -> list[str]:
        """The sentences for unknown keys alone."""
        return self.choose(value).strangers(key, value)


def unknown_key(key: str, known: Mapping[str, Any]) -> str:
    """The sentence for a key that is none of the known ones, with the nearest of them."""
    fix = did_you_mean(key.rpartition(".")[2], known, otherwise=f"known keys: {listing(known, most=20)}")
    return problem(key, "unknown key", fix=fix)


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
