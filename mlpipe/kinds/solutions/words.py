"""Nouns of solutions of equations for tables and sentences: what an output is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTPUT, OUTPUTS, TARGETS = "channel", "channels", "target images"
VALUES = "solutions"
SAMPLE_OF, OF_OUTPUT = "value of channel", "with a value of channel"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return "solutions of an equation"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words; None where there is nothing to describe."""
    return None
