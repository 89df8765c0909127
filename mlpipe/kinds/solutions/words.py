"""What an output is called, for tables and sentences."""

from __future__ import annotations

OUTPUT, OUTPUTS, TARGETS = "channel", "channels", "target images"
SAMPLE_OF, OF_OUTPUT = "value of channel", "with a value of channel"


def predicted(outputs: int) -> str:
    """What a task of so many outputs predicts."""
    return "solutions of an equation"
