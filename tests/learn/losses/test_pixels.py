"""Losses of masks against segmentation-models-pytorch, torch and closed forms; ignored pixels change nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from segmentation_models_pytorch import losses as theirs  # type: ignore[import-untyped]
from torch import Tensor, nn

from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError
from mlpipe.learn.losses import losses, masks
from mlpipe.learn.losses.losses import Labels
from mlpipe.learn.losses.pixels import PixelCrossEntropy, PixelLovasz, PixelOverlap


def batch(classes: int = 3, ignored: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(4, classes, 6, 5, generator=generator)
    target = torch.randint(0, classes, (4, 6, 5), generator=generator)
    if ignored:
        target[:, 0], target[1] = IGNORED, IGNORED
    return logits, target


def labels(classes: int = 3, counts: list[int] | None = None) -> Labels:
    return Labels("segmentation", torch.tensor(counts or [10] * classes), 4)


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


def test_squares_as_in_v_net() -> None:
    logits, target = batch(2)
    chance = logits.softmax(1)
    each = [1 - 2 * chance[:, c][target == c].sum() / ((chance[:, c] ** 2).sum() + (target == c).sum()) for c in (0, 1)]
    assert PixelOverlap("dice", square=True)(logits, target).item() == pytest.approx(torch.stack(each).mean().item())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 4.0]])
def test_cross_entropy_is_torch_s(weight: list[float] | None, smoothing: float) -> None:
    logits, target = batch(3, ignored=True)
    of_classes = None if weight is None else torch.tensor(weight)
    wanted = F.cross_entropy(logits, target, of_classes, ignore_index=IGNORED, label_smoothing=smoothing)
    mine = losses.ce(labels(), class_weights=weight, label_smoothing=smoothing)  # type: ignore[arg-type]
    assert mine(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_images_may_have_weights() -> None:
    logits, target = batch()
    each = torch.stack([F.cross_entropy(logits[place : place + 1], target[place : place + 1]) for place in range(4)])
    share = torch.tensor([1.0, 0.0, 2.0, 1.0])
    assert PixelCrossEntropy(None)(logits, target, share).item() == pytest.approx(
        ((each * share).sum() / 4).item(), rel=1e-5
    )


def test_focal_follows_its_formula() -> None:
    logits, target = batch(3, ignored=True)
    known = target != IGNORED
    chance = logits.softmax(1).gather(1, torch.where(known, target, 0)[:, None])[:, 0][known]
    wanted = (-((1 - chance) ** 1.5) * chance.log()).mean()
    assert losses.focal(labels(), gamma=1.5)(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    plain = F.cross_entropy(logits, target, ignore_index=IGNORED)
    assert losses.focal(labels(), gamma=0)(logits, target).item() == pytest.approx(plain.item(), rel=1e-5)


def test_lovasz_of_sure_answers_is_one_minus_iou() -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    target[:, :, 2:] = 1
    said = target.clone()
    said[0, 0] = 1
    logits = F.one_hot(said, 2).movedim(-1, 1) * 60.0
    # Class 0: 6 of 8 pixels; class 1: 8 of 10.
    assert PixelLovasz()(logits, target).item() == pytest.approx(1 - (6 / 8 + 8 / 10) / 2, abs=1e-5)


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


def test_a_sum_and_what_is_refused() -> None:
    logits, target = batch()
    both = losses.composite(labels(), expression="ce+0.5*dice")
    wanted = F.cross_entropy(logits, target) + 0.5 * PixelOverlap("dice")(logits, target)
    assert both(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert losses.auto(labels())(logits, target).item() == pytest.approx(F.cross_entropy(logits, target).item())
    with pytest.raises(ConfigError, match="is no loss of masks"):
        losses.composite(labels(), expression="ce+hinge")
    with pytest.raises(ConfigError, match="dice is for segmentation tasks"):
        masks.dice(Labels("classification", torch.ones(3), 3))
    with pytest.raises(ConfigError, match="use auto, ce, focal, dice, jaccard or lovasz"):
        losses.mse(labels())


def test_balanced_weights_count_pixels() -> None:
    logits, target = batch(2)
    mine = masks.dice(labels(2, [900, 100]), class_weights="balanced")
    wanted = PixelOverlap("dice", weight=torch.tensor([1000 / 1800, 1000 / 200]))
    assert mine(logits, target).item() == pytest.approx(wanted(logits, target).item(), rel=1e-6)


@pytest.mark.parametrize("ignored", [False, True])
def test_log_probabilities_are_torchs_negative_log_likelihood(ignored: bool) -> None:
    logits, target = batch(3, ignored)
    # No log-probabilities of anything: they are taken as they are.
    wanted = F.nll_loss(logits, target, torch.tensor([1.0, 0.5, 2.0]), ignore_index=IGNORED)
    mine = losses.nll(labels(), class_weights=[1.0, 0.5, 2.0])
    assert mine(logits, target).item() == pytest.approx(wanted.item(), rel=1e-6)


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
    mine = masks.lovasz(labels(2), hinge=True)
    assert mine(logits, target).item() == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(ConfigError, match="loss.hinge: is for two classes, the task has 3"):
        masks.lovasz(labels(3), hinge=True)


def test_a_class_may_weigh_nothing_in_an_overlap() -> None:
    logits, target = batch(2)
    chance, true = logits.softmax(1)[:, 1], (target == 1).float()
    wanted = 1 - 2 * (chance * true).sum() / (chance.sum() + true.sum() + 1e-7)
    mine = masks.dice(labels(2), over="all", class_weights=[0.0, 1.0])
    assert mine(logits, target).item() == pytest.approx(wanted.item(), abs=1e-6)


MASK_LOSSES = {
    "ce": lambda: losses.ce(labels(), class_weights=[1.0, 2.0, 4.0]),
    "nll": lambda: losses.nll(labels()),
    "focal": lambda: losses.focal(labels()),
    "dice": lambda: masks.dice(labels()),
    "dice of images": lambda: masks.dice(labels(), per_image=True),
    "jaccard": lambda: masks.jaccard(labels(), over="all"),
    "lovasz": lambda: masks.lovasz(labels()),
    "lovasz of images": lambda: masks.lovasz(labels(), per_image=True),
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
    assert losses.focal(labels())(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    weight = torch.tensor([1.0, 3.0])
    each = F.cross_entropy(logits, target, reduction="none").flatten(1).mean(1)
    mine = PixelCrossEntropy(None)(logits, target, weight)
    assert mine.item() == pytest.approx(((each * weight).sum() / 4).item(), rel=1e-5)
