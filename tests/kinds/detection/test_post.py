"""Scores of boxes: calibrated as a plain logistic regression does, cut where F1 or costs are best, mixed by fusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mlpipe.errors import DataError
from mlpipe.kinds.detection import post
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling import choice, ensemble, evaluation, member_mixture
from mlpipe.post.ensembling.box_fusion import fused_boxes
from mlpipe.post.ensembling.member_mixture import Fitting
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.ensembling.members import Member
from mlpipe.post.intervals.by_metric import metric_intervals
from mlpipe.post.measures import box_metrics
from mlpipe.post.measures.box_metrics import OVERLAPS, as_outputs, as_targets, match_boxes
from tests.post.drawing import Stored, boxes

CLASSES = ["a", "b", "c"]
PROBABILITIES = post_kind.probabilities("detection")


def rows(seed: int, images: int = 60) -> tuple[Any, Any]:
    found, true = boxes(seed, images=images)
    return as_outputs(found).astype(float), as_targets(true)


@pytest.mark.parametrize("name", post.METRICS)
def test_statistics_of_all_images_once_are_the_metrics(name: str) -> None:
    outputs, targets = rows(0)
    one = metrics.statistic(name, outputs, targets, "detection")
    value = one.of_weights(np.ones((1, 60)), np.arange(60))[0]
    assert value == pytest.approx(post.METRICS[name](outputs, targets), abs=1e-12)


def test_calibrated_scores_are_those_of_a_logistic_regression() -> None:
    outputs, targets = rows(1, images=150)
    plain = PROBABILITIES.learn(outputs, targets, None, CLASSES, method="affine", seed=0, shrinkage="none", base=None)
    after = PROBABILITIES.learned(plain)(outputs)
    before, now = match_boxes(outputs, targets), match_boxes(after, targets)
    for number in range(3):
        own = before.label == number
        odds = np.log(before.score[own]) - np.log1p(-before.score[own])
        hit = before.hit[own, 0]
        model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(odds[:, None], hit)
        expected = np.sort(model.predict_proba(odds[:, None])[:, 1])
        assert np.sort(now.score[now.label == number]) == pytest.approx(expected, abs=1e-4)
    scores = after.reshape(150, -1, 6)[..., 4]
    assert (np.diff(scores, axis=1) <= 0).all(), "rows fall by score"
    assert (scores > 0).sum() == (outputs.reshape(150, -1, 6)[..., 4] > 0).sum(), "no detection is lost"


def test_the_loss_of_an_image_counts_its_detections_and_what_is_missed() -> None:
    found = np.array([[[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.2, 0]]])
    true = np.array([[[0, 0, 10, 10, 0], [20, 20, 30, 30, 0]]], float)
    each, places = PROBABILITIES.each_loss(as_outputs(found).astype(float), as_targets(true))
    assert places.tolist() == [0]
    assert each[0] == pytest.approx(-np.log(0.9) - np.log(0.8) - np.log(1e-3), abs=1e-5)


def test_unknown_images_have_no_loss() -> None:
    outputs, targets = rows(2)
    targets[3] = np.nan
    assert 3 not in PROBABILITIES.each_loss(outputs, targets)[1]


def options(threshold: str | None, costs: list[list[float]] | None = None) -> DecisionOptions:
    return DecisionOptions(0.1, "lac", "marginal", threshold, None, costs)


@pytest.mark.parametrize(("threshold", "costs"), [(None, None), ("f1", None), ("cost", [[0, 1], [3, 0]])])
def test_thresholds_are_the_best_of_all(threshold: str | None, costs: list[list[float]] | None) -> None:
    outputs, targets = rows(3)
    own = Rows([str(k) for k in range(60)], targets, outputs, outputs)
    decided = post.ENSEMBLING.decisions(own, None, None, options(threshold, costs), CLASSES, 0)
    found, plain = match_boxes(outputs, targets, least=OVERLAPS[:1]), decided["thresholds"]
    assert plain["criterion"] == ("cost" if costs else "f1")
    for number, name in enumerate(CLASSES):
        mine = found.label == number
        true = (targets[:, 1:].reshape(60, -1, 5)[..., 4] == number).sum()

        def worth(least: float, mine: Any = mine, true: int = true) -> float:
            hits = (found.hit[mine, 0] & (found.score[mine] >= least)).sum()
            said = (found.score[mine] >= least).sum()
            return float(-((said - hits) + 3 * (true - hits)) if costs else 2 * hits / (said + true))

        best = max(worth(least) for least in [*found.score[mine].tolist(), 2.0])
        assert worth(plain["cuts"][name]) == pytest.approx(best)
    assert plain["measured"]["by_cuts"] != plain["measured"]["without"]
    assert evaluation.sentences(decided, 60)


def test_only_criteria_that_boxes_have_are_taken() -> None:
    assert not options("f1").problems("detection", CLASSES, post.CRITERIA)
    assert not options("cost", [[0, 1], [5, 0]]).problems("detection", CLASSES, post.CRITERIA)
    wrong = options("youden").problems("detection", CLASSES, post.CRITERIA)
    assert len(wrong) == 1 and "mode.threshold" in wrong[0] and "use f1, cost" in wrong[0]
    assert options("cost").problems("detection", CLASSES, post.CRITERIA), "costs are missing"


def members() -> tuple[list[Any], Any]:
    """A good model, the same a little off, and one that draws boxes anywhere."""
    outputs, targets = rows(4)
    rng = np.random.default_rng(0)
    boxes_of = outputs.reshape(60, -1, 6).copy()
    boxes_of[..., :4] += rng.normal(0, 1.0, boxes_of[..., :4].shape) * (boxes_of[..., 4:5] > 0)
    other = rows(77)[0]
    return [outputs, boxes_of.reshape(60, -1), other[:, : outputs.shape[1]]], targets


@pytest.mark.parametrize("way", ["search", "greedy", "auto"])
def test_an_ensemble_is_no_worse_than_its_best_member(way: str) -> None:
    parts, targets = members()
    chosen = ensemble.select(parts, targets, kind="detection", way=way)
    assert chosen.mixing == "logits" and chosen.way == "greedy"
    assert 2 not in chosen.members
    assert chosen.loss <= min(chosen.single_losses) + 1e-12
    mixed = chosen.apply(parts, "detection")
    assert np.array_equal(mixed, fused_boxes([parts[place] for place in chosen.members], chosen.weights))
    assert chosen.loss == pytest.approx(PROBABILITIES.each_loss(mixed, targets)[0].mean())


def test_certified_weights_are_not_for_boxes() -> None:
    parts, targets = members()
    with pytest.raises(Exception, match="no such way for detection"):
        ensemble.select(parts, targets, kind="detection", way="certified")


def test_members_are_calibrated_where_that_helps() -> None:
    """Scores that are far too sure gain by it; what is kept is judged by rows that the calibration did not see."""
    outputs, targets = rows(5, images=200)
    table = outputs.reshape(200, -1, 6).copy()
    there = table[..., 4] > 0
    table[there, 4] = 0.9 + 0.1 * table[there, 4] - 1e-3
    sure = as_outputs(table).astype(float)
    how = Fitting("affine", "none", 0)
    crossed, missed = member_mixture.cross_fitted(sure, targets, "detection", how)
    assert missed == 0
    ids = [f"{k:03}" for k in range(200)]
    member = Member("one", [], Rows(ids, targets, sure, crossed), None, None)
    search = choice.member_search("detection", targets, None, 0, {"way": "search"})
    kept = choice.Chooser("detection", "auto", how, None, search).choose([member])
    assert kept.final.stage in ("before", "after")
    assert kept.final.losses[kept.final.stage] < kept.final.losses["none"]
    lost = post.METRICS["score_loss"]
    assert lost(kept.final.chooses.calibrated, targets) < lost(sure, targets)


def test_intervals_hold_the_value_and_need_images() -> None:
    outputs, targets = rows(6, images=40)
    found = metric_intervals(post.FINAL, outputs, targets, kind="detection", resamples=200)
    for name, one in found.items():
        assert one.low < one.value <= one.high, name
        assert one.method == "bootstrap"
    few = metric_intervals(["map"], outputs[:5], targets[:5], kind="detection")
    assert np.isnan(few["map"].low) and "5 rows are too few" in few["map"].note


def test_groups_are_drawn_together() -> None:
    outputs, targets = rows(7, images=30)
    twice, same = np.repeat(outputs, 2, axis=0), np.repeat(targets, 2, axis=0)
    groups = np.repeat(np.arange(30), 2)
    apart = metric_intervals(["map"], outputs, targets, kind="detection", resamples=300)["map"]
    together = metric_intervals(["map"], twice, same, kind="detection", groups=groups, resamples=300)["map"]
    assert (together.low, together.high) == pytest.approx((apart.low, apart.high), abs=1e-9)


def test_errors_and_sides() -> None:
    outputs, targets = rows(8)
    assert post.errors(outputs, targets) == pytest.approx(1 - box_metrics.of_images(outputs, targets))
    labels = targets[:, 1:].reshape(60, -1, 5)[..., 4]
    for number, side in enumerate(post.sides(targets)):
        assert side.tolist() == (labels == number).any(axis=1).tolist()


def _one_each(where: list[float], many: int, number: int = 0) -> list[list[list[float]]]:
    return [[[where_, where_, where_ + 10, where_ + 10, number]] for where_ in where for _ in range(many)]


@pytest.mark.parametrize("hits_first", [True, False])
def test_the_most_common_box_is_worth_its_share_of_images_in_any_order(hits_first: bool) -> None:
    """Half of the images have it, all that are true are found: precision 1/2 at every recall, whatever comes first."""
    learned = as_targets(np.array([*_one_each([0], 7), *_one_each([30, 60, 90], 1)]))
    there = _one_each([0], 4)
    others = [[[np.nan] * 5]] * 4
    judged = as_targets(np.array([*there, *others] if hits_first else [*others, *there]))
    found = post.constant(np.ones((10, 1)), judged, ["a"], Stored(learned))
    assert found is not None and found[1] == "the most common box of each class"
    outputs = found[0].reshape(8, -1, 6)
    assert (outputs[:, 0, :4] == [0, 0, 10, 10]).all() and outputs[:, 0, 4] == pytest.approx(0.7, rel=2e-3)
    assert metrics.compute(["map", "map50"], found[0], judged, "detection") == pytest.approx({"map": 0.5, "map50": 0.5})


def test_a_box_of_each_class_and_none_without_boxes() -> None:
    learned = as_targets(np.array([*_one_each([0], 3, 0), *_one_each([50], 5, 2)]))
    judged = as_targets(np.array([*_one_each([50], 2, 2), *_one_each([0], 2, 0)]))
    found = post.constant(np.ones((8, 3)), judged, CLASSES, Stored(learned))
    assert found is not None
    assert sorted(found[0].reshape(4, -1, 6)[0, :, 5].tolist()) == [0, 2]
    # Each class: a hit in two of four images, both of its boxes found.
    assert metrics.compute(["map"], found[0], judged, "detection")["map"] == pytest.approx(0.5)
    none = as_targets(np.full((3, 1, 5), np.nan))
    assert post.constant(np.ones((3, 3)), judged, CLASSES, Stored(none)) is None
    assert post.constant(np.ones((3, 3)), judged, CLASSES, Stored()) is None


def test_no_image_is_no_trouble() -> None:
    """Of one image with boxes, a cross-validation has none to fit to."""
    outputs, targets = rows(3)
    none = match_boxes(outputs[:0], targets[:0], least=OVERLAPS[:1])
    assert not len(none.score) and none.true.shape == (0, 0)
    how = member_mixture.Fitting("affine", "none", 0)
    crossed, missed = member_mixture.cross_fitted(outputs[:1], targets[:1], "detection", how)
    assert missed == 1 and np.array_equal(crossed, outputs[:1])
    with pytest.raises(DataError, match="no class has boxes that are right and boxes that are wrong"):
        PROBABILITIES.learn(outputs[:0], targets[:0], None, CLASSES, method="affine")


def test_scores_of_boxes_are_chosen_and_judged_by_other_images() -> None:
    outputs, targets = rows(3)
    own = Rows([str(k) for k in range(60)], targets, outputs, outputs)
    found = post.ENSEMBLING.decisions(own, None, None, options("f1"), CLASSES, 0)["thresholds"]
    same = post.ENSEMBLING.decisions(own, None, own, options("f1"), CLASSES, 0)["thresholds"]
    assert found["is_cross_validated"] and "is_cross_validated" not in same and found["cuts"] == same["cuts"]
    assert found["measured"]["without"] == same["measured"]["without"]
    # On the images that chose them they are the best of all.
    assert found["measured"]["by_cuts"] < same["measured"]["by_cuts"]
