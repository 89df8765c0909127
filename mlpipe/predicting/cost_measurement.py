"""The cost of a network on this machine: operations, memory and milliseconds per image."""

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
    """Measure the cost of a model of one network, on random pixels.

    Args:
        model: The model, on the device that it predicts on.
        shape: Channels and spatial shape of the network's input.
        weights_bytes: The size of its stored weights.
    """
    network = model.networks[0]
    sample, batch = (model.inputs.peak * torch.rand(count, *shape) for count in (1, _BATCH))

    def milliseconds(images: Tensor) -> float:
        def look() -> None:
            with torch.inference_mode(), model.computing():
                model.outputs(images)

        return 1000 * speed.usual_seconds(look, model.device.type, _MOST_SECONDS) / len(images)

    pixels = sample.to(model.device)
    return Cost(
        sum(parameter.numel() for parameter in network.parameters()),
        weights_bytes,
        flops(network, pixels),
        peak_bytes(network, pixels),
        milliseconds(sample),
        milliseconds(batch),
        list(shape),
        f"{_device(model.device)}, {torch.get_num_threads()} threads",
    )


def flops(network: nn.Module, images: Tensor) -> int:
    """Count floating-point operations of matrix products, convolutions and attention, as PyTorch counts them.

    Args:
        network: Images to outputs.
        images: The network's input.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return int(counter.get_total_flops())


def peak_bytes(network: nn.Module, images: Tensor) -> int:
    """Return the peak memory of tensors during prediction: weights, images and activations.

    Workspaces of operators are not included.

    Args:
        network: Images to outputs.
        images: The network's input.
    """
    fixed = {
        tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
        for tensor in (*network.parameters(), *network.buffers())
    }
    with torch.no_grad(), _LiveBytes(images) as live:
        network(images)
    peak: int = live.peak
    return sum(fixed.values()) + peak


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks which storages are alive.

    Attributes:
        peak: The most bytes at once.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._size_by_tensor: dict[int, int] = {}
        self.peak = self._live_bytes = 0
        self._follow(images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            tensor.untyped_storage()._cdata for tensor in tree_leaves((args, kwargs)) if isinstance(tensor, Tensor)
        }
        outputs = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(outputs):
            # A view, or a tensor changed in place, shares the storage of the original.
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in known:
                self._follow(leaf)
        return outputs

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._size_by_tensor:
            return
        self._size_by_tensor[key] = size
        self._live_bytes += size
        self.peak = max(self.peak, self._live_bytes)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._live_bytes -= self._size_by_tensor.pop(key, 0)


def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
