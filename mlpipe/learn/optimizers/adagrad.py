"""Optimizers that divide by past gradients: Adagrad, Adadelta, RMSprop."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.optim import Optimizer

from mlpipe.learn.optimizers.parameter_groups import Groups, decaying


def adagrad(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    lr_decay: Annotated[float, ">= 0"] = 0.0,
    eps: Annotated[float, "> 0"] = 1e-10,
    decay_all: bool = False,
) -> Optimizer:
    """Adagrad (Duchi, Hazan & Singer 2011), torch.optim.Adagrad.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        lr_decay: The rate is divided by 1 + step * lr_decay.
        eps: Added to the denominator.
        decay_all: Apply weight decay to norms, biases and embeddings, too.
    """
    groups = decaying(groups, decay_all)
    return torch.optim.Adagrad(groups, lr=lr, weight_decay=weight_decay, lr_decay=lr_decay, eps=eps)


def adadelta(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 1.0,
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    rho: Annotated[float, ">= 0", "< 1"] = 0.9,
    eps: Annotated[float, "> 0"] = 1e-6,
) -> Optimizer:
    """Adadelta (Zeiler 2012), torch.optim.Adadelta.

    Args:
        groups: Parameter groups.
        lr: A factor of the step size chosen by the method; 1 in the paper.
        weight_decay: L2 penalty.
        rho: Decay of the running squares.
        eps: Added to the running squares.
    """
    return torch.optim.Adadelta(groups, lr=lr, weight_decay=weight_decay, rho=rho, eps=eps)


def rmsprop(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    alpha: Annotated[float, ">= 0", "< 1"] = 0.99,
    momentum: Annotated[float, ">= 0", "< 1"] = 0.0,
    centered: bool = False,
    eps: Annotated[float, "> 0"] = 1e-8,
    decay_all: bool = False,
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012), torch.optim.RMSprop.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        alpha: Decay of the running square of the gradient.
        momentum: Share of the last step that is kept.
        centered: Divide by the running variance instead of the running square.
        eps: Added to the denominator.
        decay_all: Apply weight decay to norms, biases and embeddings, too.
    """
    return torch.optim.RMSprop(
        decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        alpha=alpha,
        momentum=momentum,
        centered=centered,
        eps=eps,
    )
