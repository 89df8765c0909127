"""How much training fits into a time, and the pace that the first epochs show."""

from __future__ import annotations

import pytest

from mlpipe.running.time_plan import Pace, Shape, clock, epochs_within, within_stages


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45.4, "45 s"), (119.7, "2 min"), (200, "3 min 20 s"), (601, "10 min"), (5400, "90 min"), (6060, "1 h 41 min")],
)
def test_times_for_people(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_epochs_that_fit() -> None:
    one = Shape(train=1000, test=0, folds=1, held_out=0.2, train_second=0.01, evaluate_second=0.001)
    assert one.epoch() == pytest.approx(800 * 0.01 * 1.1 + 0.2)
    assert one.predicting() == pytest.approx(1.5 + 0.2 * 1.1)
    assert epochs_within(one.predicting() + 3.1 * one.epoch(), one, 20) == 3
    assert epochs_within(1e6, one, 20) == 20 and epochs_within(5, one, 20) == 0
    five = Shape(train=1000, test=300, folds=5, held_out=0.2, train_second=0.01, evaluate_second=0.001)
    assert epochs_within(five.predicting() + 5 * five.epoch() * 1.01, five, 20) == 1


@pytest.mark.parametrize(
    ("given", "epochs", "shared"),
    [
        ([9], 4, [4]),
        ([1, 3], 8, [2, 6]),
        ([5, 5], 3, [1, 2]),
        # One epoch each at the least, however few there are.
        ([1, 1, 10], 2, [1, 1, 1]),
        ([], 3, []),
    ],
)
def test_stages_share_the_epochs_that_fit(given: list[int], epochs: int, shared: list[int]) -> None:
    stages = [{"epochs": one, "lr": 0.1} for one in given]
    assert within_stages(stages, epochs) == [{"epochs": one, "lr": 0.1} for one in shared]
    head = {"epochs": 1, "head": "linear"}
    assert within_stages([head, *stages], epochs)[0] == head
    assert [one["epochs"] for one in within_stages([head, *stages], epochs)[1:]] == shared


def test_a_shape_at_another_speed() -> None:
    five = Shape(train=1000, test=300, folds=5, held_out=0.2, train_second=0.01, evaluate_second=0.001)
    slower = five.at(3 * five.epoch())
    assert slower.epoch() == pytest.approx(3 * five.epoch()) and slower.evaluate_second == pytest.approx(0.003)


def test_the_pace_is_told_once_without_the_first_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, int]] = []
    clock = iter([0.0, 5.0, 7.0, 9.0])
    monkeypatch.setattr("mlpipe.running.time_plan.time.monotonic", lambda: next(clock))
    pace = Pace(8.0, lambda seconds, done: told.append((seconds, done)))
    pace.epoch(0, 0, 9, 0.5)
    pace.begin()
    for epoch in range(6):
        pace.epoch(0, epoch, 9, 0.5)
        pace.epoch(1, epoch, 9, 0.5)
    assert told == [(2.0, 3)]


def test_the_pace_of_a_single_epoch_and_of_a_fold_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, int]] = []
    clock = iter([0.0, 5.0, 0.0])
    monkeypatch.setattr("mlpipe.running.time_plan.time.monotonic", lambda: next(clock))
    alone = Pace(4.0, lambda seconds, done: told.append((seconds, done)))
    alone.begin()
    alone.epoch(0, 0, 9, 0.5)
    resumed = Pace(4.0, lambda seconds, done: told.append((seconds, done)))
    resumed.begin()
    resumed.epoch(0, 3, 9, 0.5)
    resumed.epoch(0, 4, 9, 0.5)
    assert told == [(5.0, 1)]


def test_the_pace_after_an_exact_head(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, int]] = []
    clock = iter([0.0, 5.0, 7.0, 9.0])
    monkeypatch.setattr("mlpipe.running.time_plan.time.monotonic", lambda: next(clock))
    pace = Pace(8.0, lambda seconds, done: told.append((seconds, done)), heads=1)
    pace.begin()
    # The head is the epoch of number 0, of which nobody is told.
    for epoch in (1, 2, 3, 4):
        pace.epoch(0, epoch, 9, 0.5)
    assert told == [(2.0, 3)]
