"""Native overrides of one run, and the commands that translate files of other programs into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Command:
    """One run that is asked for.

    Attributes:
        mode: The mode's name.
        overrides: In Hydra's grammar.
        notes: What a person should know before it starts.
        words: The mode and overrides as a person wrote them; empty: as they are here.
    """

    mode: str
    overrides: Sequence[str]
    notes: Sequence[str] = ()
    words: Sequence[str] = ()


class Front(Protocol):
    """The reader of other programs' files for the jobs of a sweep and the trials of a search, one after the other."""

    def searches(self, command: Command) -> bool:
        """Whether the file that a command names asks for a search, and the command does not say otherwise."""

    def native(self, command: Command) -> Command:
        """The command with what its file says in native words, in front of its own."""
