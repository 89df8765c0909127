"""The two tables of a training, character by character."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlpipe.running import training_log
from mlpipe.running.training_log import BatchRow, EpochRow

BATCHES = [BatchRow(1, 1, 0.25, 0.7028, 0.5123), BatchRow(1, 2, 1.5, 0.5, 2.0)]


def test_the_tables_begin_with_the_epoch_and_end_with_the_accuracy() -> None:
    assert training_log.table_paths("logs/out.v2.txt") == (Path("logs/out.v2_train.txt"), Path("logs/out.v2_test.txt"))
    assert training_log.batch_table(BATCHES) == "1 1 0.250 0.702800 0.512300\n1 2 1.500 0.500000 2.000000\n"
    text = training_log.epoch_table([EpochRow(1, 0.5, 0.9, 0.75), EpochRow(2, 1.0, 0.5, 0.875)])
    # How rml_optuna.py reads it.
    numbers = [line.split() for line in text.splitlines()]
    assert [(int(line[0]), float(line[-1])) for line in numbers] == [(1, 0.75), (2, 0.875)]
    assert training_log.epoch_table([EpochRow(1, 0.5, None, None)]) == "1 0.500\n"


def test_numbers_have_their_coefficient_of_determination_in_the_place_of_an_accuracy() -> None:
    assert training_log.evaluation_row({"loss": 0.5, "r2": -0.25}, 2) == EpochRow(2, 0.0, 0.5, -0.25)


def test_small_and_negative_numbers_are_in_fixed_notation() -> None:
    # A reader that looks for digits and a point takes 4.7e-05 for 5.
    table = training_log.epoch_table([EpochRow(1, 0.5, 4.7e-05, 2.5e-05), EpochRow(2, 0.5, 123456789.0, -3.25)])
    assert table == "1 0.500 0.000047 0.000025\n2 0.500 123456789.000000 -3.250000\n"


def test_a_name_of_tables_must_be_one(tmp_path: Path) -> None:
    for outfile in ("", ".", ".."):
        assert training_log.problems(outfile)[0].startswith("sys.outfile: is no name of a file")
    assert "its folder is not there" in training_log.problems(str(tmp_path / "a/log.txt"))[0]
    assert training_log.problems(None) == training_log.problems(str(tmp_path / "log.txt")) == []


def test_batches_of_an_attempt_that_failed_are_in_no_table(tmp_path: Path) -> None:
    """A NaN loss in the second batch; the epoch is learned again. The first batch was in the table twice."""

    def tick(epoch: int, batch: int, loss: float) -> Any:
        return SimpleNamespace(epoch=epoch, batch=batch, batch_loss=loss, norm=1.0)

    log = training_log.TrainingLog(tmp_path / "logs" / "batches.jsonl")
    for batch, loss in ((1, 0.9), (2, 0.8)):
        log.batch(tick(0, batch, loss))
    log.epoch(0, {"loss": 0.5})
    log.batch(tick(1, 1, 0.7))
    for batch, loss in ((1, 0.6), (2, 0.5)):
        log.batch(tick(1, batch, loss))
    log.epoch(1, {"loss": 0.4})
    kept = [(row.epoch, row.batch, row.loss) for row in log.rows_until(2)[0]]
    assert kept == [(1, 1, 0.9), (1, 2, 0.8), (2, 1, 0.6), (2, 2, 0.5)]
    again = training_log.TrainingLog(tmp_path / "logs" / "batches.jsonl")
    assert [(row.epoch, row.batch, row.loss) for row in again.rows_until(2)[0]] == kept
