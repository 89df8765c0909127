"""Losses of every output against torch's, and the class weights that ignoring a class becomes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError
from mlpipe.learn.losses import by_output, cross_entropy
from mlpipe.learn.losses.by_output import elementwise
from mlpipe.learn.losses.labels import Labels
from tests.learn.losses.conftest import CLASSES, LOGITS, ONE_HOT, WEIGHT, build

LABELS = Labels("classification", torch.tensor([5, 5, 5]), 15)
OUTPUTS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 1, 2, 2, 1, 0, 0])
HOT = F.one_hot(TARGET, 3).float()


def focal(p: Tensor) -> Tensor:
    right = torch.where(HOT == 1, p, 1 - p)
    return (-((1 - right) ** 1.5) * right.log()).mean()


@pytest.mark.parametrize(
    ("of", "outputs", "wanted"),
    [
        ("bce", "sigmoid", nn.BCELoss()(OUTPUTS.sigmoid(), HOT)),
        ("bce", "softmax", nn.BCELoss()(OUTPUTS.softmax(1), HOT)),
        ("squared_error", "softmax", nn.MSELoss()(OUTPUTS.softmax(1), HOT)),
        ("squared_error", "sigmoid", nn.MSELoss()(OUTPUTS.sigmoid(), HOT)),
        ("squared_error", "linear", nn.MSELoss()(OUTPUTS, HOT)),
        ("focal", "sigmoid", focal(OUTPUTS.sigmoid())),
        ("focal", "softmax", focal(OUTPUTS.softmax(1))),
    ],
)
def test_each_is_torchs(of: str, outputs: str, wanted: Tensor) -> None:
    loss = elementwise(LABELS, of=of, outputs=outputs, gamma=1.5)  # type: ignore[arg-type]
    assert torch.allclose(loss(OUTPUTS, TARGET), wanted, atol=1e-6)
    assert torch.allclose(loss(OUTPUTS, HOT), wanted, atol=1e-6)
    assert torch.allclose(loss(OUTPUTS, TARGET, torch.ones(7)), wanted, atol=1e-6)


@pytest.mark.parametrize(("of", "torchs"), [("bce", nn.BCELoss()), ("squared_error", nn.MSELoss())])
@pytest.mark.parametrize("outputs", ["softmax", "sigmoid"])
def test_of_masks_it_is_torchs_over_all_pixels_that_count(of: str, outputs: str, torchs: nn.Module) -> None:
    maps, mask = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    hot = F.one_hot(mask, 3).movedim(-1, 1).float()
    chances = maps.softmax(1) if outputs == "softmax" else maps.sigmoid()
    loss = elementwise(Labels("segmentation", torch.ones(3), 2), of=of, outputs=outputs)  # type: ignore[arg-type]
    assert torch.allclose(loss(maps, mask), torchs(chances, hot), atol=1e-6)
    mask[0] = IGNORED
    assert torch.allclose(loss(maps, mask), torchs(chances[1], hot[1]), atol=1e-6)
    assert loss(maps, torch.full_like(mask, IGNORED)).item() == 0


def test_a_weight_of_zero_is_torchs_ignore_index() -> None:
    logs = OUTPUTS.log_softmax(1)
    loss = cross_entropy.nll(LABELS, class_weights=[1.0, 0.0, 1.0])
    assert torch.allclose(loss(logs, TARGET), F.nll_loss(logs, TARGET, ignore_index=1))
    with pytest.raises(ConfigError, match=r"loss\.class_weights: does not fit the classes"):
        cross_entropy.nll(LABELS, class_weights=[0.0, 0.0, 0.0])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="elementwise is for classification, this task is regression"):
        elementwise(Labels("regression", torch.zeros(1), 3))
    with pytest.raises(ConfigError, match="bce takes probabilities, got 'linear'"):
        elementwise(LABELS, of="bce", outputs="linear")


PARTS = [
    {"name": "a", "outputs": 3, "activation": "softmax", "expression": "ce", "metrics": ["accuracy"]},
    {"name": "b", "outputs": 2, "activation": "sigmoid", "expression": "bce+0.5*dice", "weight": 2.0},
    {"name": "c", "outputs": 1, "activation": "tanh", "expression": "squared_error", "metrics": ["mae"]},
]


def test_each_of_several_outputs_has_its_own_loss_as_in_keras() -> None:
    drawn = np.random.default_rng(3)
    classes, labels = np.eye(3)[drawn.integers(0, 3, 8)], drawn.integers(0, 2, (8, 2)).astype(float)
    numbers = drawn.uniform(-1, 1, (8, 1))
    p = torch.softmax(torch.tensor(drawn.normal(size=(8, 3))), 1).numpy()
    q, y = drawn.uniform(0.05, 0.95, (8, 2)), drawn.uniform(-1, 1, (8, 1))
    dice = 1 - (2 * (labels * q).sum(1) + 1) / ((labels**2).sum(1) + (q**2).sum(1) + 1)
    expected = [
        float(keras.losses.CategoricalCrossentropy()(classes, p)),
        float(keras.losses.BinaryCrossentropy()(labels, q)) + 0.5 * dice.mean(),
        float(keras.losses.MeanSquaredError()(numbers, y)),
    ]
    loss = by_output.heads(Labels("regression", torch.zeros(6), 8), parts=PARTS)
    given = torch.tensor(np.hstack([p, q, y])).float(), torch.tensor(np.hstack([classes, labels, numbers])).float()
    assert float(loss(*given)) == pytest.approx(expected[0] + 2 * expected[1] + expected[2], rel=1e-5)
    found = loss.measured(*given)  # type: ignore[operator]
    assert [found[f"{name}_loss"] for name in "abc"] == pytest.approx(expected, rel=1e-5)
    assert found["a_accuracy"] == pytest.approx((p.argmax(1) == classes.argmax(1)).mean())
    assert found["c_mae"] == pytest.approx(np.abs(y - numbers).mean())


def test_logits_of_labels_are_split_alike_and_shared_metrics_have_means() -> None:
    parts = [
        {
            "name": f"out{number}",
            "outputs": width,
            "activation": "sigmoid",
            "expression": "bce",
            "metrics": ["accuracy"],
        }
        for number, width in enumerate((1, 3))
    ]
    logits = torch.tensor([[2.0, -1.0, 1.0, 3.0], [-1.0, 2.0, -2.0, 0.5]])
    target = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    loss = by_output.heads(Labels("multilabel", torch.zeros(4), 2), parts=parts)
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    expected = bce(logits[:, :1], target[:, :1]) + bce(logits[:, 1:], target[:, 1:])
    torch.testing.assert_close(loss(logits, target), expected)
    assert loss.measured(logits, target)["accuracy"] == pytest.approx((1 + 4 / 6) / 2)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"outputs": 2}, "loss.parts: its parts have 5 numbers, the task has 6"),
        ({"metrics": ["mae"]}, r"loss.parts\[0\].metrics: there is none, got \['mae'\]"),
        ({"expresion": "ce"}, r"loss.parts\[0\].expresion: unknown key"),
        ({"outputs": True}, r"loss.parts\[0\].outputs: must be a whole number"),
    ],
)
def test_wrong_parts_are_sentences(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        by_output.heads(Labels("regression", torch.zeros(6), 8), parts=[PARTS[0] | change, *PARTS[1:]])


def test_pixels_of_an_image_count_by_its_weight() -> None:
    torch.manual_seed(0)
    loss = elementwise(Labels("segmentation", torch.ones(3, dtype=torch.long), 4), of="squared_error", outputs="linear")
    outputs, target = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    each = [float(loss(outputs[row : row + 1], target[row : row + 1])) for row in range(2)]
    both = float(loss(outputs, target, torch.tensor([3.0, 1.0])))
    assert both == pytest.approx((3 * each[0] + each[1]) / 4, rel=1e-6)


@pytest.mark.parametrize(("of", "outputs"), [("bce", "softmax"), ("focal", "sigmoid"), ("squared_error", "linear")])
def test_elementwise_leaves_out_images_that_only_a_teacher_knows(of: str, outputs: str) -> None:
    loss = build("elementwise", CLASSES, of=of, outputs=outputs)
    target = torch.cat([ONE_HOT, torch.full_like(ONE_HOT[:3], torch.nan)])
    logits = torch.cat([LOGITS, LOGITS[:3] + 1]).requires_grad_()
    value = loss(logits, target)
    assert value.item() == pytest.approx(loss(LOGITS, ONE_HOT).item(), abs=1e-12)
    value.backward()
    assert logits.grad is not None and not logits.grad[20:].any() and logits.grad[:20].isfinite().all()
    weight = torch.cat([WEIGHT, WEIGHT[:3]])
    assert loss(logits, target, weight).item() == pytest.approx(loss(LOGITS, ONE_HOT, WEIGHT).item(), abs=1e-12)
