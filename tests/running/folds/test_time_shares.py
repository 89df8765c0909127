"""A time limit divided among folds: the pace of the first batches, epochs that fit, and what is stored of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlpipe.learn.callbacks.progress import Tick
from mlpipe.reports.progress import Display
from mlpipe.running import launch
from mlpipe.running.folds import time_shares
from mlpipe.running.folds.time_shares import Rows, Share, Stopwatch, Tempo, TimeShares
from mlpipe.running.steps import RunContext
from mlpipe.running.time_plan import PlannedAnew
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

ROWS = Rows(train=800, val=200, predicted=0)
# Ten seconds to learn from 800 images in 25 batches, one second to validate 200.
TEMPO = Tempo(begin=2.0, learn=10.0, image=0.005, batches=25)


class Clock:
    """A clock that a test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time_shares.time, "monotonic", lambda: self.now)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def run_of(folder: Path) -> Run:
    return Run("2026/run", folder)


def shares(limit: float, folder: Path, folds: int = 5, at_once: int = 1, rows: Rows = ROWS) -> TimeShares:
    context = RunContext(Project(folder), Display(), started=100.0)
    return TimeShares(limit, context, lambda place: rows, folds, at_once, 1000)


def with_refit(limit: float, folder: Path, folds: int = 2) -> TimeShares:
    """Folds that hold out their part of 1,600 images, and a training of all of them."""
    context = RunContext(Project(folder), Display(), started=100.0)
    fold = Rows(1600 * (folds - 1) // folds, 1600 // folds, 0)
    rows = [*[fold] * folds, Rows(1600, 0, 0)]
    return TimeShares(limit, context, rows.__getitem__, folds, 1, 1000, refits=True)


def tick(epoch: int, batch: int) -> Tick:
    return Tick(epoch, 20, batch, 25, 1.0, 80.0, 0.0)


def test_epochs_that_fit() -> None:
    assert TEMPO.epoch(ROWS) == pytest.approx(11.0) and TEMPO.end(ROWS) == pytest.approx(1.5)
    assert TEMPO.fitting(3.1 * 11 / 0.96, ROWS, 20) == (3, 0)
    assert TEMPO.fitting(1e6, ROWS, 20) == (20, 0)
    # Five seconds of training beside the validation of one: half of the batches of an epoch.
    assert TEMPO.fitting(6.01 / 0.96, ROWS, 20) == (0, 12)
    assert TEMPO.fitting(0.0, ROWS, 20) == (0, 1)


def test_predictions_take_time_where_they_are_asked_for() -> None:
    assert TEMPO.predictions(ROWS) == 0.0
    assert TEMPO.predictions(Rows(800, 200, 400)) == pytest.approx(1.0 + 400 * 0.005)


def test_the_pace_of_the_first_batches(now: Clock) -> None:
    told: list[tuple[Tempo, int]] = []
    watch = Stopwatch(1.0, ROWS, lambda tempo, most: told.append((tempo, most)))
    now.now += 3.0
    for batch in range(1, 9):
        now.now += 0.4
        watch.tick(tick(0, batch))
    ((tempo, most),) = told
    assert most == 20 and tempo.batches == 25
    assert (tempo.begin, tempo.learn) == (pytest.approx(3.0), pytest.approx(10.0))
    # No validation was seen yet: a third of what learning from an image takes.
    assert tempo.image == pytest.approx(10.0 / 800 / 3)


def test_validation_is_measured_once_there_was_one(now: Clock) -> None:
    watch = Stopwatch(1e9, ROWS, lambda tempo, most: None)
    for epoch in range(2):
        for batch in range(1, 26):
            now.now += 0.4
            watch.tick(tick(epoch, batch))
        now.now += 1.0
    tempo = watch.tempo()
    assert tempo is not None
    assert tempo.image == pytest.approx(1.0 / 200) and tempo.learn == pytest.approx(10.0)


def test_a_fold_that_goes_on_tells_nothing(now: Clock) -> None:
    watch = Stopwatch(0.1, ROWS, lambda tempo, most: pytest.fail("told"))
    for batch in range(1, 9):
        now.now += 0.4
        watch.tick(tick(3, batch))
    assert watch.tempo() is None


def decide(limit: TimeShares, run: Run, now: Clock, folder: Path) -> bool:
    """Let the first fold's batches take 0.4 s each; whether it begins anew."""
    watch = limit.stopwatch(run, 0, limit.of(run, 0), folder / "state")
    try:
        now.now += 2.0
        for step in range(50):
            now.now += 0.4
            watch.tick(tick(step // 25, step % 25 + 1))
    except PlannedAnew:
        return True
    return False


def test_folds_share_the_time_evenly(now: Clock, tmp_path: Path) -> None:
    run, limit = run_of(tmp_path), shares(300.0, tmp_path)
    (tmp_path / "state").mkdir()
    now.now += 20.0
    assert decide(limit, run, now, tmp_path)
    assert not (tmp_path / "state").exists()
    share = limit.of(run, 0)
    assert share.epochs is not None and share.tempo is not None and share.folds == 5
    # 300 s less 7.5 s of reserve and what has passed, in five parts.
    each = (300 - 7.5 - (now.now - 100)) / 5
    begin, image = 2.0, 10 / 800 / 3
    whole = 10.0 + 200 * image
    assert share.epochs == int(0.96 * (each - begin - 0.5 - 200 * image) / whole) == 4
    assert share.seconds == pytest.approx(each - 0.5 - 200 * image, abs=0.01)
    # Later folds have as many epochs, where the time allows it.
    now.now += each
    assert limit.of(run, 1).epochs == 4
    now.now += each + 60
    assert limit.of(run, 2).epochs == 2
    # Decided once.
    now.now += 1000
    assert limit.of(run, 1).epochs == 4


def test_a_recipe_that_fits_goes_on(now: Clock, tmp_path: Path) -> None:
    run, limit = run_of(tmp_path), shares(2000.0, tmp_path)
    assert not decide(limit, run, now, tmp_path)
    assert limit.of(run, 0).epochs == 20


def test_fewer_folds_and_batches_where_no_epoch_fits(
    now: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_shares.log, "propagate", True)
    caplog.set_level("INFO", "mlpipe")
    run, limit = run_of(tmp_path), shares(50.0, tmp_path)
    now.now += 15.0
    assert decide(limit, run, now, tmp_path)
    share = limit.of(run, 0)
    assert share.epochs == 0 and 0 < share.steps < 25 and 1 <= share.folds < 5
    assert "batches of one epoch; a whole epoch of 5 folds takes time_limit=" in caplog.text
    assert all(limit.of(run, place).is_left_out for place in range(share.folds, 5))
    assert limit.is_left_out(run, 4) and not limit.is_left_out(run, 0)


def test_folds_side_by_side_have_more_time_each(now: Clock, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    for folder, at_once in ((alone, 1), (together, 5)):
        folder.mkdir()
        now.now = 100.0
        decide(shares(300.0, folder, at_once=at_once), run_of(folder), now, folder)
    epochs = [json.loads((folder / "time_limit" / "0.json").read_text())["epochs"] for folder in (alone, together)]
    assert epochs[0] == 4 and epochs[1] == 20


def test_a_fold_of_known_length_is_left_out_where_it_does_not_fit(now: Clock, tmp_path: Path) -> None:
    """A head that is fitted exactly has no batches: the next fold takes what the first one took."""
    run, limit = run_of(tmp_path), shares(60.0, tmp_path, folds=3)
    watch = limit.stopwatch(run, 0, limit.of(run, 0), tmp_path / "state")
    now.now += 25.0
    limit.learned(run, 0, watch)
    assert not limit.of(run, 1).is_left_out
    now.now += 25.0
    assert limit.of(run, 2).is_left_out


def test_a_limit_that_is_over_at_once_is_said(
    now: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_shares.log, "propagate", True)
    caplog.set_level("INFO", "mlpipe")
    now.now += 61.0
    share = shares(60.0, tmp_path).of(run_of(tmp_path), 0)
    assert (share.epochs, share.seconds) == (None, 1.0)
    assert "61 s of 60 s have passed: a fold learns from its first batches alone" in caplog.text


def test_a_fold_that_is_over_before_its_pace_is_known_had_all_epochs(now: Clock, tmp_path: Path) -> None:
    run, limit = run_of(tmp_path), shares(3600.0, tmp_path)
    watch = limit.stopwatch(run, 0, limit.of(run, 0), tmp_path / "state")
    for epoch in range(20):
        for batch in range(1, 26):
            now.now += 0.01
            watch.tick(tick(epoch, batch))
    assert limit.of(run, 0).epochs is None
    limit.learned(run, 0, watch)
    assert [limit.of(run, place).epochs for place in range(5)] == [20] * 5


def test_a_model_of_all_has_time_by_its_images(now: Clock, tmp_path: Path) -> None:
    run, limit = run_of(tmp_path), with_refit(300.0, tmp_path)
    assert decide(limit, run, now, tmp_path)
    share = limit.of(run, 0)
    # An epoch of a fold: 10 s for 800 images and 800 more to validate, a third of the time each; of all 1,600, 20 s.
    begin, image = 2.0, 10 / 800 / 3
    fold, whole = 10.0 + 800 * image, 20.0
    left = 300 - 7.5 - (now.now - 100)
    learning = left - 2 * (begin + 0.5 + 800 * image) - (begin + 0.5)
    assert share.epochs == int(0.96 * learning / (2 * fold + whole)) == 5
    assert share.seconds == pytest.approx(begin + learning * fold / (2 * fold + whole), abs=0.01)
    # As long as planned, so that what is left is enough for the last one.
    now.now += share.seconds + 0.5 + 800 * image
    second = limit.of(run, 1)
    assert second.epochs == 5
    now.now += second.seconds + 0.5 + 800 * image
    last = limit.of(run, 2)
    assert last.epochs == 5 and last.seconds >= 5 * whole + begin


def test_the_last_folds_are_left_out_and_not_the_model_of_all(now: Clock, tmp_path: Path) -> None:
    run, limit = run_of(tmp_path), with_refit(45.0, tmp_path, folds=5)
    now.now += 5.0
    assert decide(limit, run, now, tmp_path)
    share = limit.of(run, 0)
    assert 1 <= share.folds < 4 and share.refits
    left_out = [place for place in range(6) if limit.of(run, place).is_left_out]
    assert left_out == list(range(share.folds, 5))
    # With time for one training there is nothing but a fold, whose score is held out.
    (tmp_path / "short").mkdir()
    now.now = 110.0
    alone, limit = run_of(tmp_path / "short"), with_refit(30.0, tmp_path, folds=5)
    decide(limit, alone, now, tmp_path / "short")
    assert [place for place in range(6) if not limit.of(alone, place).is_left_out] == [0]


def test_heads_of_known_length_leave_time_for_the_one_of_all(now: Clock, tmp_path: Path) -> None:
    run, limit = run_of(tmp_path), with_refit(50.0, tmp_path, folds=5)
    left_out = []
    # The first one computes the features, 14 s; beside that a fold takes 6 s, the one of all images a quarter more.
    for place, taken in enumerate([6.0, 6.0, 6.0, 6.0, 6.0, 7.5]):
        if limit.of(run, place).is_left_out:
            left_out.append(place)
            continue
        watch = limit.stopwatch(run, place, limit.of(run, place), tmp_path / "state")
        watch.ask()
        now.now += 0.0 if place else 14.0
        watch.ask()
        now.now += taken
        limit.learned(run, place, watch)
    assert left_out == [4] and now.now - 100 == 45.5


def test_a_head_that_is_fitted_before_the_first_batch_is_no_epoch(now: Clock, tmp_path: Path) -> None:
    told: list[tuple[Tempo, int]] = []
    watch = Stopwatch(1.0, ROWS, lambda tempo, most: told.append((tempo, most)), heads=1)
    now.now += 3.0
    for batch in range(1, 9):
        now.now += 0.4
        watch.tick(tick(1, batch))
    ((tempo, most),) = told
    assert most == 19 and tempo.begin == pytest.approx(3.0) and tempo.learn == pytest.approx(10.0)
    words = ["task=digits", "arch=test_resnet", "arch.pretrained=false", "trainer.max_epochs=8", f"out_dir={tmp_path}"]
    prepared = launch.prepare(launch.Command("train", [*words, "stages=linear_then_finetune"]))
    recipe = prepared.run_config.recipe
    assert time_shares.heads(recipe) == 1
    assert [one.epochs for one in time_shares.applied(recipe, Share(3, 0, 9.0, 5)).stages] == [1, 3]
    batches = time_shares.applied(recipe, Share(0, 7, 9.0, 5))
    assert [one.epochs for one in batches.stages] == [1, 1] and batches.trainer["max_steps"] == 7
