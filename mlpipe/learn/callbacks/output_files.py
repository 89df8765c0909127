"""Network outputs in HDF5 files, with one dataset for each image, named by the image's file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from mlpipe import current_folder
from mlpipe.arch.gan import Gan, seeds_of
from mlpipe.arch.keras.classifier import KerasClassifier
from mlpipe.arch.keras.segmenter import KerasSegmenter
from mlpipe.data.task import PARTS
from mlpipe.learn.machine import device_group
from mlpipe.learn.module import FoldModule
from mlpipe.learn.monitoring import Direction
from mlpipe.runs.sinks import Predicted, Sink, hdf5
from mlpipe.runs.sinks.hdf5 import Precision

Array = npt.NDArray[Any]


def opened(folder: Path, epoch: int, precision: Precision = "single") -> AbstractContextManager[Sink]:
    """Return a sink for `output_EPOCH.h5`, a file that appears only when it is complete.

    Args:
        folder: The output folder, created if missing.
        epoch: Counted from 1.
        precision: Numbers of 32 or 16 bit.
    """
    return hdf5.opened(path_of(folder, epoch), PARTS, precision)


def path_of(folder: Path, epoch: int) -> Path:
    """Return the path of an epoch's outputs."""
    return folder / f"output_{epoch}.h5"


def as_in_file(network: nn.Module, predicted: Predicted) -> Predicted:
    """Return a network's outputs; for a Keras network with the final activation of its file applied.

    A variable number of findings per sample is listed (`mlpipe.arch.boxes.listed`), in pixels of the network's input.

    Args:
        network: The network.
        predicted: The network's outputs for some samples.
    """
    if (listed := getattr(network, "listed", None)) is not None:
        return replace(predicted, arrays=listed(predicted.outputs if predicted.arrays is None else predicted.arrays))
    if not isinstance(network, KerasClassifier | KerasSegmenter):
        return predicted

    def ended(logits: Array) -> Array:
        return network.as_in_file(torch.from_numpy(np.asarray(logits, np.float32))).numpy()

    if predicted.arrays is None:
        return replace(predicted, outputs=ended(predicted.outputs))
    return replace(predicted, arrays=ended(predicted.arrays))


def images_from_noise(network: Gan, count: int, device: torch.device) -> Predicted:
    """Return images drawn by the generator from the same noise in every epoch, named by their numbers.

    Args:
        network: The network.
        count: The number of images.
        device: The device of the network.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        values = network.seen(network.draw(seeds_of(0, count).to(device))).cpu().numpy()
    names = [f"sample_{number:05d}" for number in range(count)]
    return Predicted(names, np.empty((count, 0), np.float32), arrays=values)


class OutputFiles(Callback):
    """Writes the outputs for the validation images after every epoch; for a generator as many drawn images.

    Args:
        folder: The output folder.
        precision: Numbers of 32 or 16 bit.
    """

    def __init__(self, folder: Path, precision: Precision = "single") -> None:
        self._folder, self._precision = folder, precision
        self._open, self._written_count = ExitStack(), 0
        self._sink: Sink | None = None
        self._rounds: device_group.Rounds | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the file for maps, which are too large to collect until the end of the epoch; the first process writes it."""
        is_dense = isinstance(pl_module, FoldModule) and pl_module.facts.is_dense
        if trainer.state.fn != TrainerFn.FITTING or not is_dense:
            return
        self._rounds, self._written_count = device_group.rounds(trainer), 0
        if trainer.is_global_zero:
            self._sink = self._open.enter_context(opened(self._folder, trainer.current_epoch + 1, self._precision))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the maps of a batch from every process."""
        if self._rounds is not None:
            self._write(trainer, pl_module, self._rounds.gathered_values(outputs.float().cpu().numpy()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the remaining maps of other processes."""
        if self._rounds is not None:
            self._write(trainer, pl_module, self._rounds.rest())

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batches: Sequence[Array]) -> None:
        if self._sink is None:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for maps in batches:
            ids = data.val_ids[self._written_count : self._written_count + len(maps)]
            predictions = Predicted(ids, np.empty((len(maps), 0), np.float32), arrays=maps)
            self._sink.add(as_in_file(_network(pl_module), predictions))
            self._written_count += len(maps)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the file of maps, or write all other outputs."""
        if self._rounds is not None:
            self._rounds = self._sink = None
            self._open.close()
            return
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        network = _network(pl_module)
        if isinstance(network, Gan):
            predictions = images_from_noise(network, len(data.val_ids), pl_module.device)
        else:
            predictions = Predicted(data.val_ids, pl_module.val_logits)  # type: ignore[arg-type]
        with opened(self._folder, trainer.current_epoch + 1, self._precision) as sink:
            sink.add(as_in_file(network, predictions))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove an incomplete file."""
        if self._sink is not None:
            self._sink = None
            with suppress(type(exception)):
                self._open.__exit__(type(exception), exception, exception.__traceback__)


def _network(module: pl.LightningModule) -> nn.Module:
    network = module.network
    assert isinstance(network, nn.Module)
    return network


def every_epoch(
    monitor: str, direction: Direction, *, folder: str = "outputs", precision: Literal["single", "half"] = "single"
) -> Callback:
    """Write the network's output for each validation image after every epoch.

    Args:
        monitor: Not used.
        direction: Not used.
        folder: The output folder, created if missing.
        precision: Number format of the files: single (32 bit) or half (16 bit).
    """
    return OutputFiles(current_folder.expanded(folder).absolute(), precision)
