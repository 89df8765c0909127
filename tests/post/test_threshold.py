import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_curve

from mlpipe.errors import ConfigError, DataError
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.threshold import (
    best_threshold,
    class_thresholds,
    decide,
    decide_by_cuts,
    expected_cost,
    label_thresholds,
)
from tests.post.drawing import drawn


def measured(criterion, yes, guess):
    if criterion == "f1":
        return f1_score(yes, guess, zero_division=0)
    if criterion == "cost":
        return -(2 * (guess & ~yes).mean() + 5 * (~guess & yes).mean())
    balanced = balanced_accuracy_score(yes, guess)
    return balanced if criterion == "balanced_accuracy" else 2 * balanced - 1


@pytest.mark.parametrize("criterion", ["f1", "balanced_accuracy", "youden", "cost"])
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_no_cut_is_better(criterion: str, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    yes = rng.random(40) < 0.3
    yes[:2] = [True, False]
    scores = np.clip(0.4 * yes + rng.random(40) * 0.6, 0, 1)
    scores = scores.round(1) if ties else scores
    found = best_threshold(scores, yes, criterion=criterion, false_positive=2, false_negative=5)
    own = measured(criterion, yes, scores > found.cut)
    assert own == pytest.approx(-found.value if criterion == "cost" else found.value)
    for cut in [-1, *np.unique(scores), 2]:
        assert measured(criterion, yes, scores > cut) <= own + 1e-12


@pytest.mark.parametrize("criterion", ["sensitivity", "specificity"])
@pytest.mark.parametrize("at_least", [0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("digits", [1, 9])
def test_a_share_is_reached_at_the_lowest_price(criterion: str, at_least: float, digits: int) -> None:
    """The best point of scikit-learn's ROC curve that reaches the share."""
    rng = np.random.default_rng(3)
    yes = rng.random(200) < 0.3
    scores = np.clip(0.4 * yes + rng.random(200) * 0.6, 0, 1).round(digits)
    alarms, hits, _ = roc_curve(yes, scores, drop_intermediate=False)
    own, other = (hits, 1 - alarms) if criterion == "sensitivity" else (1 - alarms, hits)
    threshold = best_threshold(scores, yes, criterion=criterion, at_least=at_least)
    said = scores > threshold.cut
    reached = said[yes].mean(), (~said)[~yes].mean()
    reached = reached if criterion == "sensitivity" else reached[::-1]
    assert reached[0] >= at_least - 1e-9 and reached[0] == pytest.approx(threshold.value)
    assert reached[1] == pytest.approx(other[own >= at_least - 1e-9].max())


def test_of_two_classes_the_positive_one_reaches_the_share() -> None:
    """19 of 20 ill images are 0.95, whatever the rounding; the image is ill above the threshold and healthy below it."""
    ill = np.concatenate([np.linspace(0.02, 0.5, 20), np.linspace(0.001, 0.3, 80)])
    targets = np.repeat([0, 1], [20, 80])
    logits = np.log(np.stack([ill, 1 - ill], axis=1))
    cuts = [cut.cut for cut in class_thresholds(logits, targets, criterion="sensitivity", positive=0) if cut]
    assert sum(cuts) == pytest.approx(1) and (ill[:20] > cuts[0]).mean() == 0.95
    decided = decide_by_cuts(logits, cuts, None)
    assert ((decided == 0) == (ill > cuts[0])).all()


def test_equal_cuts_take_the_one_nearest_one_half() -> None:
    found = best_threshold([0.1, 0.2, 0.9, 0.95], [0, 0, 1, 1])
    assert (found.cut, found.value, found.rows) == (pytest.approx(0.55), 1.0, 4)
    # One error at 0.15 and one at 0.75.
    assert best_threshold([0.1, 0.2, 0.6, 0.9], [0, 1, 0, 1], criterion="cost").cut == pytest.approx(0.75)


def test_all_yes_and_all_no_are_candidates() -> None:
    everything = best_threshold([0.0, 0.5, 1.0], [1, 1, 0], criterion="cost", false_positive=0, false_negative=1)
    assert everything.value == 0 and everything.cut < 0.5
    nothing = best_threshold([0.0, 0.5, 1.0], [1, 1, 0], criterion="cost", false_positive=9, false_negative=1)
    assert nothing.cut == 1 and nothing.value == pytest.approx(2 / 3)


def test_classes_and_labels_have_a_cut_each() -> None:
    logits, targets = drawn(0, 200, 3)
    targets = np.where(targets == 2, 0, targets)
    found = class_thresholds(logits, targets)
    assert found[2] is None
    probabilities = np.exp(log_softmax(logits))
    assert found[0] == best_threshold(probabilities[:, 0], targets == 0)
    labels = np.column_stack([targets == 0, np.full(200, np.nan), targets == 1]).astype(float)
    labels[5, 0] = np.nan
    cuts = label_thresholds(logits, labels, criterion="youden")
    assert cuts[1] is None and cuts[0].rows == 199 and cuts[2].rows == 200
    assert cuts[2].cut == best_threshold(1 / (1 + np.exp(-logits[:, 2])), targets == 1, criterion="youden").cut


def test_decisions_cost_least_in_expectation() -> None:
    logits, targets = drawn(1, 100, 3)
    costs = np.random.default_rng(0).uniform(0, 5, (3, 4))
    probabilities = np.exp(log_softmax(logits))
    expected = [min(range(4), key=lambda d: sum(p[k] * costs[k, d] for k in range(3))) for p in probabilities]
    chosen = decide(logits, costs)
    assert chosen.tolist() == expected
    assert expected_cost(logits, targets, costs) == pytest.approx(costs[targets, chosen].mean())
    wrong = (logits.argmax(axis=1) != targets).mean()
    assert expected_cost(logits, targets, 1 - np.eye(3)) == pytest.approx(wrong)


def test_what_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="rows with yes and with no are needed"):
        best_threshold([0.1, 0.2], [1, 1])
    with pytest.raises(ConfigError, match="did you mean 'youden'"):
        best_threshold([0.1, 0.2], [1, 0], criterion="yuden")
    with pytest.raises(ConfigError, match="costs must not be negative"):
        best_threshold([0.1, 0.2], [1, 0], criterion="cost", false_positive=-1)
    with pytest.raises(ConfigError, match="costs: not a table of costs"):
        decide(np.zeros((2, 3)), np.eye(2))


@pytest.mark.program
def test_expected_cost_against_psrcal() -> None:
    import torch
    from psrcal.losses import CostFunction

    logits, targets = drawn(2, 500, 4)
    theirs = CostFunction(torch.tensor(log_softmax(logits)), torch.tensor(targets))
    # Theirs is a multiple of the best constant decision's.
    constant = 1 - np.bincount(targets).max() / 500
    assert expected_cost(logits, targets, 1 - np.eye(4)) / constant == pytest.approx(float(theirs), abs=1e-9)


def test_weighted_rows_are_repeated_rows() -> None:
    logits, targets = drawn(3, 120, 3)
    prior = np.bincount(np.repeat(targets, 1 + 2 * targets), minlength=3)
    rows = np.repeat(np.arange(120), 1 + 2 * targets)
    for criterion in ("f1", "youden"):
        weighted = class_thresholds(logits, targets, criterion=criterion, prior=prior / prior.sum())
        repeated = class_thresholds(logits[rows], targets[rows], criterion=criterion)
        assert [one.cut for one in weighted if one] == pytest.approx([one.cut for one in repeated if one])


def test_one_class_above_its_cut_is_the_decision() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet([1, 1, 1], 400)
    cuts = np.array([0.6, 0.3, 0.25])
    found = decide_by_cuts(np.log(rows), cuts.tolist(), [0.4, 0.3, 0.3])
    above = rows > cuts
    single = above.sum(axis=1) == 1
    assert (found[single] == above[single].argmax(axis=1)).all() and single.any()
    two = decide_by_cuts(np.log(rows[:, :2] / rows[:, :2].sum(axis=1, keepdims=True)), [0.3, 0.7], [0.5, 0.5])
    assert (two == (rows[:, 1] / rows[:, :2].sum(axis=1) > 0.7)).all()


def test_cuts_at_the_shares_are_best_for_the_mean_of_recalls() -> None:
    """By the rule of Bayes at costs of 1 / share, as `decide` takes them."""
    rng = np.random.default_rng(1)
    rows, share = np.log(rng.dirichlet([2, 1, 1], 300)), np.array([0.7, 0.2, 0.1])
    costs = (1 - np.eye(3)) / share[:, None]
    assert (decide_by_cuts(rows, share.tolist(), share) == decide(rows, costs)).all()


def test_a_class_for_which_all_is_best_called_yes_does_not_win_always() -> None:
    rows = np.log([[0.1, 0.9], [0.9, 0.1]])
    assert decide_by_cuts(rows, [0.0, 0.5], [0.6, 0.4]).tolist() == [1, 0]
    assert decide_by_cuts(rows, [None, None], [0.6, 0.4]).tolist() == [1, 0]
