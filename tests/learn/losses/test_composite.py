"""Weighted sums of losses, and losses of probabilities in them, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.metrics import log_loss
from torch import Tensor

from mlpipe.errors import ConfigError
from mlpipe.learn.losses import auto, composite, cross_entropy, numbers, overlap, probabilities
from mlpipe.learn.losses.labels import Labels
from mlpipe.learn.losses.overlap import PixelOverlap
from tests.learn.losses.conftest import batch, of_masks


def test_a_sum_and_what_is_refused() -> None:
    logits, target = batch()
    both = composite.composite(of_masks(), expression="ce+0.5*dice")
    wanted = F.cross_entropy(logits, target) + 0.5 * PixelOverlap("dice")(logits, target)
    assert both(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert auto.auto(of_masks())(logits, target).item() == pytest.approx(F.cross_entropy(logits, target).item())
    with pytest.raises(ConfigError, match="is no loss of masks"):
        composite.composite(of_masks(), expression="ce+hinge")
    with pytest.raises(ConfigError, match="dice is for segmentation tasks"):
        overlap.dice(Labels("classification", torch.ones(3), 3))
    with pytest.raises(ConfigError, match="use auto, ce, focal, dice, jaccard or lovasz"):
        numbers.mse(of_masks())


CLASSES = Labels("classification", torch.tensor([2, 2, 2]), 6)


LABELS = Labels("multilabel", torch.tensor([2, 2, 2]), 6)


NUMBERS = Labels("regression", torch.tensor([0, 0]), 6)


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and zeros and ones of shape (6, 3)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, 3, generator=generator), torch.randint(0, 2, (6, 3), generator=generator).float()


def test_a_sum_is_the_weighted_sum_of_its_parts() -> None:
    logits, target = drawn()
    weight = torch.rand(6)
    whole = composite.composite(LABELS, expression="bce+0.1*dice")(logits, target, weight)
    dice = composite.composite(LABELS, expression="dice")(logits, target, weight)
    assert torch.isclose(whole, cross_entropy.bce(LABELS)(logits, target, weight) + 0.1 * dice)


def test_dice_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0]])
    found = composite.composite(LABELS, expression="dice")(logits, torch.tensor([[1.0, 0.0]]))
    assert found.item() == pytest.approx(1 - (2 * 0.5 + 1) / (1 + 0.5 + 1))


def test_elementwise_bce_of_a_softmax_is_that_of_scikit_learn() -> None:
    logits, _ = drawn()
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    found = composite.composite(CLASSES, expression="elementwise_bce")(logits, target).item()
    p = logits.softmax(1).double().numpy().ravel()
    assert found == pytest.approx(log_loss(np.eye(3)[target].ravel(), p), rel=1e-6)


def test_focal_sum_is_summed_over_the_batch() -> None:
    logits, target = drawn()
    one = composite.composite(LABELS, expression="focal_sum")
    p = logits.sigmoid()
    right = torch.where(target == 1, p, 1 - p)
    alpha = torch.where(target == 1, 0.25, 0.75)
    assert torch.isclose(one(logits, target), (-alpha * (1 - right) ** 2 * right.log()).sum(), rtol=1e-5)


def test_the_gradient_of_the_lovasz_hinge_is_the_change_of_the_jaccard_index() -> None:
    # With errors 0 the elu is 0; all-positive scores on one wrong side give the whole Jaccard loss of 1.
    target = torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    logits = torch.tensor([[2.0], [-2.0], [2.0], [2.0]])
    found = composite.composite(LABELS, expression="lovasz")(logits, target).item()
    # Errors sorted: 3 (false positive), then -1 three times; Jaccard grows by 1/3, then by the rest.
    assert found == pytest.approx(3 * (1 / 3) + (math.exp(-1) - 1) * (2 / 3), rel=1e-5)


def test_soft_f1_of_certain_right_predictions_is_zero() -> None:
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = composite.composite(LABELS, expression="soft_f1")((target * 2 - 1) * 50, target).item()
    assert found == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", sorted(probabilities.ALL))
def test_every_loss_learns_and_ignores_unknown_labels(name: str) -> None:
    logits, target = drawn()
    logits.requires_grad_()
    target[2] = math.nan
    composite.composite(LABELS, expression=name)(logits, target).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
    assert not logits.grad[2].any() and logits.grad.any()


@pytest.mark.parametrize(("labels", "text"), [(CLASSES, "dic"), (NUMBERS, "dice"), (NUMBERS, "ce"), (LABELS, "mse")])
def test_what_does_not_fit_is_refused(labels: Labels, text: str) -> None:
    with pytest.raises(ConfigError, match="loss"):
        composite.composite(labels, expression=text)


def test_an_infinite_weight_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.expression: gives ce an infinite weight"):
        composite.composite(CLASSES, expression="1e200*1e200*ce")


@pytest.mark.parametrize(("name", "power"), [("hinge", 1), ("squared_hinge", 2)])
def test_a_blended_image_changes_no_hinge_of_its_neighbour(name: str, power: int) -> None:
    """Targets of classes are shares from 0 to 1, of which 0 stands for -1 also beside a share of 0.5."""
    loss = composite.OnProbabilities(name, "classification")
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    found = [loss(logits[:1], torch.tensor([[1.0, 0.0]])), loss(logits, torch.tensor([[1.0, 0.0], [0.5, 0.5]]))]
    p = logits[0].softmax(0)[0].item()
    # The first by its definition, 1 - p and 1 + (1 - p); 1 for each class of the second, whose margin is 0.
    first = ((1 - p) ** power + (2 - p) ** power) / 2
    assert [one.item() for one in found] == pytest.approx([first, (first + 1) / 2])
