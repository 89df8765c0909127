"""First layer of a pretrained network for another number of input channels, by the recipe's rule."""

from __future__ import annotations

from typing import Any, Literal

import torch

Filling = Literal["timm", "zero", "copy_last"]


def widen(backbone: Any, three: Any, how: Filling) -> None:
    """Give the first layers of a network the weights of one for three channels; further channels are filled.

    Args:
        backbone: A network of timm for more than three channels, changed in place.
        three: The same network for three channels, pretrained.
        how: `zero`, or `copy_last`: the weights of the third channel.
    """
    names = three.pretrained_cfg["first_conv"]
    for name in (names,) if isinstance(names, str) else names:
        source, target = three.get_submodule(name).weight, backbone.get_submodule(name).weight
        with torch.no_grad():
            target.zero_()
            target[:, : source.shape[1]] = source
            if how == "copy_last":
                target[:, source.shape[1] :] = source[:, -1:]
