"""rmldnn's lines, character by character."""

from __future__ import annotations

import logging
import re

from mlpipe.dialects.rmldnn import console
from mlpipe.running.training_log import BatchRow, EpochRow

BATCH = BatchRow(1, 1, 0.25, 0.7028, 0.5123)


def test_the_lines_of_a_training() -> None:
    line = console.train_line(BATCH, 10, 13, 0.27)
    assert line == (
        "Train Epoch [  1/ 10] : Batch [    1/   13] (Loss = 0.7028; |g| = 0.5123) [Data: 27%; Compute: 73%]"
    )
    assert console.train_line(BATCH, 10, 13, 0.27, 0.01).endswith("[Data: 27%; Compute: 72%; Grad/Comm: 1%]")
    assert console.train_line(BATCH, 10, 13, 0.906, 0.094).endswith("[Data: 91%; Compute: 0%; Grad/Comm: 9%]")
    row = EpochRow(1, 2.0, 0.6603, 1.0)
    assert (
        console.eval_line(row, 10, 1) == "Eval  Epoch [  1/ 10] : Batch [    1/    1] (Loss: 0.6603) | Accuracy: 1.000"
    )
    assert console.eval_line(EpochRow(1, 2.0, None, None), 1, 1) == "Eval  Epoch [  1/  1] : Batch [    1/    1]"


def test_what_is_said_of_weights() -> None:
    lines = console.loading_lines("w.h5", ["a/kernel"], ["a/bias", "b/kernel", "b/bias"])
    assert lines == [
        "Loading model checkpoint from HDF5 file: w.h5",
        "   Skipping layer b: not found in model",
        "   Skipping parameter a.bias: not found in model",
    ]
    assert console.loading_lines("w.pt", [], [])[0] == "Loading model checkpoint from file: w.pt"


def test_every_line_has_the_time_in_front() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "one\ntwo", (), None)
    lines = console.Stamped("%(message)s").format(record).split("\n")
    assert [line[-3:] for line in lines] == ["one", "two"]
    assert all(re.match(r"\[\d{4}-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d\.\d{6}\] ", line) for line in lines)
    assert console.block("Title", {"a": 1, "long": 2}) == ["Title", "  a    : 1", "  long : 2"]
