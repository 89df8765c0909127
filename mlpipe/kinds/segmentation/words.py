"""Nouns of segmentation for tables and sentences: what an output is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTPUT, OUTPUTS, TARGETS = "class", "classes", "masks"
VALUES = "probabilities of pixels"
SAMPLE_OF, OF_OUTPUT = "image with", "with class"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return f"which of {outputs} class{'es' * (outputs != 1)} every pixel has"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words; None where there is nothing to describe."""
    shares = [f"{name} {100 * value:.0f} %" for name, value in zip(classes, target, strict=True) if value > 0]
    return ", ".join(shares) or None
