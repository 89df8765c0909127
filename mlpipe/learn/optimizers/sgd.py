"""Optimizers with momentum: SGD and Lion."""

from __future__ import annotations

from typing import Annotated

import torch
from timm.optim.lion import Lion
from torch.optim import Optimizer

from mlpipe.learn.optimizers.parameter_groups import Betas, Groups, decaying, looks_ahead


def sgd(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    momentum: Annotated[float, ">= 0", "< 1"] = 0.9,
    nesterov: bool = True,
    dampening: Annotated[float, ">= 0", "<= 1"] = 0.0,
    decay_all: bool = False,
) -> Optimizer:
    """Stochastic gradient descent, torch.optim.SGD.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        momentum: Share of the last step that is kept.
        nesterov: Look ahead (Sutskever et al. 2013); needs momentum.
        dampening: Share of the gradient that does not enter the momentum; not with nesterov.
        decay_all: Apply weight decay to norms, biases and embeddings, too.

    Raises:
        ConfigError: When both nesterov and a dampening are set.
    """
    return torch.optim.SGD(
        decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        dampening=dampening,
        nesterov=looks_ahead(nesterov, momentum, dampening),
    )


def lion(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: Betas = (0.9, 0.99),
) -> Optimizer:
    """Lion (Chen et al. 2023), timm.optim.Lion: steps along the sign of the momentum.

    Args:
        groups: Parameter groups.
        lr: Learning rate; a third to a tenth of AdamW's.
        weight_decay: Decoupled weight decay; three to ten times AdamW's.
        betas: Decay for the direction of the step and for the momentum.
    """
    return Lion(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]))
