"""Keras's losses, with weights and label smoothing, against Keras itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from mlpipe.errors import ConfigError
from mlpipe.learn.losses import keras as record_losses
from mlpipe.learn.losses.labels import Labels

COUNTS = torch.tensor([2, 2, 2])
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 3)).astype(np.float32)
WEIGHTS = RNG.uniform(0, 3, 6).astype(np.float32)
CLASSES = np.array([0, 1, 2, 0, 1, 2])
ONE_HOT = np.eye(3, dtype=np.float32)[CLASSES]


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["categorical_crossentropy", "binary_crossentropy"])
def test_cross_entropies(name: str, smoothing: float, weight: Any) -> None:
    kind = "classification" if name.startswith("cat") else "multilabel"
    theirs = {"categorical_crossentropy": "CategoricalCrossentropy", "binary_crossentropy": "BinaryCrossentropy"}[name]
    oracle = getattr(keras.losses, theirs)(from_logits=True, label_smoothing=smoothing)
    expected = float(oracle(ONE_HOT, LOGITS, sample_weight=weight))
    loss = record_losses.keras(Labels(kind, COUNTS, 6), name=name, label_smoothing=smoothing)  # type: ignore[arg-type]
    target = torch.tensor(CLASSES) if kind == "classification" else torch.tensor(ONE_HOT)
    given = None if weight is None else torch.tensor(weight)
    assert float(loss(torch.tensor(LOGITS), target, given)) == pytest.approx(expected, rel=1e-5)


NUMBERS = {
    "mean_squared_error": "MeanSquaredError",
    "mean_absolute_error": "MeanAbsoluteError",
    "mean_absolute_percentage_error": "MeanAbsolutePercentageError",
    "mean_squared_logarithmic_error": "MeanSquaredLogarithmicError",
    "log_cosh": "LogCosh",
    "huber": "Huber",
    "kl_divergence": "KLDivergence",
    "poisson": "Poisson",
    "cosine_similarity": "CosineSimilarity",
    "categorical_hinge": "CategoricalHinge",
    "hinge": "Hinge",
    "squared_hinge": "SquaredHinge",
}


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize("name", NUMBERS)
def test_losses_of_numbers(name: str, weight: Any) -> None:
    target = ONE_HOT if name.endswith("hinge") else RNG.uniform(0.1, 2, (6, 3)).astype(np.float32)
    values = RNG.uniform(0.1, 2, (6, 3)).astype(np.float32)
    expected = float(getattr(keras.losses, NUMBERS[name])()(target, values, sample_weight=weight))
    loss = record_losses.keras(Labels("regression", COUNTS * 0, 6), name=name)
    given = None if weight is None else torch.tensor(weight)
    assert float(loss(torch.tensor(values), torch.tensor(target), given)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["hinge", "squared_hinge"])
def test_hinges_take_minus_one_and_one_too(name: str) -> None:
    signed = 2 * ONE_HOT - 1
    values = RNG.normal(size=(6, 3)).astype(np.float32)
    expected = float(getattr(keras.losses, NUMBERS[name])()(signed, values))
    loss = record_losses.keras(Labels("regression", COUNTS * 0, 6), name=name)
    assert float(loss(torch.tensor(values), torch.tensor(signed))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("delta", [0.3, 2.0])
def test_a_delta_of_huber_and_what_a_loss_is_multiplied_by(delta: float) -> None:
    target, values = (3 * RNG.normal(size=(6, 3)).astype(np.float32) for _ in range(2))
    expected = float(keras.losses.Huber(delta=delta)(target, values, sample_weight=WEIGHTS))
    loss = record_losses.keras(Labels("regression", COUNTS * 0, 6), name="huber", delta=delta, weight=2.5)
    found = loss(torch.tensor(values), torch.tensor(target), torch.tensor(WEIGHTS))
    assert float(found) == pytest.approx(2.5 * expected, rel=1e-5)


def test_what_does_not_fit() -> None:
    labels = Labels("classification", COUNTS, 6)
    with pytest.raises(ConfigError, match="did you mean 'huber'"):
        record_losses.keras(labels, name="hubr")
    with pytest.raises(ConfigError, match="is for regression, the task is classification"):
        record_losses.keras(labels, name="huber")
    with pytest.raises(ConfigError, match="label_smoothing: is not for sparse"):
        record_losses.keras(labels, name="sparse_categorical_crossentropy", label_smoothing=0.1)


@pytest.mark.parametrize("weighted", [False, True])
def test_several_outputs_are_weighed_and_summed_as_keras_does(weighted: bool) -> None:
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    chances = RNG.uniform(0.05, 0.95, (6, 1)).astype(np.float32)
    values = RNG.normal(size=(6, 2)).astype(np.float32)
    bits, numbers = (CLASSES[:, None] == 1).astype(np.float32), RNG.normal(size=(6, 2)).astype(np.float32)
    weights = RNG.uniform(0, 2, (6, 3)).astype(np.float32)
    oracles = [
        (keras.losses.CategoricalCrossentropy(), ONE_HOT, probabilities, 0.5),
        (keras.losses.BinaryCrossentropy(), bits, chances, 2.0),
        (keras.losses.MeanSquaredError(), numbers, values, 1.0),
    ]
    expected = sum(
        share * float(oracle(target, given, sample_weight=weights[:, number] if weighted else None))
        for number, (oracle, target, given, share) in enumerate(oracles)
    )
    parts: list[dict[str, Any]] = [
        {"name": "kind", "loss": "categorical_crossentropy", "weight": 0.5, "metrics": ["accuracy"]},
        {"name": "bit", "loss": "binary_crossentropy", "weight": 2.0},
        {"name": "size", "loss": "mean_squared_error", "metrics": ["mae"]},
    ]
    loss = record_losses.keras_outputs(Labels("regression", COUNTS, 6, (3, 1, 2)), parts=parts)
    outputs = torch.tensor(np.concatenate([probabilities, chances, values], 1))
    target = torch.tensor(np.concatenate([ONE_HOT, bits, numbers], 1))
    found = loss(outputs, target, torch.tensor(weights) if weighted else None)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    measured = loss.measured(outputs, target)
    assert set(measured) == {"kind_loss", "kind_accuracy", "bit_loss", "size_loss", "size_mae"}
    assert measured["kind_accuracy"] == pytest.approx(float((probabilities.argmax(1) == CLASSES).mean()))
    assert measured["size_mae"] == pytest.approx(float(np.abs(values - numbers).mean()), rel=1e-5)
    assert measured["size_loss"] == pytest.approx(float(oracles[2][0](numbers, values)), rel=1e-5)
    weighed = loss.measured(outputs, target, torch.tensor(weights))
    assert weighed["size_loss"] == pytest.approx(
        float(oracles[2][0](numbers, values, sample_weight=weights[:, 2])), rel=1e-5
    )


def test_parts_of_several_outputs_that_do_not_fit() -> None:
    labels = Labels("regression", COUNTS, 6, (3, 1))
    part = {"name": "a", "loss": "huber"}
    with pytest.raises(ConfigError, match=r"loss\.parts: has 1 parts, the records have 2 outputs"):
        record_losses.keras_outputs(labels, parts=[part])
    with pytest.raises(ConfigError, match=r"loss\.parts\[1\]\.los: unknown key"):
        record_losses.keras_outputs(labels, parts=[part, {**part, "los": 1}])
    with pytest.raises(ConfigError, match=r"loss\.parts\[1\]\.metrics: there is none, got \['auroc'\]"):
        record_losses.keras_outputs(labels, parts=[part, {**part, "metrics": ["auroc"]}])


NEWER: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "categorical_focal_crossentropy": (
        "CategoricalFocalCrossentropy",
        "classification",
        [{}, {"gamma": 0.5, "alpha": 0.6}, {"alpha": [0.2, 0.5, 0.9]}],
    ),
    "binary_focal_crossentropy": (
        "BinaryFocalCrossentropy",
        "multilabel",
        [{}, {"gamma": 1.5}, {"apply_class_balancing": True, "alpha": 0.7}],
    ),
    "categorical_generalized_cross_entropy": ("CategoricalGeneralizedCrossEntropy", "classification", [{}, {"q": 0.2}]),
    "dice": ("Dice", "multilabel", [{}]),
    "tversky": ("Tversky", "multilabel", [{}, {"alpha": 0.3, "beta": 0.9}]),
}


def _outcome(kind: str) -> Any:
    scores = np.exp(LOGITS)
    return scores / scores.sum(1, keepdims=True) if kind == "classification" else scores / (1 + scores)


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize(("name", "params"), [(name, params) for name in NEWER for params in NEWER[name][2]])
def test_focal_and_overlap_losses(name: str, params: dict[str, Any], weight: Any) -> None:
    theirs, kind, _ = NEWER[name]
    is_sparse = name == "categorical_generalized_cross_entropy"
    truth = CLASSES if is_sparse else ONE_HOT
    expected = np.asarray(getattr(keras.losses, theirs)(**params)(truth, _outcome(kind), sample_weight=weight))
    loss = record_losses.keras(Labels(kind, COUNTS, 6), name=name, params=params)  # type: ignore[arg-type]
    target = torch.tensor(CLASSES) if kind == "classification" else torch.tensor(ONE_HOT)
    value = loss(torch.tensor(LOGITS), target, None if weight is None else torch.tensor(weight))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weight", [None, WEIGHTS])
@pytest.mark.parametrize(
    ("ours", "theirs"), [("mean", "sum_over_batch_size"), ("sum", "sum"), ("weighted_mean", "mean_with_sample_weight")]
)
def test_an_ignored_class_counts_neither_in_the_sum_nor_in_the_mean(ours: str, theirs: str, weight: Any) -> None:
    oracle = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=1, reduction=theirs)
    expected = float(oracle(CLASSES, LOGITS, sample_weight=weight))
    params = {"ignore_class": 1, "reduction": ours}
    loss = record_losses.keras(
        Labels("classification", COUNTS, 6), name="sparse_categorical_crossentropy", params=params
    )
    own = None if weight is None else torch.tensor(weight)
    for target in (torch.tensor(CLASSES), torch.tensor(ONE_HOT)):
        assert float(loss(torch.tensor(LOGITS, requires_grad=True), target, own).detach()) == pytest.approx(
            expected, rel=1e-5
        )
    nothing = loss(torch.tensor(LOGITS[[1, 4]], requires_grad=True), torch.tensor([1, 1]))
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("name", ["categorical_focal_crossentropy", "binary_focal_crossentropy"])
def test_smoothed_labels_of_focal_losses(name: str) -> None:
    theirs, kind, _ = NEWER[name]
    expected = float(getattr(keras.losses, theirs)(label_smoothing=0.2)(ONE_HOT, _outcome(kind)))
    loss = record_losses.keras(Labels(kind, COUNTS, 6), name=name, label_smoothing=0.2)  # type: ignore[arg-type]
    target = torch.tensor(CLASSES) if kind == "classification" else torch.tensor(ONE_HOT)
    assert float(loss(torch.tensor(LOGITS), target)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", NEWER)
def test_losses_of_what_is_surely_right_or_wrong_have_slopes(name: str) -> None:
    """A power below 1 has none at zero, and zero times infinity is no number."""
    _, kind, _ = NEWER[name]
    params = {"gamma": 0.5} if "focal" in name else {}
    outputs = torch.tensor([[300.0, -300.0, -300.0], [-300.0, 300.0, -300.0]], requires_grad=True)
    target = torch.tensor([0, 2]) if kind == "classification" else torch.eye(3)[[0, 2]]
    record_losses.keras(Labels(kind, COUNTS, 2), name=name, params=params)(outputs, target).backward()  # type: ignore[arg-type]
    assert outputs.grad is not None and outputs.grad.isfinite().all()


@pytest.mark.parametrize(
    ("ours", "theirs"), [("sum", "sum"), ("weighted_mean", "mean_with_sample_weight"), ("mean", "mean")]
)
@pytest.mark.parametrize("weight", [None, WEIGHTS])
def test_reductions(ours: str, theirs: str, weight: Any) -> None:
    expected = float(keras.losses.MeanSquaredError(reduction=theirs)(ONE_HOT, LOGITS, sample_weight=weight))
    params = {"reduction": ours, **({"batch_size": 4} if ours == "sum" else {})}
    loss = record_losses.keras(Labels("regression", COUNTS * 0, 6), name="mean_squared_error", params=params)
    own = None if weight is None else torch.tensor(weight)
    learned = loss(torch.tensor(LOGITS, requires_grad=True), torch.tensor(ONE_HOT), own)
    assert float(learned.detach()) == pytest.approx(expected, rel=1e-5)
    # What is measured does not grow with the number of samples.
    measured = float(loss(torch.tensor(LOGITS), torch.tensor(ONE_HOT), own))
    assert measured == pytest.approx(expected * (4 / 6 if ours == "sum" else 1), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "params", "wrong"),
    [
        ("tversky", {"alfa": 1.0}, r"loss\.params\.alfa: is none of tversky.*did you mean 'alpha'"),
        ("dice", {"axis": 1}, r"loss\.params\.axis: is none of dice, got 1; leave it out"),
        ("binary_focal_crossentropy", {"alpha": 1.5}, r"alpha: must be a number >= 0 and <= 1, got 1\.5"),
        ("binary_focal_crossentropy", {"apply_class_balancing": 1}, r"must be true or false, got 1"),
        ("categorical_generalized_cross_entropy", {"q": 0}, r"q: must be a number > 0 and <= 1, got 0"),
        ("categorical_focal_crossentropy", {"alpha": [0.1, 0.2]}, r"must have a number for each of 3 classes"),
        ("mean_squared_error", {"reduction": "none"}, r"reduction: there is no such reduction, got 'none'"),
        (
            "sparse_categorical_crossentropy",
            {"ignore_class": 1.5},
            r"ignore_class: must be the number of a class, or null",
        ),
        ("mean_squared_error", {"batch_size": 4}, r"batch_size: is for reduction: sum"),
    ],
)
def test_parameters_that_do_not_fit(name: str, params: dict[str, Any], wrong: str) -> None:
    labels = Labels(record_losses.kind_of(name), COUNTS, 6)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=wrong):
        record_losses.keras(labels, name=name, params=params)


def test_a_loss_is_a_module_that_moves_and_is_stored() -> None:
    """Parameters under a name of torch's own were taken for weights."""
    labels = Labels("classification", COUNTS, 6)
    loss = record_losses.keras(labels, name="categorical_focal_crossentropy", params={"alpha": [0.2, 0.5, 0.9]})
    assert not loss.state_dict() and not list(loss.parameters())
    outputs, target = torch.tensor(LOGITS), torch.tensor(CLASSES)
    assert float(loss.double().cpu()(outputs.double(), target)) == pytest.approx(float(loss(outputs, target)), rel=1e-5)
