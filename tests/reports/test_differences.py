"""What configurations differ in: keys by their whole names, places and modes left out."""

from __future__ import annotations

from mlpipe.reports.differences import differences


def test_keys_that_differ() -> None:
    one = {"seed": 1, "optimizer": {"lr": 0.1, "nesterov": True}, "out_dir": "a", "mode": {"cv": True}, "tta": None}
    other = {"seed": 1, "optimizer": {"lr": 0.2, "nesterov": False}, "out_dir": "b", "mode": {"cv": False}, "new": [1]}
    found = differences([one, other])
    assert found == [("new", ["", "[1]"]), ("optimizer.lr", ["0.1", "0.2"]), ("optimizer.nesterov", ["true", "false"])]
    assert differences([one, one]) == []
