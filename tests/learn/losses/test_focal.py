"""Losses that count easy samples less, against closed forms, torchvision and timm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mlpipe.data.task import IGNORED
from mlpipe.learn.losses import focal
from mlpipe.learn.losses.class_weights import ClassWeights
from mlpipe.learn.losses.labels import Labels
from tests.learn.losses.conftest import CLASSES, FLAGS, LABELS, LOGITS, TARGET, batch, build, of_masks


def test_focal_without_gamma_is_cross_entropy() -> None:
    for weights in (None, "balanced"):
        given = build("focal", CLASSES, gamma=0.0, class_weights=weights).double()(LOGITS, TARGET)
        expected = build("ce", CLASSES, class_weights=weights).double()(LOGITS, TARGET)
        assert given.item() == pytest.approx(expected.item(), abs=1e-12)


def test_focal_closed_form() -> None:
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    assert build("focal", CLASSES, gamma=2.0)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("given", [None, "balanced", [1.0, 2.0, 3.0, 4.0]])
def test_focal_without_gamma_is_cross_entropy_with_every_option(given: ClassWeights) -> None:
    options = {"label_smoothing": 0.1, "class_weights": given}
    focal = build("focal", CLASSES, gamma=0.0, **options).double()(LOGITS, TARGET)  # type: ignore[arg-type]
    ce = build("ce", CLASSES, **options).double()(LOGITS, TARGET)  # type: ignore[arg-type]
    assert focal.item() == pytest.approx(ce.item(), abs=1e-12)


def test_nll_and_poly1_closed_forms() -> None:
    logs = LOGITS.log_softmax(dim=1)
    assert build("nll", CLASSES)(logs, TARGET).item() == pytest.approx(F.nll_loss(logs, TARGET).item(), abs=1e-12)
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    expected = (-p.log() + 2.0 * (1 - p)).mean()
    assert build("poly1", CLASSES, epsilon=2.0)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


def test_label_losses_against_torchvision_and_timm() -> None:
    from timm.loss import AsymmetricLossMultiLabel
    from torchvision.ops import sigmoid_focal_loss

    expected = sigmoid_focal_loss(LOGITS, FLAGS, alpha=0.3, gamma=1.5, reduction="mean")
    given = build("focal", LABELS, gamma=1.5, alpha=0.3)(LOGITS, FLAGS)
    assert given.item() == pytest.approx(expected.item(), abs=1e-12)
    timms = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=1, clip=0.05)(LOGITS, FLAGS) / LOGITS.shape[1]
    assert build("asymmetric", LABELS)(LOGITS, FLAGS).item() == pytest.approx(timms.item(), rel=1e-6)


def test_focal_follows_its_formula() -> None:
    logits, target = batch(3, ignored=True)
    known = target != IGNORED
    chance = logits.softmax(1).gather(1, torch.where(known, target, 0)[:, None])[:, 0][known]
    wanted = (-((1 - chance) ** 1.5) * chance.log()).mean()
    assert focal.focal(of_masks(), gamma=1.5)(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)
    plain = F.cross_entropy(logits, target, ignore_index=IGNORED)
    assert focal.focal(of_masks(), gamma=0)(logits, target).item() == pytest.approx(plain.item(), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.5, 1.0, 2.0])
def test_what_is_surely_right_has_a_slope_of_zero(gamma: float) -> None:
    """The power of a share of zero has an infinite slope below 1, which made the gradients no numbers."""
    sure = torch.tensor([[200.0, -200.0, -200.0, -200.0]], dtype=torch.float64)
    flags, masks = torch.tensor([[1.0, 0.0, 0.0, 0.0]], dtype=torch.float64), torch.zeros((1, 1, 1), dtype=torch.int64)
    losses = [
        (focal.FocalLabels(gamma, None), sure, flags),
        (focal.AsymmetricLabels(gamma, gamma, 0.05), sure, flags),
        (build("focal", CLASSES, gamma=gamma), sure, torch.tensor([0])),
        (build("elementwise", CLASSES, of="focal", gamma=gamma), sure, torch.tensor([0])),
        (focal.focal(of_masks(), gamma=gamma), sure[:, :3, None, None], masks),
    ]
    for loss, outputs, target in losses:
        own = outputs.clone().requires_grad_()
        value = loss(own, target)
        value.backward()
        assert value.item() == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(own.grad, torch.zeros_like(own), atol=1e-6, rtol=0)


def test_powers_below_one_are_what_they_were() -> None:
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    expected = (-((1 - p) ** 0.5) * p.log()).mean()
    assert build("focal", CLASSES, gamma=0.5)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("class_weights", [None, [1.0, 2.0, 4.0]])
def test_smoothed_focal_loss_of_pixels_is_that_of_images(class_weights: ClassWeights) -> None:
    """Per class, as Keras's CategoricalFocalCrossentropy; pixels had the true class's factor for all classes."""
    logits, target = batch(3, ignored=True)
    options = {"gamma": 1.5, "label_smoothing": 0.2, "class_weights": class_weights}
    given = focal.focal(of_masks(), **options)(logits, target)  # type: ignore[arg-type]
    known = target != IGNORED
    rows, numbers = logits.movedim(1, -1)[known], target[known]
    of_images = Labels("classification", torch.tensor([1, 1, 1]), 3)
    expected = focal.focal(of_images, **options)(rows, numbers)  # type: ignore[arg-type]
    assert given.item() == pytest.approx(expected.item(), rel=1e-5)
    if class_weights is None:
        p, shares = rows.softmax(1), F.one_hot(numbers, 3) * 0.8 + 0.2 / 3
        plain = -(shares * (1 - p) ** 1.5 * p.log()).sum(1).mean()
        assert given.item() == pytest.approx(plain.item(), rel=1e-5)
