"""Nouns of multilabel tasks for tables and sentences: what an output is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlpipe.errors import counted

OUTPUT, OUTPUTS, TARGETS = "label", "labels", "labels"
VALUES = "probabilities"
SAMPLE_OF, OF_OUTPUT = "image with", "with label"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return counted(outputs, "label")


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words; None where there is nothing to describe."""
    if all(math.isnan(value) for value in target):
        return None
    return ", ".join(name for name, value in zip(classes, target, strict=True) if value == 1) or "none"
