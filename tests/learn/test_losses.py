"""Losses against torch's own and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.utils.class_weight import compute_class_weight

from mlpipe.errors import ConfigError
from mlpipe.learn import losses

LOGITS = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.arange(20) % 4
COUNTS = torch.tensor([10, 20, 5, 5])


def test_ce_is_torchs() -> None:
    expected = F.cross_entropy(LOGITS, TARGET, label_smoothing=0.1)
    assert torch.equal(losses.ce(COUNTS, label_smoothing=0.1)(LOGITS, TARGET), expected)
    assert torch.equal(losses.auto(COUNTS, label_smoothing=0.1)(LOGITS, TARGET), expected)


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(4), COUNTS.numpy())
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    weights = losses.weights(COUNTS, "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_weights_must_fit_the_classes() -> None:
    assert losses.weights(COUNTS, [1, 2, 3, 4]).tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]
    for wrong in ([1.0, 2.0], [1.0, 2.0, 0.0, 1.0]):
        with pytest.raises(ConfigError, match=r"loss\.class_weights: does not fit the classes"):
            losses.weights(COUNTS, wrong)


def test_bce_is_the_mean_over_images_and_classes() -> None:
    wanted = torch.eye(4, dtype=torch.float64)[TARGET]
    p = LOGITS.sigmoid()
    expected = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    assert losses.bce(COUNTS)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


def test_focal_without_gamma_is_cross_entropy() -> None:
    for weights in (None, "balanced"):
        given = losses.focal(COUNTS, gamma=0.0, class_weights=weights).double()(LOGITS, TARGET)
        expected = losses.ce(COUNTS, class_weights=weights).double()(LOGITS, TARGET)
        assert given.item() == pytest.approx(expected.item(), abs=1e-12)


def test_focal_closed_form() -> None:
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    assert losses.focal(COUNTS, gamma=2.0)(LOGITS, TARGET).item() == pytest.approx(expected.item(), abs=1e-12)


def test_label_smoothing_closed_forms() -> None:
    classes, share = 4, 0.2
    wanted = torch.eye(classes, dtype=torch.float64)[TARGET] * (1 - share) + share / classes
    soft = -(wanted * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    assert losses.ce(COUNTS, label_smoothing=share)(LOGITS, TARGET).item() == pytest.approx(soft.item(), abs=1e-12)
    p = LOGITS.sigmoid()
    each = -(wanted * p.log() + (1 - wanted) * (1 - p).log()).mean()
    assert losses.bce(COUNTS, label_smoothing=share)(LOGITS, TARGET).item() == pytest.approx(each.item(), abs=1e-12)


@pytest.mark.parametrize("given", [None, "balanced", [1.0, 2.0, 3.0, 4.0]])
def test_focal_without_gamma_is_cross_entropy_with_every_option(given: losses.ClassWeights) -> None:
    options = {"label_smoothing": 0.1, "class_weights": given}
    focal = losses.focal(COUNTS, gamma=0.0, **options).double()(LOGITS, TARGET)  # type: ignore[arg-type]
    ce = losses.ce(COUNTS, **options).double()(LOGITS, TARGET)  # type: ignore[arg-type]
    assert focal.item() == pytest.approx(ce.item(), abs=1e-12)


def test_class_weights_weigh_images_in_ce_and_focal_and_classes_in_bce() -> None:
    given = [1.0, 2.0, 3.0, 4.0]
    own = torch.tensor(given, dtype=torch.float64)
    p = LOGITS.softmax(dim=1).gather(1, TARGET[:, None])[:, 0]
    ce = -(own[TARGET] * p.log()).sum() / own[TARGET].sum()
    assert losses.ce(COUNTS, class_weights=given).double()(LOGITS, TARGET).item() == pytest.approx(ce.item(), abs=1e-12)
    focal = -(own[TARGET] * (1 - p) ** 3 * p.log()).sum() / own[TARGET].sum()
    built = losses.focal(COUNTS, gamma=3.0, class_weights=given).double()
    assert built(LOGITS, TARGET).item() == pytest.approx(focal.item(), abs=1e-12)
    wanted, q = torch.eye(4, dtype=torch.float64)[TARGET], LOGITS.sigmoid()
    bce = -(own * (wanted * q.log() + (1 - wanted) * (1 - q).log())).mean()
    built = losses.bce(COUNTS, class_weights=given).double()
    assert built(LOGITS, TARGET).item() == pytest.approx(bce.item(), abs=1e-12)


@pytest.mark.parametrize("name", ["ce", "bce", "focal"])
def test_gradients_are_finite_for_extreme_logits(name: str) -> None:
    logits = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    loss = getattr(losses, name)(torch.tensor([1, 1]))(logits, torch.tensor([1, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None and torch.isfinite(logits.grad).all()
