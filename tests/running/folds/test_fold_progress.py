"""A fold's line: where it is, its last and its best score; and a line of the log for each epoch."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping

import pytest

from mlpipe.learn.callbacks.progress import Tick
from mlpipe.reports.progress import Display
from mlpipe.running.folds import fold_progress
from mlpipe.running.folds.fold_progress import FoldProgress

LOSSES = [2.0, 1.0, float("nan"), 1.5]
ACCURACIES = [0.3, 0.6, 0.1, 0.7]
ROWS: list[Mapping[str, float]] = [
    {"epoch": epoch, "train/loss": loss / 2, "val/loss": loss, "val/accuracy": accuracy, "lr": 0.001}
    for epoch, (loss, accuracy) in enumerate(zip(LOSSES, ACCURACIES, strict=True))
]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    there = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: there[0])
    return there


def make(stream: io.StringIO, **given: object) -> FoldProgress:
    terms = {"metric": "accuracy", "monitor": "val/loss", "direction": "min", "validated": 160, **given}
    return FoldProgress(Display(stream, every=10.0), "fold 1 of 2", **terms)  # type: ignore[arg-type]


def learn(progress: FoldProgress, now: list[float], epochs: int, first: int = 0) -> None:
    """Ten batches an epoch of two seconds each, and what is measured after them."""
    for epoch in range(first, epochs):
        progress.epochs(ROWS[:epoch])
        for batch in range(1, 11):
            now[0] += 2
            progress.batch(Tick(epoch, 4, batch, 10, 0.5, 110.0, 0.08))
    progress.epochs(ROWS[:epochs])


def test_last_and_best_score_and_both_times(now: list[float]) -> None:
    stream = io.StringIO()
    learn(make(stream, position=1, count=3), now, 4)
    assert stream.getvalue().splitlines() == [
        f"fold 1 of 2, {share} %, epoch {epoch}/4, loss 0.5000, accuracy {last}, best epoch {best}, "
        f"110 images/s, data wait 8 %, run 0:0{run}, 0:0{left} left"
        for epoch, share, last, best, run, left in [
            (1, 42, "0.300", "1: 0.300", "2:20", "1:00"),
            (2, 50, "0.600", "2: 0.600", "2:00", "0:40"),
            # An epoch whose loss is NaN is no better one, and neither is one of a greater loss, whatever its accuracy.
            (3, 58, "0.100", "2: 0.600", "1:40", "0:20"),
            (4, 67, "0.700", "2: 0.600", "1:20", "0:00"),
        ]
    ]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the program's log gets, each line once whatever another test hung there."""
    monkeypatch.setattr(logging.getLogger("mlpipe"), "handlers", [])
    monkeypatch.setattr(logging.getLogger("mlpipe"), "propagate", True)
    caplog.set_level(logging.DEBUG, "mlpipe")
    return caplog


def test_the_log_has_a_line_for_each_epoch(now: list[float], lines: pytest.LogCaptureFixture) -> None:
    learn(make(io.StringIO()), now, 2)
    assert lines.messages == [
        "fold 1 of 2 epoch 1/4, loss 1.0000, validation loss 2.0000, accuracy 0.300, best epoch so far 1, "
        "learning rate 0.001, 110 images/s, data wait 8 %, 20.0 s",
        "fold 1 of 2 epoch 2/4, loss 0.5000, validation loss 1.0000, accuracy 0.600, best epoch so far 2, "
        "learning rate 0.001, 110 images/s, data wait 8 %, 20.0 s",
    ]


def test_a_run_that_goes_on_tells_only_what_is_new(now: list[float], lines: pytest.LogCaptureFixture) -> None:
    stream = io.StringIO()
    learn(make(stream), now, 3, first=2)
    assert len(lines.messages) == 1 and "best epoch so far 2" in lines.messages[0]
    (told,) = stream.getvalue().splitlines()
    assert "epoch 3/4" in told and "accuracy 0.100, best epoch 2: 0.600" in told
    # Its speed is that of the epoch that it learned: ten batches of 2 s are left.
    assert told.endswith("0:00:20 left")


def test_a_training_that_begins_anew_is_timed_anew(now: list[float]) -> None:
    stream = io.StringIO()
    progress = make(stream)
    learn(progress, now, 2)
    stream.truncate(0)
    now[0] += 1000
    learn(progress, now, 1)
    assert stream.getvalue().splitlines()[-1].endswith("0:01:00 left") and "best epoch 1: 0.300" in stream.getvalue()


def test_without_validation_and_with_another_monitor(now: list[float]) -> None:
    assert make(io.StringIO())._score_facts({"epoch": 0, "train/loss": 1.0}) == []
    progress = make(io.StringIO(), metric="auroc", monitor="val/f1", direction="max")
    progress.epochs([{"epoch": 0, "val/f1": 0.5}, {"epoch": 1, "val/f1": 0.25}])
    assert [fact.text for fact in progress._scores] == ["f1 0.250", "best 0.500"]
    # The metric that is shown chooses the epoch itself.
    progress = make(io.StringIO(), monitor="val/accuracy", direction="max")
    progress.epochs(ROWS)
    assert [fact.text for fact in progress._scores] == ["accuracy 0.700", "best 0.700"]
    progress = make(io.StringIO(), metric="auroc")
    progress.epochs([{"epoch": 0, "val/loss": float("nan")}])
    assert [fact.text for fact in progress._scores] == ["validation loss NaN"]


def test_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert fold_progress._memory() == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 3_140_000_000)
    assert [fact.text for fact in fold_progress._memory()] == ["GPU 3.1 GB"]
