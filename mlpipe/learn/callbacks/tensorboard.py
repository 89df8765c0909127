"""TensorBoard output other than curves: histograms of weights, gradients and activations, filters, the graph, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn

from mlpipe import current_folder, limits
from mlpipe.config.components import Component
from mlpipe.errors import ConfigError, counted, did_you_mean, listing, problem
from mlpipe.learn.logging import FileLogger
from mlpipe.learn.module import TARGET

_MOST_FILTERS = 64


def boards(logging: Component) -> list[Board]:
    """Return the board requested by `conf/logging`; empty if it requests only curves.

    Args:
        logging: The component that writes the training's curves.
    """
    parts = [logger for logger in logging.params.get("loggers", {}).values() if "histograms" in logger.params]
    logging = parts[0] if parts else logging
    keys = {"histograms": 0, "gradients": False, "filters": False, "graph": False, "embeddings": 0}
    options: dict[str, Any] = {key: logging.params.get(key, default) for key, default in keys.items()}
    more: dict[str, Any] = {key: logging.params.get(key) for key in ("samples", "embedded_layers", "embedded_labels")}
    return [Board(**options, **more)] if any(options.values()) else []


class Board(Callback):
    """Writes to the training's TensorBoard after epochs, without any effect on the training.

    Args:
        histograms: Epochs between two histograms of weights and of the activations of one validation batch; 0: none.
        gradients: Whether to add histograms of the last step's gradients.
        filters: Whether to add the filters of the first layer as images.
        graph: Whether to write the graph once.
        embeddings: Epochs between two sets of the features of one validation batch; 0: none.
        samples: Number of validation images for activations and features; None: the first batch.
        embedded_layers: Names of modules whose outputs are the features; None: the input of the heads.
        embedded_labels: A file with one line per image as its label; None: the targets.
    """

    def __init__(
        self,
        *,
        histograms: int,
        gradients: bool,
        filters: bool,
        graph: bool,
        embeddings: int,
        samples: int | None = None,
        embedded_layers: list[str] | None = None,
        embedded_labels: str | None = None,
    ) -> None:
        self._histogram_interval, self._gradients, self._filters = histograms, gradients, filters
        self._graph, self._embeddings = graph, embeddings
        self._samples, self._layers, self._labels = samples, embedded_layers, embedded_labels
        self._batch: dict[str, Tensor] | None = None
        self._slopes: dict[str, Tensor] = {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Keep the gradients of an epoch's last step if they are due, because they are gone when the epoch ends."""
        if (
            self._gradients
            and self._histogram_interval
            and trainer.is_last_batch
            and trainer.current_epoch % self._histogram_interval == 0
        ):
            network: Any = pl_module.network
            parameters = network.named_parameters()
            self._slopes = {
                name: parameter.grad.detach().clone() for name, parameter in parameters if parameter.grad is not None
            }

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the first batch of each validation, or as many batches as are needed for the requested images."""
        most = self._samples
        if batch_idx == 0 or self._batch is None:
            self._batch = {key: batch[key] for key in ("images", "target")}
        elif most is not None and len(self._batch["images"]) < most:
            self._batch = {key: torch.cat([tensor, batch[key]]) for key, tensor in self._batch.items()}
        if most is not None:
            self._batch = {key: tensor[:most] for key, tensor in self._batch.items()}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write what is due after this epoch."""
        boards = [
            logger for logger in trainer.loggers if isinstance(getattr(logger, "inner", logger), TensorBoardLogger)
        ]
        if not boards or self._batch is None:
            return
        board: Any = boards[0]
        network: Any = pl_module.network
        was_training = network.training
        network.eval()
        try:
            self._write(board.experiment, network, self._batch["images"].float(), trainer.current_epoch)
        except OSError as error:
            if not isinstance(board, FileLogger):
                raise
            board.give_up(error)
        finally:
            network.train(was_training)

    def _write(self, board: Any, network: Any, images: Tensor, epoch: int) -> None:
        with torch.no_grad():
            if self._histogram_interval and epoch % self._histogram_interval == 0:
                self._write_histograms(board, network, images, epoch)
            if self._graph and images.ndim == 4:
                # Evaluation mode, because the tracer restores the mode it finds here to all parts, and in training mode the
                # features below would change batch statistics.
                board.add_graph(_OneOutput(network).eval(), images[:1], use_strict_trace=False)
                self._graph = False
            if self._embeddings and epoch % self._embeddings == 0 and images.ndim == 4:
                self._embed(board, network, images, epoch)

    def _embed(self, board: Any, network: Any, images: Tensor, epoch: int) -> None:
        """Write the features of the kept images with their labels."""
        assert self._batch is not None
        labels = [str(target) for target in self._batch["target"].tolist()]
        if self._labels is not None:
            labels = _lines(self._labels, len(images))
        embeddings: dict[str, Tensor] = {}
        if self._layers is None:
            embeddings = {"features": network.features(images)} if hasattr(network, "features") else {}
        else:
            embeddings = _activations(network, images, self._layers)
        for name, values in embeddings.items():
            board.add_embedding(values.flatten(1), metadata=labels, global_step=epoch, tag=name.replace("/", "_"))

    def _write_histograms(self, board: Any, network: nn.Module, images: Tensor, epoch: int) -> None:
        for name, parameter in network.named_parameters():
            board.add_histogram(f"weights/{name}", parameter.detach(), epoch)
            if name in self._slopes:
                board.add_histogram(f"gradients/{name}", self._slopes[name], epoch)
            if self._filters and parameter.ndim == 4 and parameter.shape[1] in (1, 3):
                filters = parameter.detach()[:_MOST_FILTERS]
                low, high = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
                board.add_images(f"filters/{name}", (filters - low) / (high - low).clamp(min=1e-12), epoch)
        for name, values in _activations(network, images).items():
            board.add_histogram(f"activations/{name}", values, epoch)


class _OneOutput(nn.Module):
    """The outputs of the target only, because the tracer does not accept dictionaries."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.network(images)[TARGET]
        return outputs


def _lines(file: str, count: int) -> list[str]:
    """Return the first lines of a file of labels.

    Raises:
        ConfigError: When it cannot be read, or has fewer lines.
    """
    key = "logging.embedded_labels"
    try:
        lines = limits.text(current_folder.expanded(file)).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(problem(key, f"cannot be read ({error})", got=file, fix="name a text file")) from error
    if len(lines) < count:
        wrong = f"has {counted(len(lines), 'line')} for {counted(count, 'image')}"
        raise ConfigError(problem(key, wrong, got=file, fix="write one for each, or set logging.samples"))
    return lines[:count]


def _part_named(name: str, parts: Mapping[str, nn.Module]) -> str:
    """Return the part with this name, or the outermost part whose name ends with it; empty if there is none."""
    ending = [part for part in parts if part.endswith(f".{name}")]
    return name if name in parts else min(ending, key=lambda part: part.count("."), default="")


def _activations(network: nn.Module, images: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return the outputs of a network's parts for images: of the named parts, or of its heads and the children of its body.

    Raises:
        ConfigError: When the network has no part of a given name.
    """
    activations: dict[str, Tensor] = {}
    handles = []

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                activations[name] = output.detach()

        return hook

    parts = {name: module for name, module in network.named_modules() if name}
    part_names = {layer: _part_named(layer, parts) for layer in names or ()}
    for layer_name, part_name in part_names.items():
        if not part_name:
            fix = did_you_mean(layer_name, parts, otherwise=f"there are {listing(parts, most=20)}")
            raise ConfigError(
                problem("logging.embedded_layers", "no part of the network has this name", got=layer_name, fix=fix)
            )
    for name, module in parts.items():
        if name in part_names.values() if names is not None else 0 < name.count(".") <= 1:
            handles.append(module.register_forward_hook(keep(name)))
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return activations
