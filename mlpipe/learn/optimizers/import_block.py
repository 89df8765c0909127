"""Your own optimizer, given as MODULE.NAME."""

from __future__ import annotations

from typing import Annotated, Any

from torch.optim import Optimizer

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.own_parts.own_classes import instance


def optimizer(
    groups: Any,
    *,
    name: str,
    lr: Annotated[float, "> 0"] = 0.001,
    params: dict[str, Any] | None = None,
    trust: list[str] | None = None,
) -> Optimizer:
    """Your own optimizer: a class derived from torch.optim.Optimizer, called with parameters and `lr`.

    Args:
        groups: Parameter groups.
        name: MODULE.NAME of the class.
        lr: Learning rate.
        params: Further parameters of the class.
        trust: Modules outside the current folder whose code may run.

    Raises:
        ConfigError: When it is not an optimizer, or fails.
        DataError: When the code is not the user's own and not trusted.
    """
    own_optimizer = instance("optimizer", name, {"lr": lr, **(params or {})}, trust, groups)
    if not isinstance(own_optimizer, Optimizer):
        fix = "derive it from torch.optim.Optimizer"
        raise ConfigError(problem("optimizer", f"{name} is no optimizer", got=type(own_optimizer).__name__, fix=fix))
    return own_optimizer
