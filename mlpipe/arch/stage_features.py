"""Features of every stage of a network of timm, beside those of the last one: mean and standard deviation of their maps.

A linear head on frozen features that reads all stages tells apart what the last one, made for other classes, has forgotten
(Evci et al. 2022, Head2Toe); mean and deviation of a map are what the style of an image is described by (Huang & Belongie 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mlpipe.errors import ConfigError, first_line, problem

# So many stages at the most are read; of more, such as the blocks of a transformer, evenly spread ones, the last among them.
_MOST = 5
# Added to the variance of a map, so that the deviation of a constant one has a gradient.
_TINY = 1e-6


class StageFeatures:
    """What gives a network's own features and, beside them, mean and deviation of each channel of its stages' maps.

    Args:
        stages: The numbers of the stages that are read, as timm counts them; None: all of them.
        drop_rate: Dropout of what is read of them; a network has its own for its own features.
    """

    def __init__(self, stages: Sequence[int] | None = None, drop_rate: float = 0.0) -> None:
        self._stages, self._drop_rate = None if stages is None else list(stages), drop_rate

    def __call__(self, backbone: Any, images: Tensor) -> Tensor:
        """Features of normalised images, shape (n, own + 2 * channels of all maps).

        Args:
            backbone: timm's network without a head.
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
    """What gives the features of a network's stages, and how many there are.

    Args:
        name: The network's name.
        backbone: timm's network without a head.
        images: Any images of the size that it will see; shape (n, channels, height, width).
        drop_rate: As of `StageFeatures`.

    Raises:
        ConfigError: When timm gives no maps of its stages.
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
