"""Keras's optimizers with Keras's parameters, defaults and formulas, for recipes that were tuned there.

torch's optimizers of the same names differ in details: where epsilon is added, whether momentum keeps the learning rate of
the step it came from, the initial value of Adagrad's sums. `clipnorm` bounds each gradient, `global_clipnorm` all together.

Source: the documentation of `keras.optimizers` and the papers cited there; the tests compare every step with Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.optimizers.parameter_groups import Groups

State = dict[str, Any]
# (parameter, gradient, learning rate, state of the parameter, number of the step from 1); changes the parameter in place.
Update = Callable[[Tensor, Tensor, float, State, int], None]


@dataclass(frozen=True)
class Bounds:
    """Bounds on gradients before a step: first on values, then on the norm of each or of all, as in TensorFlow's Keras.

    Attributes:
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value.
        global_clipnorm: The largest norm of all gradients together.
    """

    clipnorm: float | None
    clipvalue: float | None
    global_clipnorm: float | None

    def __post_init__(self) -> None:
        if self.clipnorm is not None and self.global_clipnorm is not None:
            wrong = "bounds the norm of each gradient and that of all"
            bounds = {"clipnorm": self.clipnorm, "global_clipnorm": self.global_clipnorm}
            raise ConfigError(problem("optimizer.clipnorm", wrong, got=bounds, fix="keep one"))

    def apply(self, gradients: list[Tensor]) -> None:
        """Bound gradients in place."""
        if self.clipvalue is not None:
            for gradient in gradients:
                gradient.clamp_(-self.clipvalue, self.clipvalue)
        for several in [[tensor] for tensor in gradients] if self.clipnorm is not None else [gradients]:
            most = self.clipnorm if self.clipnorm is not None else self.global_clipnorm
            if most is not None and several:
                norm = torch.nn.utils.get_total_norm(several)
                for gradient in several:
                    gradient.mul_((most / norm.clamp(min=1e-38)).clamp(max=1.0))


class KerasOptimizer(Optimizer):
    """A Keras optimizer.

    Args:
        groups: Parameter groups; their weight decay is not used, because Keras's optimizers of this form have none.
        lr: Learning rate.
        update: Makes the step of one parameter.
        bounds: The bounds on gradients.
    """

    def __init__(self, groups: Groups, lr: float, update: Update, bounds: Bounds) -> None:
        self._update, self._bounds = update, bounds
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Make one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pairs = [
            (tensor, group["lr"])
            for group in self.param_groups
            for tensor in group["params"]
            if tensor.grad is not None
        ]
        self._bounds.apply([tensor.grad for tensor, _ in pairs])
        for parameter, lr in pairs:
            state = self.state[parameter]
            state["step"] = int(state.get("step", 0)) + 1
            self._update(parameter, parameter.grad, float(lr), state, state["step"])
        return loss


def sgd(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.01,
    momentum: Annotated[float, ">= 0", "<= 1"] = 0.0,
    nesterov: bool = False,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Stochastic gradient descent; the momentum accumulates steps, each with the learning rate it was made with.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        momentum: Share of the last step that is kept.
        nesterov: Look ahead (Sutskever et al. 2013).
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        if momentum == 0:
            parameter.sub_(gradient, alpha=rate)
            return
        moving = _start(state, "momentum", parameter)
        moving.mul_(momentum).sub_(gradient, alpha=rate)
        parameter.add_(moving.mul(momentum).sub_(gradient, alpha=rate) if nesterov else moving)

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def rmsprop(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    rho: Annotated[float, ">= 0", "< 1"] = 0.9,
    momentum: Annotated[float, ">= 0", "<= 1"] = 0.0,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    centered: bool = False,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012), epsilon inside the root.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        rho: Decay of the running square of the gradient.
        momentum: Share of the last step that is kept.
        epsilon: Added to the running square.
        centered: Divide by the running variance instead of the running square.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        square = _start(state, "square", parameter)
        square.mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
        below = square
        if centered:
            mean = _start(state, "mean", parameter)
            mean.mul_(rho).add_(gradient, alpha=1 - rho)
            below = square - mean**2
        change = gradient * rate / (below + epsilon).sqrt()
        if momentum > 0:
            change = _start(state, "momentum", parameter).mul_(momentum).add_(change)
        parameter.sub_(change)

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def adagrad(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    initial_accumulator_value: Annotated[float, ">= 0"] = 0.1,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Adagrad (Duchi, Hazan & Singer 2011).

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        initial_accumulator_value: The initial value of the sums of squares.
        epsilon: Added to the sums of squares.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        total = _start(state, "sum", parameter, initial_accumulator_value)
        total.addcmul_(gradient, gradient)
        parameter.sub_(gradient * rate / (total + epsilon).sqrt())

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def adadelta(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    rho: Annotated[float, ">= 0", "< 1"] = 0.95,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Adadelta (Zeiler 2012); the learning rate is 1 in the paper, 0.001 by default in Keras.

    Args:
        groups: Parameter groups.
        lr: A factor of the step size chosen by the method.
        rho: Decay of the running squares.
        epsilon: Added to the running squares.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        squares, changes = _start(state, "squares", parameter), _start(state, "changes", parameter)
        squares.mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
        change = (changes + epsilon).sqrt() * gradient / (squares + epsilon).sqrt()
        changes.mul_(rho).addcmul_(change, change, value=1 - rho)
        parameter.sub_(change, alpha=rate)

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def adam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    beta_1: Annotated[float, ">= 0", "< 1"] = 0.9,
    beta_2: Annotated[float, ">= 0", "< 1"] = 0.999,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    amsgrad: bool = False,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Adam (Kingma & Ba 2015) with the paper's "epsilon hat", added before the bias correction of the running square.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        beta_1: Decay of the running mean of the gradient.
        beta_2: Decay of its running square.
        epsilon: Added to the root of the running square.
        amsgrad: Use the largest running square so far (Reddi et al. 2018).
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """
    update = partial(_adam_step, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad)
    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def _adam_step(
    parameter: Tensor,
    gradient: Tensor,
    rate: float,
    state: State,
    step: int,
    *,
    beta_1: float,
    beta_2: float,
    epsilon: float,
    amsgrad: bool,
) -> None:
    mean, square = _start(state, "mean", parameter), _start(state, "square", parameter)
    mean.lerp_(gradient, 1 - beta_1)
    square.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
    below = square
    if amsgrad:
        below = _start(state, "largest", parameter)
        torch.maximum(below, square, out=below)
    corrected = rate * (1 - beta_2**step) ** 0.5 / (1 - beta_1**step)
    parameter.addcdiv_(mean, below.sqrt().add_(epsilon), value=-corrected)


def adamw(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    weight_decay: Annotated[float, ">= 0"] = 0.004,
    beta_1: Annotated[float, ">= 0", "< 1"] = 0.9,
    beta_2: Annotated[float, ">= 0", "< 1"] = 0.999,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    amsgrad: bool = False,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """`adam` with decoupled weight decay of all parameters, biases too, before each step (Loshchilov & Hutter 2019).

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Share of each parameter that is subtracted, times the learning rate.
        beta_1: Decay of the running mean of the gradient.
        beta_2: Decay of its running square.
        epsilon: Added to the root of the running square.
        amsgrad: Use the largest running square so far (Reddi et al. 2018).
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """
    step_of_adam = partial(_adam_step, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, amsgrad=amsgrad)

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        parameter.mul_(1 - rate * weight_decay)
        step_of_adam(parameter, gradient, rate, state, step)

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def lion(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    beta_1: Annotated[float, "> 0", "<= 1"] = 0.9,
    beta_2: Annotated[float, ">= 0", "< 1"] = 0.99,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Lion (Chen et al. 2023): steps of constant size along the sign of the running gradient.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Share of each parameter that is subtracted before each step, times the learning rate.
        beta_1: The share of the running gradient in the direction of a step.
        beta_2: Decay of the running gradient.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        parameter.mul_(1 - rate * weight_decay)
        mean = _start(state, "mean", parameter)
        parameter.sub_((mean * beta_1 + gradient * (1 - beta_1)).sign_(), alpha=rate)
        mean.lerp_(gradient, 1 - beta_2)

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def adafactor(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    weight_decay: Annotated[float, ">= 0"] = 0.0,
    beta_2_decay: Annotated[float, "<= 0"] = -0.8,
    epsilon_1: Annotated[float, "> 0"] = 1e-30,
    epsilon_2: Annotated[float, "> 0"] = 1e-3,
    clip_threshold: Annotated[float, "> 0"] = 1.0,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018): the running square as a product of one number per row and one per column.

    Keras factors its last two axes, inputs and outputs; here these are the first two. A step is at most the root of
    1 / step, relative to the size of the parameter. (Keras's `relative_step` therefore changes nothing.)

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        weight_decay: Share of each parameter that is subtracted before each step, times the learning rate.
        beta_2_decay: The decay of the running square at step t is 1 - t to this power.
        epsilon_1: Added to the square of the gradient.
        epsilon_2: The smallest size of a parameter.
        clip_threshold: The largest root mean square of a step before it is scaled.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        parameter.mul_(1 - rate * weight_decay)
        square, share = gradient.square().add_(epsilon_1), step**beta_2_decay
        if parameter.dim() < 2:
            mean = _start(state, "square", parameter).lerp_(square, share)
        else:
            rows = _start(state, "rows", parameter.mean(1)).lerp_(square.mean(1), share)
            columns = _start(state, "columns", parameter.mean(0)).lerp_(square.mean(0), share)
            mean = (rows / rows.mean(0)).unsqueeze(1) * columns.unsqueeze(0)
        change = gradient / mean.sqrt()
        change /= (_root_mean_square(change) / clip_threshold).clamp(min=1.0)
        size = _root_mean_square(parameter).clamp(min=epsilon_2)
        parameter.sub_(change * size * min(rate, step**-0.5))

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()


def adamax(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    beta_1: Annotated[float, ">= 0", "< 1"] = 0.9,
    beta_2: Annotated[float, ">= 0", "< 1"] = 0.999,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Adamax (Kingma & Ba 2015, section 7).

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        beta_1: Decay of the running mean of the gradient.
        beta_2: Decay of the running maximum of the gradient.
        epsilon: Added to the running maximum.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        mean, largest = _start(state, "mean", parameter), _start(state, "largest", parameter)
        mean.lerp_(gradient, 1 - beta_1)
        torch.maximum(largest.mul_(beta_2), gradient.abs(), out=largest)
        parameter.addcdiv_(mean, largest + epsilon, value=-rate / (1 - beta_1**step))

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def nadam(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    beta_1: Annotated[float, ">= 0", "< 1"] = 0.9,
    beta_2: Annotated[float, ">= 0", "< 1"] = 0.999,
    epsilon: Annotated[float, "> 0"] = 1e-7,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Adam with Nesterov momentum (Dozat 2016).

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        beta_1: Decay of the running mean of the gradient; increases to this value over the first steps.
        beta_2: Decay of its running square.
        epsilon: Added to the root of the running square.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        mean, square = _start(state, "mean", parameter), _start(state, "square", parameter)
        now, following = (beta_1 * (1 - 0.5 * 0.96**at) for at in (step, step + 1))
        state["product"] = float(state.get("product", 1.0)) * now
        mean.lerp_(gradient, 1 - beta_1)
        square.mul_(beta_2).addcmul_(gradient, gradient, value=1 - beta_2)
        ahead = mean * (following / (1 - state["product"] * following))
        ahead.add_(gradient, alpha=(1 - now) / (1 - state["product"]))
        parameter.addcdiv_(ahead, (square / (1 - beta_2**step)).sqrt_().add_(epsilon), value=-rate)

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def ftrl(
    groups: Groups,
    *,
    lr: Annotated[float, "> 0"] = 0.001,
    learning_rate_power: Annotated[float, "<= 0"] = -0.5,
    initial_accumulator_value: Annotated[float, ">= 0"] = 0.1,
    l1_regularization_strength: Annotated[float, ">= 0"] = 0.0,
    l2_regularization_strength: Annotated[float, ">= 0"] = 0.0,
    l2_shrinkage_regularization_strength: Annotated[float, ">= 0"] = 0.0,
    beta: Annotated[float, ">= 0"] = 0.0,
    clipnorm: Annotated[float, "> 0"] | None = None,
    clipvalue: Annotated[float, "> 0"] | None = None,
    global_clipnorm: Annotated[float, "> 0"] | None = None,
) -> Optimizer:
    """Follow the regularised leader (McMahan et al. 2013), for wide and sparse models.

    Args:
        groups: Parameter groups.
        lr: Learning rate.
        learning_rate_power: The power with which the rate falls with the sum of squares; 0: constant.
        initial_accumulator_value: The initial value of the sums of squares.
        l1_regularization_strength: Penalty on the absolute value.
        l2_regularization_strength: Penalty on the square, added to the sum that is minimised.
        l2_shrinkage_regularization_strength: Penalty on the square, added to the loss.
        beta: Beta of the paper.
        clipnorm: The largest norm of each gradient.
        clipvalue: The largest absolute value of a gradient.
        global_clipnorm: The largest norm of all gradients together.
    """

    def update(parameter: Tensor, gradient: Tensor, rate: float, state: State, step: int) -> None:
        total, linear = _start(state, "sum", parameter, initial_accumulator_value), _start(state, "linear", parameter)
        l2 = l2_regularization_strength + beta / (2 * rate)
        before = total.pow(-learning_rate_power)
        total.addcmul_(gradient, gradient)
        after = total.pow(-learning_rate_power)
        shrinking = gradient + 2 * l2_shrinkage_regularization_strength * parameter
        linear.add_(shrinking - (after - before) / rate * parameter)
        remainder = linear.clamp(-l1_regularization_strength, l1_regularization_strength) - linear
        parameter.copy_(remainder / (after / rate + 2 * l2))

    return KerasOptimizer(groups, lr, update, Bounds(clipnorm, clipvalue, global_clipnorm))


def _start(state: State, name: str, parameter: Tensor, value: float = 0.0) -> Tensor:
    """Return the state tensor of a name, created with `value` everywhere."""
    if name not in state:
        state[name] = torch.full_like(parameter, value, memory_format=torch.preserve_format)
    remembered: Tensor = state[name]
    return remembered
