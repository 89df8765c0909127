"""LAMB with the maximum of all past squares in its denominator, AMSGrad's, which timm's LAMB does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.optim.lamb import Lamb


class AmsgradLamb(Lamb):
    """LAMB (You et al. 2020) with AMSGrad's denominator (Reddi, Kale & Kumar 2018), as torch's Adam has it.

    The keys that are used are lr, betas, eps, weight_decay and always_adapt of timm's LAMB.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step.

        Args:
            closure: Computes the loss and its gradients anew.
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
