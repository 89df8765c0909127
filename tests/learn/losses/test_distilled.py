"""The loss of a student against the formula of Hinton et al. (2015) in NumPy, and what is known of each image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax
from torch import nn

from mlpipe.data.augment.batches import mixup
from mlpipe.learn.heads import LearnedHead
from mlpipe.learn.losses.cross_entropy import ce
from mlpipe.learn.losses.distilled import Distilled
from mlpipe.learn.losses.labels import Labels
from mlpipe.post.teaching import Teaching

NAN = float("nan")
RNG = np.random.default_rng(3)
GIVEN, OUTPUTS = RNG.normal(size=(5, 3)), RNG.normal(size=(4, 3)).astype(np.float32)


def classes(given: np.ndarray, temperature: float, hard_weight: float) -> LearnedHead:
    hard = ce(Labels("classification", torch.tensor([1, 1, 1]), 3))
    loss = Distilled(hard, Teaching("teacher", given, temperature, hard_weight), "classification")
    return LearnedHead("target", "classification", 3, loss)


def both(head: LearnedHead, target: torch.Tensor, rows: list[int]) -> torch.Tensor:
    batch = {"images": torch.zeros(len(rows), 1, 2, 2), "target": target, "row": torch.tensor(rows)}
    return head.augmented_batch(batch, [], 1)[1]


@pytest.mark.parametrize(("temperature", "hard_weight"), [(1.0, 0.0), (2.5, 0.3), (4.0, 1.0)])
def test_classes_are_learned_as_the_paper_says(temperature: float, hard_weight: float) -> None:
    """Row 4 has no target, row 0 no teacher: each part is the mean over the images that have it."""
    given = GIVEN.copy()
    given[0] = np.nan
    rows, targets = [2, 0, 4, 1], np.array([1, 2, -1, 0])
    head = classes(given, temperature, hard_weight)
    found = head.mean_loss(torch.from_numpy(OUTPUTS), both(head, torch.from_numpy(targets), rows))
    taught = [0, 2, 3]
    soft = softmax(given[[rows[n] for n in taught]] / temperature, axis=1)
    each = -(soft * log_softmax(OUTPUTS[taught] / temperature, axis=1)).sum(axis=1)
    hard = -np.mean([log_softmax(OUTPUTS[n])[targets[n]] for n in (0, 1, 3)])
    expected = hard_weight * hard + (1 - hard_weight) * temperature**2 * each.mean()
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_weights_of_images_weigh_both_parts() -> None:
    head, weight = classes(GIVEN, 2.0, 0.25), np.array([1.0, 0.0, 2.0, 0.5])
    targets, rows = np.array([1, 2, 0, 0]), [0, 1, 2, 3]
    found = head.mean_loss(
        torch.from_numpy(OUTPUTS), both(head, torch.from_numpy(targets), rows), torch.from_numpy(weight)
    )
    soft = 4 * -(softmax(GIVEN[:4] / 2, axis=1) * log_softmax(OUTPUTS / 2, axis=1)).sum(axis=1)
    hard = -log_softmax(OUTPUTS, axis=1)[np.arange(4), targets]
    assert float(found) == pytest.approx(np.average(0.25 * hard + 0.75 * soft, weights=weight), rel=1e-5)


def test_a_student_that_agrees_with_its_teacher_has_nothing_to_learn() -> None:
    head = classes(GIVEN, 3.0, 0.0)
    outputs = torch.tensor(GIVEN[:4] + 1.5, dtype=torch.float32, requires_grad=True)
    head.mean_loss(outputs, both(head, torch.tensor([0, 1, 2, 0]), [0, 1, 2, 3])).backward()
    assert outputs.grad is not None and float(outputs.grad.abs().max()) < 1e-6


def test_labels_and_numbers() -> None:
    given, outputs = GIVEN[:2, :2], torch.from_numpy(OUTPUTS[:2, :2])
    target, rows = torch.tensor([[1.0, NAN], [0.0, 1.0]]), torch.tensor([0, 1])
    labels = Distilled(nn.BCEWithLogitsLoss(), Teaching("t", given, 2.0, 0.0), "multilabel")
    wanted, chance = expit(given / 2), expit(OUTPUTS[:2, :2] / 2)
    expected = -(wanted * np.log(chance) + (1 - wanted) * np.log(1 - chance)).mean() * 4
    assert float(labels(outputs, labels.beside(target, rows))) == pytest.approx(expected, rel=1e-5)
    # In standard deviations, as the recipe's own loss: (6 - 2) / 4 = 1 off the target, (6 - 10) / 4 = -1 off the teacher.
    scale = torch.tensor([2.0, 0.0]), torch.tensor([4.0, 0.5])
    loss = Distilled(nn.MSELoss(), Teaching("t", np.array([[10.0, 0.0]]), 1.0, 0.25), "regression")
    head = LearnedHead("target", "regression", 2, loss, scale)
    pair = loss.beside(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    assert float(head.mean_loss(torch.tensor([[6.0, 1.0]]), pair)) == 0.25 * (1 + 4) / 2 + 0.75 * (1 + 4) / 2
    assert float(head.criterion(torch.tensor([[6.0, 0.0]]), torch.tensor([[2.0, 0.0]]))) == 0.5


def test_what_mixes_images_mixes_the_teacher_and_metrics_see_targets() -> None:
    head = classes(GIVEN, 1.0, 0.5)
    batch = {"images": torch.rand(4, 1, 2, 2), "target": torch.tensor([0, 1, -1, 2]), "row": torch.tensor([0, 1, 2, 3])}
    torch.manual_seed(0)
    mixed = head.augmented_batch(batch, [mixup(alpha=1.0)], 1)[1]
    assert mixed.shape == (4, 6) and torch.allclose(mixed[:, 3:].sum(1), torch.ones(4))
    assert not torch.allclose(mixed[:, 3:], torch.from_numpy(softmax(GIVEN[:4], axis=1)).float())
    assert head.metric_target(head.augmented_batch(batch, [], 1)[1]).tolist() == [0, 1, -1, 2]
    # Validation has no teacher.
    assert float(head.criterion(torch.zeros(2, 3), torch.tensor([0, 1]))) == pytest.approx(np.log(3))
