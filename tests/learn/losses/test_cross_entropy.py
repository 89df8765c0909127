"""Cross-entropies are torch's and closed forms."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from mlpipe.data.task import IGNORED
from mlpipe.learn.losses import cross_entropy, keras
from mlpipe.learn.losses.class_weights import ClassWeights
from mlpipe.learn.losses.cross_entropy import PixelCrossEntropy
from mlpipe.learn.losses.labels import Labels
from tests.learn.losses.conftest import (
    CLASSES,
    COUNTS,
    FLAGS,
    LABELS,
    LOGITS,
    ONE_HOT,
    SOFT,
    TARGET,
    WEIGHT,
    batch,
    build,
    of_masks,
)


def test_ce_is_torchs() -> None:
    expected = F.cross_entropy(LOGITS, TARGET, label_smoothing=0.1)
    assert torch.equal(build("ce", CLASSES, label_smoothing=0.1)(LOGITS, TARGET), expected)
    assert torch.equal(build("auto", CLASSES, label_smoothing=0.1)(LOGITS, TARGET), expected)


def test_bce_is_the_mean_over_images_and_classes() -> None:
    wanted = torch.eye(4, dtype=torch.float64)[TARGET]
    p = LOGITS.sigmoid()
    expected = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    assert build("bce", CLASSES)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


def test_label_smoothing_closed_forms() -> None:
    classes, share = 4, 0.2
    wanted = torch.eye(classes, dtype=torch.float64)[TARGET] * (1 - share) + share / classes
    soft = -(wanted * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    assert build("ce", CLASSES, label_smoothing=share)(LOGITS, TARGET).item() == pytest.approx(soft.item(), abs=1e-12)
    p = LOGITS.sigmoid()
    each = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    assert build("bce", CLASSES, label_smoothing=share)(LOGITS, TARGET).item() == pytest.approx(each.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["ce", "bce", "focal"])
def test_gradients_are_finite_for_extreme_logits(name: str) -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    loss = build(name, Labels("classification", torch.tensor([1, 1]), 2))(logits, torch.tensor([1, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["ce", "focal", "poly1", "bce", "nll"])
@pytest.mark.parametrize("class_weights", [None, "balanced"])
def test_hard_and_one_hot_targets_are_the_same(name: str, class_weights: ClassWeights) -> None:
    loss = build(name, CLASSES, class_weights=class_weights).double()
    logits = LOGITS.log_softmax(dim=1) if name == "nll" else LOGITS
    for weight in (None, WEIGHT):
        assert loss(logits, TARGET, weight).item() == pytest.approx(loss(logits, ONE_HOT, weight).item(), abs=1e-12)


def test_soft_targets_are_torchs() -> None:
    assert build("ce", CLASSES)(LOGITS, SOFT).item() == pytest.approx(F.cross_entropy(LOGITS, SOFT).item(), abs=1e-12)
    expected = F.binary_cross_entropy_with_logits(LOGITS, SOFT)
    assert build("bce", CLASSES)(LOGITS, SOFT).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["ce", "focal", "poly1", "bce"])
def test_weights_of_images_are_the_same_as_repeating_them(name: str) -> None:
    loss = build(name, CLASSES)
    times = torch.arange(20) % 3 + 1
    repeated = torch.arange(20).repeat_interleave(times)
    expected = loss(LOGITS[repeated], TARGET[repeated])
    assert loss(LOGITS, TARGET, times.double()).item() == pytest.approx(expected.item(), abs=1e-12)


def test_ce_with_both_weights_is_a_weighted_mean() -> None:
    by_class = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    each = F.cross_entropy(LOGITS, TARGET, reduction="none")
    share = WEIGHT * by_class[TARGET]
    given = build("ce", CLASSES, class_weights=by_class.tolist()).double()(LOGITS, TARGET, WEIGHT)
    assert given.item() == pytest.approx(((each * share).sum() / share.sum()).item(), abs=1e-12)


def test_class_weights_weigh_images_in_ce_and_focal_and_classes_in_bce() -> None:
    given = [1.0, 2.0, 3.0, 4.0]
    own = torch.tensor(given, dtype=torch.float64)
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    ce = -(own[TARGET] * p.log()).sum() / own[TARGET].sum()
    assert build("ce", CLASSES, class_weights=given).double()(LOGITS, TARGET).item() == pytest.approx(
        ce.item(), abs=1e-12
    )
    focal = -(own[TARGET] * (1 - p) ** 3 * p.log()).sum() / own[TARGET].sum()
    built = build("focal", CLASSES, gamma=3.0, class_weights=given).double()
    assert built(LOGITS, TARGET).item() == pytest.approx(focal.item(), abs=1e-12)
    wanted, q = torch.eye(4, dtype=torch.float64)[TARGET], LOGITS.sigmoid()
    bce = -(own * (wanted * q.log() + (1 - wanted) * (1 - q).log())).mean()
    built = build("bce", CLASSES, class_weights=given).double()
    assert built(LOGITS, TARGET).item() == pytest.approx(bce.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["auto", "bce", "focal", "asymmetric"])
def test_unknown_labels_are_left_out_and_give_no_gradient(name: str) -> None:
    loss = build(name, LABELS)
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


def test_balanced_positives() -> None:
    wanted = torch.tensor([30 / 10, 20 / 20, 35 / 5, 35 / 5], dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(LOGITS, FLAGS, pos_weight=wanted)
    given = build("bce", LABELS, pos_weight="balanced").double()(LOGITS, FLAGS)
    assert given.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 4.0]])
def test_cross_entropy_is_torch_s(weight: list[float] | None, smoothing: float) -> None:
    logits, target = batch(3, ignored=True)
    of_classes = None if weight is None else torch.tensor(weight)
    wanted = F.cross_entropy(logits, target, of_classes, ignore_index=IGNORED, label_smoothing=smoothing)
    mine = cross_entropy.ce(of_masks(), class_weights=weight, label_smoothing=smoothing)  # type: ignore[arg-type]
    assert mine(logits, target).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_images_may_have_weights() -> None:
    logits, target = batch()
    each = torch.stack([F.cross_entropy(logits[place : place + 1], target[place : place + 1]) for place in range(4)])
    share = torch.tensor([1.0, 0.0, 2.0, 1.0])
    assert PixelCrossEntropy(None)(logits, target, share).item() == pytest.approx(
        ((each * share).sum() / 4).item(), rel=1e-5
    )


@pytest.mark.parametrize("ignored", [False, True])
def test_log_probabilities_are_torchs_negative_log_likelihood(ignored: bool) -> None:
    logits, target = batch(3, ignored)
    # No log-probabilities of anything: they are taken as they are.
    wanted = F.nll_loss(logits, target, torch.tensor([1.0, 0.5, 2.0]), ignore_index=IGNORED)
    mine = cross_entropy.nll(of_masks(), class_weights=[1.0, 0.5, 2.0])
    assert mine(logits, target).item() == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("labels", [1, 3])
def test_smoothed_labels_are_a_half_between_yes_and_no(labels: int) -> None:
    """t (1 - s) + s / 2, as in Keras's BinaryCrossentropy: with one label only negatives were smoothed."""
    logits, share = LOGITS[:, :labels], 0.2
    flags, p = FLAGS[:, :labels], LOGITS[:, :labels].sigmoid()
    wanted = 0.1 + 0.8 * flags
    expected = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    loss = build("bce", Labels("multilabel", COUNTS[:labels], 40), label_smoothing=share)
    assert loss(logits, flags).item() == pytest.approx(expected.item(), abs=1e-12)
    # The loss of this name is compared with Keras itself in test_keras.py.
    theirs = keras.keras(Labels("multilabel", COUNTS[:labels], 40), name="binary_crossentropy", label_smoothing=share)
    assert loss(logits, flags).item() == pytest.approx(theirs(logits, flags).item(), abs=1e-12)
    # Nothing prefers yes to no.
    assert loss(-logits, 1 - flags).item() == pytest.approx(expected.item(), abs=1e-12)


def test_smoothed_classes_are_timms() -> None:
    from timm.loss import BinaryCrossEntropy

    expected = BinaryCrossEntropy(smoothing=0.2)(LOGITS, TARGET)
    assert build("bce", CLASSES, label_smoothing=0.2)(LOGITS, TARGET).item() == pytest.approx(
        expected.item(), abs=1e-12
    )
