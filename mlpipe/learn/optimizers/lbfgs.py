"""Second-order optimization on all training images at once: limited-memory BFGS with four limits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from torch.optim import Optimizer

from mlpipe.errors import ConfigError, problem
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

    One step continues until a limit is reached. It therefore needs the whole training set as one batch
    (sampling.batch_size), and images and a network without randomness.

    Args:
        groups: Parameter groups; their differences in weight decay are not used.
        lr: The first step length tried by the line search.
        max_iter: Maximum number of iterations per step.
        max_eval: Maximum number of loss evaluations per step.
        tolerance: Norm of the gradient at which a step ends.
        relative_tolerance: The same norm as a share of the loss.

    Raises:
        ConfigError: When layers have different rates.
    """
    if any(group.get("lr_scale", 1.0) != 1 for group in groups):
        fix = "leave it out, or use another optimizer"
        raise ConfigError(problem("optimizer.layer_decay", "a line search has one rate for all layers", fix=fix))
    parameters = [parameter for group in groups for parameter in group["params"]]
    return Lbfgs(parameters, lr, max_iter, max_eval, tolerance, relative_tolerance)


class Lbfgs(torch.optim.LBFGS):
    """torch's LBFGS, stopped by the norm of the gradient, absolute or as a share of the loss.

    Args:
        parameters: The parameters to train.
        lr: The first step length tried by the line search.
        iterations: Maximum number of iterations per step.
        evaluations: Maximum number of loss evaluations per step.
        tolerance: Norm of the gradient at which a step ends.
        relative_tolerance: The same norm as a share of the loss.
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
        """Iterate until one of the limits is reached.

        Args:
            closure: Recomputes the loss and its gradients.
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
            # The first evaluation of an iteration is at the weights where the previous iteration ended.
            value, norm = history[start]
            is_flat = norm <= tolerance or norm <= relative * abs(value)
            if is_flat or value >= before or len(history) >= evaluations:
                break
            before = value
        return first
