"""Each sample is a dataset named by its file; the file is there when everything was written."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlpipe.runs.sinks import Predicted, hdf5


def test_rows_or_arrays_by_name(tmp_path: Path) -> None:
    path, rows = tmp_path / "new" / "o.h5", np.arange(4, dtype=np.float64).reshape(2, 2)
    with hdf5.opened(path, ("test",)) as sink:
        sink.add(Predicted(["test/a/1", "b"], rows))
        sink.add(Predicted(["val/c"], rows[:1, :0], arrays=np.ones((1, 2, 3, 3))))
    with h5py.File(path) as file:
        assert file["a/1"].dtype == np.float32 and file["b"][()].tolist() == [2, 3]
        assert file["val/c"].shape == (2, 3, 3)


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "o.h5"
    path.write_text("old")
    with pytest.raises(RuntimeError), hdf5.opened(path) as sink:
        sink.add(Predicted(["a"], np.ones((1, 2), np.float32)))
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
