"""Microbatches: a batch is passed through a network in parts to save memory, with one loss and the same gradients.

The activations of a part are recomputed for its gradients (gradient checkpointing over the batch), so that those of only
one part are in memory at a time. The loss sees the whole batch; gradients add up over the parts. Batch normalisation is the
exception: it normalises each part by the part's own statistics.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Outputs = dict[str, Tensor]


def forward(network: Callable[..., Outputs], images: Tensor, most: int | None, target: Tensor | None = None) -> Outputs:
    """Return the network's outputs for a batch, computed in parts.

    Args:
        network: Maps images to outputs by head, usually a module.
        images: The batch, shape (n, ...).
        most: Maximum number of images in a part; None: no limit.
        target: A second input of the network, shape (n, ...); None: no second input.

    Returns:
        Outputs by head, each of shape (n, ...).
    """
    inputs = [images] if target is None else [images, target]
    if most is None or len(images) <= most:
        return network(*inputs)
    pieces = count(len(images), most, smallest_batch_size(network))
    parts = list(zip(*(tensor.tensor_split(pieces) for tensor in inputs), strict=True))
    if torch.is_grad_enabled():
        outputs: list[Outputs] = [
            checkpoint(network, *part, use_reentrant=False, context_fn=lambda: _contexts(network)) for part in parts
        ]
    else:
        outputs = [network(*part) for part in parts]
    return {head: torch.cat([output[head] for output in outputs]) for head in outputs[0]}


def smallest_batch_size(network: object) -> int:
    """Return the smallest number of images to train on: two if the statistics of the batch are used, otherwise one."""
    return 2 if isinstance(network, nn.Module) and has_batch_statistics(network) else 1


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether a layer normalises by the statistics of the batch."""
    return any(isinstance(layer, _BatchNorm) for layer in network.modules())


def count(images: int, most: int, least: int) -> int:
    """Return the number of equal parts of at most `most` images; of more if a part would have fewer than `least`."""
    parts = -(-images // most)
    return parts if images // parts >= least else max(1, images // least)


def _contexts(network: object) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of a part's first computation and of its recomputation, which must not update statistics twice."""
    return nullcontext(), _RunningStatisticsKept(network) if isinstance(network, nn.Module) else nullcontext()


class _RunningStatisticsKept(AbstractContextManager[None]):
    """Restores running statistics; entered once per recomputation of a part, twice if a loss depends on gradients."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self._saved_buffers = network, dict[str, Tensor]()

    def __enter__(self) -> None:
        self._saved_buffers = {name: buffer.clone() for name, buffer in self._network.named_buffers()}

    def __exit__(self, *error: object) -> None:
        for name, buffer in self._network.named_buffers():
            buffer.copy_(self._saved_buffers[name])
