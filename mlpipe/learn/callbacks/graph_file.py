"""A drawing of a Keras network for Graphviz, written when a training begins."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from mlpipe import current_folder, files
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.monitoring import Direction


class GraphFile(Callback):
    """Writes the network's graph: a box for each call of a layer, with its output shape.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the graph.

        Raises:
            ConfigError: When the network is not a Keras network.
        """
        drawing = getattr(pl_module.network, "drawing", None)
        if drawing is None:
            fix = "leave the callback out"
            raise ConfigError(problem("callbacks.graph", "draws networks of arch=keras_json", fix=fix))
        if trainer.is_global_zero:
            files.write_text(self._path, drawing)


def once(monitor: str, direction: Direction, *, file: str = "network.dot") -> Callback:
    """Write the network's graph in Graphviz's language (https://graphviz.org/doc/info/lang.html) when a training begins.

    Args:
        monitor: Not used.
        direction: Not used.
        file: The file; its folder is created.
    """
    return GraphFile(current_folder.expanded(file).absolute())
