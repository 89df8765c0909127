"""Losses, metrics, optimizers and schedules of your own, named as MODULE.NAME: classes of a file in the folder you work in.

Each is made once with its parameters. What an instance is called with is said at each function; a method `call` is taken in
place of the instance where it has one, as Keras's classes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mlpipe.data import imports
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.means import probabilities
from mlpipe.learn.lr_schedulers.clock import Clock
from mlpipe.learn.own_code import called


def instance(key: str, path: str, params: Mapping[str, Any] | None, trust: Sequence[str] | None, *given: Any) -> Any:
    """What a class of the user's own makes with its parameters.

    Args:
        key: The configuration's key, for sentences.
        path: MODULE.NAME.
        params: Its parameters.
        trust: Modules outside the current folder whose code may run.
        given: What it is given before them.

    Raises:
        ConfigError: When it is no class, or fails.
        DataError: When it is not the user's own code, or not there.
    """
    found = imports.resolve(key, path, {}, trust or ())
    if not isinstance(found, type):
        got = type(found).__name__
        raise ConfigError(problem(key, f"{path} is no class", got=got, fix="name a class, whose instances are used"))
    return called(key, path, found, *given, **(params or {}))


class OwnLoss(nn.Module):
    """A loss of the user's own, weighed as Keras weighs: the weighted sum over a batch by the number of its samples.

    Attributes:
        kind: What is predicted.

    Args:
        path: MODULE.NAME of a class whose instances are called with targets (one-hot for classes) and probabilities
            (numbers for regression), tensors of shape (n, outputs), and give one number, or one or more for each sample.
        params: The class's parameters.
        kind: What is predicted.
        outputs: How many outputs there are; it is tried once with random ones.
        trust: Modules outside the current folder whose code may run.
        scale: What the loss is multiplied by.

    Raises:
        ConfigError: When it fails, or gives nothing that can be learned from.
        DataError: When it is not the user's own code.
    """

    def __init__(
        self,
        path: str,
        params: Mapping[str, Any] | None,
        kind: str,
        outputs: int,
        trust: Sequence[str] | None,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        made = instance("loss", path, params, trust)
        self.kind, self._path, self._scale = kind, path, scale
        self._function: Callable[..., Any] = getattr(made, "call", made)
        if not callable(self._function):
            fix = "give its class a method call(y_true, y_pred)"
            raise ConfigError(problem("loss", f"{path} cannot be called", got=type(made).__name__, fix=fix))
        tried = torch.randn(4, outputs, generator=torch.Generator().manual_seed(0)).requires_grad_()
        if not self(tried, torch.eye(outputs)[torch.arange(4) % outputs]).requires_grad:
            fix = "compute it from y_pred with functions of torch"
            raise ConfigError(problem("loss", f"{path} gives nothing to learn from", fix=fix))

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over samples of weight times loss, times the scale; samples with an unknown target are left out.

        Args:
            outputs: Logits or numbers, shape (n, outputs).
            target: Class numbers (n,), or shape (n, outputs); NaN: unknown.
            weight: Shape (n,).

        Raises:
            ConfigError: When the user's code fails, or gives one number where samples have weights.
        """
        wanted = F.one_hot(target, outputs.shape[1]) if target.ndim == 1 else target
        wanted, unknown = wanted.to(outputs.dtype), wanted.isnan().any(1)
        if unknown.any():
            if unknown.all():
                return outputs.sum() * 0
            outputs, wanted = outputs[~unknown], wanted[~unknown]
            weight = None if weight is None else weight[~unknown]
        values = called("loss", self._path, self._function, wanted, probabilities(outputs, self.kind))
        if not isinstance(values, Tensor) or (values.ndim and len(values) != len(outputs)):
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            fix = "return a tensor with one number, or one for each sample"
            raise ConfigError(problem("loss", f"{self._path} gives no loss", got=got, fix=fix))
        if weight is None:
            return self._scale * values.mean()
        if not values.ndim:
            fix = "return one number for each sample"
            raise ConfigError(problem("loss", f"{self._path} cannot weigh samples, which have weights", fix=fix))
        return self._scale * (values.reshape(len(values), -1).mean(1) * weight.to(values.dtype)).mean()


def names(blocks: Iterable[Any] | None) -> list[str]:
    """The names of metrics: those that are names, and those that blocks `{import, params, name}` have.

    Args:
        blocks: The metrics.
    """
    return [str(one["name"]) if isinstance(one, Mapping) else str(one) for one in blocks or ()]


def measure(key: str, block: Any, kind: str, trust: Sequence[str] | None) -> Callable[[Any, Any], float]:
    """A metric of the user's own, of logits and targets as mlpipe's are.

    The class's instances are called as a loss's are; or they have `update_state(y_true, y_pred)` and `result()`, and a new
    one is made for each measurement.

    Args:
        key: The configuration's key, for sentences.
        block: `{import: MODULE.NAME, params: {...}, name: NAME}`.
        kind: What is predicted.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it is no such block, or the class fails.
        DataError: When it is not the user's own code.
    """
    known = {"import", "params", "name"}
    if not isinstance(block, Mapping) or not {"import", "name"} <= set(block) <= known or not block["name"]:
        fix = "write {import: MODULE.NAME, params: {...}, name: NAME}"
        raise ConfigError(problem(key, "is no metric of your own", got=block, fix=fix))
    make = partial(instance, key, str(block["import"]), block.get("params"), trust)
    make()
    return partial(_measured, key, str(block["import"]), make, kind)


def _measured(key: str, path: str, make: Callable[[], Any], kind: str, logits: Any, targets: Any) -> float:
    wanted = np.eye(logits.shape[1], dtype=np.float32)[targets] if targets.ndim == 1 else targets.astype(np.float32)
    true, said = torch.from_numpy(wanted), probabilities(torch.from_numpy(np.asarray(logits, np.float32)), kind)
    made = make()
    with torch.no_grad():
        if hasattr(made, "update_state"):
            called(key, path, made.update_state, true, said)
            values = called(key, path, made.result)
        else:
            values = called(key, path, getattr(made, "call", made), true, said)
    try:
        found = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if not found.size:
        fix = "return one number, or one for each sample"
        raise ConfigError(problem(key, f"{path} gives no number", got=type(values).__name__, fix=fix))
    return float(found.mean())


def optimizer(
    groups: Any,
    *,
    name: str,
    lr: Annotated[float, "> 0"] = 0.001,
    params: dict[str, Any] | None = None,
    trust: list[str] | None = None,
) -> Optimizer:
    """An optimizer of your own: a class derived from torch.optim.Optimizer, called with parameters and `lr`.

    Args:
        groups: Parameter groups.
        name: MODULE.NAME of the class.
        lr: Learning rate.
        params: Its further parameters.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it is no such class, or fails.
        DataError: When it is not the user's own code.
    """
    made = instance("optimizer", name, {"lr": lr, **(params or {})}, trust, groups)
    if not isinstance(made, Optimizer):
        fix = "derive it from torch.optim.Optimizer"
        raise ConfigError(problem("optimizer", f"{name} is no optimizer", got=type(made).__name__, fix=fix))
    return made


def schedule(
    optimizer: Optimizer,
    clock: Clock,
    *,
    name: str,
    interval: Literal["step", "epoch"] = "step",
    params: dict[str, Any] | None = None,
    trust: list[str] | None = None,
) -> LRScheduler:
    """A schedule of your own: a class whose instances give the rate for a step, counted from 0, as a number.

    Args:
        optimizer: The optimizer; its own rate, which is optimizer.lr, multiplies what the schedule gives: use 1.
        clock: How long the training is.
        name: MODULE.NAME of the class.
        interval: Whether it counts steps or epochs.
        params: The class's parameters.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it fails, or gives no rate.
        DataError: When it is not the user's own code.
    """
    made = instance("lr_scheduler", name, params, trust)
    rate = getattr(made, "call", made)

    def at(step: int) -> float:
        value = called("lr_scheduler", name, lambda: float(rate(step)))
        if not np.isfinite(value) or value < 0:
            wrong = f"{name} gives no rate for step {step}"
            raise ConfigError(problem("lr_scheduler", wrong, got=value, fix="let it give a number >= 0"))
        return float(value)

    return LambdaLR(optimizer, at)
