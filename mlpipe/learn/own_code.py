"""Functions of your own, from a folder of Python files, as losses, networks, views and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe import kinds
from mlpipe.data import user_code
from mlpipe.data.items import sets
from mlpipe.errors import ConfigError, MlpipeError, in_short, problem
from mlpipe.learn.losses.means import probabilities, weighted_mean


@dataclass(frozen=True)
class Code:
    """Where functions of the user's own come from.

    Attributes:
        modules: The folder of Python files; None: there is none.
        imports: Modules to import beside them.
        stand_ins: Packages whose imports give `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.
    """

    modules: str | None = None
    imports: Sequence[str] = ()
    stand_ins: Sequence[str] = ()
    trust: Sequence[str] = ()

    def functions(self, key: str) -> dict[str, Any]:
        """The functions and classes by name.

        Args:
            key: The configuration's section, for sentences.

        Raises:
            DataError: When the folder is not the user's own and not trusted, or a file cannot be imported.
        """
        folder = Path(self.modules) if self.modules else None
        if folder is not None:
            user_code.check_trusted(folder, self.trust, f"{key}.modules")
        user_code.check_imports(self.imports, folder, self.trust, f"{key}.imports")
        found = user_code.functions(folder, self.imports, self.stand_ins)
        built_in = set(sets.__all__)
        return {name: one for name, one in found.items() if name not in built_in or one is not getattr(sets, name)}

    def function(self, key: str, name: str) -> Any:
        """The function or class with a name.

        Args:
            key: The configuration's section, for sentences.
            name: Its name.

        Raises:
            DataError: Also when there is none.
        """
        return user_code.chosen(name, self.functions(key), key)


def called(key: str, name: str, function: Callable[..., Any], /, *given: Any, **named: Any) -> Any:
    """What a user's function returns.

    Args:
        key: The configuration's section, for sentences.
        name: The function's name.
        function: The function.
        given: Its arguments.
        named: Its arguments by name.

    Raises:
        ConfigError: When it fails, with its own error in a few words.
    """
    try:
        return function(*given, **named)
    except MlpipeError:
        raise
    except Exception as error:
        raise ConfigError(problem(key, f"{name} fails ({in_short(error)})", fix="mend it")) from error


def taken(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments out of some that a function has parameters for."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(given)
    names = {parameter.name for parameter in parameters}
    return {key: value for key, value in given.items() if key in names}


class Loss(nn.Module):
    """A loss of the user's own as one of outputs.

    Args:
        name: Its name, for sentences.
        function: Called with targets and probabilities (numbers for regression), both of shape (n, outputs); gives one
            number, or one for each image.
        kind: What is predicted.
        outputs: How many outputs there are; it is tried once with random ones.

    Raises:
        ConfigError: When it fails, or gives nothing that can be learned from.
    """

    def __init__(self, name: str, function: Callable[..., Any], kind: str, outputs: int) -> None:
        super().__init__()
        self._name, self._function, self._kind = name, function, kind
        draw = torch.Generator().manual_seed(0)
        tried = torch.randn(4, outputs, generator=draw).requires_grad_()
        target = torch.eye(outputs)[torch.arange(4) % outputs]
        if not self(tried, target).requires_grad:
            fix = "compute it from y_pred with functions of torch"
            raise ConfigError(problem("loss", f"{name} gives nothing to learn from", fix=fix))

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over images, each with its weight; images with an unknown target are left out.

        Raises:
            ConfigError: When the function fails, gives no tensor, or one number where images have weights.
        """
        is_number = target.ndim == 1 and kinds.of(self._kind).has_classes
        wanted = F.one_hot(target, outputs.shape[1]) if is_number else target
        wanted = wanted.to(outputs.dtype)
        known = ~wanted.isnan().any(1)
        if not known.any():
            return outputs.sum() * 0
        values = called("loss", self._name, self._function, wanted[known], probabilities(outputs[known], self._kind))
        if not isinstance(values, Tensor) or (values.ndim and len(values) != int(known.sum())):
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            fix = "return one number, or one for each image, as a tensor"
            raise ConfigError(problem("loss", f"{self._name} gives no loss", got=got, fix=fix))
        if weight is None:
            return values.mean()
        if not values.ndim:
            fix = "return one number for each image"
            raise ConfigError(problem("loss", f"{self._name} cannot weigh images, the task does", fix=fix))
        share = weight[known].to(values.dtype)
        return weighted_mean((values.reshape(len(values), -1).mean(1) * share).sum(), share.sum())
