"""What a network gives for each image, as HDF5: a dataset for each, named by the image's file."""

from __future__ import annotations

from collections.abc import Sequence
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
from mlpipe.arch.keras_classifier import KerasClassifier
from mlpipe.data.task import PARTS
from mlpipe.learn.callbacks import Direction


def write(folder: Path, epoch: int, names: Sequence[str], outputs: np.ndarray[Any, Any]) -> Path:
    """Write `output_EPOCH.h5`.

    Args:
        folder: Where to; it is made.
        epoch: Counted from 1.
        names: Samples' ids; folders become groups, and the part that a sample came with is left out.
        outputs: What the network gives for each, shape (n, outputs); stored as float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"output_{epoch}.h5"
    with files.durable(path) as temporary, h5py.File(temporary, "w") as file:
        for name, values in zip(names, outputs, strict=True):
            part, _, rest = name.partition("/")
            file[rest if part in PARTS and rest else name] = np.asarray(values, np.float32)
    return path


def as_in_file(network: nn.Module, logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A network's outputs; a Keras network's with the activation that its file ends in.

    Args:
        network: The network.
        logits: What it gave, shape (n, outputs).
    """
    if not isinstance(network, KerasClassifier):
        return logits
    return network.as_in_file(torch.from_numpy(np.asarray(logits, np.float32))).numpy()


class OutputFiles(Callback):
    """Writes the outputs of the validation images after every epoch.

    Args:
        folder: Where to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write."""
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        network = pl_module.network
        assert isinstance(network, nn.Module)
        outputs = as_in_file(network, pl_module.val_logits)  # type: ignore[arg-type]
        write(self._folder, trainer.current_epoch + 1, data.val_ids, outputs)


def every_epoch(monitor: str, direction: Direction, *, folder: str = "outputs") -> Callback:
    """Write what the network gives for each validation image after every epoch.

    Args:
        monitor: Not used.
        direction: Not used.
        folder: Where to; it is made.
    """
    return OutputFiles(Path(folder).expanduser().absolute())
