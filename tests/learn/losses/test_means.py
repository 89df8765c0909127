"""A batch in which nothing counts has the loss 0 and moves nothing, whatever the loss is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from torch import Tensor, nn

from mlpipe.config.components import Component
from mlpipe.data.task import IGNORED
from mlpipe.errors import ConfigError
from mlpipe.learn.losses import composite, cross_entropy, probabilities
from mlpipe.learn.losses import keras as record_losses
from mlpipe.learn.losses.labels import Labels
from tests.learn.losses.conftest import build

CONF = Path(__file__).parents[3] / "conf" / "loss"
COUNTS = torch.tensor([8, 8, 8])
KINDS: dict[str, Labels] = {
    "classification": Labels("classification", COUNTS, 24),
    "multilabel": Labels("multilabel", COUNTS, 24),
    "regression": Labels("regression", COUNTS * 0, 24),
    "segmentation": Labels("segmentation", COUNTS, 24),
    "images": Labels("images", COUNTS * 0, 24),
}
ONE_CHANNEL = Labels("images", torch.zeros(1, dtype=torch.int64), 24)
PARTS = [
    {"name": "a", "outputs": 2, "activation": "softmax", "expression": "ce"},
    {"name": "b", "outputs": 1, "activation": "sigmoid", "expression": "auto+dice"},
]
KERAS_PARTS = [
    {"name": "a", "loss": "categorical_crossentropy", "metrics": []},
    {"name": "b", "loss": "mean_squared_error", "metrics": []},
]
# These are of raw boxes, and of scores of a critic.
OF_OWN_OUTPUTS = ("yolov3", "wasserstein")
# What a file asks for that it has no value for.
GIVEN: dict[str, list[dict[str, Any]]] = {
    "composite": [{"expression": one} for one in ("ce+0.5*focal", "bce", "mse", "jaccard+dice+hinge+cosine", "lovasz")],
    "own": [{"expression": "ce"}, {"expression": "bce+kl_divergence"}, {"expression": "mse"}],
    "keras": [{"name": name} for name in (*record_losses.NAMES, *record_losses.ENTROPIES)],
    "keras_outputs": [{"parts": KERAS_PARTS}],
    "heads": [{"parts": PARTS}],
    "focal": [{}, {"gamma": 0.5}, {"label_smoothing": 0.2, "class_weights": "balanced"}],
    "ce": [{}, {"label_smoothing": 0.1}, {"label_smoothing": 0.1, "class_weights": "balanced"}],
    "elementwise": [{}, {"of": "squared_error", "outputs": "linear"}, {"of": "focal", "outputs": "sigmoid"}],
    "dice": [{}, {"per_image": True}, {"over": "all", "class_weights": "balanced"}],
    "jaccard": [{}, {"per_image": True}],
    "lovasz": [{}, {"per_image": True}],
}


def built() -> list[tuple[str, Labels, nn.Module]]:
    """Every loss of `conf/loss` for every kind that it is for."""
    found = []
    for file in sorted(set(CONF.glob("*.yaml")) - {CONF / f"{name}.yaml" for name in OF_OWN_OUTPUTS}):
        params = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "defaults"}
        target = params.pop("_target_")
        for more in GIVEN.get(file.stem, [{}]):
            fits = 0
            several = [Labels("regression", COUNTS * 0, 24, (2, 1))] if file.stem == "keras_outputs" else []
            for labels in (*KINDS.values(), ONE_CHANNEL, *several):
                try:
                    loss = Component("loss", target, {**params, **more}).build(labels)
                except ConfigError:
                    continue
                fits += 1
                found.append((f"{file.stem} {more} {labels.kind} {list(labels.widths)}", labels, loss))
            assert fits, f"no kind takes {file.stem} {more}"
    return found


BUILT = built()


def outputs_of(labels: Labels) -> Tensor:
    draw, classes = torch.Generator().manual_seed(0), len(labels.counts)
    shape = (4, classes, 6, 6) if labels.kind in ("segmentation", "images") else (4, classes)
    drawn = torch.randn(shape, generator=draw)
    return (drawn.sigmoid() if labels.kind in ("images", "regression") else drawn).requires_grad_()


def targets_of(name: str, labels: Labels) -> Tensor:
    """Targets that are known."""
    if name.startswith("burgers"):
        return torch.rand(4, 1, 1, 6)
    if labels.kind == "segmentation":
        return torch.randint(0, 3, (4, 6, 6))
    if labels.kind == "images":
        return torch.rand(4, len(labels.counts), 6, 6)
    if labels.kind == "classification":
        return torch.tensor([0, 1, 2, 2])
    return torch.tensor([[1.0, 0.0, 1.0]]).expand(4, 3)


def moves_nothing(loss: nn.Module, outputs: Tensor, *given: Tensor) -> None:
    value = loss(outputs, *given)
    assert float(value.detach()) == 0.0
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, outputs)
        assert torch.equal(gradient, torch.zeros_like(outputs))


@pytest.mark.parametrize(("name", "labels", "loss"), BUILT, ids=[name for name, _, _ in BUILT])
def test_images_without_weight_move_nothing(name: str, labels: Labels, loss: nn.Module) -> None:
    outputs, target = outputs_of(labels), targets_of(name, labels)
    plain = loss(outputs, target)
    assert math.isfinite(float(plain.detach()))
    weight = torch.zeros((4, 2) if labels.widths else 4)
    try:
        value = loss(outputs, target, weight)
    except TypeError:
        # One number of a whole batch; the program refuses it where images have weights.
        return
    moves_nothing(loss, outputs, target, weight)
    assert math.isfinite(float(value.detach()))


@pytest.mark.parametrize(("name", "labels", "loss"), BUILT, ids=[name for name, _, _ in BUILT])
def test_unknown_targets_move_nothing(name: str, labels: Labels, loss: nn.Module) -> None:
    if labels.kind == "classification" or name.startswith(("burgers", "poisson")):
        # Every image has a class, and equations have no targets.
        return
    outputs = outputs_of(labels)
    is_mask = labels.kind == "segmentation"
    unknown = torch.full((4, 6, 6), IGNORED) if is_mask else torch.full(outputs.shape, torch.nan)
    moves_nothing(loss, outputs, unknown)


@pytest.mark.parametrize("name", sorted(probabilities.ALL))
@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_every_term_of_a_sum_is_zero_of_nothing(name: str, kind: str) -> None:
    if kind == "regression" and name not in probabilities.OF_NUMBERS:
        return
    loss = composite.composite(KINDS[kind], expression=name)
    moves_nothing(loss, outputs_of(KINDS[kind]), torch.full((4, 3), torch.nan))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", ["ce", "focal", "poly1", "nll"])
def test_a_batch_of_classes_without_weight_moves_nothing(name: str, smoothing: float) -> None:
    more = {"label_smoothing": smoothing} if name != "nll" else {}
    loss = build(name, KINDS["classification"], class_weights=[1.0, 1.0, 0.0], **more)
    outputs = outputs_of(KINDS["classification"])
    moves_nothing(loss, outputs, torch.full((4,), 2))
    moves_nothing(loss, outputs, F.one_hot(torch.full((4,), 2), 3).float())
    if name == "poly1":
        return
    pixels = build(name, KINDS["segmentation"], class_weights=[1.0, 1.0, 0.0], **more)
    moves_nothing(pixels, outputs_of(KINDS["segmentation"]), torch.full((4, 6, 6), 2))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_has_weight_beside_it_is_torchs(smoothing: float) -> None:
    weight, target = torch.tensor([1.0, 2.0, 0.0]), torch.tensor([2, 0, 1, 2])
    outputs = outputs_of(KINDS["classification"])
    loss = cross_entropy.ce(KINDS["classification"], class_weights=weight.tolist(), label_smoothing=smoothing)
    assert torch.equal(loss(outputs, target), F.cross_entropy(outputs, target, weight, label_smoothing=smoothing))


def test_a_log_probability_of_minus_infinity_counts_only_where_it_is_true() -> None:
    logs = torch.tensor([[0.0, -torch.inf, -torch.inf]], requires_grad=True)
    weighed = cross_entropy.nll(KINDS["classification"], class_weights=[1.0, 1.0, 0.0])
    assert float(weighed(logs, torch.tensor([0]))) == 0.0
    (gradient,) = torch.autograd.grad(weighed(logs, torch.tensor([0])), logs)
    assert gradient.tolist() == [[-1.0, 0.0, 0.0]]


def test_outputs_with_something_known_are_all_that_counts() -> None:
    target = torch.tensor([[1.0, torch.nan, 0.0], [0.0, torch.nan, 1.0]])
    outputs = torch.randn(2, 3, generator=torch.Generator().manual_seed(1))
    known = target[:, [0, 2]], outputs[:, [0, 2]]
    for name in ("soft_f1", "dice", "elementwise_bce"):
        two = Labels("multilabel", COUNTS[:2], 24)
        found = composite.composite(KINDS["multilabel"], expression=name)(outputs, target)
        wanted = composite.composite(two, expression=name)(known[1], known[0])
        assert float(found) == pytest.approx(float(wanted))
    keras = record_losses.keras(KINDS["multilabel"], name="binary_crossentropy")
    expected = F.binary_cross_entropy_with_logits(known[1], known[0])
    assert float(keras(outputs, target)) == pytest.approx(float(expected))
