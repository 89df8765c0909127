"""Nouns of target images for tables and sentences: what an output is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlpipe.errors import counted

OUTPUT, OUTPUTS, TARGETS = "channel", "channels", "target images"
VALUES = "values of pixels"
SAMPLE_OF, OF_OUTPUT = "value of channel", "with a value of channel"


def predicted(outputs: int) -> str:
    """Return a phrase for what this number of outputs predicts."""
    return f"images of {counted(outputs, 'channel')}"


def told(target: Any, classes: Sequence[str]) -> str | None:
    """Describe a sample's target in few words; None where there is nothing to describe."""
    return None
