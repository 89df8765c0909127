"""Loss and metrics of slices against class numbers, computed during prediction so that no map is kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe.config.schema import Recipe
from mlpipe.data.sources.listings import sliced_volumes
from mlpipe.data.sources.listings.sliced_volumes import Place
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.sources.targets.mask_files import Mask, Values
from mlpipe.data.volumes.arrays import RELEASE_AFTER, Volume
from mlpipe.data.volumes.slices import Cuts, Grid
from mlpipe.errors import ConfigError, DataError, counted, listing, problem
from mlpipe.learn import monitoring
from mlpipe.learn.losses.labels import Labels
from mlpipe.predicting.evaluation import MapSums

# The least probability, so that it has a logarithm.
_LEAST = torch.finfo(torch.float32).tiny


class Judge:
    """Compares predictions of slices with class numbers of the same places, and keeps a few numbers per slice.

    As in the evaluation of a task, the loss is the mean of the batches' losses, weighted by the number of slices. A place
    that several slices cover counts in each of them; padding never counts.

    Args:
        recipe: The recipe with the loss and metrics.
        targets: The class numbers.
        values: Which value is which class.
        masks: The known class numbers of each slice.
        activation: The network's last activation: `softmax`, `logsoftmax`, `sigmoid` with a single map, or none of these.
    """

    def __init__(self, recipe: Recipe, targets: Volume, values: Values, masks: Sequence[Mask], activation: str) -> None:
        shares = np.array([values.shares(mask) for mask in masks], np.float64).reshape(-1, len(values.names))
        counts = torch.from_numpy(np.rint(np.nansum(shares, axis=0) * 1e6).astype(np.int64))
        loss = recipe.loss.build(Labels(sliced_volumes.KIND, counts, int((~np.isnan(shares[:, 0])).sum()), ()))
        if not isinstance(loss, nn.Module):
            raise ConfigError(problem("loss._target_", "must give a torch.nn.Module", got=type(loss).__name__))
        self._targets, self._values, self._activation, self._read = targets, values, activation, 0
        names = monitoring.metrics_of_epochs(recipe, sliced_volumes.KIND)
        self._sums = MapSums(sliced_volumes.KIND, loss, names)

    def add(self, grid: Grid, first: int, outputs: npt.NDArray[np.float32]) -> None:
        """Compare consecutive slices.

        Args:
            grid: All slices of their set.
            first: The first of them.
            outputs: The network's outputs, shape (slices, maps, *seen).
        """
        target = torch.from_numpy(np.stack([self._classes(grid, first + place) for place in range(len(outputs))]))
        logits = as_logits(torch.from_numpy(outputs), self._activation)
        # Losses take planes; a volume is equivalent to one long plane.
        self._sums.add(logits.reshape(*logits.shape[:3], -1), target.reshape(*target.shape[:2], -1))

    def scores(self) -> dict[str, float]:
        """Return the loss and the metrics; empty where no place counts."""
        return self._sums.scores()

    def _classes(self, grid: Grid, index: int) -> npt.NDArray[np.uint8]:
        own = sliced_volumes.labels(self._targets, grid, index)
        self._read += own.nbytes
        if self._read >= RELEASE_AFTER:
            self._read = 0
            self._targets.release()
        return sliced_volumes.classes_of(self._values, own, grid, index)


def judge(
    place: Place,
    recipe: Recipe,
    grids: Sequence[Grid],
    classes: Sequence[str],
    activation: str,
    values: Sequence[int] | None = None,
    ignore_index: int | None = None,
) -> Judge:
    """Return a judge that compares predictions of slices with class numbers of a file.

    Args:
        place: The location of the class numbers.
        recipe: The loss and the metrics.
        grids: The slices of each set.
        classes: The names of the classes.
        activation: The network's last activation.
        values: The value of each class; None: 0, 1, 2, ...
        ignore_index: The value of ignored places.

    Raises:
        DataError: When they have another shape than the volume, or contain a value that is no class.
    """
    shape, volume = grids[0].shape, place.open()
    if wrong := sliced_volumes.shape_problems(volume, len(shape), place.key, shape):
        raise DataError(wrong)
    masks = sliced_volumes.masks_of(place, Cuts("volume", [grid.cut for grid in grids], shape), None)
    of_classes = mask_files.values_of(masks, classes, values, ignore_index)
    if unknown := sorted({value for mask in masks for value in of_classes.unknown(mask)}):
        wrong_values = f"holds values that are none of {len(classes)} classes ({listing(unknown, most=5)})"
        fix = "give mode.values, the value of each class, or mode.ignore_index"
        raise DataError(problem(place.key, wrong_values, got=str(place.file), fix=fix))
    return Judge(recipe, volume, of_classes, masks, activation)


def as_logits(outputs: Tensor, activation: str) -> Tensor:
    """Return logits of the same probabilities; for a single sigmoid those of two classes.

    Args:
        outputs: Shape (n, maps, ...).
        activation: As for `Judge`.
    """
    outputs = outputs.float()
    if activation == "sigmoid":
        return torch.cat([(1 - outputs).clamp_min(_LEAST), outputs.clamp_min(_LEAST)], 1).log()
    return outputs.clamp_min(_LEAST).log() if activation == "softmax" else outputs


def classes_given(maps: int, activation: str) -> int:
    """Return the number of classes of a network.

    Args:
        maps: The number of its output maps.
        activation: As for `Judge`.

    Raises:
        ConfigError: When its maps are not mutually exclusive classes.
    """
    if activation == "sigmoid" and maps == 1:
        return 2
    if maps == 1 or activation == "sigmoid":
        wrong = f"gives {counted(maps, 'map')}" + (" that end in a sigmoid each" if activation else "")
        fix = "end it in a map for each class and a softmax, or in one and a sigmoid"
        raise ConfigError(problem("arch.layers", f"{wrong}, targets are classes", fix=fix))
    return maps
