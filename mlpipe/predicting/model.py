"""A trained model that predicts, wherever it came from: a record, a file of weights, or several models with weights."""

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
        channels: How many channels a sample has.
        shape: Its spatial shape; empty for features.
        peak: The value of white.
    """

    channels: int
    shape: tuple[int, ...]
    peak: float = 255.0

    @property
    def axes(self) -> int:
        """How many spatial axes a sample has."""
        return len(self.shape)


@dataclass(frozen=True)
class Model:
    """Something trained that predicts.

    Attributes:
        kinds: What each head predicts.
        classes: The names of each head's outputs.
        inputs: What it is given.
        outputs: Samples, shape (n, channels, *shape), to what each head gives for them, float32, shape (n, outputs) or
            (n, outputs, *spatial): logits of classes and labels, or numbers. A network that finds objects may be given
            targets beside them, and then gives raw rows too, see `mlpipe.arch.detector.Detector`.
        device: Where it computes.
        computing: The context in which its precision holds, for what is computed of its outputs.
        networks: The networks that it is made of.
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
        """How many channels a sample has."""
        return self.inputs.channels

    @property
    def axes(self) -> int:
        """How many spatial axes a sample has."""
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
        """A network that has its weights.

        Args:
            network: Samples to outputs by head.
            kinds: As of `Model`.
            classes: As of `Model`.
            inputs: As of `Model`.
            accelerator: Lightning's word for where it computes.
            precision: Lightning's word for how.
            layout: How images lie in memory; None: as they are given.
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
        """A recipe's network that has its weights, for the samples of a task.

        Args:
            network: Samples to outputs by head.
            recipe: Says which device and precision, unless this machine decides.
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
        """A trained fold.

        Args:
            recipe: The recipe that it was trained with.
            weights: The file of its weights.
            task: A task whose samples it predicts.
            pack: The task's cached images.
            co_tasks: What its record says of tasks that were learned with it; each has a head of its own.

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
        """The weighted mean of models that predict the same.

        Args:
            models: With the same heads, inputs and device.
            weights: One number for each, summing to one.
            mixing: What the mean of classes and labels is of, `probabilities` or `logits`; of numbers both are the same.
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
    """Demand that a record's weights are there.

    Args:
        weights: Their file.

    Raises:
        ProjectError: When it is not.
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
        ProjectError: When one is missing, too much, or of another shape.
    """
    match = weight_files.load(network, weight_files.read(weights))
    if match.missing or match.unexpected or match.misshapen:
        raise ProjectError(problem(str(weights), f"does not fit its recipe: {match.sentence()}"))
