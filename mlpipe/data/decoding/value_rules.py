"""Value rules: how values whose type does not define white become pixels, one rule for all images of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Background = Literal["white", "black"]
# The version of the rule by which transparent pixels, 16-bit grey with transparency, 12-bit greys and greys with zero as
# white become pixels; part of the names of caches with such images, and of no others.
RULE = 3


@dataclass(frozen=True)
class Decoding:
    """The rule of a task.

    Attributes:
        value_range: The stored values that become black and white, in every image; None: the range of the type of 8- and
            16-bit images; other images are refused.
        background: The colour behind transparent pixels, for tasks that do not keep transparency.
        is_needed: Whether the task has an image whose pixels depend on the rule, or depended on it once.
    """

    value_range: tuple[float, float] | None = None
    background: Background = "white"
    is_needed: bool = False

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> Decoding:
        """Return the rule in the source of a stored task, or the default rule if there is none."""
        rule = source.get("decoding")
        if not rule:
            return PLAIN
        low_high = rule.get("range")
        background: Background = "black" if rule.get("background") == "black" else "white"
        return cls(None if low_high is None else (float(low_high[0]), float(low_high[1])), background, True)

    def as_plain(self) -> dict[str, Any]:
        """Return the rule as an entry of a task's source; empty if no image needs it."""
        if not self.is_needed:
            return {}
        low_high = {} if self.value_range is None else {"range": [float(value) for value in self.value_range]}
        return {"decoding": {"rule": RULE, **low_high, "background": self.background}}


PLAIN = Decoding()
