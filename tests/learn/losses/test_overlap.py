"""Losses of overlap against segmentation-models-pytorch and closed forms; ignored pixels change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from segmentation_models_pytorch import losses as theirs
from torch import nn

from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError
from mlpipe.learn.losses import cross_entropy, focal, overlap
from mlpipe.learn.losses.cross_entropy import PixelCrossEntropy
from mlpipe.learn.losses.overlap import PixelLovasz, PixelOverlap
from tests.learn.losses.conftest import batch, of_masks


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("classes", [2, 5])
def test_dice_is_that_of_smp(classes: int, ignored: bool) -> None:
    logits, target = batch(classes, ignored)
    other = theirs.DiceLoss("multiclass", ignore_index=IGNORED if ignored else None)
    assert PixelOverlap("dice")(logits, target).item() == pytest.approx(other(logits, target).item(), abs=1e-6)
    smooth = theirs.DiceLoss("multiclass", smooth=1.0, ignore_index=IGNORED if ignored else None)
    # Theirs adds it to I / ((P + T) / 2).
    mine = PixelOverlap("dice", smooth=2.0)
    assert mine(logits, target).item() == pytest.approx(smooth(logits, target).item(), abs=1e-6)


def test_jaccard_is_that_of_smp() -> None:
    logits, target = batch(4)
    other = theirs.JaccardLoss("multiclass")
    assert PixelOverlap("jaccard")(logits, target).item() == pytest.approx(other(logits, target).item(), abs=1e-6)


def test_per_image_is_the_mean_over_images() -> None:
    logits, target = batch()
    each = [PixelOverlap("dice")(logits[place : place + 1], target[place : place + 1]) for place in range(4)]
    assert PixelOverlap("dice", per_image=True)(logits, target).item() == pytest.approx(torch.stack(each).mean().item())


def test_a_class_that_no_image_has_counts_only_where_asked() -> None:
    logits, target = batch()
    target[target == 2] = 1
    chance = logits.softmax(1)
    two = [1 - 2 * chance[:, c][target == c].sum() / (chance[:, c].sum() + (target == c).sum()) for c in (0, 1)]
    assert PixelOverlap("dice")(logits, target).item() == pytest.approx(torch.stack(two).mean().item(), abs=1e-6)
    with_all = (two[0] + two[1] + 1) / 3
    assert PixelOverlap("dice", over="all")(logits, target).item() == pytest.approx(with_all.item(), abs=1e-6)
    weighed = PixelOverlap("dice", weight=torch.tensor([1.0, 3.0, 1.0]))(logits, target)
    assert weighed.item() == pytest.approx(((two[0] + 3 * two[1]) / 4).item(), abs=1e-6)


@pytest.mark.parametrize("eps", [2.0, 5.0])
def test_eps_is_added_to_the_denominator(eps: float) -> None:
    logits, target = batch(3)
    chance, true = logits.softmax(1), F.one_hot(target, 3).movedim(-1, 1)
    axes = (0, 2, 3)
    shared, both = (chance * true).sum(axes), chance.sum(axes) + true.sum(axes)
    labels = of_masks(3)
    dice = overlap.overlap(labels, eps=eps, class_weights=[1.0, 3.0, 0.0])(logits, target)
    each = 1 - 2 * shared / (both + eps)
    assert dice.item() == pytest.approx(((each[0] + 3 * each[1]) / 4).item(), abs=1e-6)
    jaccard = overlap.overlap(labels, of="jaccard", eps=eps)(logits, target)
    assert jaccard.item() == pytest.approx((1 - shared / (both - shared + eps)).mean().item(), abs=1e-6)


def test_squared_distances_of_a_sigmoid_are_torchs_mse_loss() -> None:
    raw, target = torch.randn(2, 1, 5, 6), torch.randint(0, 2, (2, 5, 6))
    expected = F.mse_loss(raw.sigmoid()[:, 0], target.float())
    logits = torch.cat([torch.zeros_like(raw), raw], 1)
    loss = overlap.pixel_mse(of_masks(2))
    assert loss(logits, target).item() == pytest.approx(expected.item(), abs=1e-6)
    target[0] = IGNORED
    expected = F.mse_loss(raw.sigmoid()[1, 0], target[1].float())
    assert loss(logits, target).item() == pytest.approx(expected.item(), abs=1e-6)
    assert loss(logits, torch.full_like(target, IGNORED)).item() == 0


def test_squares_as_in_v_net() -> None:
    logits, target = batch(2)
    chance = logits.softmax(1)
    each = [1 - 2 * chance[:, c][target == c].sum() / ((chance[:, c] ** 2).sum() + (target == c).sum()) for c in (0, 1)]
    assert PixelOverlap("dice", square=True)(logits, target).item() == pytest.approx(torch.stack(each).mean().item())


def test_lovasz_of_sure_answers_is_one_minus_iou() -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[:, :, 2:] = 1
    said = target.clone()
    said[0, 0] = 1
    logits = F.one_hot(said, 2).movedim(-1, 1) * 60.0
    # Class 0: 6 of 8 pixels; class 1: 8 of 10.
    assert PixelLovasz()(logits, target).item() == pytest.approx(1 - (6 / 8 + 8 / 10) / 2, abs=1e-5)


def test_balanced_weights_count_pixels() -> None:
    logits, target = batch(2)
    mine = overlap.dice(of_masks(2, [900, 100]), class_weights="balanced")
    wanted = PixelOverlap("dice", weight=torch.tensor([1000 / 1800, 1000 / 200]))
    assert mine(logits, target).item() == pytest.approx(wanted(logits, target).item(), rel=1e-6)


def test_the_lovasz_hinge_by_its_definition() -> None:
    logits, target = batch(2, ignored=True)
    known = target != IGNORED
    signs, score = 2.0 * target[known] - 1, (logits[:, 1] - logits[:, 0])[known]
    # Berman et al. 2018, algorithm 1: errors from the largest on, weighed by how much each worsens the Jaccard index.
    errors, order = (1 - score * signs).sort(descending=True)
    wanted, last = 0.0, 0.0
    total = int((signs > 0).sum())
    for number in range(1, len(order) + 1):
        wrong = signs[order[:number]]
        lost = 1 - (total - int((wrong > 0).sum())) / (total + int((wrong < 0).sum()))
        wanted, last = wanted + max(float(errors[number - 1]), 0.0) * (lost - last), lost
    mine = overlap.lovasz(of_masks(2), hinge=True)
    assert mine(logits, target).item() == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(ConfigError, match="loss.hinge: is for two classes, the task has 3"):
        overlap.lovasz(of_masks(3), hinge=True)


def test_a_class_may_weigh_nothing_in_an_overlap() -> None:
    logits, target = batch(2)
    chance, true = logits.softmax(1)[:, 1], (target == 1).float()
    wanted = 1 - 2 * (chance * true).sum() / (chance.sum() + true.sum() + 1e-7)
    mine = overlap.dice(of_masks(2), over="all", class_weights=[0.0, 1.0])
    assert mine(logits, target).item() == pytest.approx(wanted.item(), abs=1e-6)


MASK_LOSSES = {
    "ce": lambda: cross_entropy.ce(of_masks(), class_weights=[1.0, 2.0, 4.0]),
    "nll": lambda: cross_entropy.nll(of_masks()),
    "focal": lambda: focal.focal(of_masks()),
    "dice": lambda: overlap.dice(of_masks()),
    "dice of images": lambda: overlap.dice(of_masks(), per_image=True),
    "jaccard": lambda: overlap.jaccard(of_masks(), over="all"),
    "lovasz": lambda: overlap.lovasz(of_masks()),
    "lovasz of images": lambda: overlap.lovasz(of_masks(), per_image=True),
}


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", MASK_LOSSES)
def test_the_arrangement_of_places_matters_nowhere(name: str, ignored: bool) -> None:
    loss = MASK_LOSSES[name]()
    logits, target = batch(3, ignored)
    wanted = loss(logits, target).item()
    for spatial in ((30,), (3, 2, 5)):
        other = loss(logits.reshape(4, 3, *spatial), target.reshape(4, *spatial))
        assert other.item() == pytest.approx(wanted, rel=1e-5)


def test_overlaps_of_volumes_are_those_of_smp() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    target = torch.randint(0, 3, (2, 4, 5, 6), generator=generator)
    assert PixelOverlap("dice")(logits, target).item() == pytest.approx(
        theirs.DiceLoss("multiclass")(logits, target).item(), abs=1e-6
    )
    assert PixelOverlap("jaccard")(logits, target).item() == pytest.approx(
        theirs.JaccardLoss("multiclass")(logits, target).item(), abs=1e-6
    )
    # Their focal loss multiplies (1 - p)^2 with every class's own binary cross-entropy: the closed form is nearer.
    chance = logits.softmax(1).gather(1, target[:, None])
    wanted = (-((1 - chance) ** 2) * chance.log()).mean()
    assert focal.focal(of_masks())(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    weight = torch.tensor([1.0, 3.0])
    each = F.cross_entropy(logits, target, reduction="none").flatten(1).mean(1)
    mine = PixelCrossEntropy(None)(logits, target, weight)
    assert mine.item() == pytest.approx(((each * weight).sum() / 4).item(), rel=1e-5)


@pytest.mark.parametrize(
    "loss", [PixelCrossEntropy(None), PixelOverlap("dice"), PixelOverlap("jaccard"), PixelLovasz()]
)
def test_ignored_pixels_have_no_gradient_and_no_say(loss: nn.Module) -> None:
    logits, target = batch(3, ignored=True)
    logits.requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert logits.grad is not None
    assert (logits.grad.movedim(1, -1)[target == IGNORED] == 0).all()
    assert (logits.grad.movedim(1, -1)[target != IGNORED] != 0).any()
    other = logits.detach().clone()
    other[1] = 7.0
    assert loss(other, target).item() == pytest.approx(value.item(), rel=1e-6)
    nothing = loss(logits, torch.full_like(target, IGNORED))
    assert nothing.item() == 0


@pytest.mark.parametrize("name", ["dice", "jaccard"])
def test_an_image_without_a_pixel_that_counts_counts_nothing_by_itself(name: Any) -> None:
    """With the classes of every image it was as wrong as can be, whatever was predicted."""
    logits, target = batch(4)
    target[1] = IGNORED
    loss, seen = PixelOverlap(name, per_image=True, over="all"), [0, 2, 3]
    assert loss(logits, target).item() == pytest.approx(loss(logits[seen], target[seen]).item(), abs=1e-6)
    assert loss(logits[1:2], target[1:2]).item() == 0.0
