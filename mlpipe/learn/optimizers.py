"""Optimizers by name. The program gives parameter groups; norms and biases are in a group without weight decay."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import nn
from torch.optim import Optimizer

Groups = list[dict[str, Any]]


def parameter_groups(network: nn.Module) -> Groups:
    """The parameters that learn, in two groups: matrices and kernels, then norms and biases without weight decay."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in learning if parameter.ndim > 1]
    plain = [parameter for parameter in learning if parameter.ndim <= 1]
    groups: Groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def sgd(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    momentum: Annotated[float, ">= 0", "< 1"] = 0.9,
    nesterov: bool = True,
) -> Optimizer:
    """Stochastic gradient descent, torch.optim.SGD.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        momentum: Share of the last step that is kept.
        nesterov: Look ahead (Sutskever et al. 2013); needs momentum.
    """
    return torch.optim.SGD(
        groups, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov and momentum > 0
    )


def adam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
) -> Optimizer:
    """Adam (Kingma & Ba 2015), torch.optim.Adam.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty, added to the gradient.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
    """
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps)


def adamw(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.05,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019), torch.optim.AdamW.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Weight decay apart from the gradient.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
    """
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps)
