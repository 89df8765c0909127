"""What a network gives for each image, as HDF5: a dataset for each, named by the image's file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from mlpipe import files
from mlpipe.arch.keras.classifier import KerasClassifier
from mlpipe.arch.keras.segmenter import KerasSegmenter
from mlpipe.data.task import PARTS
from mlpipe.learn import device_group
from mlpipe.learn.callbacks.callbacks import Direction
from mlpipe.learn.module import FoldModule

Add = Callable[[Sequence[str], np.ndarray[Any, Any]], None]


@contextmanager
def writer(folder: Path, epoch: int) -> Iterator[Add]:
    """A function that adds what a network gives for some samples to `output_EPOCH.h5`, which is there when all went well.

    It takes the samples' ids (folders become groups, and the part that a sample came with is left out) and an array of
    shape (n, ...), which is stored as float32.

    Args:
        folder: Where to; it is made.
        epoch: Counted from 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with files.durable(path_of(folder, epoch)) as temporary, h5py.File(temporary, "w") as file:

        def add(names: Sequence[str], outputs: np.ndarray[Any, Any]) -> None:
            for name, values in zip(names, outputs, strict=True):
                part, _, rest = name.partition("/")
                file[rest if part in PARTS and rest else name] = np.asarray(values, np.float32)

        yield add


def path_of(folder: Path, epoch: int) -> Path:
    """The file of an epoch's outputs."""
    return folder / f"output_{epoch}.h5"


def write(folder: Path, epoch: int, names: Sequence[str], outputs: np.ndarray[Any, Any]) -> Path:
    """Write `output_EPOCH.h5` at once.

    Args:
        folder: As for `writer`.
        epoch: Counted from 1.
        names: As for `writer`.
        outputs: What the network gives for each, shape (n, ...).
    """
    with writer(folder, epoch) as add:
        add(names, outputs)
    return path_of(folder, epoch)


def as_in_file(network: nn.Module, logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A network's outputs; a Keras network's with the activation that its file ends in.

    Args:
        network: The network.
        logits: What it gave, shape (n, outputs) or (n, classes, height, width).
    """
    if not isinstance(network, KerasClassifier | KerasSegmenter):
        return logits
    return network.as_in_file(torch.from_numpy(np.asarray(logits, np.float32))).numpy()


class OutputFiles(Callback):
    """Writes the outputs of the validation images after every epoch.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open, self._done = ExitStack(), 0
        self._add: Add | None = None
        self._rounds: device_group.Rounds | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the file of maps, which are too many to wait for the end of the epoch; the first process writes it."""
        is_dense = isinstance(pl_module, FoldModule) and pl_module.facts.is_dense
        if trainer.state.fn != TrainerFn.FITTING or not is_dense:
            return
        self._rounds, self._done = device_group.rounds(trainer), 0
        if trainer.is_global_zero:
            self._add = self._open.enter_context(writer(self._folder, trainer.current_epoch + 1))

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the maps of a batch of every process."""
        if self._rounds is not None:
            own = as_in_file(_network(pl_module), outputs.float().cpu().numpy())
            self._write(trainer, self._rounds.handed(own))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what other processes still have."""
        if self._rounds is not None:
            self._write(trainer, self._rounds.rest())

    def _write(self, trainer: pl.Trainer, batches: Sequence[np.ndarray[Any, Any]]) -> None:
        if self._add is None:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        for maps in batches:
            self._add(data.val_ids[self._done : self._done + len(maps)], maps)
            self._done += len(maps)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write."""
        if self._rounds is not None:
            self._rounds = self._add = None
            self._open.close()
            return
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        write(
            self._folder,
            trainer.current_epoch + 1,
            data.val_ids,
            as_in_file(_network(pl_module), pl_module.val_logits),  # type: ignore[arg-type]
        )

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no half of a file."""
        if self._add is not None:
            self._add = None
            with suppress(type(exception)):
                self._open.__exit__(type(exception), exception, exception.__traceback__)


def _network(module: pl.LightningModule) -> nn.Module:
    network = module.network
    assert isinstance(network, nn.Module)
    return network


def every_epoch(monitor: str, direction: Direction, *, folder: str = "outputs") -> Callback:
    """Write what the network gives for each validation image after every epoch.

    Args:
        monitor: Not used.
        direction: Not used.
        folder: Where to; it is made.
    """
    return OutputFiles(Path(folder).expanduser().absolute())
