"""Value rules: how numbers of a type that leaves it open become pixels, one rule for all images of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Background = Literal["white", "black"]
# The number of the rule by which transparent places, 16-bit grey with transparency, 12-bit greys and greys whose zero is
# white become pixels; part of the names of caches with such images, and of no other's.
RULE = 3


@dataclass(frozen=True)
class Decoding:
    """The rule of a task.

    Attributes:
        value_range: The stored values that become black and white, in every image; None: what the type of 8- and 16-bit
            images says, and other images cannot be used.
        background: What transparent places are laid over where a task keeps no transparency.
        is_needed: Whether the task has an image whose pixels depend on the rule, or came to depend on it.
    """

    value_range: tuple[float, float] | None = None
    background: Background = "white"
    is_needed: bool = False

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> Decoding:
        """The rule that the source of a stored task says; one without any leaves nothing open."""
        rule = source.get("decoding")
        if not rule:
            return PLAIN
        low_high = rule.get("range")
        background: Background = "black" if rule.get("background") == "black" else "white"
        return cls(None if low_high is None else (float(low_high[0]), float(low_high[1])), background, True)

    def as_plain(self) -> dict[str, Any]:
        """The rule as an entry of a task's source; empty where no image needs it."""
        if not self.is_needed:
            return {}
        low_high = {} if self.value_range is None else {"range": [float(value) for value in self.value_range]}
        return {"decoding": {"rule": RULE, **low_high, "background": self.background}}


PLAIN = Decoding()
