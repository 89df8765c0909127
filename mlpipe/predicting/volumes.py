"""A network applied to the slices of a volume: one thread reads ahead, another writes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mlpipe.arch import weights as weight_files
from mlpipe.arch.classifier import Pixels
from mlpipe.config.schema import Recipe
from mlpipe.data.augment import geometry
from mlpipe.data.sources.listings import sliced_volumes
from mlpipe.data.volumes import slices
from mlpipe.data.volumes.arrays import RELEASE_AFTER, Volume
from mlpipe.data.volumes.assembly import Assembly
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import ConfigError, ProjectError, counted, problem
from mlpipe.learn import per_pixel
from mlpipe.learn.build.network import without_weights
from mlpipe.learn.machine.hardware import numerics
from mlpipe.learn.machine.quiet import prepare_torch
from mlpipe.learn.module import TARGET
from mlpipe.predicting.batches import Batch
from mlpipe.predicting.model import Inputs, Model, load
from mlpipe.predicting.slice_scores import Judge
from mlpipe.predicting.through import keep_outputs, through
from mlpipe.runs.sinks import Predicted

Change = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Place:
    """Slices of one set that go through the network together.

    Attributes:
        which: The set's position.
        first: The first slice.
        stop: The first slice after them.
    """

    which: int
    first: int
    stop: int


def places(grids: Sequence[Grid], size: int) -> Iterator[Place]:
    """Yield all slices of all sets in their order."""
    for which, grid in enumerate(grids):
        for first in range(0, len(grid), size):
            yield Place(which, first, min(first + size, len(grid)))


def apply(
    model: Model,
    volume: Volume,
    grids: Sequence[Grid],
    joined: Assembly,
    *,
    size: int,
    after: Callable[[Place], None] = lambda place: None,
    change: Change = lambda pixels: pixels,
    judge: Judge | None = None,
) -> None:
    """Run every slice through a model, and hand on the predictions.

    Args:
        model: Slices of shape (n, channels, *seen) to predictions of the same spatial shape.
        volume: The volume that is sliced.
        grids: The slices of each set.
        joined: Takes the predictions.
        size: The number of slices in a batch.
        after: Called with every computed batch; raising in it stops.
        change: A transform of slices of shape (n, channels, *seen), which changes values, and no shape.
        judge: Compares predictions with class numbers; None: no comparison.

    Raises:
        ConfigError: When predictions have another spatial shape than slices.
        TrainingError: When memory runs out.
    """
    # Closed before the volume, which its thread reads.
    with closing(_batches(volume, grids, size, change)) as batches:
        predictions = through(model, batches, keep=_keep_same_shape, where="slices")
        for place, predicted in zip(places(grids, size), predictions, strict=True):
            assert predicted.arrays is not None
            joined.put(place.which, place.first, predicted.arrays)
            if judge is not None:
                judge.add(grids[place.which], place.first, predicted.arrays)
            after(place)


def _batches(volume: Volume, grids: Sequence[Grid], size: int, change: Change) -> Generator[Batch]:
    """Yield slices, reading the next ones while some are computed."""
    upcoming, read = places(grids, size), 0
    with ThreadPoolExecutor(1, "reader") as reader:
        place = next(upcoming, None)
        waiting = reader.submit(_read, volume, grids, place, change) if place is not None else None
        while place is not None and waiting is not None:
            pixels, following = waiting.result(), next(upcoming, None)
            read += pixels.nbytes
            if read >= RELEASE_AFTER:
                read = 0
                volume.release()
            waiting = reader.submit(_read, volume, grids, following, change) if following is not None else None
            names = [f"{grids[place.which].cut.name}/{index}" for index in range(place.first, place.stop)]
            yield Batch(names, torch.from_numpy(pixels))
            place = following


def _read(volume: Volume, grids: Sequence[Grid], place: Place, change: Change) -> npt.NDArray[np.float32]:
    """Read the slices of a batch, shape (slices, channels, *seen)."""
    grid = grids[place.which]
    channels = volume.shape[0] if len(volume.shape) > len(grid.shape) else 1
    slice_shape = grid.cut.seen
    # Transposed slices keep their memory layout: the network gets a view, which is faster than a copy.
    stored = (*slice_shape[:-2], slice_shape[-1], slice_shape[-2]) if grid.cut.transpose else slice_shape
    pixels = np.empty((place.stop - place.first, channels, *stored), np.float32)
    pixels = pixels.swapaxes(-1, -2) if grid.cut.transpose else pixels
    for number in range(len(pixels)):
        slices.cut(volume, grid, place.first + number, pixels[number])
    return change(pixels)


def _keep_same_shape(outputs: Tensor, batch: Batch) -> Predicted:
    if outputs.shape[2:] != batch.inputs.shape[2:]:
        wrong = (
            f"gives {list(outputs.shape[1:])} of slices of {list(batch.inputs.shape[1:])}, where only the channels may "
            "change"
        )
        raise ConfigError(problem("arch", wrong, fix="use a network that keeps the size"))
    return keep_outputs(outputs, batch)


def change_of(recipe: Recipe) -> Change:
    """Return the transforms of a recipe's pipeline for every slice: those that are not only for training.

    Raises:
        ConfigError: For geometric transforms, after which predictions would lie in the wrong places.
    """
    steps, problems = list[Any](), list[str]()
    for component in recipe.augmentations.cpu:
        if not component.target.startswith(f"{geometry.__name__}."):
            continue
        step = component.build()
        if component.name == "normalize":
            steps.append(step)
        elif isinstance(step, geometry.Always):
            fix = "leave it out, or apply it to the volume beforehand"
            problems.append(problem("augmentations.cpu.pipeline", "changes slices", got=component.target, fix=fix))
    if problems:
        raise ConfigError(problems)

    def change(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        seeds = np.zeros(len(pixels), np.uint64)
        for step in steps:
            pixels = step(pixels, seeds)
        return pixels

    return change


def model_of(recipe: Recipe, networks: Mapping[tuple[int, ...], nn.Module], channels: int) -> Model:
    """Return networks for slices as one model, on the device and in the precision of a recipe's `trainer`.

    Args:
        recipe: The recipe.
        networks: The network built for slices of each spatial shape.
        channels: The number of channels of slices.
    """
    prepare_torch(recipe.threads)
    accelerator = recipe.trainer.get("accelerator", "auto")
    largest = max(max(shape) for shape in networks)
    precision = numerics(recipe.trainer.get("precision", "32-true"), largest, accelerator).precision
    ready = {
        shape: Model.of_network(
            _Headed(network),
            {TARGET: sliced_volumes.KIND},
            {TARGET: ()},
            Inputs(channels, shape),
            accelerator=accelerator,
            precision=precision,
        )
        for shape, network in networks.items()
    }

    def outputs(samples: Tensor) -> dict[str, Tensor]:
        return ready[tuple(samples.shape[2:])].outputs(samples)

    return replace(next(iter(ready.values())), outputs=outputs)


class _Headed(nn.Module):
    """A network of one output as one with heads.

    Args:
        network: Samples to outputs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, samples: Tensor) -> dict[str, Tensor]:
        """Return outputs by head."""
        return {TARGET: self.network(samples)}


class Probabilities(nn.Module):
    """The outputs of a network for masks, as probabilities of classes.

    Args:
        network: Images to logits by target.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map shape (n, channels, *spatial) to (n, classes, *spatial)."""
        logits: Tensor = self.network(images)[TARGET]
        return logits.float().softmax(1)


def of_record(
    recipe: Recipe, weights: Path, classes: int, channels: int, slice_shape: tuple[int, ...]
) -> Probabilities:
    """Return the network of a record that was trained on masks, for slices.

    Args:
        recipe: The recipe that it was trained with.
        weights: Its weights.
        classes: The number of its classes.
        channels: The number of channels of slices.
        slice_shape: Their spatial shape.

    Raises:
        ConfigError: When slices have other axes or channels than its training samples.
        ProjectError: When weights do not fit the recipe.
    """
    state = weight_files.read(weights)
    mean = state.get("mean")
    if mean is not None and mean.ndim < 3:
        wrong = f"has a mean of shape {list(mean.shape)}, which no network of samples has"
        raise ProjectError(problem(str(weights), wrong, fix="choose another record"))
    axes, trained_on = (2, channels) if mean is None else (mean.ndim - 2, mean.shape[1])
    if len(slice_shape) != axes:
        samples = {1: "samples of 1 axis", 2: "images"}.get(axes, f"samples of {axes} axes")
        fix = "set one of the sizes to 1" if len(slice_shape) > axes else "let more of the sizes be larger than 1"
        wrong = f"was trained on {samples}, slices have {len(slice_shape)} ax{'is' if len(slice_shape) == 1 else 'es'}"
        raise ConfigError(problem("mode.record", wrong, fix=fix))
    if trained_on != channels:
        wrong = f"has {counted(channels, 'channel')}, the images of the record had {trained_on}"
        raise ConfigError(problem("mode.source", wrong, fix="use a volume with as many"))
    normalization, shape = recipe.augmentations.normalization, () if axes == 2 else slice_shape
    pixels = Pixels(channels, slice_shape[0], normalization=normalization, width=slice_shape[-1], shape=shape)
    arch = without_weights(recipe.arch)
    network: nn.Module = arch.build({TARGET: per_pixel.head(classes)}, pixels)
    load(network, weights)
    return Probabilities(network)
