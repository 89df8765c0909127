"""A network applied to the slices of a volume: read ahead by one thread, computed, written by another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn

from mlpipe.arch import weights as weight_files
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.config.schema import Recipe
from mlpipe.data.augment import geometry
from mlpipe.data.volumes import slices
from mlpipe.data.volumes.arrays import RELEASE_AFTER, Volume
from mlpipe.data.volumes.assembly import Assembly
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import ConfigError, TrainingError, problem
from mlpipe.learn import recovery
from mlpipe.learn.build.network import without_weights
from mlpipe.learn.hardware import numerics
from mlpipe.learn.module import TARGET
from mlpipe.learn.quiet import prepare_torch, quiet
from mlpipe.predicting import records
from mlpipe.predicting.scores import Judge

Change = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Batch:
    """Slices that go through the network together, all of one set.

    Attributes:
        which: The set's position.
        first: The first of them.
        stop: The first after them.
    """

    which: int
    first: int
    stop: int


def batches(grids: Sequence[Grid], size: int) -> Iterator[Batch]:
    """All slices of all sets in their order."""
    for which, grid in enumerate(grids):
        for first in range(0, len(grid), size):
            yield Batch(which, first, min(first + size, len(grid)))


def apply(
    network: Callable[[Tensor], Tensor],
    volume: Volume,
    grids: Sequence[Grid],
    joined: Assembly,
    *,
    size: int,
    device: torch.device | str = "cpu",
    after: Callable[[Batch], None] = lambda batch: None,
    change: Change = lambda given: given,
    judge: Judge | None = None,
) -> None:
    """Give every slice to a network, and hand on what it gives.

    Args:
        network: Slices of shape (n, channels, *seen) to predictions of the same spatial shape.
        volume: What is cut.
        grids: The slices of each set.
        joined: What takes the predictions.
        size: How many slices there are at a time.
        device: Where the network is.
        after: Told every batch when it is computed; raising in it ends all.
        change: What slices of shape (n, channels, *seen) go through first; it changes values, and no shape.
        judge: Compares predictions with class numbers; None: nobody does.

    Raises:
        ConfigError: When predictions have another spatial shape than slices.
        TrainingError: When memory runs out.
    """
    upcoming, read = batches(grids, size), 0
    with ThreadPoolExecutor(1, "reader") as reader, torch.inference_mode():
        batch = next(upcoming, None)
        waiting = reader.submit(_read, volume, grids, batch, change) if batch is not None else None
        while batch is not None and waiting is not None:
            given, following = waiting.result(), next(upcoming, None)
            read += given.nbytes
            if read >= RELEASE_AFTER:
                read = 0
                volume.release()
            waiting = reader.submit(_read, volume, grids, following, change) if following is not None else None
            found = _computed(network, given, device)
            joined.put(batch.which, batch.first, found)
            if judge is not None:
                judge.add(grids[batch.which], batch.first, found)
            after(batch)
            batch = following


def _read(volume: Volume, grids: Sequence[Grid], batch: Batch, change: Change) -> npt.NDArray[np.float32]:
    """The slices of a batch, shape (slices, channels, *seen)."""
    grid = grids[batch.which]
    channels = volume.shape[0] if len(volume.shape) > len(grid.shape) else 1
    seen = grid.cut.seen
    # Rows of transposed slices stay as they lie in the volume: the network gets a view, which is quicker than a copy.
    stored = (*seen[:-2], seen[-1], seen[-2]) if grid.cut.transpose else seen
    found = np.empty((batch.stop - batch.first, channels, *stored), np.float32)
    found = found.swapaxes(-1, -2) if grid.cut.transpose else found
    for place in range(len(found)):
        slices.cut(volume, grid, batch.first + place, found[place])
    return change(found)


def _computed(
    network: Callable[[Tensor], Tensor], given: npt.NDArray[np.float32], device: torch.device | str
) -> npt.NDArray[np.float32]:
    try:
        found = network(torch.from_numpy(given).to(device)).float().cpu().numpy()
    except Exception as error:
        if not recovery.is_out_of_memory(error):
            raise
        fix = "use fewer at a time (mode.batch_size), or smaller ones"
        raise TrainingError(f"memory ran out with {len(given)} slices at a time; {fix}") from error
    if found.shape[2:] != given.shape[2:]:
        wrong = (
            f"gives {list(found.shape[1:])} of slices of {list(given.shape[1:])}, where only the channels may change"
        )
        raise ConfigError(problem("arch", wrong, fix="use a network that keeps the size"))
    return np.asarray(found)


def change_of(recipe: Recipe) -> Change:
    """What a recipe's pipeline does to every slice: those of its steps that are not only for training.

    Raises:
        ConfigError: For steps that move what they change, so that predictions would not lie where they belong.
    """
    steps, found = list[Any](), list[str]()
    for component in recipe.augmentations.cpu:
        if not component.target.startswith(f"{geometry.__name__}."):
            continue
        step = component.build()
        if component.target == f"{geometry.__name__}.normalize":
            steps.append(step)
        elif isinstance(step, geometry.Always):
            fix = "leave it out, or apply it to the volume beforehand"
            found.append(problem("augmentations.cpu.pipeline", "changes slices", got=component.target, fix=fix))
    if found:
        raise ConfigError(found)

    def change(given: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        seeds = np.zeros(len(given), np.uint64)
        for step in steps:
            given = step(given, seeds)
        return given

    return change


def placed(
    recipe: Recipe, networks: Mapping[tuple[int, ...], nn.Module]
) -> tuple[Callable[[Tensor], Tensor], torch.device]:
    """A function of slices on the device and in the precision that a recipe's `trainer` says, and the device.

    Args:
        recipe: The recipe.
        networks: The network as it was made for slices of each spatial shape.
    """
    prepare_torch(recipe.threads)
    accelerator = recipe.trainer.get("accelerator", "auto")
    largest = max(max(shape) for shape in networks)
    chosen = numerics(recipe.trainer.get("precision", "32-true"), largest, accelerator)
    with quiet():
        fabric = Fabric(
            accelerator=accelerator, devices=1, precision=chosen.precision, plugins=[LightningEnvironment()]
        )
        ready: dict[tuple[int, ...], Any] = {
            shape: fabric.setup_module(network.eval().requires_grad_(False)) for shape, network in networks.items()
        }

    def network(given: Tensor) -> Tensor:
        found: Tensor = ready[tuple(given.shape[2:])](given)
        return found

    return network, fabric.device


class Probabilities(nn.Module):
    """What a network for masks gives, as probabilities of classes.

    Args:
        network: Images to logits by target.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Shape (n, channels, *spatial) to (n, classes, *spatial)."""
        logits: Tensor = self.network(images)[TARGET]
        return logits.float().softmax(1)


def of_record(recipe: Recipe, weights: Path, classes: int, channels: int, seen: tuple[int, ...]) -> Probabilities:
    """The network of a record that was trained on masks, for slices.

    Args:
        recipe: What it was trained with.
        weights: Its weights.
        classes: How many classes it has.
        channels: How many channels slices have.
        seen: Their spatial shape.

    Raises:
        ConfigError: When slices have other axes or channels than what it was trained on.
        ProjectError: When weights do not fit the recipe.
    """
    state = weight_files.read(weights)
    mean = state.get("mean")
    axes, trained_on = (2, channels) if mean is None else (mean.ndim - 2, mean.shape[1])
    if len(seen) != axes:
        what = {1: "samples of 1 axis", 2: "images"}.get(axes, f"samples of {axes} axes")
        fix = "set one of the sizes to 1" if len(seen) > axes else "let more of the sizes be larger than 1"
        wrong = f"was trained on {what}, slices have {len(seen)} ax{'is' if len(seen) == 1 else 'es'}"
        raise ConfigError(problem("mode.record", wrong, fix=fix))
    if trained_on != channels:
        wrong = f"has {channels} channels, the images of the record had {trained_on}"
        raise ConfigError(problem("mode.source", wrong, fix="use a volume with as many"))
    normalization, shape = recipe.augmentations.normalization, () if axes == 2 else seen
    pixels = Pixels(channels, seen[0], normalization=normalization, width=seen[-1], shape=shape)
    arch = without_weights(recipe.arch)
    network: nn.Module = arch.build({TARGET: Head(classes, per_pixel=True)}, pixels)
    records.load(network, state, weights)
    return Probabilities(network)
