"""Balanced weights: scikit-learn's, of the classes that come, and bounded; weights that are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from sklearn.utils.class_weight import compute_class_weight

from mlpipe.errors import ConfigError
from mlpipe.learn.losses import class_weights, cross_entropy
from mlpipe.learn.losses.class_weights import weights as weights_of
from mlpipe.learn.losses.labels import Labels
from tests.learn.losses.conftest import CLASSES, COUNTS


def test_balanced_weights_are_scikit_learns() -> None:
    labels = np.repeat(np.arange(4), COUNTS.numpy())
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    weights = weights_of(CLASSES, "balanced")
    assert weights is not None
    assert weights.tolist() == pytest.approx(expected.tolist())


def test_weights_must_fit_the_classes() -> None:
    assert weights_of(CLASSES, [1, 2, 3, 4]).tolist() == [1, 2, 3, 4]  # type: ignore[union-attr]
    for wrong in ([1.0, 2.0], [1.0, 2.0, -1.0, 1.0], [0.0, 0.0, 0.0, 0.0]):
        with pytest.raises(ConfigError, match=r"loss\.class_weights: does not fit the classes"):
            weights_of(CLASSES, wrong)


@pytest.mark.parametrize("counts", [[10, 20, 5, 5], [900, 90, 1], [1, 1], [3, 0, 7], [0, 0, 4], [999, 1]])
def test_weights_are_scikit_learns_of_the_classes_that_come(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    present = np.unique(labels)
    expected = compute_class_weight("balanced", classes=present, y=labels)
    found = class_weights.of_classes(torch.tensor(counts))
    assert found.values[torch.tensor(present)].tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert found.absent == tuple(set(range(len(counts))) - set(present.tolist())) and not found.bounded
    assert not found.values[list(found.absent)].any()


def test_no_weight_is_more_than_a_thousand_times_another() -> None:
    found = class_weights.of_classes(torch.tensor([16_000_000, 4_000_000, 3, 0]))
    assert found.values.max() / found.values[found.values > 0].min() == pytest.approx(class_weights.MOST)
    assert (found.bounded, found.absent) == ((2,), (3,))


@pytest.mark.parametrize("smoothing", [0.01, 0.1, 0.5])
def test_a_smoothed_target_still_asks_for_its_own_class_first(smoothing: float) -> None:
    """The weighed target of torch's loss, found by its gradient at equal logits, is largest at the true class."""
    counts = torch.tensor([1_000_000, 200_000, 4])
    weight = class_weights.weights(Labels("classification", counts, 1_200_004), "balanced", smoothing)
    assert weight is not None
    for true in range(3):
        wanted = torch.full((3,), smoothing / 3)
        wanted[true] += 1 - smoothing
        asked = wanted * weight
        others = [float(asked[other]) for other in range(3) if other != true]
        assert float(asked[true]) >= 2 * max(others) * (1 - 1e-5)
    logits = torch.zeros(1, 3)
    assert float(F.cross_entropy(logits, torch.tensor([0]), weight, label_smoothing=smoothing)) < 4


def test_positives_weigh_negatives_over_positives_of_what_is_known() -> None:
    found = class_weights.of_positives(torch.tensor([5, 50, 0, 100, 1]), torch.tensor([100, 60, 100, 100, 100_000]))
    assert found.values[:2].tolist() == pytest.approx([95 / 5, 10 / 50])
    assert found.values[2] == 0 and found.values[4] == class_weights.MOST
    assert found.values[3] == pytest.approx(1 / 100)
    assert (found.absent, found.bounded) == ((2,), (4,))


def test_a_person_is_told() -> None:
    balance = class_weights.of_classes(torch.tensor([16_000_000, 4, 0]))
    told = class_weights.sentence("loss.class_weights", balance, ["bg", "a", "c"])
    assert told == (
        "loss.class_weights=balanced: bg 0.5, a 500, c 0; the training part has nothing of c: weight 0; "
        "a bounded at 1000 times the smallest weight"
    )
    many = class_weights.of_classes(torch.arange(1, 41))
    names = [f"k{number}" for number in range(40)]
    assert class_weights.sentence("x", many, names) == "x=balanced: from k39 0.512 to k0 20.5"


def test_weights_of_ordinary_data_are_the_same_bit_for_bit() -> None:
    counts = torch.tensor([13, 700, 41])
    found = class_weights.weights(Labels("classification", counts, 754), "balanced")
    assert found is not None
    assert torch.equal(found, counts.sum() / (3 * counts.float()))
    loss = cross_entropy.bce(Labels("multilabel", counts, 754), pos_weight="balanced")
    assert torch.equal(loss.pos_weight, ((754 - counts) / counts).float())  # type: ignore[arg-type]
