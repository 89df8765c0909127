"""What an output is called, for tables and sentences."""

from __future__ import annotations

OUTPUT, OUTPUTS, TARGETS = "number", "numbers", "numbers"
SAMPLE_OF, OF_OUTPUT = "value of", "with a value of"


def predicted(outputs: int) -> str:
    """What a task of so many outputs predicts."""
    return f"{outputs} number{'s' * (outputs != 1)}"
