"""Features of all stages of a timm network: its own features plus mean and standard deviation of each stage's maps.

With all stages, a linear head on frozen features can distinguish what the last stage, trained for other classes, has lost
(Evci et al. 2022, Head2Toe). Mean and standard deviation of a map describe the style of an image (Huang & Belongie 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.errors import ConfigError, first_line, problem

# Maximum number of stages; of more, such as a transformer's blocks, evenly spaced ones including the last are used.
_MOST = 5
# Added to the variance, so that the standard deviation of a constant map has a gradient.
_TINY = 1e-6


class StageFeatures:
    """Computes a network's own features plus mean and standard deviation of each channel of its stages' maps.

    Args:
        stages: Numbers of the stages, as timm counts them; None: all.
        drop_rate: Dropout rate of the stage statistics; the network applies its own dropout to its own features.
    """

    def __init__(self, stages: Sequence[int] | None = None, drop_rate: float = 0.0) -> None:
        self._stages, self._drop_rate = None if stages is None else list(stages), drop_rate

    def __call__(self, backbone: Any, images: Tensor) -> Tensor:
        """Return the features of normalised images, shape (n, own + 2 * channels of all maps).

        Args:
            backbone: A timm network without a head.
            images: Shape (n, channels, height, width).
        """
        last, maps = backbone.forward_intermediates(images, indices=self._stages, output_fmt="NCHW")
        own = backbone.forward_head(last, pre_logits=True)
        parts = list[Tensor]()
        for feature_map in maps:
            variance, mean = torch.var_mean(feature_map.float(), dim=(2, 3), correction=0)
            parts += [mean.to(own.dtype), (variance + _TINY).sqrt().to(own.dtype)]
        statistics = torch.cat(parts, dim=1)
        if self._drop_rate:
            statistics = functional.dropout(statistics, self._drop_rate, backbone.training)
        return torch.cat([own, statistics], dim=1)


def of(name: str, backbone: nn.Module, images: Tensor, drop_rate: float = 0.0) -> tuple[StageFeatures, int]:
    """Return the stage features of a network and their number.

    Args:
        name: The network's name.
        backbone: A timm network without a head.
        images: Example images of the input size, shape (n, channels, height, width).
        drop_rate: As for `StageFeatures`.

    Raises:
        ConfigError: When timm cannot return the maps of its stages.
    """
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            last, maps = backbone.forward_intermediates(images, output_fmt="NCHW")  # type: ignore[operator]
            own = backbone.forward_head(last, pre_logits=True)  # type: ignore[operator]
        spread = None
        if len(maps) > _MOST:
            spread = [(number + 1) * len(maps) // _MOST - 1 for number in range(_MOST)]
            maps = [maps[number] for number in spread]
        return StageFeatures(spread, drop_rate), own.shape[1] + 2 * sum(feature_map.shape[1] for feature_map in maps)
    except (AttributeError, AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        wrong = f"timm gives no maps of the stages of {name} ({first_line(error)})"
        raise ConfigError(problem("arch.pool", wrong, got="stages", fix="use avg, or null")) from error
    finally:
        backbone.train(was_training)
