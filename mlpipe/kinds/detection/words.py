"""Nouns of detection for tables and sentences: what an output is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

OUTPUT, OUTPUTS, TARGETS = "class", "classes", "boxes"
VALUES = "boxes and their scores"
SAMPLE_OF, OF_OUTPUT = "image with", "with class"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return f"boxes around objects of {outputs} class{'es' * (outputs != 1)}"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words, such as `2 x cat, 1 x dog`; None where there is nothing to describe."""
    if any(math.isnan(value) for value in target):
        return None
    objects = [f"{value:.0f} x {name}" for name, value in zip(classes, target, strict=True) if value > 0]
    return ", ".join(objects) or "no object"
