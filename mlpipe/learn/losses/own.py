"""Your own functions as losses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.errors import ConfigError, problem
from mlpipe.learn.losses.composite import summed
from mlpipe.learn.losses.labels import Labels, facts
from mlpipe.learn.losses.means import mean_of_rows, probabilities
from mlpipe.learn.own_parts.own_code import Code, called


def own(
    labels: Labels,
    *,
    expression: Annotated[str, "a sum of functions"],
    modules: str | None = None,
    imports: list[str] | None = None,
    stand_ins: list[str] | None = None,
    trust: list[str] | None = None,
) -> nn.Module:
    """A weighted sum of losses and your own functions, `f(y_true, y_pred)`.

    Both arguments have shape (n, outputs): targets (one-hot for classes) and probabilities (numbers for regression). The
    function returns one number, or one for each image.

    Args:
        labels: Facts about the training images.
        expression: As for `composite`; your own function takes precedence over a loss of the same name.
        modules: Folder of Python files with the functions.
        imports: Modules to import in addition.
        stand_ins: Packages whose imports are replaced by `mlpipe.data.items`.
        trust: Folders outside the current one, and modules, whose code may run.

    Raises:
        ConfigError: As for `composite`, and when a function fails or does not return a loss.
        DataError: When the code is not trusted or cannot be imported.
    """
    functions = Code(modules, imports or (), stand_ins or (), trust or ()).functions("loss")
    outputs = len(labels.counts)
    return summed(
        labels,
        expression,
        {name: partial(OwnLoss, name, function, labels.kind, outputs) for name, function in functions.items()},
    )


class OwnLoss(nn.Module):
    """The user's own function as a loss of outputs.

    Attributes:
        kind: The kind of predictions.

    Args:
        name: Its name, for messages.
        function: Called with targets (one-hot for classes) and probabilities (numbers for regression), tensors of shape
            (n, outputs); returns one number, or one or more for each image.
        kind: The kind of predictions.
        outputs: The number of outputs; the function is tried once with random ones.
        mean: Maps the function's result and the image weights (or None) to one number; None: the weighted mean.
        sample: The word for an image in messages.

    Raises:
        ConfigError: When the function fails, or its result cannot be learned from.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        kind: str,
        outputs: int,
        *,
        mean: Callable[[Tensor, Tensor | None], Tensor] | None = None,
        sample: str = "image",
    ) -> None:
        super().__init__()
        self._name, self._function, self.kind = name, function, kind
        self._mean, self._sample = mean or _mean, sample
        tried = torch.randn(4, outputs, generator=torch.Generator().manual_seed(0)).requires_grad_()
        if not self(tried, torch.eye(outputs)[torch.arange(4) % outputs]).requires_grad:
            fix = "compute it from y_pred with functions of torch"
            raise ConfigError(problem("loss", f"{name} gives nothing to learn from", fix=fix))

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the weighted mean over images; images with an unknown target are left out.

        Args:
            outputs: Logits or numbers, shape (n, outputs).
            target: Class numbers (n,), or shape (n, outputs); NaN: unknown.
            weight: Shape (n,).

        Raises:
            ConfigError: When the function fails, returns no tensor, or one number although images have weights.
        """
        is_hard = target.ndim == 1 and facts(self.kind).excludes
        truth = (F.one_hot(target, outputs.shape[1]) if is_hard else target).to(outputs.dtype)
        known = ~truth.isnan().any(1)
        if not known.any():
            return outputs.sum() * 0
        values = called("loss", self._name, self._function, truth[known], probabilities(outputs[known], self.kind))
        if not isinstance(values, Tensor) or (values.ndim and len(values) != int(known.sum())):
            got = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            fix = f"return one number, or one for each {self._sample}, as a tensor"
            raise ConfigError(problem("loss", f"{self._name} gives no loss", got=got, fix=fix))
        if weight is not None and not values.ndim:
            fix = f"return one number for each {self._sample}"
            wrong = f"{self._name} cannot weigh {self._sample}s, which have weights"
            raise ConfigError(problem("loss", wrong, fix=fix))
        return self._mean(values, None if weight is None else weight[known].to(values.dtype))


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    return mean_of_rows(values if weight is None else values.reshape(len(values), -1).mean(1), weight)
