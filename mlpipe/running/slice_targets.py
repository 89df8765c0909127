"""Class numbers of a volume that slices are compared with: what was asked for, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipe.config.schema import Recipe
from mlpipe.data.sources.listings import sliced_volumes
from mlpipe.data.sources.listings.sliced_volumes import Place
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.volumes import arrays
from mlpipe.data.volumes.cuts import Cuts
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import DataError, listing, problem

if TYPE_CHECKING:
    from mlpipe.predicting.scores import Judge

KEY = "mode.targets"


@dataclass(frozen=True)
class Targets:
    """The class numbers that `mml evaluate mode.slices` was asked to compare with.

    Attributes:
        source: Their file, or a folder that holds nothing else.
        dataset: The name of the array in it.
        values: The value of each class; None: 0, 1, 2, ... or those that the record was trained with.
        ignore_index: The value of places that count nowhere.
    """

    source: str
    dataset: str | None
    values: Sequence[int] | None
    ignore_index: int | None

    def place(self) -> Place:
        """Where they lie.

        Raises:
            DataError: When the file is not there.
        """
        file = arrays.file_of(Path(self.source).expanduser().absolute(), KEY)
        return Place(file, KEY, self.dataset, "mode.target_dataset")


def judge(asked: Targets, recipe: Recipe, grids: Sequence[Grid], classes: Sequence[str], activation: str) -> Judge:
    """What compares predictions with them.

    Args:
        asked: What was asked for.
        recipe: The loss and the metrics.
        grids: The slices of each set.
        classes: The names of the classes.
        activation: What the network ends in.

    Raises:
        DataError: When they have another shape than the volume, or hold what is no class.
    """
    from mlpipe.predicting.scores import Judge

    place, shape = asked.place(), grids[0].shape
    volume = place.open()
    if wrong := sliced_volumes.shape_problems(volume, len(shape), KEY, shape):
        raise DataError(wrong)
    masks = sliced_volumes.masks_of(place, Cuts("volume", [grid.cut for grid in grids], shape), None)
    values = mask_files.values_of(masks, classes, asked.values, asked.ignore_index)
    if unknown := sorted({value for one in masks for value in values.unknown(one)}):
        wrong_values = f"holds values that are none of {len(classes)} classes ({listing(unknown, most=5)})"
        fix = "give mode.values, the value of each class, or mode.ignore_index"
        raise DataError(problem(KEY, wrong_values, got=str(place.file), fix=fix))
    return Judge(recipe, volume, values, masks, activation)
