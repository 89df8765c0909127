import json

import numpy as np
import pytest
from scipy.special import expit

from mlpipe.errors import ConfigError, DataError
from mlpipe.post.ensembling import ensemble
from mlpipe.post.ensembling.ensemble import select, split_rows
from mlpipe.post.ensembling.mixing import combine
from mlpipe.post.measures import class_metrics, label_metrics
from tests.post.drawing import models


def test_equal_weights_when_there_is_no_budget_for_weights() -> None:
    """F1: no budget for weights was a TypeError."""
    predictions, targets = models(1)
    found = select(predictions, targets, weights_budget=0, include_single=False, kind="classification")
    assert len(found.members) >= 2
    assert found.weights == pytest.approx([1 / len(found.members)] * len(found.members))
    # 15 + 20 + 15 + 6 combinations of six models in twos to fives: the search ends when all have been tried.
    assert found.tried == 56


def test_the_ensemble_is_one_array_of_all_rows() -> None:
    predictions, targets = models(2)
    found = select(predictions, targets, eval_frac=0.5, seed=3, kind="classification")
    out = found.apply(predictions, "classification")
    assert out.shape == (120, 3)
    assert np.exp(out).sum(axis=1) == pytest.approx(1)
    total = sum(w * predictions[m] for w, m in zip(found.weights, found.members, strict=True))
    assert out == pytest.approx(class_metrics.log_softmax(total))
    rows = np.random.default_rng(3).choice(120, 60, replace=False)
    rest = np.setdiff1d(np.arange(120), rows)
    assert found.loss == pytest.approx(class_metrics.nll(out[rows], targets[rows]))
    assert found.held_out_loss == pytest.approx(class_metrics.nll(out[rest], targets[rest]))
    assert json.loads(json.dumps(found.as_plain()))["members"] == list(found.members)


def test_one_model_is_its_own_ensemble() -> None:
    """F4: one model, or none that is better, was a TypeError."""
    predictions, targets = models(3, count=1)
    for way in ("search", "greedy", "certified", "auto"):
        found = select(predictions, targets, way=way, kind="classification")
        assert (found.members, found.weights) == ((0,), (1.0,))
        assert any("one model only" in note for note in found.notes)


def test_a_model_without_an_error_and_models_that_are_no_use() -> None:
    targets = np.arange(60) % 3
    perfect, useless = 900.0 * np.eye(3)[targets], np.zeros((60, 3))
    found = select([useless, perfect, useless], targets, kind="classification")
    assert found.loss == pytest.approx(0, abs=1e-12)
    best = select([useless, 3 * np.eye(3)[targets], -perfect], targets, include_single=True, kind="classification")
    assert best.members == (1,)


def test_models_that_are_not_finite_are_left_out_with_a_reason() -> None:
    predictions, targets = models(4)
    predictions[1] = predictions[1].copy()
    predictions[1][5, 0] = np.nan
    found = select(predictions, targets, kind="classification")
    assert 1 not in found.members
    assert np.isnan(found.single_losses[1]) and np.isfinite(found.single_losses[0])
    assert found.notes == ("model 1 is left out: some of its predictions are not finite",)
    with pytest.raises(DataError, match="no model has finite predictions"):
        select([np.full((5, 2), np.nan)], np.zeros(5, int), kind="classification")


def test_same_seed_same_ensemble() -> None:
    predictions, targets = models(5)
    first, second = (select(predictions, targets, eval_frac=0.4, seed=1, kind="classification") for _ in range(2))
    assert first == second
    assert select(predictions, targets, eval_frac=0.4, seed=2, kind="classification") != first


def test_labels_and_numbers_have_ensembles_too() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 3)).astype(float)
    labels[0, 0] = np.nan
    logits = [2 * np.nan_to_num(labels) - 1 + rng.normal(size=(200, 3)) * spread for spread in (1, 2, 3)]
    for way in ("search", "greedy", "certified", "auto"):
        found = select(logits, labels, kind="multilabel", way=way)
        out = found.apply(logits, "multilabel")
        assert label_metrics.nll(out, labels) == pytest.approx(found.loss, abs=1e-6)
        assert found.loss <= min(found.single_losses) + 1e-6
    mixed = combine(logits[:2], [0.25, 0.75], "multilabel", "probabilities")
    assert expit(mixed) == pytest.approx(0.25 * expit(logits[0]) + 0.75 * expit(logits[1]))
    truth = rng.normal(size=(200, 1))
    numbers = [truth + rng.normal(size=(200, 1)) for _ in range(4)]
    found = select(numbers, truth, kind="regression", way="auto")
    assert ((found.apply(numbers, "regression") - truth) ** 2).mean() == pytest.approx(found.loss)
    assert found.loss < min(found.single_losses)
    with pytest.raises(ConfigError, match=r"mode\.search: no such way for regression, got 'certified'"):
        select(numbers, truth, kind="regression", way="certified")


def test_all_wrong_numbers_are_reported_at_once() -> None:
    predictions, targets = models(8)
    with pytest.raises(ConfigError) as caught:
        select(predictions, targets, budget=0, temperature=2, weights_budget=-1, kind="classification")
    assert len(caught.value.problems) == 3
    with pytest.raises(ConfigError, match=r"mode\.eval_frac: both parts need a row, got 1\.0"):
        select(predictions, targets, eval_frac=1.0, kind="classification")
    with pytest.raises(DataError, match="predictions of one shape"):
        select([predictions[0], predictions[1][:5]], targets, kind="classification")
    with pytest.raises(ConfigError, match="did you mean 'search'"):
        select(predictions, targets, way="serch", kind="classification")


@pytest.mark.parametrize("way", ["search", "certified"])
def test_a_member_whose_weight_is_next_to_nothing_is_none(way: str) -> None:
    """A second model was handed on, and computed for every image, with a weight of 2e-12."""
    choice = ensemble._Choice((0, 1, 2), (0.75, 2e-12, 0.25 - 2e-12), "logits", way, 0.5, gap=1e-13)
    targets = np.array([0, 1, 1])
    parts = [np.log(np.full((3, 2), 0.5)), np.log([[0.9, 0.1]] * 3), np.log([[0.25, 0.75]] * 3)]
    found = ensemble._without_tiny_weights(choice, parts, targets, "classification")
    assert found.members == (0, 2) and found.weights == pytest.approx((0.75, 0.25))
    # By hand: the mean log-odds of the second class are a quarter of log 3.
    odds = 3**0.25
    assert found.loss == pytest.approx((np.log(1 + odds) + 2 * np.log(1 + 1 / odds)) / 3)
    assert found.gap == pytest.approx(1e-13 + max(0.0, found.loss - 0.5))
    whole = ensemble._Choice((0, 2), (0.75, 0.25), "logits", way, 0.5)
    assert ensemble._without_tiny_weights(whole, parts, targets, "classification") is whole


def test_what_is_left_without_a_next_to_nothing_is_never_worse_than_the_best_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A weight of 9e-7 gained more than one of 2e-6 lost, and only the first one was taken away."""
    shares = np.array([[0.9, 0.01], [0.5, 0.005], [0.001, 0.999]])
    parts = [np.log(np.stack([one, 1 - one], 1)) for one in shares]
    weights = np.array([1 - 2.9e-6, 2e-6, 9e-7])
    monkeypatch.setattr(ensemble, "certified_weights", lambda *_, **__: (weights, 0.0))
    found = select(parts, np.array([0, 0]), way="certified", kind="classification")
    assert found.members == (0,) and found.weights == (1.0,)
    assert found.loss == pytest.approx(-np.log([0.9, 0.01]).mean(), abs=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.99])
def test_groups_choose_as_a_whole(share: float) -> None:
    """Images of a patient that chose weights would flatter them on his other images."""
    groups = np.random.default_rng(0).permutation(np.repeat([f"p{number}" for number in range(10)], 4))
    chosen, others = split_rows(40, share, np.random.default_rng(3), groups)
    assert sorted([*chosen, *others]) == list(range(40)) and len(chosen) and len(others)
    assert not set(groups[chosen]) & set(groups[others])
    assert len(chosen) == 4 * min(max(round(10 * share), 1), 9)
    found = select(
        [np.eye(2)[np.arange(40) % 2], np.eye(2)[1 - np.arange(40) % 2]], np.arange(40) % 2,
        eval_frac=share, seed=3, groups=groups, kind="classification",
    )  # fmt: skip
    assert found.members == (0,) and found.held_out_loss is not None


def test_a_single_group_cannot_choose_and_judge() -> None:
    with pytest.raises(
        ConfigError, match=r"mode\.eval_frac: both parts need a group, got 0\.5; use mode\.select_on=oof"
    ):
        split_rows(6, 0.5, np.random.default_rng(0), ["p"] * 6)
