"""Nouns of classification for tables and sentences: what an output is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTPUT, OUTPUTS, TARGETS = "class", "classes", "classes"
VALUES = "probabilities"
SAMPLE_OF, OF_OUTPUT = "image of class", "of class"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return f"one of {outputs} class{'es' * (outputs != 1)}"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words; None where there is nothing to describe."""
    return classes[int(target)] if target >= 0 else None
