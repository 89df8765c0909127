"""Rows and maps of a project are written together, and appear when everything was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.runs import maps, predictions
from mlpipe.runs.sinks import Predicted, project


def masks(*ids: str) -> Predicted:
    counts = np.arange(4 * len(ids), dtype=np.float32).reshape(len(ids), 4)
    targets = np.full((len(ids), 2), np.nan, np.float32)
    targets[0] = 3
    arrays = np.zeros((len(ids), 2, 3, 3), np.uint8)
    return Predicted(ids, counts, targets, arrays, np.ones((len(ids), 3, 3), np.uint8))


def test_rows_and_maps_of_parts(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    with project.opened(path, kind="segmentation") as files:
        files.part("t", "val", 1).add(masks("a", "b"))
        files.part("t", "test", 1).add(masks("c"))
    assert predictions.contents(path) == {("t", "val"): 2, ("t", "test"): 1}
    with maps.Maps(path.with_suffix(maps.SUFFIX)) as stored:
        assert stored.true("t", "val", "a") is not None
        assert stored.true("t", "val", "b") is None and stored.has("t", "val", "b")


def test_kinds_without_maps_have_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    with project.opened(path, kind="classification") as files:
        files.part("t", "val", 0).add(Predicted(["a"], np.ones((1, 2), np.float32), np.array([1])))
    assert predictions.load(path, "t", "val").targets.tolist() == [1] and len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    with pytest.raises(RuntimeError), project.opened(path, kind="segmentation") as files:
        files.part("t", "val", 0).add(masks("a"))
        raise RuntimeError
    assert not list(tmp_path.glob("one*"))
