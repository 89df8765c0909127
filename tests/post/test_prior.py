import tracemalloc

import numpy as np
import pytest

from mlpipe.errors import ConfigError, DataError
from mlpipe.post import metrics
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import expected_performance, move_labels, move_prior, prior
from mlpipe.post.quantify import quantify
from tests.post.drawing import THERE, drawn, shifted


def test_each_kind_of_prior() -> None:
    """F5: the prior of the test rows lacked an absent last class."""
    logits, targets, unlabelled, _ = shifted(7, 600)
    assert prior("val", 4, val_targets=targets).given is None
    assert prior("val", 4, val_targets=targets).values == pytest.approx(np.bincount(targets) / 600)
    # The last class is absent from the test rows: the prior still has an entry for it.
    test = prior("test", 4, val_targets=targets, test_targets=np.array([0, 0, 1, 2, -1]))
    assert test.values == pytest.approx([0.5, 0.25, 0.25, 1e-8], abs=1e-7)
    assert min(test.values) > 0
    assert prior([2, 1, 1, 4], 4, val_targets=targets).given == pytest.approx([0.25, 0.125, 0.125, 0.5])
    given = {"rates_logits": logits, "rates_targets": targets, "unlabelled_logits": unlabelled}
    found = prior("quantify", 4, val_targets=targets, draws=20, **given)
    expected = quantify(logits, targets, unlabelled).values
    assert found.given == pytest.approx(expected, abs=2e-3)
    assert len(found.as_plain()["low"]) == 4


def test_a_class_that_is_estimated_away_keeps_a_floor() -> None:
    logits = 9.0 * np.eye(3)[np.arange(90) % 3]
    given = {
        "rates_logits": logits,
        "rates_targets": np.arange(90) % 3,
        "unlabelled_logits": logits[:50][:2].repeat(25, 0),
    }
    found = prior("quantify", 3, val_targets=np.arange(90) % 3, draws=0, **given)
    assert found.values[2] == pytest.approx(1 / 100, rel=0.02)


def test_priors_that_cannot_be() -> None:
    targets = np.array([0, 1, 2])
    with pytest.raises(ConfigError, match=r"mode\.prior: quantify needs predictions of an unlabelled split"):
        prior("quantify", 3, val_targets=targets)
    with pytest.raises(ConfigError, match=r"mode\.prior: test needs test labels"):
        prior("test", 3, val_targets=targets)
    with pytest.raises(ConfigError, match="unknown prior, got 'tets'"):
        prior("tets", 3, val_targets=targets)
    with pytest.raises(DataError, match=r"wrong number of entries.*give 3 numbers"):
        prior([0.5, 0.5], 3, val_targets=targets)
    with pytest.raises(DataError, match="every share must be positive"):
        prior([1, 0, 1], 3, val_targets=targets)
    with pytest.raises(ConfigError, match="did you mean 'pacc'"):
        quantify(np.eye(3), targets, np.eye(3), method="pac")


def test_moving_a_prior_is_bayes_rule_and_comes_back() -> None:
    logits, _ = drawn(8, 50, 3)
    old, new = np.array([0.2, 0.3, 0.5]), np.array([0.7, 0.2, 0.1])
    moved = np.exp(log_softmax(logits)) * new / old
    out = move_prior(logits, old, new)
    assert np.exp(out) == pytest.approx(moved / moved.sum(axis=1, keepdims=True))
    assert move_prior(out, new, old) == pytest.approx(log_softmax(logits))


def test_expected_performance_at_the_rows_own_prevalence_is_the_metric() -> None:
    logits, targets = drawn(9, 300, 4)
    found = expected_performance(logits, targets, np.bincount(targets))
    names = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "brier")
    own = metrics.compute(names, logits, targets, kind="classification")
    assert {name: found[name] for name in names} == pytest.approx(own)


def test_expected_performance_foresees_another_prevalence() -> None:
    logits, targets, unlabelled, truth = shifted(10, 20_000)
    found = expected_performance(logits, targets, THERE)
    for name, value in metrics.compute(
        ("accuracy", "macro_f1", "nll", "brier"), unlabelled, truth, kind="classification"
    ).items():
        assert found[name] == pytest.approx(value, abs=0.02)
    with pytest.raises(DataError, match="class numbers 3 have a share but no labelled row"):
        expected_performance(logits, np.where(targets == 3, 0, targets), THERE)


@pytest.mark.parametrize("method", ["acc", "bbse", "cc"])
def test_a_model_that_predicts_one_class_only_says_nothing_of_the_prevalence(method: str) -> None:
    rng = np.random.default_rng(0)
    targets = rng.choice(3, 60, p=[0.5, 0.3, 0.2])
    constant, unlabelled = np.tile([2.0, 0, -1], (60, 1)), np.tile([2.0, 0, -1], (40, 1))
    found = prior(
        "quantify", 3, val_targets=targets, rates_logits=constant, rates_targets=targets, unlabelled_logits=unlabelled,
        method=method,
    )  # fmt: skip
    assert found.kind == "val" and found.given is None
    assert found.values == pytest.approx(np.bincount(targets) / 60)
    (note,) = found.notes
    assert "condition number of the error rates inf" in note and "the prevalence of validation is kept" in note


def test_shares_in_any_unit_are_scaled_and_meaningless_ones_refused() -> None:
    targets = np.array([0, 1, 2] * 5)
    for given_ in ([0.5, 0.5, 0.5], [50, 30, 20], [5, 2, 1]):
        assert prior(given_, 3, val_targets=targets).values == pytest.approx(np.array(given_) / np.sum(given_))
    for wrong in ([0.5, -0.1, 0.6], [0, 0.5, 0.5], [float("nan"), 0.5, 0.5], [0.5, 0.5]):
        with pytest.raises(DataError, match=r"mode\.prior"):
            prior(wrong, 3, val_targets=targets)


def test_labels_move_by_bayes_rule() -> None:
    chances = np.array([[0.2, 0.7], [0.9, 0.5]])
    moved = move_labels(np.log(chances / (1 - chances)), [0.3, 1.0], [0.6, 0.5])
    yes, no = chances[:, 0] * 0.6 / 0.3, (1 - chances[:, 0]) * 0.4 / 0.7
    assert 1 / (1 + np.exp(-moved[:, 0])) == pytest.approx(yes / (yes + no))
    assert 1 / (1 + np.exp(-moved[:, 1])) == pytest.approx(chances[:, 1])


@pytest.mark.parametrize("method", ["acc", "pacc", "bbse", "bbse_soft", "em", "cc"])
def test_predictions_of_one_class_estimate_nothing(method: str) -> None:
    """The likelihood of such predictions is nearly flat: it was largest at one class alone, with an interval of no width."""
    rng = np.random.default_rng(0)
    targets = np.arange(60) % 3
    logits = np.array([5.0, 0.0, 0.0]) + rng.normal(scale=0.1, size=(60, 3))
    unlabelled = np.tile([5.0, 0.0, 0.0], (40, 1))
    given = {"val_targets": targets, "rates_logits": logits, "rates_targets": targets, "unlabelled_logits": unlabelled}
    kept = prior("quantify", 3, method=method, draws=20, **given)
    assert kept.kind == "val" and kept.values == pytest.approx([1 / 3] * 3)
    assert "the prevalence of validation is kept" in kept.notes[0]


def test_what_to_expect_of_many_classes_needs_no_table_of_them() -> None:
    """Of 20,000 classes a table of confusions has 3.2 GB; the logits have 6 MB."""
    rng, classes = np.random.default_rng(4), 20_000
    targets, logits = np.arange(40), rng.normal(size=(40, classes))
    logits[targets[:30], targets[:30]] += 9
    there = np.zeros(classes)
    there[:40] = rng.random(40)
    tracemalloc.start()
    expected = expected_performance(logits, targets, there)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 50e6
    # Each class has one row, so that the accuracy is the share of the classes whose row is right.
    assert expected["accuracy"] == pytest.approx(there[:30].sum() / there.sum())
    assert expected["balanced_accuracy"] == pytest.approx(30 / 40)
