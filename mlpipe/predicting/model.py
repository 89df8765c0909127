"""A trained model that predicts: from a record, a file of weights, or a weighted mean of several models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.arch import weights as weight_files
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.task import Task
from mlpipe.errors import ProjectError, problem
from mlpipe.learn import multitask
from mlpipe.learn.machine.hardware import numerics_for
from mlpipe.learn.machine.quiet import prepare_torch, quiet
from mlpipe.learn.module import TARGET
from mlpipe.predicting import kind

Outputs = dict[str, Tensor]


@dataclass(frozen=True)
class Inputs:
    """The inputs of a model.

    Attributes:
        channels: The number of channels of a sample.
        shape: Its spatial shape; empty for features.
        peak: The value of white.
    """

    channels: int
    shape: tuple[int, ...]
    peak: float = 255.0

    @property
    def axes(self) -> int:
        """The number of spatial axes of a sample."""
        return len(self.shape)


@dataclass(frozen=True)
class Model:
    """A trained model that predicts.

    Attributes:
        kinds: The kind of each head.
        classes: The names of each head's outputs.
        inputs: The format of its inputs.
        outputs: From samples, shape (n, channels, *shape), to the outputs of each head, float32, shape (n, outputs) or
            (n, outputs, *spatial): logits of classes and labels, or numbers. A detector may be given
            targets too, and then also returns raw rows, see `mlpipe.arch.detector.Detector`.
        device: The device that it computes on.
        computing: A context with its precision, for computations on its outputs.
        networks: The networks that it consists of.
    """

    kinds: Mapping[str, str]
    classes: Mapping[str, Sequence[str]]
    inputs: Inputs
    outputs: Callable[..., Outputs]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    computing: Callable[[], AbstractContextManager[Any]] = nullcontext
    networks: tuple[nn.Module, ...] = ()

    @property
    def channels(self) -> int:
        """The number of channels of a sample."""
        return self.inputs.channels

    @property
    def axes(self) -> int:
        """The number of spatial axes of a sample."""
        return self.inputs.axes

    @staticmethod
    def of_network(
        network: nn.Module,
        kinds: Mapping[str, str],
        classes: Mapping[str, Sequence[str]],
        inputs: Inputs,
        *,
        accelerator: str = "cpu",
        precision: Any = "32-true",
        layout: torch.memory_format | None = None,
    ) -> Model:
        """Return a model of a network that has its weights.

        Args:
            network: Samples to outputs by head.
            kinds: As for `Model`.
            classes: As for `Model`.
            inputs: As for `Model`.
            accelerator: Lightning's name of the accelerator.
            precision: Lightning's name of the precision.
            layout: The memory layout of images; None: as they are given.
        """
        with quiet():
            fabric = Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[LightningEnvironment()])
            network = network.eval()
            network = network.to(memory_format=torch.channels_last) if layout is torch.channels_last else network
            placed = fabric.setup_module(network)

        def outputs(samples: Tensor, targets: Tensor | None = None) -> Outputs:
            samples = samples.to(fabric.device)
            if layout is not None and samples.ndim == 4:
                samples = samples.contiguous(memory_format=layout)
            beside = [targets] if targets is not None and getattr(network, "takes_targets", False) else []
            with torch.inference_mode():
                return {head: values.float() for head, values in placed(samples, *beside).items()}

        return Model(kinds, classes, inputs, outputs, fabric.device, fabric.autocast, (network,))

    @staticmethod
    def of_weights(network: nn.Module, recipe: Recipe, task: Task, pack: Pack) -> Model:
        """Return a model of a recipe's network that has its weights, for the samples of a task.

        Args:
            network: Samples to outputs by head.
            recipe: The recipe with the device and precision, unless this machine decides.
            task: The task.
            pack: Its cached images.
        """
        prepare_torch(recipe.threads)
        decided = kinds.decide(task.kind, recipe.loss)
        chosen = numerics_for(recipe, pack, decided)
        return Model.of_network(
            network,
            {TARGET: decided},
            {TARGET: task.classes},
            Inputs(pack.channels, tuple(pack.shape), pack.peak),
            accelerator=recipe.trainer.get("accelerator", "auto"),
            precision=chosen.precision,
            layout=torch.channels_last if chosen.channels_last else torch.contiguous_format,
        )

    @staticmethod
    def of_record(
        recipe: Recipe, weights: Path, task: Task, pack: Pack, co_tasks: Sequence[Mapping[str, Any]] = ()
    ) -> Model:
        """Return the model of a trained fold.

        Args:
            recipe: The recipe that it was trained with.
            weights: The file of its weights.
            task: A task whose samples it predicts.
            pack: The task's cached images.
            co_tasks: The co-tasks in its record; each has a head of its own.

        Raises:
            ProjectError: When the weights are missing or do not fit the recipe.
        """
        prepare_torch(recipe.threads)
        require_weights(weights)
        network = multitask.stored_network(recipe, task, pack, co_tasks)
        load(network, weights)
        model = Model.of_weights(network, recipe, task, pack)
        others = {str(co_task["head"]): co_task for co_task in co_tasks}
        kinds = {**model.kinds, **{head: str(co_task["kind"]) for head, co_task in others.items()}}
        classes = {**model.classes, **{head: tuple(co_task["classes"]) for head, co_task in others.items()}}
        return replace(model, kinds=kinds, classes=classes)

    @staticmethod
    def of_ensemble(models: Sequence[Model], weights: Sequence[float], mixing: str = "probabilities") -> Model:
        """Return the weighted mean of models with the same outputs.

        Args:
            models: Models with the same heads, inputs and device.
            weights: One number for each, summing to one.
            mixing: What is averaged for classes and labels, `probabilities` or `logits`; for numbers both are the same.
        """
        first = models[0]

        def outputs(samples: Tensor) -> Outputs:
            parts = [model.outputs(samples) for model in models]
            return {
                head: kind.of(name).mean([part[head] for part in parts], weights, mixing)
                for head, name in first.kinds.items()
            }

        networks = tuple(network for model in models for network in model.networks)
        return replace(first, outputs=outputs, networks=networks)


def require_weights(weights: Path) -> None:
    """Raise an error if a record's weights are missing.

    Args:
        weights: Their file.

    Raises:
        ProjectError: When the file is missing.
    """
    if not weights.is_file():
        fix = "train with mode.store_parameters=true"
        raise ProjectError(problem(str(weights), "the record has no weights", fix=fix))


def load(network: nn.Module, weights: Path) -> None:
    """Load a record's weights into the network of its recipe.

    Args:
        network: The network.
        weights: Their file.

    Raises:
        ProjectError: When a weight is missing, superfluous, or of another shape.
    """
    match = weight_files.load(network, weight_files.read(weights))
    if match.missing or match.unexpected or match.misshapen:
        raise ProjectError(problem(str(weights), f"does not fit its recipe: {match.sentence()}"))
