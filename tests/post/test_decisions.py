"""What decides between classes keeps its promise where the prevalence is another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from mlpipe.errors import ConfigError, DataError
from mlpipe.post import decisions, threshold
from mlpipe.post import kind as post_kind
from mlpipe.post.decision_options import DecisionOptions
from mlpipe.post.ensembling import evaluation
from mlpipe.post.ensembling.member_mixture import Final
from mlpipe.post.ensembling.members import Rows
from mlpipe.post.measures import label_metrics
from mlpipe.post.measures.class_metrics import balanced_accuracy, log_softmax
from mlpipe.post.prior import move_prior
from mlpipe.runs import predictions
from mlpipe.runs.ensembles import EnsembleRecord

EVEN, THERE = np.full(3, 1 / 3), np.array([0.8, 0.15, 0.05])
WISHES = DecisionOptions(0.1, "lac", "marginal", None, None)


def rows(seed: int, n: int, prior: np.ndarray) -> Rows:
    """Calibrated for even shares; the third class is the hardest."""
    rng = np.random.default_rng(100 + seed)
    targets = rng.choice(3, n, p=prior)
    logits = rng.normal(size=(n, 3))
    logits[np.arange(n), targets] += np.array([2.5, 1.2, 0.6])[targets]
    return Rows([f"{row:06d}" for row in range(n)], targets, logits, log_softmax(logits))


def stored(folder: Path, options: DecisionOptions, split: str = "val") -> tuple[EnsembleRecord, Path]:
    """An ensemble whose rows that chose are 6,000, and its file."""
    chose = rows(0, 6000, EVEN)
    final = Final(chose, None, None, "before", None)
    decide = evaluation.decisions(final, None, "classification", options, ["a", "b", "c"], 0)
    return stored_rows(folder, chose, ["a", "b", "c"], decide, EVEN, split)


def stored_rows(
    folder: Path, chose: Rows, names: list[str], decide: dict[str, Any], prior: np.ndarray, split: str = "val"
) -> tuple[EnsembleRecord, Path]:
    """An ensemble with these rows that chose and decisions, and its file."""
    record = EnsembleRecord(
        "ens-x", "", "", "made", "classification", names, [], "probabilities", "", "oof", "before", None,
        {"kind": "list", "values": prior.tolist()}, {}, {}, decide=decide,
    )  # fmt: skip
    path = folder / "ens-x.parquet"
    with predictions.writer(path, (), "classification") as sink:
        sink.add("made", split, -1, chose.ids, chose.targets, chose.raw, chose.calibrated)
    return record, path


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("split", ["val", "chose"])
@pytest.mark.parametrize("coverage", ["marginal", "class"])
def test_sets_at_another_prevalence(tmp_path: Path, score: str, split: str, coverage: str) -> None:
    record, path = stored(tmp_path, replace(WISHES, set_score=score, set_coverage=coverage), split)
    decided = decisions.deployment_decisions(record, path, THERE)
    new = rows(1, 60_000, THERE)
    inside = decisions.sets_of(move_prior(new.calibrated, EVEN, THERE), decided)
    assert inside is not None
    hits = inside[np.arange(len(new)), new.targets]
    by_class = [float(hits[new.targets == number].mean()) for number in range(3)]
    assert hits.mean() == pytest.approx(0.9, abs=0.015)
    if coverage == "class":
        assert by_class == pytest.approx([0.9, 0.9, 0.9], abs=0.025)
    else:
        assert "at the given prior (0.8, 0.15, 0.05)" in decisions.in_words(decided["sets"])


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("coverage", ["marginal", "class"])
@pytest.mark.parametrize("is_moved", [False, True])
def test_sets_of_another_level_are_those_that_post_makes(
    tmp_path: Path, score: str, coverage: str, is_moved: bool
) -> None:
    wishes = replace(WISHES, set_score=score, set_coverage=coverage)
    record, path = stored(tmp_path, wishes)
    moved_to = THERE if is_moved else None
    decided = decisions.deployment_decisions(record, path, THERE) if is_moved else record.decide
    found = decisions.at_level(record, path, 0.3, decided, moved_to)["sets"]
    (tmp_path / "again").mkdir()
    again, its_path = stored(tmp_path / "again", replace(wishes, alpha=0.3))
    wanted = (decisions.deployment_decisions(again, its_path, THERE) if is_moved else again.decide)["sets"]
    # Stored rows have single precision.
    assert found.pop("cuts") == pytest.approx(wanted["cuts"], abs=1e-6) and found["alpha"] == 0.3
    assert found == {name: wanted[name] for name in found}
    found["cuts"] = wanted["cuts"]
    inside = decisions.sets_of(rows(1, 60_000, EVEN).calibrated, {"sets": found})
    if not is_moved:
        assert inside is not None
        own = inside[np.arange(60_000), rows(1, 60_000, EVEN).targets]
        assert own.mean() == pytest.approx(0.7, abs=0.025)


def test_what_is_no_level_or_has_no_sets_is_refused(tmp_path: Path) -> None:
    record, path = stored(tmp_path, WISHES)
    with pytest.raises(ConfigError, match=r"alpha: must be inside 0 and 1, got 1.5"):
        decisions.at_level(record, path, 1.5, record.decide, None)
    with pytest.raises(ConfigError, match="alpha: is for sets of classes and intervals of numbers, ens-x has neither"):
        decisions.at_level(record, path, 0.2, {"thresholds": {}}, None)
    (tmp_path / "empty").mkdir()
    record, path = stored(tmp_path / "empty", WISHES, "test")
    with pytest.raises(DataError, match="alpha: ens-x does not hold the rows that set its sets or intervals"):
        decisions.at_level(record, path, 0.2, record.decide, None)


def test_intervals_of_another_level_hold_as_many_numbers_as_promised(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    values = draws.normal(size=(4000, 1))
    targets = values + draws.normal(size=(4000, 1))
    record, _ = stored(tmp_path, WISHES)
    path = tmp_path / "numbers.parquet"
    with predictions.writer(path, (), "regression") as sink:
        sink.add("made", "val", -1, [f"{row:05d}" for row in range(4000)], targets, values, values)
    numbers = replace(
        record, kind="regression", classes=["y"], decide={"halfwidths": {"y": 9.0}, "interval_alpha": 0.1}
    )
    found = decisions.at_level(numbers, path, 0.05, numbers.decide, None)
    # Residuals are normal: 1.96 of their standard deviation hold 95 %.
    assert found["interval_alpha"] == 0.05 and found["halfwidths"] == {"y": pytest.approx(1.96, abs=0.08)}
    # 4,000 rows are too few to say how far one in 10,000 lies off: there is no interval, as where mml post finds none.
    beyond = decisions.at_level(numbers, path, 0.0001, numbers.decide, None)
    assert beyond == {"halfwidths": {"y": None}, "interval_alpha": 0.0001}


def test_without_the_rows_that_chose_there_is_a_sentence(tmp_path: Path) -> None:
    record, path = stored(tmp_path, WISHES, "test")
    with pytest.raises(DataError, match="ens-x does not hold the rows that set its cut-offs"):
        decisions.deployment_decisions(record, path, THERE)
    nothing = replace(record, decide={})
    assert decisions.deployment_decisions(nothing, path, THERE) == {}


def test_thresholds_decide_and_are_measured_as_they_decide(tmp_path: Path) -> None:
    record, path = stored(tmp_path, replace(WISHES, threshold="balanced_accuracy"))
    chose = rows(0, 6000, EVEN)
    cuts = np.array(list(record.decide["thresholds"]["cuts"].values()))
    plainly = (np.exp(chose.calibrated) / cuts).argmax(axis=1)
    assert (decisions.classes_of(chose.calibrated, record.decide) == plainly).all()
    options = replace(WISHES, threshold="balanced_accuracy")
    measured = decisions.thresholds(chose, chose, options, ["a", "b", "c"], EVEN, None)["measured"]
    assert measured["by_cuts"] == pytest.approx(np.mean([(plainly == k)[chose.targets == k].mean() for k in range(3)]))
    assert measured["without"] == pytest.approx(balanced_accuracy(chose.calibrated, chose.targets))
    # Sensitivity and specificity do not depend on the prevalence: where it is another one, cuts move as probabilities do.
    there = decisions.deployment_decisions(record, path, THERE)
    new = rows(2, 5000, THERE)
    decided = decisions.classes_of(move_prior(new.calibrated, EVEN, THERE), there)
    assert decided is not None
    recalls = [(decided == k)[new.targets == k].mean() for k in range(3)]
    most_probable = move_prior(new.calibrated, EVEN, THERE).argmax(axis=1)
    assert np.mean(recalls) > np.mean([(most_probable == k)[new.targets == k].mean() for k in range(3)]) + 0.1


def two_classes(seed: int, n: int, share: float) -> Rows:
    """Rows of two classes with true probabilities, a share of them ill."""
    rng = np.random.default_rng(seed)
    targets = (rng.random(n) < share).astype(np.int64)
    odds = 2 * rng.normal(2 * targets - 1, 1.5) / 1.5**2 + np.log(share / (1 - share))
    values = log_softmax(np.stack([np.zeros(n), odds], axis=1))
    return Rows([f"{seed}-{row}" for row in range(n)], targets, values, values)


def test_the_wanted_sensitivity_is_that_of_new_images_at_any_prevalence() -> None:
    """Of normal scores with a distance of two deviations of 1.5, 90 % of the ill leave the specificity of the closed form."""
    options = replace(WISHES, threshold="sensitivity", at_least=0.9)
    share = np.array([0.8, 0.2])
    chose, new = two_classes(0, 20_000, 0.2), two_classes(1, 20_000, 0.2)
    facts = decisions.thresholds(chose, new, options, ["healthy", "ill"], share, None)
    assert (facts["criterion"], facts["at_least"], facts["positive"]) == ("sensitivity", 0.9, "ill")
    measured = facts["measured"]
    assert measured["by_cuts"] == pytest.approx(0.9, abs=0.02)
    assert measured["beside"]["by_cuts"] == pytest.approx(norm.cdf(2 / 1.5 - norm.ppf(0.9)), abs=0.02)
    decided = decisions.classes_of(new.calibrated, {"thresholds": facts})
    assert decided is not None and (decided[new.targets == 1] == 1).mean() == measured["by_cuts"]
    assert "sensitivity of at least 0.9" in decisions.threshold_text(facts)
    # The other class is the positive one on request, and its specificity is reached likewise.
    other = replace(options, threshold="specificity", positive="healthy")
    facts = decisions.thresholds(chose, new, other, ["healthy", "ill"], share, None)
    assert facts["measured"]["measure"] == "specificity" and facts["positive"] == "healthy"
    assert facts["measured"]["by_cuts"] == pytest.approx(0.9, abs=0.02)


def test_thresholds_that_reach_a_share_move_with_the_prevalence(tmp_path: Path) -> None:
    options = replace(WISHES, threshold="sensitivity", at_least=0.9)
    chose, own, there = two_classes(0, 8000, 0.3), np.array([0.7, 0.3]), np.array([0.99, 0.01])
    facts = decisions.thresholds(chose, None, options, ["healthy", "ill"], own, None)
    record, path = stored_rows(tmp_path, chose, ["healthy", "ill"], {"thresholds": facts}, own)
    moved = decisions.deployment_decisions(record, path, there)
    values = move_prior(chose.calibrated, own, there)
    decided = decisions.classes_of(values, moved)
    assert (
        decided is not None
        and (decided == decisions.classes_of(chose.calibrated, {"thresholds": facts})).mean() > 0.999
    )
    assert "column decision: ill if its probability is above" in decisions.column_meanings(moved)[0]


def test_a_share_of_labels_is_reached_by_each() -> None:
    odds, truth = labels(0, 4000)
    rows_ = Rows([str(row) for row in range(4000)], truth, odds, odds)
    facts = decisions.thresholds(
        rows_, rows_, replace(WISHES, threshold="sensitivity", at_least=0.8), list("abcde"), None, None
    )
    cuts = np.array(list(facts["cuts"].values()))
    recalls = [(expit(odds[:, k]) > cuts[k])[truth[:, k] == 1].mean() for k in range(5)]
    assert min(recalls) >= 0.8 and facts["measured"]["by_cuts"] == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize(("kind", "classes"), [("classification", ["a", "b", "c"]), ("detection", ["a"])])
def test_a_share_is_for_two_classes_or_labels(kind: str, classes: list[str]) -> None:
    options = replace(WISHES, threshold="sensitivity")
    criteria = post_kind.of(kind).CRITERIA
    assert len(options.problems(kind, classes, criteria)) == 1
    assert not options.problems("classification", ["a", "b"], post_kind.of("classification").CRITERIA)
    assert not options.problems("multilabel", ["a", "b", "c"], post_kind.of("multilabel").CRITERIA)


def test_thresholds_of_earlier_versions_that_tell_no_prevalence_are_used_as_they_are() -> None:
    """0.1 is twice its cut of 0.05 and 0.9 once its cut of 0.9; cuts of nothing are the smallest of all."""
    logs = np.log([[0.1, 0.9], [0.02, 0.98]])
    assert decisions.classes_of(logs, {"thresholds": {"cuts": {"a": 0.05, "b": 0.9}}}).tolist() == [0, 1]
    for nothing in (0.0, -1e-300):
        assert decisions.classes_of(logs, {"thresholds": {"cuts": {"a": 0.5, "b": nothing}}}).tolist() == [1, 1]


def test_intervals_that_too_few_rows_leave_open_are_told() -> None:
    """Of too few rows a half-width is infinite, which a file of JSON has as null."""
    for half in (float("inf"), None):
        (told,) = evaluation.sentences({"halfwidths": {"age": half, "size": 1.5}, "interval_alpha": 0.1})
        assert told == "prediction intervals (90 %): age none (too few rows), size ± 1.5"


def test_sentences_say_what_is_promised() -> None:
    sets = {"score": "lac", "alpha": 0.1, "cuts": [0.5, 0.7], "penalty": 0.0, "free_rank": 5, "rows": 9}
    weighted = sets | {"guarantee": "the true class is in the set with a chance of at least 0.9 at the given prior"}
    (told,) = evaluation.sentences({"sets": weighted | {"prior": [0.25, 0.75]}})
    assert "for each class by itself" not in told and "at the given prior (0.25, 0.75)" in told
    own = sets | {"cuts": [0.5, 0.5], "guarantee": "each class is in its rows' sets with a chance of at least 0.9"}
    (told,) = evaluation.sentences({"sets": own})
    assert "for each class by itself" in told


def test_a_model_that_predicts_one_class_has_no_say_in_the_prevalence() -> None:
    val, there = rows(7, 4000, EVEN), rows(8, 4000, THERE)
    always = [replace(one, raw=np.tile([9.0, 0.0, 0.0], (len(one), 1))) for one in (val, there)]
    found = evaluation.estimated_prevalence([(val, there), (always[0], always[1])], 0)
    assert found.shares is not None and found.note == "without 1 of 2 models, which hardly tell the classes apart"
    value, low, high = found.shares
    assert np.abs(value - THERE).max() < 0.06
    assert ((low <= value) & (value <= high) & (low <= THERE) & (high >= THERE)).all()

    alone = evaluation.prevalence(Final(val, None, None, "none", None), [(always[0], always[1])], ["a", "b", "c"], 0)
    told = "the model hardly tells the classes apart, so that counting predictions means nothing"
    assert alone["unlabelled"] == {"note": told}
    assert evaluation.sentences({"prevalence": alone}) == [
        f"the prevalence among the unlabelled images is not estimated: {told}"
    ]


def test_the_prevalence_of_very_many_classes_is_not_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_MOST_ESTIMATED", 1)
    rng = np.random.default_rng(0)
    rows = Rows(list("abcd"), np.array([0, 1, 0, 1]), rng.normal(size=(4, 2)), rng.normal(size=(4, 2)))
    found = evaluation.estimated_prevalence([(rows, rows)], 0)
    assert found.shares is None and found.note == "there are 2 classes, and it is estimated of 1 at most"


@pytest.mark.parametrize("score", ["aps", "raps"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 42])
def test_the_promise_of_sets_holds_where_rows_are_alike(score: str, seed: int) -> None:
    """New rows have no other noise than the equal ones that the cut-offs are made of: the rarer class was in no set."""
    truth, same = (np.random.default_rng(0).random(500) < 0.3).astype(np.int64), np.log([[0.7, 0.3]] * 500)
    chose = Rows([str(row) for row in range(500)], truth, same, same)
    final, options = Final(chose, None, None, "before", None), replace(WISHES, set_score=score)
    inside = decisions.sets_of(same, evaluation.decisions(final, None, "classification", options, ["a", "b"], seed))
    assert inside is not None
    assert inside[np.arange(500), truth].mean() >= 0.9


SHARES = np.array([0.5, 0.3, 0.2, 0.1, 0.05])


def labels(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds of five labels, and which hold."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((n, 5)) < SHARES).astype(np.float64)
    return 1.2 * (2 * truth - 1) + rng.normal(0, 1.5, truth.shape) + np.log(SHARES / (1 - SHARES)), truth


def test_what_cuts_are_worth_is_what_they_are_worth_on_new_rows() -> None:
    """The best cuts of 40 images have an F1 of .72 on them, and of .55 on others."""
    options, values = replace(WISHES, threshold="f1"), []
    fresh = labels(999, 5000)
    for seed in range(30):
        odds, truth = labels(seed, 40)
        chose = Rows([str(row) for row in range(40)], truth, odds, odds)
        found = decisions.thresholds(chose, None, options, list("abcde"), None, None)
        new = Rows([str(row) for row in range(5000)], fresh[1], fresh[0], fresh[0])
        other = decisions.thresholds(chose, new, options, list("abcde"), None, None)
        assert found["cuts"] == other["cuts"] and found["is_cross_validated"] and "is_cross_validated" not in other
        cuts = np.array([0.5 if cut is None else cut for cut in found["cuts"].values()])
        itself = label_metrics.macro_f1(expit(odds) - cuts, truth)
        values.append((itself, found["measured"]["by_cuts"], other["measured"]["by_cuts"]))
    itself, measured, new_rows = np.nanmean(values, axis=0)
    assert itself > new_rows + 0.12 and abs(measured - new_rows) < 0.05
    assert "each image by the thresholds of others" in decisions.threshold_text(found, 40)


def test_groups_of_one_fold_do_not_choose_their_own_cuts() -> None:
    odds, truth = labels(0, 20)
    chose = Rows([str(row) for row in range(20)], truth, odds, odds)
    together = dict.fromkeys(chose.ids, "one patient")
    assert not decisions.held_out_folds(truth, chose.ids, together)
    options = replace(WISHES, threshold="f1")
    assert "measured" not in decisions.thresholds(chose, None, options, list("abcde"), None, None, together)
    halves = {name: name[-1] for name in chose.ids}
    for held in decisions.held_out_folds(truth, chose.ids, halves):
        assert not {halves[name] for name, out in zip(chose.ids, held, strict=True) if out} & {
            halves[name] for name, out in zip(chose.ids, held, strict=True) if not out
        }


@pytest.mark.parametrize("criterion", ["f1", "cost"])
def test_cuts_of_labels_are_best_at_the_prevalence_that_is_asked_for(criterion: str) -> None:
    """Log-odds of half and half, moved to one in ten: the cut is that of rows of which one in ten holds."""
    rng = np.random.default_rng(0)

    def moved(n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        truth = (rng.random((n, 1)) < share).astype(np.float64)
        return 2 * rng.normal(2 * truth - 1, 1.0) + np.log(0.1 / 0.9), truth

    half, there = moved(20_000, 0.5), moved(100_000, 0.1)
    costs = {"criterion": criterion, "false_positive": 1.0, "false_negative": 3.0}
    (own,), (asked,), (best,) = (
        threshold.label_thresholds(*half, **costs),
        threshold.label_thresholds(*half, prior=[0.1], **costs),
        threshold.label_thresholds(*there, **costs),
    )
    assert own is not None and asked is not None and best is not None
    if criterion == "cost":
        # What costs least is a cut at the odds of the costs, whatever the prevalence: of calibrated odds, which these are there.
        assert asked.cut == pytest.approx(0.25, abs=0.08) and own.cut < 0.1
        return
    worth = [label_metrics.macro_f1(expit(there[0]) - cut, there[1]) for cut in (own.cut, asked.cut, best.cut)]
    assert worth[1] == pytest.approx(worth[2], abs=0.005) and worth[0] < worth[2] - 0.1
    options = replace(WISHES, threshold="f1")
    chose = Rows([str(row) for row in range(20_000)], half[1], half[0], half[0])
    found = decisions.thresholds(chose, chose, options, ["a"], None, np.array([0.1]))
    assert found["cuts"] == {"a": asked.cut}


def test_sets_are_observed_on_the_probabilities_that_they_are_for() -> None:
    """Without test rows the rows that chose tell how often sets hold the class, at the prior that cut-offs are of."""
    chose = rows(3, 4000, EVEN)
    final = Final(
        replace(chose, calibrated=move_prior(chose.calibrated, EVEN, THERE)), None, None, "before", None, THERE
    )
    sets = evaluation.decisions(final, None, "classification", WISHES, ["a", "b", "c"], 0)["sets"]
    inside = decisions.sets_of(final.chooses.calibrated, {"sets": sets})
    assert inside is not None
    hits = inside[np.arange(4000), chose.targets]
    assert sets["observed_coverage"] == hits.mean() and sets["mean_size"] == inside.sum(axis=1).mean()
    by_class = [hits[chose.targets == number].mean() for number in range(3)]
    assert sets["observed_by_class"] == by_class
    # At the prior itself the promise holds.
    assert THERE @ by_class == pytest.approx(0.9, abs=0.02)


def test_a_prevalence_of_images_of_one_group_says_so() -> None:
    val, there = rows(1, 300, EVEN), rows(2, 300, THERE)
    apart = evaluation.estimated_prevalence([(val, there)], 0)
    alone = evaluation.estimated_prevalence([(val, there)], 0, dict.fromkeys((*val.ids, *there.ids), "one"))
    assert apart.shares is not None and alone.shares is not None and apart.note == ""
    assert alone.note == "rows of one group alone are drawn one by one, so that the interval may be too narrow"
    width, other = (shares[2] - shares[1] for shares in (alone.shares, apart.shares))
    assert width == pytest.approx(other, rel=0.25, abs=0.01)
