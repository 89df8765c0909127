"""What an output is called, for tables and sentences."""

from __future__ import annotations

OUTPUT, OUTPUTS, TARGETS = "class", "classes", "classes"
SAMPLE_OF, OF_OUTPUT = "image of class", "of class"


def predicted(outputs: int) -> str:
    """What a task of so many outputs predicts."""
    return f"one of {outputs} class{'es' * (outputs != 1)}"
