"""Check that a network can learn from its smallest batch, because batch normalisation cannot learn from a single value."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mlpipe.arch import adapt
from mlpipe.errors import DataError, first_line, problem

# Exceptions raised by torch for shapes that a layer cannot learn from.
_REFUSALS = (RuntimeError, ValueError, AssertionError)


def check(
    network: nn.Module,
    image: Tensor,
    sizes: Sequence[int],
    batch_size: int,
    arch: str,
    key: str = "preprocessing.size",
) -> None:
    """Push the smallest batch through a network as in training, without changing its state or the random state.

    Args:
        network: The network, with frozen parts marked.
        image: One training image, shape (1, channels, ...).
        sizes: Images in each batch.
        batch_size: `sampling.batch_size`.
        arch: The network's name, for the message.
        key: The key of the image size, for the message.

    Raises:
        DataError: When it cannot learn from that batch.
    """
    smallest = min([2, *sizes])
    reason = _refusal(network, image, smallest)
    if not reason:
        return
    if smallest == 1 and not _refusal(network, image, 2):
        alone = f"{arch} cannot learn from one image at a time ({reason})"
        if batch_size == 1:
            fix = f"use 2 or more, larger images ({key}), or a network without batch normalisation"
            raise DataError(problem("sampling.batch_size", alone, got=1, fix=fix))
        fix = "add images, or use a network without batch normalisation"
        raise DataError(problem("arch", f"{alone}, and the training part has no more", fix=fix))
    size = " x ".join(map(str, image.shape[2:]))
    fix = f"choose another size ({key}) or arch"
    raise DataError(problem("arch", f"{arch} cannot learn from images of {size} ({reason})", fix=fix))


def _refusal(network: nn.Module, image: Tensor, count: int) -> str:
    """Return why the network cannot learn from `count` images at a time; empty if it can."""
    modes = {name: module.training for name, module in network.named_modules()}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.train()
        adapt.keep_frozen_in_eval(network)
        try:
            network(image.repeat_interleave(count, 0))
        except _REFUSALS as error:
            return first_line(error)
        finally:
            for name, module in network.named_modules():
                module.training = modes[name]
            for name, buffer in network.named_buffers():
                buffer.copy_(buffers[name])
    return ""
