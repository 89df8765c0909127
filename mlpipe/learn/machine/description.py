"""Facts about a network and its training device, to be printed."""

from __future__ import annotations

import platform

import torch
from torch import nn

from mlpipe.arch.keras import keras_json
from mlpipe.arch.keras.graph import Graph
from mlpipe.config.schema import Recipe
from mlpipe.learn.machine import hardware


def device(recipe: Recipe) -> str:
    """Return the name of the device that a recipe is trained on here."""
    if torch.cuda.is_available() and recipe.trainer.get("accelerator") != "cpu":
        return torch.cuda.get_device_name()
    return platform.processor() or platform.machine()


def reducer(recipe: Recipe) -> dict[str, str]:
    """Return the method that averages gradients over several processes."""
    return {"Type": "DistributedDataParallel", "Backend": hardware.backend(recipe.trainer)}


def network(module: nn.Module, name: str) -> dict[str, int | str]:
    """Return name, parameters and operations of a network; for Keras networks by the layers and activations of the file.

    Args:
        module: The network.
        name: The network's name.
    """
    total, learned = keras_json.count(module)
    facts: dict[str, int | str] = {"Model name": name, "Total parameters": total, "Trainable parameters": learned}
    graphs = [part for part in module.modules() if isinstance(part, Graph)]
    if graphs:
        activations = sum(step.activation is not None for graph in graphs for step in graph.steps)
        rest = module.taken_off if isinstance(module, keras_json.KerasNetwork) else 0
        facts["Num of operations"] = sum(len(graph.layers) for graph in graphs) + activations + rest
    return facts
