"""Each sample is a dataset named by its file; the file is there when everything was written."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlpipe.errors import DataError
from mlpipe.runs.sinks import Predicted, hdf5


def test_rows_or_arrays_by_name(tmp_path: Path) -> None:
    path, rows = tmp_path / "new" / "o.h5", np.arange(4, dtype=np.float64).reshape(2, 2)
    with hdf5.opened(path, ("test",)) as sink:
        sink.add(Predicted(["test/a/1", "b"], rows))
        sink.add(Predicted(["val/c"], rows[:1, :0], arrays=np.ones((1, 2, 3, 3))))
    with h5py.File(path) as file:
        assert file["a/1"].dtype == np.float32 and file["b"][()].tolist() == [2, 3]
        assert file["val/c"].shape == (2, 3, 3)


def test_half_precision(tmp_path: Path) -> None:
    path, rows = tmp_path / "o.h5", np.array([[0.1, 3.0], [np.nan, 65504.0]])
    with hdf5.opened(path, precision="half") as sink:
        sink.add(Predicted(["a", "b"], rows))
    with h5py.File(path) as file:
        assert file["a"].dtype == np.float16 and file["a"][()].tolist() == np.float16([0.1, 3.0]).tolist()
        assert np.isnan(file["b"][0]) and file["b"][1] == 65504
    wrong = pytest.raises(DataError, match="c: is too large for half precision, got 70000")
    with wrong, hdf5.opened(tmp_path / "p.h5", precision="half") as sink:
        sink.add(Predicted(["c"], np.array([[70000.0]])))
    assert not (tmp_path / "p.h5").exists()


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "o.h5"
    path.write_text("old")
    with pytest.raises(RuntimeError), hdf5.opened(path) as sink:
        sink.add(Predicted(["a"], np.ones((1, 2), np.float32)))
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
