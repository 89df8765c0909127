"""Optimizers by name. The program gives parameter groups; norms, biases, embeddings of tokens and positions do not decay.

`optimizer.clip_norm` and `optimizer.clip_value` of the configuration bound gradients before every step; the program sees
to them (`mlpipe.learn.module`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from timm.optim.lamb import Lamb
from timm.optim.lars import Lars
from timm.optim.lion import Lion
from torch import nn
from torch.optim import Optimizer

from mlpipe.arch import adapt
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.optimizers.lamb import AmsgradLamb
from mlpipe.learn.optimizers.weight_decay import undecayed

Groups = list[dict[str, Any]]


def parameter_groups(network: nn.Module, layer_decay: float | None = None) -> Groups:
    """The parameters that learn, in groups: matrices and kernels, then without weight decay what `undecayed` names.

    With a layer decay there are two groups for each layer, from the heads towards the pixels, with `lr_scale`, the share
    of the rate that the layer gets (Clark et al. 2020; Bao et al. 2022): 1 for the heads, and for every layer below
    `layer_decay` times that of the next one. `scale_rates` applies it.

    Args:
        network: The network; with a layer decay, one with a timm network as its backbone.
        layer_decay: Each layer's rate as a share of the next one's; None: one rate.

    Raises:
        ConfigError: When the network has no layers that timm knows.
    """
    if layer_decay is not None:
        return _layered_groups(network, layer_decay)
    exempt = undecayed(network)
    learning = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in learning if name not in exempt]
    plain = [parameter for name, parameter in learning if name in exempt]
    groups: Groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def scale_rates(optimizer: Optimizer) -> None:
    """Multiply each group's rate with its `lr_scale`, once, before a schedule is made."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop("lr_scale", 1.0)


def _decaying(groups: Groups, decay_all: bool) -> Groups:
    """The groups; where all is to decay, without the exceptions."""
    if not decay_all:
        return groups
    return [{key: value for key, value in group.items() if key != "weight_decay"} for group in groups]


def _layered_groups(network: nn.Module, layer_decay: float) -> Groups:
    layers = adapt.layers_of(network, coarse=False)
    if layers is None:
        wrong = "needs a timm network whose layers are known"
        raise ConfigError(problem("optimizer.layer_decay", wrong, fix="leave it out, or use another arch"))
    top, exempt = max(layers.values()), undecayed(network)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            depth, is_plain = top - layers[name], name in exempt
            start = {"params": [], "lr_scale": layer_decay**depth} | ({"weight_decay": 0.0} if is_plain else {})
            groups.setdefault((depth, is_plain), start)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


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
        dampening: Share of the gradient that does not go into the momentum; not with nesterov.
        decay_all: Let norms, biases and embeddings decay, too.
    """
    return torch.optim.SGD(
        _decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov and momentum > 0 and dampening == 0,
    )


def adam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
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
        decay_all: Let norms, biases and embeddings decay, too.
    """
    pair = (betas[0], betas[1])
    groups = _decaying(groups, decay_all)
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, betas=pair, eps=eps, amsgrad=amsgrad)


def adamw(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.05,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
    amsgrad: bool = False,
    decay_all: bool = False,
) -> Optimizer:
    """AdamW (Loshchilov & Hutter 2019), torch.optim.AdamW.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Weight decay apart from the gradient.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
        amsgrad: Divide by the largest running square so far (Reddi, Kale & Kumar 2018).
        decay_all: Let norms, biases and embeddings decay, too.
    """
    pair = (betas[0], betas[1])
    groups = _decaying(groups, decay_all)
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, betas=pair, eps=eps, amsgrad=amsgrad)


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
        decay_all: Let norms, biases and embeddings decay, too.
    """
    groups = _decaying(groups, decay_all)
    return torch.optim.Adagrad(groups, lr=lr, weight_decay=weight_decay, lr_decay=lr_decay, eps=eps)


def adamax(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-8,
) -> Optimizer:
    """Adamax (Kingma & Ba 2015, section 7), torch.optim.Adamax.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: L2 penalty.
        betas: Decay of the running mean and of the running largest gradient.
        eps: Added to the denominator.
    """
    return torch.optim.Adamax(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps)


def nadam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
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
        momentum_decay: Decay of the momentum's schedule.
    """
    pair = (betas[0], betas[1])
    return torch.optim.NAdam(
        groups, lr=lr, weight_decay=weight_decay, betas=pair, eps=eps, momentum_decay=momentum_decay
    )


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
        lr: A factor of the step that the method chooses; 1 is the paper's.
        weight_decay: L2 penalty.
        rho: Decay of the running squares.
        eps: Added to them.
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
        decay_all: Let norms, biases and embeddings decay, too.
    """
    return torch.optim.RMSprop(
        _decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        alpha=alpha,
        momentum=momentum,
        centered=centered,
        eps=eps,
    )


def lars(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 1e-4,
    momentum: Annotated[float, ">= 0", "< 1"] = 0.9,
    nesterov: bool = False,
    trust_coeff: Annotated[float, "> 0"] = 0.001,
    always_adapt: bool = True,
    dampening: Annotated[float, ">= 0", "<= 1"] = 0.0,
    decay_all: bool = False,
) -> Optimizer:
    """LARS (You, Gitman & Ginsburg 2017), timm.optim.Lars: the step of each layer in proportion to its weights.

    Args:
        groups: Parameter groups.
        lr: Learning rate; larger than for SGD.
        weight_decay: L2 penalty.
        momentum: Share of the last step that is kept.
        nesterov: Look ahead; needs momentum.
        trust_coeff: Length of a step as a share of the layer's norm.
        always_adapt: Scale layers without weight decay too.
        dampening: Share of the gradient that does not go into the momentum.
        decay_all: Let norms, biases and embeddings decay, too.
    """
    return Lars(
        _decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        dampening=dampening,
        nesterov=nesterov and momentum > 0,
        trust_coeff=trust_coeff,
        always_adapt=always_adapt,
    )


def lamb(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: Annotated[float, "> 0"] = 1e-6,
    max_grad_norm: Annotated[float, "> 0"] | None = 1.0,
    always_adapt: bool = False,
    amsgrad: bool = False,
    decay_all: bool = False,
) -> Optimizer:
    """LAMB (You et al. 2020), timm.optim.Lamb: Adam with LARS' scaling of layers, for large batches.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Weight decay, added to the step before it is scaled.
        betas: Decay of the running mean and of the running square of the gradient.
        eps: Added to the denominator.
        max_grad_norm: The largest norm of all gradients together; None: no bound.
        always_adapt: Scale layers without weight decay too.
        amsgrad: Divide by the largest running square so far (Reddi, Kale & Kumar 2018).
        decay_all: Let norms, biases and embeddings decay, too.
    """
    if amsgrad and max_grad_norm is not None:
        fix = "add optimizer.max_grad_norm=null; optimizer.clip_norm bounds the gradients, too"
        raise ConfigError(problem("optimizer.amsgrad", "knows no bound of its own", fix=fix))
    return (AmsgradLamb if amsgrad else Lamb)(
        _decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        betas=(betas[0], betas[1]),
        eps=eps,
        max_grad_norm=max_grad_norm,
        always_adapt=always_adapt,
    )


def lion(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    betas: tuple[float, float] = (0.9, 0.99),
) -> Optimizer:
    """Lion (Chen et al. 2023), timm.optim.Lion: steps of the sign of the momentum.

    Args:
        groups: Parameter groups.
        lr: Learning rate; a third to a tenth of AdamW's.
        weight_decay: Weight decay apart from the gradient; three to ten times AdamW's.
        betas: Decay for the step and for the momentum.
    """
    return Lion(groups, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]))


@dataclass(frozen=True)
class NoSteps:
    """Nothing is stepped."""


def none(groups: Groups) -> NoSteps:
    """No training: the network stays as it starts, and the recipe's epochs and schedule are not used.

    Args:
        groups: Parameter groups (not used).
    """
    return NoSteps()


@dataclass(frozen=True)
class LinearHead:
    """How a head is fitted.

    Attributes:
        strengths: How many strengths of the penalty are tried, from 10^-4 to 10 in even steps of the logarithm.
        inner_folds: Folds of the training images that choose among them.
        max_iter: The most iterations of one fit.
    """

    strengths: int
    inner_folds: int
    max_iter: int


def linear(
    groups: Groups,
    *,
    strengths: Annotated[int, ">= 1"] = 8,
    inner_folds: Annotated[int, ">= 2"] = 5,
    max_iter: Annotated[int, ">= 1"] = 300,
) -> LinearHead:
    """Fit the head exactly in place of an optimizer's steps; the recipe's epochs and schedule are not used.

    Args:
        groups: Parameter groups (not used: the features and targets decide).
        strengths: How many strengths of the penalty are tried.
        inner_folds: Folds of the training images that choose among them.
        max_iter: The most iterations of one fit.
    """
    return LinearHead(strengths, inner_folds, max_iter)
