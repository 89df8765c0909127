"""What rmldnn says of a volume that is cut, and of its slice sets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlpipe import hdf5
from mlpipe.data import sources
from mlpipe.data.sources.listings import sliced_volumes
from mlpipe.data.task import Task
from mlpipe.data.volumes.slices import Grid
from mlpipe.dialects.rmldnn import files as layout


def of_volume(name: str, file: Path, grids: Iterable[Grid]) -> list[str]:
    """The lines of one volume.

    Args:
        name: What its file calls it.
        file: The file.
        grids: The slices of each set.
    """
    kind = "HDF5" if file.suffix in hdf5.ENDS else "NumPy"
    lines = [f"Slicing dataset '{name}' from {kind} file: {file}"]
    for grid in grids:
        padding = "".join(f"({a},{b})" for a, b in zip(grid.cut.before, grid.cut.after, strict=True))
        facts = {"Sizes": list(grid.cut.sizes), "Padding": f"[{padding}]", "Strides": list(grid.cut.strides)}
        lines += layout.block(f"Slice set {grid.cut.name}", {**facts, "Number of slices": len(grid)})
    return lines


def of_task(task: Task) -> list[str]:
    """The lines of every volume of a task of slices; none for other tasks."""
    base, lines = (task.bases or (task,))[0], list[str]()
    source = base.source
    for part, cuts in sources.open(base).cuts().items():
        place = sliced_volumes.place_of(Path(source[part]), part, source["dataset"], targets=False)
        lines += of_volume(place.open().name, place.file, cuts.grids)
    return lines
