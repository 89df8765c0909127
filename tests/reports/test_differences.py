"""What configurations differ in: keys by their whole names, places and modes left out."""

from __future__ import annotations

from mlpipe.reports.differences import differences


def test_keys_that_differ() -> None:
    one = {"seed": 1, "optimizer": {"lr": 0.1, "nesterov": True}, "out_dir": "a", "mode": {"cv": True}, "tta": None}
    other = {"seed": 1, "optimizer": {"lr": 0.2, "nesterov": False}, "out_dir": "b", "mode": {"cv": False}, "new": [1]}
    found = differences([one, other])
    assert found == [("new", ["", "[1]"]), ("optimizer.lr", ["0.1", "0.2"]), ("optimizer.nesterov", ["true", "false"])]
    assert differences([one, one]) == []


def test_components_are_written_as_people_write_them() -> None:
    crop = {"_target_": "mlpipe.data.augment.samples.random_crop", "padding": 0.1}
    flip = {"_target_": "mlpipe.data.augment.samples.horizontal_flip", "p": None}
    assert differences([{"pipeline": [crop, flip]}, {"pipeline": []}]) == [
        ("pipeline", ["[random_crop(padding=0.1), horizontal_flip(p=null)]", "[]"])
    ]
