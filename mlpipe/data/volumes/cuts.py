"""Slices of a volume, counted through all the slice sets that cut it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mlpipe.data.volumes.slices import Grid, SliceSet


@dataclass(frozen=True)
class Cuts:
    """All slices of a part, counted through its sets.

    Attributes:
        part: `train` or `test`.
        sets: The slice sets.
        shape: The volume's spatial shape.
    """

    part: str
    sets: Sequence[SliceSet]
    shape: tuple[int, ...]

    @cached_property
    def grids(self) -> list[Grid]:
        """The slices of each set."""
        return [Grid(one, self.shape) for one in self.sets]

    @cached_property
    def places(self) -> dict[str, tuple[Grid, int]]:
        """The set and the number of every sample by its id, such as `train/yz/00017`."""
        found = dict[str, tuple[Grid, int]]()
        for grid in self.grids:
            digits = max(5, len(str(len(grid) - 1)))
            found |= {f"{self.part}/{grid.cut.name}/{at:0{digits}}": (grid, at) for at in range(len(grid))}
        return found
