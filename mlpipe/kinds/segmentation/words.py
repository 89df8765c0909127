"""What an output is called, for tables and sentences."""

from __future__ import annotations

OUTPUT, OUTPUTS, TARGETS = "class", "classes", "masks"
SAMPLE_OF, OF_OUTPUT = "image with", "with class"


def predicted(outputs: int) -> str:
    """What a task of so many outputs predicts."""
    return f"which of {outputs} class{'es' * (outputs != 1)} every pixel has"
