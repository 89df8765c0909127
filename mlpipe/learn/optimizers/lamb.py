"""Optimizers for large batches whose steps are proportional to the weights of each layer: LAMB and LARS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from timm.optim.lamb import Lamb
from timm.optim.lars import Lars
from torch.optim import Optimizer

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.optimizers.parameter_groups import Betas, Groups, decaying, looks_ahead


def lamb(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"],
    weight_decay: Annotated[float, ">= 0"] = 0.01,
    betas: Betas = (0.9, 0.999),
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
        max_grad_norm: The largest norm of all gradients together; None: not bounded.
        always_adapt: Scale layers without weight decay too.
        amsgrad: Divide by the largest running square so far (Reddi, Kale & Kumar 2018).
        decay_all: Apply weight decay to norms, biases and embeddings, too.
    """
    if amsgrad and max_grad_norm is not None:
        fix = "add optimizer.max_grad_norm=null; optimizer.clip_norm bounds the gradients, too"
        raise ConfigError(problem("optimizer.amsgrad", "knows no bound of its own", fix=fix))
    return (AmsgradLamb if amsgrad else Lamb)(
        decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        betas=(betas[0], betas[1]),
        eps=eps,
        max_grad_norm=max_grad_norm,
        always_adapt=always_adapt,
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
    """LARS (You, Gitman & Ginsburg 2017), timm.optim.Lars: the step of each layer is proportional to its weights.

    Args:
        groups: Parameter groups.
        lr: Learning rate; larger than for SGD.
        weight_decay: L2 penalty.
        momentum: Share of the last step that is kept.
        nesterov: Look ahead; needs momentum.
        trust_coeff: Length of a step as a share of the layer's norm.
        always_adapt: Scale layers without weight decay too.
        dampening: Share of the gradient that does not enter the momentum; not with nesterov.
        decay_all: Apply weight decay to norms, biases and embeddings, too.

    Raises:
        ConfigError: When both nesterov and a dampening are set.
    """
    return Lars(
        decaying(groups, decay_all),
        lr=lr,
        weight_decay=weight_decay,
        momentum=momentum,
        dampening=dampening,
        nesterov=looks_ahead(nesterov, momentum, dampening),
        trust_coeff=trust_coeff,
        always_adapt=always_adapt,
    )


class AmsgradLamb(Lamb):
    """LAMB (You et al. 2020) with AMSGrad's denominator (Reddi, Kale & Kumar 2018), as in torch's Adam.

    It uses the options lr, betas, eps, weight_decay and always_adapt of timm's LAMB.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step.

        Args:
            closure: Recomputes the loss and its gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        gradient = parameter.grad
        if not state:
            state["step"] = 0
            state |= {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")}
        state["step"] += 1
        mean, square, largest = state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        torch.maximum(largest, square, out=largest)
        denominator = largest.div(1 - beta2 ** state["step"]).sqrt_().add_(group["eps"])
        update = mean.div(1 - beta1 ** state["step"]).div_(denominator)
        update.add_(parameter, alpha=group["weight_decay"])
        ratio = torch.ones((), device=parameter.device)
        if group["weight_decay"] != 0 or group["always_adapt"]:
            own, length = parameter.norm(), update.norm()
            ratio = torch.where((own > 0) & (length > 0), own / length, ratio)
        parameter.sub_(update * ratio * group["lr"])
