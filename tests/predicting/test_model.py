"""A model gives what its network gives, and an ensemble the weighted mean of what its models give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlpipe.post.ensembling.mixing import combine
from mlpipe.predicting.model import Inputs, Model

INPUTS = Inputs(2, (3, 4))


class Heads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(24, 3)
        self.drop = torch.nn.Dropout()

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"target": self.drop(self.layer(images.flatten(1))), "other": images.flatten(1)[:, :2]}


def constant(kind: str, logits: torch.Tensor) -> Model:
    return Model({"target": kind}, {"target": ("a", "b", "c")}, INPUTS, lambda samples: {"target": logits})


def test_a_network_gives_all_its_heads_without_dropout() -> None:
    network, images = Heads(), torch.rand(5, 2, 3, 4)
    kinds = {"target": "classification", "other": "regression"}
    model = Model.of_network(network, kinds, {"target": ("a", "b", "c"), "other": ("x", "y")}, INPUTS)
    found = model.outputs(images)
    assert set(found) == {"target", "other"} and not found["target"].requires_grad
    assert torch.equal(found["target"], network.layer(images.flatten(1)).detach())
    assert (model.channels, model.axes) == (2, 2) and model.networks == (network,)


@pytest.mark.parametrize(("kind", "mixing"), [("classification", "probabilities"), ("classification", "logits"),
                                              ("multilabel", "probabilities"), ("regression", "probabilities")])  # fmt: skip
def test_an_ensemble_is_the_mean_that_post_mixes(kind: str, mixing: str) -> None:
    parts, weights = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1)), [0.25, 0.75]
    ensemble = Model.of_ensemble([constant(kind, part) for part in parts], weights, mixing)
    found = ensemble.outputs(torch.zeros(5, 2, 3, 4))["target"].numpy()
    wanted = combine(
        [part.double().numpy() for part in parts], weights, kind, "logits" if kind == "regression" else mixing
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_an_ensemble_of_masks_mixes_every_pixel() -> None:
    parts = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    ensemble = Model.of_ensemble([constant("segmentation", part) for part in parts], [0.5, 0.5])
    found = ensemble.outputs(torch.zeros(2, 2, 3, 4))["target"]
    torch.testing.assert_close(found.exp(), parts.softmax(2).mean(0))
    of_images = Model.of_ensemble([constant("images", part) for part in parts], [0.5, 0.5])
    torch.testing.assert_close(of_images.outputs(torch.zeros(2, 2, 3, 4))["target"], parts.mean(0))
