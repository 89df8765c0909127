"""State of the translation of a Barrage configuration: the results of its sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe.dialects import translation
from mlpipe.dialects.barrage.sections.keras_names import Numbers
from mlpipe.dialects.rules import Rule
from mlpipe.errors import did_you_mean, listing


@dataclass
class State(translation.State):
    """State during a translation.

    Attributes:
        source: The configuration, checked and with its defaults.
        given: The keys in the file itself, dotted; the others are defaults.
        monitors: Keras's log names -> the native monitors.
        numbers: Numbers of metrics that are used more than once.
    """

    source: Mapping[str, Any]
    given: frozenset[str]
    monitors: dict[str, str] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=Numbers)

    def say(self, key: str, fate: translation.Fate, place: str = "", note: str = "") -> None:
        """Add a line to the report, with a note if the value is a default."""
        plain = key.partition("[")[0]
        is_default = fate != "lint" and not any(
            given_key == plain or given_key.startswith(f"{plain}.") for given_key in self.given
        )
        default = "Barrage's default" if is_default else ""
        super().say(key, fate, place, "; ".join(part for part in (default, note) if part))

    def fits(self, key: str, value: Any, rule: Rule) -> bool:
        """Return whether a value fits a rule, and note problems."""
        problems = rule(key, value)
        self.wrong += problems
        return not problems

    def unknown_keys(self, key: str, section: Mapping[str, Any], known: Iterable[str]) -> None:
        """Note unknown keys."""
        names = list(known)
        for name in section:
            if name not in names:
                fix = did_you_mean(
                    name, names, otherwise=f"known: {listing(names, most=12)}" if names else "leave it out"
                )
                self.refuse(f"{key}.{name}", "unknown key", fix=fix)


def keys_of(node: Any, key: str = "") -> frozenset[str]:
    """Return the dotted keys of a nested mapping, including inner ones."""
    if not isinstance(node, Mapping):
        return frozenset({key})
    inner = [keys_of(value, f"{key}.{name}" if key else str(name)) for name, value in node.items()]
    return frozenset({key} - {""}).union(*inner)
