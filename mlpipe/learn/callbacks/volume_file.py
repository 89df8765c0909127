"""Outputs for the slices of a validation volume, joined in one HDF5 file after every epoch."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from mlpipe import current_folder
from mlpipe.arch.keras.segmenter import KerasSegmenter
from mlpipe.data import sources
from mlpipe.data.task import Task
from mlpipe.data.volumes import assembly, slices
from mlpipe.data.volumes.assembly import Assembly, Layout, Precision
from mlpipe.data.volumes.slices import Cuts
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.machine import device_group
from mlpipe.learn.monitoring import Direction

_KEY = "callbacks.volume"


class VolumeFile(Callback):
    """Joins the predictions of every validation; the file holds those of the last one.

    Args:
        outfile: The HDF5 file; its folder is created.
        precision: Numbers of 32 or 16 bit.
        layout: The position of a dataset's channels.
    """

    def __init__(self, outfile: Path, precision: Precision, layout: Layout) -> None:
        self._outfile, self._precision, self._layout = outfile, precision, layout
        self._open, self._slice_count = ExitStack(), 0
        self._assembly: Assembly | None = None
        self._rounds: device_group.Rounds | None = None
        self._cuts: Cuts | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Require that all slices of one volume are validated.

        Raises:
            ConfigError: When they are not, or leave gaps.
        """
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._cuts = whole_volume(data.task, data.val_ids)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin a file that appears only when it is complete; the first process writes it."""
        if trainer.state.fn != TrainerFn.FITTING or self._cuts is None:
            return
        self._rounds, self._slice_count = device_group.rounds(trainer), 0
        if not trainer.is_global_zero:
            return
        self._outfile.parent.mkdir(parents=True, exist_ok=True)
        how = {"precision": self._precision, "layout": self._layout}
        writer: Any = assembly.assembled(self._outfile, self._cuts.grids, **how)  # type: ignore[arg-type]
        self._assembly = self._open.enter_context(writer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the slices of a batch from every process to the volume.

        Raises:
            ConfigError: When their size was changed before the network.
        """
        if self._rounds is not None:
            self._put(trainer, self._rounds.gathered_values(_file_values(pl_module.network, outputs)))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the remaining slices of other processes.

        Raises:
            ConfigError: As for a batch.
        """
        if self._rounds is not None:
            self._put(trainer, self._rounds.rest())

    def _put(self, trainer: pl.Trainer, batches: list[npt.NDArray[Any]]) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if self._assembly is None or self._cuts is None:
            return
        for batch in batches:
            for name, prediction in zip(
                data.val_ids[self._slice_count : self._slice_count + len(batch)], batch, strict=True
            ):
                grid, index = self._cuts.places[name]
                if prediction.shape[1:] != grid.cut.seen:
                    wrong = f"joins slices of {list(grid.cut.seen)}, predictions are of {list(prediction.shape[1:])}"
                    raise ConfigError(problem(_KEY, wrong, fix="use preprocessing=none, and no steps that resize"))
                self._assembly.put(self._cuts.grids.index(grid), index, prediction[np.newaxis])
            self._slice_count += len(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finish the file."""
        self._rounds = None
        if self._assembly is not None:
            self._assembly = None
            self._open.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove an incomplete file."""
        if self._assembly is not None:
            self._assembly = None
            with suppress(type(exception)):
                self._open.__exit__(type(exception), exception, exception.__traceback__)


def whole_volume(task: Task, names: list[str]) -> Cuts:
    """Return the slices of the volume that samples consist of.

    Args:
        task: The task.
        names: The samples' ids.

    Raises:
        ConfigError: When they belong to no volume, are not all slices of one, or leave gaps.
    """
    parts = sources.open(task).cuts()
    fix = "use task=slices with a test volume, and split=on_test"
    if not parts:
        raise ConfigError(problem(_KEY, "joins slices of a volume", got=task.name, fix=fix))
    for cuts in parts.values():
        if set(cuts.places) == set(names):
            for number, grid in enumerate(cuts.grids):
                slices.require_cuttable(grid, f"task.slices[{number}]")
            return cuts
    wrong = f"joins a whole volume, {len(names)} slices are validated (those where nothing counts are not)"
    raise ConfigError(problem(_KEY, wrong, fix=fix))


def _file_values(network: Any, logits: Tensor) -> np.ndarray[Any, Any]:
    """Return the outputs with the final activation of a Keras network's file; for other networks probabilities."""
    logits = logits.detach().float().cpu()
    values = network.as_in_file(logits) if isinstance(network, KerasSegmenter) else logits.softmax(1)
    return np.asarray(values.numpy())


def every_epoch(
    monitor: str,
    direction: Direction,
    *,
    outfile: str = "prediction.h5",
    precision: Literal["single", "half"] = "single",
    layout: Literal["channels_last", "channels_first"] = "channels_last",
) -> Callback:
    """Join the network's outputs for the slices of the validation volume after every epoch, replacing the previous file.

    Args:
        monitor: Not used.
        direction: Not used.
        outfile: The HDF5 file, with a dataset for each slice set.
        precision: Number format: single (32 bit) or half (16 bit).
        layout: The position of the channels in its datasets.
    """
    return VolumeFile(current_folder.expanded(outfile).absolute(), precision, layout)
