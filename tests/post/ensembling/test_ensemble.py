import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, softmax

from mlpipe.errors import ConfigError, DataError
from mlpipe.post.ensembling.ensemble import select
from mlpipe.post.ensembling.mixing import binary_cross_entropy, combine, cross_entropy
from mlpipe.post.ensembling.random_search import Combinations, combination, random_search
from mlpipe.post.ensembling.weights import certified_weights, greedy
from mlpipe.post.measures import class_metrics, label_metrics


def models(seed: int, n: int = 120, classes: int = 3, count: int = 6):
    """Predictions of models of different strength, and targets."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    predictions = []
    for strength in rng.uniform(0.3, 2.5, count):
        logits = rng.normal(size=(n, classes))
        logits[np.arange(n), targets] += strength
        predictions.append(logits)
    return predictions, targets


def plain_search(predictions, targets, rng, *, budget, weights_budget, size, temperature, weights_temperature):
    """The reference's loop: every combination in a list, one loss at a time."""
    single = [cross_entropy(one, targets) for one in predictions]
    order = [int(place) for place in np.argsort(single, kind="stable")]
    lists = {k: list(itertools.combinations(order, k)) for k in range(2, size + 1)}
    best = (None, None, float("inf"))
    while budget > 0 and any(lists.values()):
        k = rng.choice([k for k, some in lists.items() if some])
        place = 0 if rng.random() > temperature else rng.integers(len(lists[k]))
        members = lists[k].pop(place)
        if weights_budget:
            alphas = max(1 - weights_temperature, 1e-3) / np.array([single[m] for m in members])
            draws = rng.dirichlet(alphas, size=weights_budget)
        else:
            draws = [np.full(k, 1 / k)]
        for weights in draws:
            loss = cross_entropy(sum(w * predictions[m] for w, m in zip(weights, members, strict=True)), targets)
            if loss < best[2]:
                best = (members, weights, loss)
            budget -= 1
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_search_is_the_plain_loop(seed: int) -> None:
    predictions, targets = models(seed)
    settings = {
        "budget": [40, 200, 7][seed % 3],
        "weights_budget": [10, 3, 0][seed % 3],
        "temperature": [0.3, 0.0, 1.0, 0.7][seed % 4],
        "weights_temperature": [0.5, 0.0, 1.0][(seed // 3) % 3],
    }
    size = 2 + seed % 4
    rng = np.random.default_rng(seed)
    members, weights, loss = plain_search(predictions, targets, rng, size=size, **settings)
    again = np.random.default_rng(seed)
    found = random_search(
        predictions, targets, cross_entropy, again, max_ensemble_size=size, include_single=False, **settings
    )
    assert found.members == members
    assert found.weights == pytest.approx(weights, abs=1e-14)
    assert found.loss == pytest.approx(loss, abs=1e-12)
    assert again.random() == rng.random()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 1000))
def test_combinations_are_taken_as_from_a_list(things: int, size: int, seed: int) -> None:
    if size > things:
        return
    rng = np.random.default_rng(seed)
    plain, lazy = list(itertools.combinations(range(things), size)), Combinations(things, size)
    assert [combination(rank, things, size) for rank in range(len(plain))] == plain
    while plain:
        assert len(lazy) == len(plain)
        place = int(rng.integers(len(plain)))
        assert lazy.take(place) == plain.pop(place)
    with pytest.raises(IndexError):
        lazy.take(0)


def test_many_models_need_no_lists() -> None:
    """F3: all combinations of 60 models were in memory."""
    lazy = Combinations(60, 5)
    assert len(lazy) == math.comb(60, 5) == 5_461_512
    assert lazy.take(len(lazy) - 1) == (55, 56, 57, 58, 59)
    assert lazy.take(len(lazy) - 1) == (54, 56, 57, 58, 59)


def test_weights_are_drawn_around_one_over_the_loss() -> None:
    """The reference's Dirichlet, checked by its mean for losses .2, .4, .8."""
    alphas = 0.5 / np.array([0.2, 0.4, 0.8])
    assert np.random.default_rng(0).dirichlet(alphas, size=20_000).mean(axis=0) == pytest.approx(
        [0.570, 0.286, 0.145], abs=0.006
    )


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


def plain_greedy(predictions, targets, size):
    """AutoGluon's EnsembleSelection, written out."""
    probabilities = [softmax(one, axis=1) for one in predictions]
    picked, path = [], []
    for _ in range(size):
        count = len(picked)
        held = sum((probabilities[m] for m in picked), np.zeros_like(probabilities[0]))
        scores = []
        for one in probabilities:
            mean = (held + one) / (count + 1)
            score = -np.log(mean[np.arange(len(targets)), targets]).mean()
            scores.append(round(score, 6) if picked else score)
        ties = [m for m, score in enumerate(scores) if np.isclose(score, min(scores), rtol=1e-12, atol=0)]
        best = ([m for m in ties if m in picked] or ties)[0]
        picked.append(best)
        path.append(scores[best])
    length = path.index(min(path)) + 1
    return np.bincount(picked[:length], minlength=len(predictions)) / length


@pytest.mark.parametrize("seed", range(6))
def test_greedy_is_the_plain_loop(seed: int) -> None:
    predictions, targets = models(seed)
    assert greedy(predictions, targets, size=25, kind="classification") == pytest.approx(
        plain_greedy(predictions, targets, 25), abs=1e-12
    )


def test_greedy_prefers_a_model_that_is_in_already() -> None:
    predictions, targets = models(0, count=2)
    twins = [predictions[0], predictions[0], predictions[0]]
    assert greedy(twins, targets, size=5, kind="classification").tolist() == [1, 0, 0]


@pytest.mark.parametrize("seed", range(4))
def test_certified_weights_are_not_beaten(seed: int) -> None:
    predictions, targets = models(seed)
    weights, gap = certified_weights(predictions, targets, smoothing=0, kind="classification")
    own = np.column_stack([softmax(one, axis=1)[np.arange(120), targets] for one in predictions])

    def loss(w):
        return -np.log(own @ w).mean()

    other = minimize(
        loss,
        np.full(6, 1 / 6),
        method="SLSQP",
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    assert gap < 1e-10
    assert loss(weights) <= other.fun + gap + 1e-12
    assert loss(weights) <= loss(greedy(predictions, targets, size=40, kind="classification")) + 1e-12
    smooth, _ = certified_weights(predictions, targets, smoothing=1000, kind="classification")
    assert np.abs(smooth - 1 / 6).max() < np.abs(weights - 1 / 6).max()
    assert smooth.min() > 0


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


def test_mixed_probabilities_of_classes() -> None:
    predictions, _ = models(6)
    out = combine(predictions[:2], [0.3, 0.7], "classification", "probabilities")
    expected = 0.3 * softmax(predictions[0], axis=1) + 0.7 * softmax(predictions[1], axis=1)
    assert np.exp(out) == pytest.approx(expected)


def test_losses_are_the_metrics() -> None:
    predictions, targets = models(7)
    assert cross_entropy(predictions[0], targets) == pytest.approx(class_metrics.nll(predictions[0], targets))
    labels = np.where(np.random.default_rng(0).random((120, 3)) < 0.2, np.nan, 1.0)
    found = binary_cross_entropy(predictions[0], labels)
    assert found == pytest.approx(label_metrics.nll(predictions[0], labels))


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
