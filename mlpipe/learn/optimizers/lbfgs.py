"""Second-order learning on all training images at once: limited-memory BFGS with four limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch.optim import Optimizer

from mlpipe.learn.optimizers.parameter_groups import Groups


def lbfgs(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 1.0,
    max_iter: Annotated[int, ">= 1"] = 2000,
    max_eval: Annotated[int, ">= 1"] = 4000,
    tolerance: Annotated[float, ">= 0"] = 1e-8,
    relative_tolerance: Annotated[float, ">= 0"] = 1e-8,
) -> Optimizer:
    """Limited-memory BFGS with a strong Wolfe line search (Nocedal & Wright 2006), torch.optim.LBFGS.

    One step of it goes on until a limit is reached, so that it wants the whole training set as one batch
    (sampling.batch_size), and images and network without anything random.

    Args:
        groups: Parameter groups; their differences in weight decay do not matter.
        lr: The first length that the line search tries.
        max_iter: The most iterations of a step.
        max_eval: The most evaluations of the loss in a step.
        tolerance: The norm of the gradient at which it ends.
        relative_tolerance: The same as a share of the loss.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    return Lbfgs(parameters, lr, max_iter, max_eval, tolerance, relative_tolerance)


class Lbfgs(torch.optim.LBFGS):
    """torch's LBFGS, which ends by the norm of the gradient, also as a share of the loss.

    Args:
        parameters: What learns.
        lr: The first length that the line search tries.
        iterations: The most iterations of a step.
        evaluations: The most evaluations in a step.
        tolerance: The norm of the gradient at which it ends.
        relative_tolerance: The same as a share of the loss.
    """

    def __init__(
        self,
        parameters: list[torch.Tensor],
        lr: float,
        iterations: int,
        evaluations: int,
        tolerance: float,
        relative_tolerance: float,
    ) -> None:
        super().__init__(
            parameters,
            lr=lr,
            max_iter=1,
            max_eval=evaluations,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        self._limits = (iterations, evaluations, tolerance, relative_tolerance)

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Go on until one of the limits is reached.

        Args:
            closure: Computes the loss and its gradients anew.
        """
        iterations, evaluations, tolerance, relative = self._limits
        history: list[tuple[float, float]] = []

        def counted() -> Any:
            loss = closure()
            gradients = [
                parameter.grad
                for group in self.param_groups
                for parameter in group["params"]
                if parameter.grad is not None
            ]
            history.append((float(torch.as_tensor(loss).detach()), float(torch.nn.utils.get_total_norm(gradients))))
            return loss

        first: Any = None
        before = math.inf
        for _ in range(iterations):
            start = len(history)
            loss = super().step(counted)  # type: ignore[no-untyped-call]
            first = loss if first is None else first
            # The first evaluation of an iteration is at the weights that the one before arrived at.
            value, norm = history[start]
            is_flat = norm <= tolerance or norm <= relative * abs(value)
            if is_flat or value >= before or len(history) >= evaluations:
                break
            before = value
        return first
