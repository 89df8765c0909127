"""Nouns of regression for tables and sentences: what an output is called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlpipe.errors import counted

OUTPUT, OUTPUTS, TARGETS = "number", "numbers", "numbers"
VALUES = "numbers"
SAMPLE_OF, OF_OUTPUT = "value of", "with a value of"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return counted(outputs, "number")


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words; None where there is nothing to describe."""
    if all(math.isnan(value) for value in target):
        return None
    return ", ".join("-" if math.isnan(value) else f"{value:.3g}" for value in target)
