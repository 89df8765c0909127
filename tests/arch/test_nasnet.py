"""NASNetMobile: as many parameters as Keras's, and what it gives."""

from __future__ import annotations

import os

import pytest
import torch

from mlpipe.arch import nasnet
from mlpipe.arch.classifier import Head, Pixels
from mlpipe.errors import ConfigError

# Of keras.applications.NASNetMobile(include_top=False), its statistics among them.
_OF_KERAS = 4_269_716


def size_of(network: torch.nn.Module) -> int:
    state = network.state_dict()
    return sum(tensor.numel() for name, tensor in state.items() if not name.endswith("num_batches_tracked"))


def test_it_is_as_large_as_keras_s() -> None:
    assert size_of(nasnet.NASNetMobile(3)) == _OF_KERAS


@pytest.mark.program
def test_keras_counts_the_same() -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    # The public function refuses to make it for torch, whose outputs differ at an edge; what is counted is the same.
    from keras.src.applications.nasnet import NASNet

    made = NASNet((224, 224, 3), 1056, 4, 32, False, 2, include_top=False, weights=None, default_size=224)
    assert made.count_params() == _OF_KERAS


def test_it_gives_logits_and_learns() -> None:
    torch.manual_seed(0)
    network = nasnet.mobile({"target": Head(5)}, Pixels(1, 64), drop_rate=0.1, freeze=True)
    outputs = network(torch.rand(2, 1, 64, 64) * 255)["target"]
    assert outputs.shape == (2, 5)
    outputs.sum().backward()  # type: ignore[no-untyped-call]
    learned = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert learned == ["heads.target.weight", "heads.target.bias"]
    # White is 1 and black is -1 to it.
    assert (network.mean.flatten().tolist(), network.std.flatten().tolist()) == ([127.5], [127.5])


def test_there_are_no_pretrained_weights() -> None:
    with pytest.raises(ConfigError, match="there are no weights of NASNetMobile"):
        nasnet.mobile({"target": Head(5)}, Pixels(3, 64), pretrained=True)
