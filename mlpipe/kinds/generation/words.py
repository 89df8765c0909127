"""Nouns of drawn images for tables and sentences: what an output is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

OUTPUT, OUTPUTS, TARGETS = "feature", "features", "images"
VALUES = "drawn images"
SAMPLE_OF, OF_OUTPUT = "image with", "with"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return "new images"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Return None: a sample's target is the image itself."""
    return None
