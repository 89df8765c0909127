"""Resampling of stored weights for another image size or number of channels, as timm does it for pretrained weights.

timm's own checkpoint filter runs first; these rules cover what it leaves unchanged, and networks outside timm.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.layers.patch_embed import resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table, resize_rel_pos_bias_table_levit
from timm.models._manipulate import adapt_input_conv
from torch import Tensor, nn
from torch.nn.functional import interpolate

# Maximum number of image channels: a convolution with more input channels is not a first one.
_MOST_CHANNELS = 16
# Maximum number of class, distillation and register tokens before the positions.
_MOST_TOKENS = 16


def resampled_channels(weight: Tensor, layer: nn.Module, channels: int) -> Tensor | None:
    """Adapt the weight of a first convolution to another number of channels, by timm's rule.

    Args:
        weight: The stored weight, shape (out, inputs, height, width).
        layer: The network's layer.
        channels: Number of channels of the network's images.

    Returns:
        The adapted weight; None where timm has no rule: for other kinds of layers and other kernel sizes.
    """
    if not isinstance(layer, nn.Conv2d) or weight.ndim != 4 or weight.shape[2:] != layer.weight.shape[2:]:
        return None
    # Number of image channels of the stored weight: a first layer may take several pixels as channels, or have groups.
    stored, rest = divmod(weight.shape[1] * channels * layer.groups, layer.in_channels)
    if rest or stored < 1:
        return None
    try:
        return adapt_input_conv(channels, weight, base_chans=stored)
    except (NotImplementedError, AssertionError):
        return None


def differs_in_channels(stored: Tensor, target: Tensor) -> bool:
    """Return whether two convolution weights differ only in input channels that can be those of an image."""
    if stored.ndim != 4 or target.ndim != 4 or stored.shape[1] == target.shape[1]:
        return False
    return (
        stored.shape[0] == target.shape[0]
        and stored.shape[2:] == target.shape[2:]
        and stored.shape[1] <= _MOST_CHANNELS
    )


def resampled_patches(weight: Tensor, layer: nn.Module) -> Tensor | None:
    """Resample the weight of a patch embedding to another patch size (Beyer et al. 2023); None for other layers.

    Args:
        weight: The stored weight, shape (out, channels, height, width).
        layer: The network's layer.
    """
    if not isinstance(layer, nn.Conv2d) or weight.ndim != 4 or layer.stride != layer.kernel_size:
        return None
    size = [int(side) for side in layer.kernel_size]
    return weight if list(weight.shape[2:]) == size else resample_patch_embed(weight, size)


def resampled_positions(
    name: str, stored: Tensor, target: Tensor, module: nn.Module, sides: tuple[int, int]
) -> Tensor | None:
    """Resample a position table to another number of positions.

    Args:
        name: The tensor's name.
        stored: The stored tensor.
        target: The network's tensor.
        module: The module that owns the parameter.
        sides: Height and width of the network's images, for grids whose shape the table does not determine.

    Returns:
        The resampled table; None if the tensor is not a position table or its grid is not known.
    """
    if stored.ndim != target.ndim or not stored.is_floating_point():
        return None
    last = name.rpartition(".")[2]
    if last == "relative_position_bias_table":
        return _relative_bias_table(stored, target, module)
    if last == "attention_biases" and stored.ndim == 2 and stored.shape[0] == target.shape[0]:
        return _offset_bias_table(stored, target)
    if last in ("height_rel", "width_rel", "rel_pos_h", "rel_pos_w") and stored.shape[1:] == target.shape[1:]:
        rows = interpolate(stored.float().T[None], size=target.shape[0], mode="linear")
        return rows[0].T.to(stored.dtype)
    return _position_embedding(stored, target, module, sides) if "pos_embed" in name else None


def _relative_bias_table(stored: Tensor, target: Tensor, module: nn.Module) -> Tensor | None:
    """Resample the bias table of the offsets in a window, by timm's geometric spacing (BEiT; Bao et al. 2022)."""
    window: Any = getattr(module, "window_size", None)
    if window is None or stored.shape[-1] != target.shape[-1]:
        return None
    try:
        table: Tensor = resize_rel_pos_bias_table(stored, new_window_size=window, new_bias_shape=tuple(target.shape))
    except (RuntimeError, AssertionError, ValueError):
        return None
    return table


def _offset_bias_table(stored: Tensor, target: Tensor) -> Tensor | None:
    """Resample a bias table (heads, distances) of a square grid, by timm's rule for LeViT."""
    if math.isqrt(stored.shape[1]) ** 2 != stored.shape[1] or math.isqrt(target.shape[1]) ** 2 != target.shape[1]:
        return None
    rows: Tensor = resize_rel_pos_bias_table_levit(stored.T, (target.shape[1], target.shape[0]))
    return rows.T


def _position_embedding(stored: Tensor, target: Tensor, module: nn.Module, sides: tuple[int, int]) -> Tensor | None:
    """Resample a position embedding: (1, channels, height, width), (1, height, width, channels), or (..., positions, width)."""
    # Nest has one embedding for each of its blocks, (1, blocks, positions, channels).
    is_map = target.ndim == 4 and target.shape[0] == 1 and not hasattr(module, "block_size")
    differing = [axis for axis in range(target.ndim) if stored.shape[axis] != target.shape[axis]]
    if is_map and differing in ([2], [3], [2, 3]):
        return _resized(stored, target.shape[2:])
    if is_map and differing in ([1], [1, 2]):
        return _resized(stored.permute(0, 3, 1, 2), target.shape[1:3]).permute(0, 2, 3, 1)
    if len(differing) != 1 or differing[0] != target.ndim - 2:
        return None
    flat, places = stored.reshape(-1, *stored.shape[-2:]), target.shape[-2]
    grids = _grids(stored.shape[-2], places, sides if target.ndim < 4 else (1, 1))
    if grids is None:
        return None
    rows = [
        resample_abs_pos_embed(row[None], list(grids[1]), num_prefix_tokens=places - math.prod(grids[1]))
        for row in flat
    ]
    return torch.cat(rows).reshape(target.shape)


def _resized(maps: Tensor, size: Any) -> Tensor:
    """Resize maps (n, channels, height, width) as timm resizes embeddings."""
    new_maps = interpolate(maps.float(), size=tuple(size), mode="bicubic", antialias=True, align_corners=False)
    return new_maps.to(maps.dtype)


def _grids(before: int, after: int, sides: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the square stored grid and the network's grid, assuming the fewest prefix tokens; None if none fits."""
    for tokens in range(min(before, after, _MOST_TOKENS)):
        old = math.isqrt(before - tokens)
        height = math.isqrt((after - tokens) * sides[0] // sides[1])
        width = (after - tokens) // height if height else 0
        if (
            old * old == before - tokens
            and height * width == after - tokens
            and _has_image_proportions(height, width, sides)
        ):
            return (old, old), (height, width)
    return None


def _has_image_proportions(height: int, width: int, sides: tuple[int, int]) -> bool:
    """Return whether a grid has the proportions of the images, up to an incomplete patch."""
    return abs(height / width - sides[0] / sides[1]) <= 1 / min(height, width)
