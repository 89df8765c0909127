"""Operations and memory of small networks are those counted by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mlpipe.predicting import cost_measurement
from mlpipe.predicting.model import Inputs, Model


def convolutions(depth: int) -> nn.Sequential:
    layers = [nn.Conv2d(3 if place == 0 else 8, 8, 3, padding=1) for place in range(depth)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def test_operations_are_two_for_each_weight_and_place() -> None:
    found = cost_measurement.flops(convolutions(2), torch.rand(1, 3, 16, 12))
    assert found == 2 * 16 * 12 * 8 * 9 * (3 + 8) + 2 * 8 * 5
    assert cost_measurement.flops(convolutions(2), torch.rand(4, 3, 16, 12)) == 4 * found


def test_memory_is_that_of_weights_and_of_what_is_alive_at_once() -> None:
    for depth in (2, 5):
        network = convolutions(depth)
        weights = 4 * sum(one.numel() for one in network.parameters())
        # Of a chain two neighbours are alive, beside the image.
        assert cost_measurement.peak_bytes(network, torch.rand(1, 3, 16, 16)) == weights + 4 * 256 * (3 + 8 + 8)


def test_a_model_is_measured_as_it_predicts() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = convolutions(1)

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"target": self.body(images)}

    model = Model.of_network(Heads(), {"target": "classification"}, {"target": tuple("abcde")}, Inputs(3, (8, 8)))
    cost = cost_measurement.measured(model, (3, 8, 8), 1234)
    assert (cost.parameters, cost.weights_bytes, cost.input) == (8 * 28 + 45, 1234, [3, 8, 8])
    assert cost.flops == 2 * 64 * 8 * 27 + 80 and cost.ms_1 > 0 and cost.ms_32 > 0 and cost.machine.startswith("cpu")
