"""What tuning found is written for people and programs, and read again."""

from __future__ import annotations

import csv
from pathlib import Path

from mlpipe.learn import tune
from mlpipe.learn.tune.short_runs import Tuned


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = Tuned("lr_find", {"lr_found": 0.0123456789}, {"valley": 1.0}, [{"lr": 1e-7, "loss": 2.5}])
    tune.write(found, tmp_path)
    assert tune.read(tmp_path, "lr_find") == {"lr_found": 0.0123456789}
    (row,) = csv.DictReader((tmp_path / "lr_find.csv").read_text().splitlines())
    assert {key: float(value) for key, value in row.items()} == {"lr": 1e-7, "loss": 2.5}
