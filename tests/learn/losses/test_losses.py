"""Losses against torch's own and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.utils.class_weight import compute_class_weight

from mlpipe.errors import ConfigError
from mlpipe.learn.losses import losses
from mlpipe.learn.losses.losses import Labels

LOGITS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(20) % 4
COUNTS = torch.tensor([10, 20, 5, 5])
CLASSES = Labels("classification", COUNTS, 40)
LABELS = Labels("multilabel", COUNTS, 40)
NUMBERS = Labels("regression", COUNTS * 0, 40)


def test_ce_is_torchs() -> None:
    expected = F.cross_entropy(LOGITS, TARGET, label_smoothing=0.1)
    assert torch.equal(losses.ce(CLASSES, label_smoothing=0.1)(LOGITS, TARGET), expected)
    assert torch.equal(losses.auto(CLASSES, label_smoothing=0.1)(LOGITS, TARGET), expected)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(4), COUNTS.numpy())
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    weights = losses.weights(CLASSES, "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_weights_must_fit_the_classes() -> None:
    assert losses.weights(CLASSES, [1, 2, 3, 4]).tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]
    for wrong in ([1.0, 2.0], [1.0, 2.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0]):
        with pytest.raises(ConfigError, match=r"loss\.class_weights: does not fit the classes"):
            losses.weights(CLASSES, wrong)


def test_bce_is_the_mean_over_images_and_classes() -> None:
    wanted = torch.eye(4, dtype=torch.float64)[TARGET]
    p = LOGITS.sigmoid()
    expected = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    assert losses.bce(CLASSES)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


def test_focal_without_gamma_is_cross_entropy() -> None:
    for weights in (None, "balanced"):
        given = losses.focal(CLASSES, gamma=0.0, class_weights=weights).double()(LOGITS, TARGET)
        expected = losses.ce(CLASSES, class_weights=weights).double()(LOGITS, TARGET)
        assert given.item() == pytest.approx(expected.item(), abs=1e-12)


def test_focal_closed_form() -> None:
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    assert losses.focal(CLASSES, gamma=2.0)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


def test_label_smoothing_closed_forms() -> None:
    classes, share = 4, 0.2
    wanted = torch.eye(classes, dtype=torch.float64)[TARGET] * (1 - share) + share / classes
    soft = -(wanted * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    assert losses.ce(CLASSES, label_smoothing=share)(LOGITS, TARGET).item() == pytest.approx(soft.item(), abs=1e-12)
    p = LOGITS.sigmoid()
    each = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    assert losses.bce(CLASSES, label_smoothing=share)(LOGITS, TARGET).item() == pytest.approx(each.item(), abs=1e-12)


@pytest.mark.parametrize("given", [None, "balanced", [1.0, 2.0, 3.0, 4.0]])
def test_focal_without_gamma_is_cross_entropy_with_every_option(given: losses.ClassWeights) -> None:
    options = {"label_smoothing": 0.1, "class_weights": given}
    focal = losses.focal(CLASSES, gamma=0.0, **options).double()(LOGITS, TARGET)  # type: ignore[arg-type]
    ce = losses.ce(CLASSES, **options).double()(LOGITS, TARGET)  # type: ignore[arg-type]
    assert focal.item() == pytest.approx(ce.item(), abs=1e-12)


def test_class_weights_weigh_images_in_ce_and_focal_and_classes_in_bce() -> None:
    given = [1.0, 2.0, 3.0, 4.0]
    own = torch.tensor(given, dtype=torch.float64)
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    ce = -(own[TARGET] * p.log()).sum() / own[TARGET].sum()
    assert losses.ce(CLASSES, class_weights=given).double()(LOGITS, TARGET).item() == pytest.approx(
        ce.item(), abs=1e-12
    )
    focal = -(own[TARGET] * (1 - p) ** 3 * p.log()).sum() / own[TARGET].sum()
    built = losses.focal(CLASSES, gamma=3.0, class_weights=given).double()
    assert built(LOGITS, TARGET).item() == pytest.approx(focal.item(), abs=1e-12)
    wanted, q = torch.eye(4, dtype=torch.float64)[TARGET], LOGITS.sigmoid()
    bce = -(own * (wanted * q.log() + (1 - wanted) * (1 - q).log())).mean()
    built = losses.bce(CLASSES, class_weights=given).double()
    assert built(LOGITS, TARGET).item() == pytest.approx(bce.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["ce", "bce", "focal"])
def test_gradients_are_finite_for_extreme_logits(name: str) -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    loss = getattr(losses, name)(Labels("classification", torch.tensor([1, 1]), 2))(logits, torch.tensor([1, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


WEIGHT = torch.linspace(0.5, 3, 20, dtype=torch.float64)
SOFT = torch.rand(20, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(dim=1)
ONE_HOT = torch.eye(4, dtype=torch.float64)[TARGET]
FLAGS = (SOFT > 0.25).double()


@pytest.mark.parametrize("name", ["ce", "focal", "poly1", "bce", "nll"])
@pytest.mark.parametrize("class_weights", [None, "balanced"])
def test_hard_and_one_hot_targets_are_the_same(name: str, class_weights: losses.ClassWeights) -> None:
    loss = getattr(losses, name)(CLASSES, class_weights=class_weights).double()
    logits = LOGITS.log_softmax(dim=1) if name == "nll" else LOGITS
    for weight in (None, WEIGHT):
        assert loss(logits, TARGET, weight).item() == pytest.approx(loss(logits, ONE_HOT, weight).item(), abs=1e-12)


def test_soft_targets_are_torchs() -> None:
    assert losses.ce(CLASSES)(LOGITS, SOFT).item() == pytest.approx(F.cross_entropy(LOGITS, SOFT).item(), abs=1e-12)
    expected = F.binary_cross_entropy_with_logits(LOGITS, SOFT)
    assert losses.bce(CLASSES)(LOGITS, SOFT).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["ce", "focal", "poly1", "bce"])
def test_weights_of_images_are_the_same_as_repeating_them(name: str) -> None:
    loss = getattr(losses, name)(CLASSES)
    times = torch.arange(20) % 3 + 1
    repeated = torch.arange(20).repeat_interleave(times)
    expected = loss(LOGITS[repeated], TARGET[repeated])
    assert loss(LOGITS, TARGET, times.double()).item() == pytest.approx(expected.item(), abs=1e-12)


def test_ce_with_both_weights_is_a_weighted_mean() -> None:
    by_class = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    each = F.cross_entropy(LOGITS, TARGET, reduction="none")
    share = WEIGHT * by_class[TARGET]
    given = losses.ce(CLASSES, class_weights=by_class.tolist()).double()(LOGITS, TARGET, WEIGHT)
    assert given.item() == pytest.approx(((each * share).sum() / share.sum()).item(), abs=1e-12)


def test_nll_and_poly1_closed_forms() -> None:
    logs = LOGITS.log_softmax(dim=1)
    assert losses.nll(CLASSES)(logs, TARGET).item() == pytest.approx(F.nll_loss(logs, TARGET).item(), abs=1e-12)
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    expected = (-p.log() + 2.0 * (1 - p)).mean()
    assert losses.poly1(CLASSES, epsilon=2.0)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["auto", "bce", "focal", "asymmetric"])
def test_unknown_labels_are_left_out_and_give_no_gradient(name: str) -> None:
    loss = getattr(losses, name)(LABELS)
    holes = FLAGS.clone()
    holes[torch.arange(20), torch.arange(20) % 4] = float("nan")
    logits = LOGITS.clone().requires_grad_()
    value = loss(logits, holes, WEIGHT)
    value.backward()
    assert torch.isfinite(value) and logits.grad is not None
    assert (logits.grad[holes.isnan()] == 0).all() and (logits.grad[~holes.isnan()] != 0).any()
    nothing = loss(LOGITS, torch.full_like(FLAGS, float("nan")))
    assert nothing.item() == 0
    if name in ("auto", "bce"):
        known = ~holes.isnan()
        each = F.binary_cross_entropy_with_logits(LOGITS, FLAGS, reduction="none")[known].mean()
        assert loss(LOGITS, holes).item() == pytest.approx(each.item(), abs=1e-12)


def test_label_losses_against_torchvision_and_timm() -> None:
    from timm.loss import AsymmetricLossMultiLabel
    from torchvision.ops import sigmoid_focal_loss

    expected = sigmoid_focal_loss(LOGITS, FLAGS, alpha=0.3, gamma=1.5, reduction="mean")
    given = losses.focal(LABELS, gamma=1.5, alpha=0.3)(LOGITS, FLAGS)
    assert given.item() == pytest.approx(expected.item(), abs=1e-12)
    timms = AsymmetricLossMultiLabel(gamma_neg=4, gamma_pos=1, clip=0.05)(LOGITS, FLAGS) / LOGITS.shape[1]
    assert losses.asymmetric(LABELS)(LOGITS, FLAGS).item() == pytest.approx(timms.item(), rel=1e-6)


def test_balanced_positives() -> None:
    wanted = torch.tensor([30 / 10, 20 / 20, 35 / 5, 35 / 5], dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(LOGITS, FLAGS, pos_weight=wanted)
    given = losses.bce(LABELS, pos_weight="balanced").double()(LOGITS, FLAGS)
    assert given.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options", "torchs"),
    [
        ("mse", {}, torch.nn.MSELoss()),
        ("auto", {}, torch.nn.MSELoss()),
        ("mae", {}, torch.nn.L1Loss()),
        ("huber", {"delta": 0.7}, torch.nn.HuberLoss(delta=0.7)),
        ("smooth_l1", {"beta": 0.7}, torch.nn.SmoothL1Loss(beta=0.7)),
    ],
)
def test_losses_of_numbers_are_torchs(name: str, options: dict[str, float], torchs: torch.nn.Module) -> None:
    loss = getattr(losses, name)(NUMBERS, **options)
    assert loss(LOGITS, SOFT).item() == pytest.approx(torchs(LOGITS, SOFT).item(), abs=1e-12)
    holes = SOFT.clone()
    holes[3:7] = float("nan")
    known = ~holes.isnan()
    assert loss(LOGITS, holes).item() == pytest.approx(torchs(LOGITS[known], SOFT[known]).item(), abs=1e-12)


@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [
        (
            "ce",
            NUMBERS,
            "loss: ce is for classification or segmentation tasks, this task is regression; use auto, mse, mae or huber",
        ),
        (
            "mse",
            CLASSES,
            "loss: mse is for regression or images tasks, this task is classification; use auto, ce, bce or focal",
        ),
        ("asymmetric", CLASSES, "loss: asymmetric is for multilabel tasks"),
        ("ce", LABELS, "use auto, bce, focal or asymmetric"),
    ],
)
def test_a_loss_of_another_kind_is_refused(name: str, labels: Labels, sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        getattr(losses, name)(labels)
    assert sentence in refused.value.problems[0]


def test_keys_of_classes_are_refused_for_labels() -> None:
    with pytest.raises(ConfigError, match=r"loss\.class_weights: is for classification tasks"):
        losses.auto(LABELS, class_weights="balanced")
    with pytest.raises(ConfigError, match=r"loss\.alpha: is for multi-label tasks"):
        losses.focal(CLASSES, alpha=0.25)
