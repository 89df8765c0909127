"""Adam and its variants: AdamW, Adamax, NAdam."""

from __future__ import annotations

from typing import Annotated

import torch
from torch.optim import Optimizer

from mlpipe.learn.optimizers.parameter_groups import Betas, Groups, decaying


def adam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: Betas = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
    amsgrad: bool = False,
    decay_all: bool = False,
) -> Optimizer:
    """Adam (Kingma & Ba 2015), torch.optim.Adam.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty, added to the gradient.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
        amsgrad: Divide by the largest running square so far (Reddi, Kale & Kumar 2018).
        decay_all: Apply weight decay to norms, biases and embeddings, too.
    """
    pair = (betas[0], betas[1])
    groups = decaying(groups, decay_all)
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, betas=pair, eps=eps, amsgrad=amsgrad)


def adamw(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.05,
    betas: Betas = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
    amsgrad: bool = False,
    decay_all: bool = False,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019), torch.optim.AdamW.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Decoupled weight decay.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
        amsgrad: Divide by the largest running square so far (Reddi, Kale & Kumar 2018).
        decay_all: Apply weight decay to norms, biases and embeddings, too.
    """
    pair = (betas[0], betas[1])
    groups = decaying(groups, decay_all)
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=pair, eps=eps, amsgrad=amsgrad)


def adamax(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: Betas = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
) -> Optimizer:
    """Adamax (Kingma & Ba 2015, section 7), torch.optim.Adamax.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        betas: Decay of the running mean and of the running maximum of the gradient.
        eps: Added to the denominator.
    """
    return torch.optim.Adamax(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps)


def nadam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: Betas = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
    momentum_decay: Annotated[float, ">= 0"] = 0.004,
) -> Optimizer:
    """Adam with Nesterov momentum (Dozat 2016), torch.optim.NAdam.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
        momentum_decay: Decay of the momentum schedule.
    """
    pair = (betas[0], betas[1])
    return torch.optim.NAdam(
        groups, lr=lr, weight_decay=weight_decay, betas=pair, eps=eps, momentum_decay=momentum_decay
    )
