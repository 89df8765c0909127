"""What `mml post` keeps: never worse than the best single member nor than what is raw, on rows that chose and on fresh ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from mlpipe.errors import DataError
from mlpipe.post.ensembling import choice, member_mixture
from mlpipe.post.ensembling.member_mixture import Fitting
from mlpipe.post.ensembling.members import Member, Rows
from mlpipe.post.measures.class_metrics import log_softmax, nll
from mlpipe.post.prior import move_prior
from scripts import simulate_post

SEARCH = {"way": "search", "budget": 60, "weights_budget": 10}
BARE = Fitting("affine", "none", 0)
HELD = Fitting("affine", "cv", 0)


def rows(logits: np.ndarray, calibrated: np.ndarray, targets: np.ndarray) -> Rows:
    return Rows([f"{row:05d}" for row in range(len(targets))], targets, logits, log_softmax(calibrated))


def member(name: str, logits: np.ndarray, calibrated: np.ndarray, targets: np.ndarray, **more: Any) -> Member:
    return Member(name, [], rows(logits, calibrated, targets), None, None, **more)


def choose(members: list[Member], stage: str = "auto", how: Fitting = HELD, **more: Any) -> choice.Choice:
    search = choice.member_search("classification", members[0].chooses.targets, None, 0, {**SEARCH, **more})
    return choice.Chooser("classification", stage, how, None, search).choose(members)


def loss(rows: Rows, targets: np.ndarray) -> float:
    return float(-log_softmax(rows.calibrated)[np.arange(len(targets)), targets].mean())


def two(seed: int = 0, n: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A good network whose calibration was spoiled, and a bad one whose calibration makes it look fair."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, n)
    good, bad = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    good[np.arange(n), targets] += 3
    return targets, good, bad, 0.3 * bad


def test_a_raw_mixture_has_weights_of_raw_members() -> None:
    """The case: a member with 20 % validation accuracy got weight .59 of a mixture that was left raw."""
    targets, good, bad, _ = two()
    spoiled = good * 8 * np.random.default_rng(1).normal(size=good.shape)
    members = [member("good", good, spoiled, targets), member("bad", 6 * bad, 0.1 * bad, targets)]
    kept = choose(members)
    assert kept.final.stage == "none"
    weights = dict(zip([members[place].name for place in kept.chosen.members], kept.chosen.weights, strict=True))
    assert weights.get("good", 0) > 0.9
    assert kept.best.name == "good" and kept.best.form == "raw"
    assert kept.chosen.single_losses[0] == pytest.approx(loss(members[0].chooses.uncalibrated(), targets))
    assert "left as they are" in " ".join(kept.final.notes)


@pytest.mark.parametrize("stage", ["none", "before", "after", "both"])
def test_the_stage_that_was_asked_for_holds_for_members_and_comparison(stage: str) -> None:
    targets, good, bad, calmer = two()
    members = [member("good", good, 9 * bad, targets), member("other", 9 * bad, calmer, targets)]
    kept = choose(members, stage)
    form = "calibrated" if stage in ("before", "both") else "raw"
    assert kept.final.stage == stage and {one.form for one in kept.alone} == {form}
    expected = [loss(one.chooses if form == "calibrated" else one.chooses.uncalibrated(), targets) for one in members]
    assert kept.chosen.single_losses == pytest.approx(expected)
    assert kept.best.name == members[int(np.argmin(expected))].name


def test_each_member_has_the_form_in_which_it_is_best() -> None:
    targets, good, _, _ = two(n=400)
    hot = 12 * (good + np.random.default_rng(3).normal(size=good.shape))
    shaken = 3 * good + np.random.default_rng(4).normal(size=good.shape)
    members = [member("right", 3 * good, shaken, targets), member("hot", hot, hot / 12, targets)]
    kept = choose(members)
    assert [one.form for one in kept.alone] == ["raw", "calibrated"]
    assert kept.chosen.loss <= min(kept.chosen.single_losses) + 1e-12


def test_what_is_kept_is_fixed_by_the_rows_that_choose_alone() -> None:
    """With a share of the test images the others decide nothing: turning their targets round changes nothing."""
    targets, good, bad, _ = two(n=80)
    half = [f"{row:05d}" for row in range(40)]
    found = []
    for other in (targets, np.concatenate([targets[:40], (targets[40:] + 1) % 3])):
        members = [member("good", good, 0.5 * good, other), member("bad", bad, 0.1 * bad, other)]

        def search(one: Any) -> Any:
            return choice.ensemble.select(
                [part.chooses.calibrated[:40] for part in one], targets[:40], kind="classification", **SEARCH
            )

        kept = choice.Chooser("classification", "auto", HELD, None, search, half).choose(members)
        found.append((kept.final.stage, kept.chosen.weights, kept.chosen.single_losses, kept.final.losses))
    assert found[0] == found[1]


def test_a_prior_is_judged_at_the_rows_own_prevalence() -> None:
    targets, good, _, _ = two(n=300)
    good = 3 * good  # The log-odds of a distance of 3 standard deviations.
    own, prior = np.bincount(targets) / 300, np.array([0.8, 0.1, 0.1])
    moved = move_prior(good, own, prior)
    one = member("one", good, moved + 1e-9, targets, prior=prior)
    one = Member(one.name, [], Rows(one.chooses.ids, targets, good, one.chooses.calibrated, moved), None, None, prior)
    kept = choose([one])
    assert kept.final.losses["none"] == pytest.approx(nll(good, targets), abs=1e-9)
    assert np.exp(kept.final.chooses.calibrated) == pytest.approx(np.exp(moved), abs=1e-6)
    assert "only moved" in " ".join(kept.final.notes)


def test_recalibrating_what_is_moved_already_does_not_move_it_again() -> None:
    targets, good, _, _ = two(n=300)
    own, prior = np.bincount(targets) / 300, np.array([0.7, 0.2, 0.1])
    moved = move_prior(good, own, prior)
    final = member_mixture.Final(Rows(["x"] * 300, targets, good, moved), None, None, "before", None, prior)
    again = member_mixture.recalibrated(final, "both", "classification", Fitting("affine", 1e9, 0))
    assert np.exp(again.chooses.calibrated) == pytest.approx(np.exp(moved), abs=1e-6)
    after = member_mixture.recalibrated(final, "after", "classification", Fitting("affine", 1e9, 0))
    assert np.exp(after.chooses.calibrated) == pytest.approx(np.exp(moved), abs=0.02)


def test_rows_that_no_fit_could_leave_out_are_not_calibrated_by_their_own() -> None:
    """One row of the second class: without it there is nothing to fit."""
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(20, 2)), np.array([1] + [0] * 19)
    crossed, missed = member_mixture.cross_fitted(logits, targets, "classification", BARE)
    assert missed == 4
    alike = np.isclose(crossed, log_softmax(logits)).all(axis=1)
    assert alike[0] and alike.sum() == 4
    with pytest.raises(DataError, match="4 of 20 rows could not be held out"):
        final = member_mixture.Final(rows(logits, logits, targets), None, None, "none", None)
        member_mixture.recalibrated(final, "after", "classification", BARE)


def _promised(found: list[dict[str, Any]], noise: float) -> None:
    for one in found:
        most = min(one["chose"]["best member"], one["chose"]["raw"])
        assert one["chose"]["kept"] <= most + 1e-9, one
    for other in ("best member", "raw"):
        assert np.mean([one["fresh"]["kept"] - one["fresh"][other] for one in found]) < noise


def test_the_promise_on_a_few_projects() -> None:
    _promised([simulate_post.project(number, rows=60) for number in range(len(simulate_post.KINDS))], 0.01)


@pytest.mark.slow
def test_the_promise_on_two_hundred_projects() -> None:
    found = [simulate_post.project(number) for number in range(200)]
    _promised(found, 0.005)
    for kind in simulate_post.KINDS:
        own = [one for one in found if one["kind"] == kind]
        for other in ("best member", "raw"):
            assert np.mean([one["fresh"]["kept"] - one["fresh"][other] for one in own]) < 0.005, kind


@pytest.mark.slow
def test_four_thousand_rows_keep_what_the_bare_fit_gains() -> None:
    for kind in ("zero loss", "unsure", "biased"):
        numbers = range(simulate_post.KINDS.index(kind), 60, len(simulate_post.KINDS))
        fresh = [simulate_post.project(number, rows=4000)["fresh"] for number in numbers]
        gained, bare = (np.mean([one["raw"] - one[key] for one in fresh]) for key in ("kept", "bare"))
        assert gained > 0.9 * bare > 0, kind


@pytest.mark.parametrize("seed", range(40))
def test_the_largest_sets_that_fit_are_those_of_a_search_through_all(seed: int) -> None:
    draws = np.random.default_rng(seed)
    times = draws.integers(1, 9, draws.integers(1, 7)).tolist()
    most = int(draws.integers(max(times), 25))
    fitting = [
        set(one) for many in range(1, len(times) + 1) for one in itertools.combinations(range(len(times)), many)
        if sum(times[place] for place in one) <= most
    ]  # fmt: skip
    largest = sorted(tuple(sorted(one)) for one in fitting if not any(one < other for other in fitting))
    assert sorted(choice._largest_sets(times, most)) == largest


def test_many_members_are_looked_through_at_once() -> None:
    assert choice._largest_sets([1.0] * 40, 100) == [tuple(range(40))]
    many = choice._largest_sets([1.0] * 40, 20)
    assert many[0] == tuple(range(20)) and len(many) == choice._SETS


def test_an_ensemble_within_a_time_is_the_best_of_those_that_fit() -> None:
    draws = np.random.default_rng(0)
    targets = draws.integers(0, 3, 300)
    found = []
    for place, strength in enumerate((1.0, 1.2, 1.4, 1.6)):
        logits = draws.normal(size=(300, 3))
        logits[np.arange(300), targets] += strength
        found.append(member(f"m{place}", logits, logits, targets))
    search = choice.member_search("classification", targets, None, 0, {"way": "certified"})
    times = {"m0": 1.0, "m1": 1.0, "m2": 2.0, "m3": 4.0}
    free = search(found)
    assert sum(times[found[place].name] for place in free.members) > 4
    chosen = choice.within(search, times, 4.0)(found)
    assert sum(times[found[place].name] for place in chosen.members) <= 4
    assert chosen.loss == pytest.approx(min(search([found[p] for p in some]).loss for some in ((0, 1, 2), (3,))))
    assert chosen.single_losses == pytest.approx(free.single_losses)
    assert choice.within(search, times, 100.0)(found).members == free.members


@pytest.mark.parametrize(("kind", "gain", "better"), [
    ("classification", 0.0, False), ("classification", 3.0, True), ("regression", 0.0, False), ("regression", 3.0, True),
])  # fmt: skip
def test_members_with_fewer_rows_have_to_be_better_by_more_than_noise(kind: str, gain: float, better: bool) -> None:
    """One that holds out a third of the rows, beside one of all rows, both as good but for `gain`."""
    rng, n = np.random.default_rng(0), 240
    targets = rng.integers(0, 3, n) if kind == "classification" else rng.normal(size=(n, 1))
    own = np.eye(3)[targets] if kind == "classification" else targets

    def made(size: float, where: slice) -> choice.Choice:
        shown = own + rng.normal(size=own.shape) / (1 + size)
        ids = [f"{row:05d}" for row in range(n)][where]
        some = Rows(ids, targets[where], shown[where], shown[where])
        found = Member("one", [], some, None, None)
        search = choice.member_search(kind, some.targets, None, 0, SEARCH)
        return choice.Chooser(kind, "none", Fitting("none", "none", 0), None, search).choose([found])

    fewer, more = made(gain, slice(0, 80)), made(0.0, slice(None))
    assert choice.is_better(fewer, more, kind) is better
    # Where all rows belong together they are one observation, which proves nothing.
    assert not choice.is_better(fewer, more, kind, dict.fromkeys(fewer.final.chooses.ids, "one"))


def test_members_with_fewer_rows_are_judged_by_the_numbers_that_are_known() -> None:
    """Of several numbers some are unknown, and of some rows all of them; one of them made the whole comparison NaN."""
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(60, 2))
    targets[::4, 0], targets[::5] = np.nan, np.nan
    known = np.where(np.isnan(targets), 0, targets)

    def made(noise: float) -> choice.Choice:
        shown = known + noise * rng.normal(size=known.shape)
        some = Rows([f"{row:05d}" for row in range(60)], targets, shown, shown)
        search = choice.member_search("regression", targets, None, 0, SEARCH)
        how = Fitting("none", "none", 0)
        return choice.Chooser("regression", "none", how, None, search).choose([Member("one", [], some, None, None)])

    assert choice.is_better(made(0.1), made(1.0), "regression")
    assert not choice.is_better(made(1.0), made(0.1), "regression")
    each = {name: name for name in made(0.1).final.chooses.ids}
    assert choice.is_better(made(0.1), made(1.0), "regression", each)


def test_a_mixture_is_kept_where_no_member_alone_may_be_and_one_is_better() -> None:
    """It ended with an unexpected error: no stage was as good as the member."""
    rng = np.random.default_rng(17)
    targets = rng.integers(0, 3, 40)
    good = np.eye(3)[targets] * rng.uniform(1, 6) + rng.normal(size=(40, 3)) * rng.uniform(0.1, 2)
    both = [good, *(rng.normal(size=(40, 3)) * 4 for _ in range(2))]
    members = [member(str(place), one, one, targets) for place, one in enumerate(both)]
    kept = choose(members, include_single=False, budget=3, weights_budget=1)
    assert len(kept.chosen.members) > 1
    assert kept.chosen.loss == pytest.approx(min(kept.final.losses.values()))
    assert kept.chosen.loss > min(kept.chosen.single_losses)


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_a_group_is_held_out_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([f"p{number}" for number in range(12)], 5)
    logits = rng.normal(size=(60, 2)) + np.arange(60)[:, None] * 1e-3
    targets = np.repeat(rng.permutation(np.arange(12) % 2), 5)
    if kind == "multilabel":
        targets = np.column_stack([targets, 1 - targets]).astype(float)
    fitted = list[set[str]]()
    learn = Fitting.learn

    def watched(self: Fitting, values: np.ndarray, *rest: Any, **more: Any) -> dict[str, Any]:
        fitted.append({groups[row] for row in np.flatnonzero(np.isin(logits[:, 0], values[:, 0]))})
        return learn(self, values, *rest, **more)

    monkeypatch.setattr(Fitting, "learn", watched)
    _, missed = member_mixture.cross_fitted(logits, targets, kind, BARE, groups=groups)
    whole, *parts = fitted
    assert missed == 0 and len(whole) == 12 and len(parts) == 5
    left_out = [whole - part for part in parts]
    assert sum(map(len, left_out)) == 12 and set().union(*left_out) == whole


def test_what_a_group_hides_is_seen_in_the_loss_of_its_held_out_rows() -> None:
    """The loss of rows of patients that the fit did not see is that of new patients; that of their other images is not."""
    from tests.post.calibration.test_calibrate import patients

    fresh, truth, _ = patients(99, 4000, 1)
    gains = []
    for seed in range(8):
        logits, targets, groups = patients(seed, 40, 10)
        how = Fitting("isotonic", "none", 0)
        new = nll(member_mixture.learned(how.learn(logits, targets, "classification"), "classification")(fresh), truth)
        apart, together = (
            nll(member_mixture.cross_fitted(logits, targets, "classification", how, groups=own)[0], targets)
            for own in (None, groups)
        )
        gains.append((apart - nll(logits, targets), together - nll(logits, targets), new - nll(fresh, truth)))
    apart, together, new = np.mean(gains, axis=0)
    assert apart < -0.1 and new > 0.05 and together > 0.05
