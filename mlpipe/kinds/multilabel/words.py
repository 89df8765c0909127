"""What an output is called, for tables and sentences."""

from __future__ import annotations

OUTPUT, OUTPUTS, TARGETS = "label", "labels", "labels"
SAMPLE_OF, OF_OUTPUT = "image with", "with label"


def predicted(outputs: int) -> str:
    """What a task of so many outputs predicts."""
    return f"{outputs} label{'s' * (outputs != 1)}"
