"""Nouns of classification for tables and sentences: what an output is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTPUT, OUTPUTS, TARGETS = "class", "classes", "classes"
VALUES = "probabilities"
SAMPLE_OF, OF_OUTPUT = "image of class", "of class"


def predicted(outputs: int) -> str:
    """Phrase for the prediction of so many outputs."""
    return f"one of {outputs} class{'es' * (outputs != 1)}"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """A sample's target in few words; None where there is nothing to tell."""
    return classes[int(target)] if target >= 0 else None
