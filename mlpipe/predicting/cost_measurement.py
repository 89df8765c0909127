"""What a network costs on this machine: operations, memory and milliseconds of an image."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mlpipe.learn.machine import speed
from mlpipe.predicting.model import Model
from mlpipe.runs.costs import Cost

_BATCH, _MOST_SECONDS = 32, 4.0


def measured(model: Model, shape: tuple[int, ...], weights_bytes: int) -> Cost:
    """The cost of a model of one network, on random pixels.

    Args:
        model: The model, on the device that it predicts on.
        shape: Channels and spatial shape of a sample, as the network is given it.
        weights_bytes: The size of its stored weights.
    """
    network = model.networks[0]
    one, many = (model.inputs.peak * torch.rand(count, *shape) for count in (1, _BATCH))

    def milliseconds(images: Tensor) -> float:
        def look() -> None:
            with torch.inference_mode(), model.computing():
                model.outputs(images)

        return 1000 * speed.usual(look, model.device.type, _MOST_SECONDS) / len(images)

    seen = one.to(model.device)
    return Cost(
        sum(parameter.numel() for parameter in network.parameters()),
        weights_bytes,
        flops(network, seen),
        peak_bytes(network, seen),
        milliseconds(one),
        milliseconds(many),
        list(shape),
        f"{_device(model.device)}, {torch.get_num_threads()} threads",
    )


def flops(network: nn.Module, images: Tensor) -> int:
    """Floating-point operations of matrix products, convolutions and attention, as PyTorch counts them.

    Args:
        network: Images to outputs.
        images: The images that it is given.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


def peak_bytes(network: nn.Module, images: Tensor) -> int:
    """The most memory that tensors take at once while images are predicted: weights, images and what lies between layers.

    What operations take for themselves is not in it.

    Args:
        network: Images to outputs.
        images: The images that it is given.
    """
    fixed = {
        one.untyped_storage()._cdata: one.untyped_storage().nbytes()
        for one in (*network.parameters(), *network.buffers())
    }
    with torch.no_grad(), _LiveBytes(images) as live:
        network(images)
    peak: int = live.peak
    return sum(fixed.values()) + peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows which storages are alive.

    Attributes:
        peak: The most bytes at once.
    """

    def __init__(self, given: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._alive: dict[int, int] = {}
        self.peak = self._now = 0
        self._follow(given)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            # A view, or what was changed in place, has the storage of what it is of.
            if isinstance(one, Tensor) and one.untyped_storage()._cdata not in known:
                self._follow(one)
        return made

    def _follow(self, one: Tensor) -> None:
        storage = one.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive[key] = size
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._now -= self._alive.pop(key, 0)


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
