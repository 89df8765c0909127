"""Conversion of mml-core's weights to native tensor names."""

from __future__ import annotations

from pathlib import Path

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from mlpipe.arch import classifier
from mlpipe.arch import weights as weight_files
from mlpipe.errors import DataError, problem

_BODY = "model.backbone."


def from_mml_core(
    path: Path, name: str, task: str, outputs: int, *, head: str, numbers: bool = False
) -> dict[str, Tensor]:
    """Return the weights of an mml-core model under the names of `classifier.timm`.

    Args:
        path: `PARAMETERS/TASK/model_N.pth`, written by Lightning; only its tensors are read.
        name: Name of the network in timm.
        task: Name of the task whose head is used.
        outputs: Number of outputs.
        head: Native name of the head.
        numbers: Whether the outputs are numbers instead of logits.

    Returns:
        All tensors of the network; pixels are normalised by ImageNet's statistics, as in mml-core.

    Raises:
        DataError: When the file is damaged or does not fit the network.
    """
    source_state = weight_files.read_despite_classes(path)
    scale = ((0.0,) * outputs, (1.0,) * outputs) if numbers else (None, None)
    heads = {head: classifier.Head(outputs, *scale)}
    network = classifier.timm(heads, classifier.Pixels(3, 224), name=name, pretrained=False)
    own = network.state_dict()
    names = {f"{_BODY}{key}": f"backbone.{key}" for key in network.backbone.state_dict()}
    names |= {f"model.heads.{task}.linear.{part}": f"heads.{head}.{part}" for part in ("weight", "bias")}
    state = {ours: source_state[theirs] for theirs, ours in names.items() if theirs in source_state}
    match = weight_files.load(network, state)
    if len(match.loaded) < len(names):
        wrong = (
            f"does not fit {name}: {len(names) - len(match.loaded)} of {len(names)} tensors are missing or misshapen"
        )
        raise DataError(problem(str(path), wrong, fix="train it anew"))
    # mml-core uses ImageNet's statistics for every network.
    for key, values in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD)):
        own[key].copy_(255 * torch.tensor(values).view(1, -1, 1, 1))
    return {key: value.detach() for key, value in network.state_dict().items()}
