"""Each sample has a file that is named as its own, and no two share one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from mlpipe.runs.sinks import Predicted
from mlpipe.runs.sinks.sample_files import SampleFiles, as_npy


def predicted(*names: str) -> Predicted:
    arrays = np.arange(len(names) * 4, dtype=np.float32).reshape(len(names), 2, 2)
    return Predicted(names, np.empty((len(names), 0), np.float32), arrays=arrays)


def test_files_lie_where_samples_lie_under_the_ending_of_what_they_hold(tmp_path: Path) -> None:
    sink = SampleFiles(tmp_path, ".npy", as_npy)
    sink.add(predicted("a/one.png", "a/one.jpg", "two"))
    assert [str(place) for place in sink.places.values()] == ["a/one.npy", "a/one.jpg.npy", "two.npy"]
    assert np.load(tmp_path / "a/one.jpg.npy").tolist() == [[4, 5], [6, 7]]


def test_names_that_end_twice_share_no_file(tmp_path: Path) -> None:
    sink = SampleFiles(tmp_path, ".npy", as_npy)
    sink.add(predicted("scan.png", "scan.jpg.bmp", "scan.jpg"))
    assert len(set(sink.places.values())) == 3
    found = [np.load(tmp_path / sink.places[name])[0, 0] for name in ("scan.png", "scan.jpg.bmp", "scan.jpg")]
    assert found == [0, 4, 8]


def test_datasets_lead_nowhere_else(tmp_path: Path) -> None:
    sink = SampleFiles(tmp_path, ".npy", as_npy, have_datasets=True)
    sink.add(predicted("x.h5:deep/a.1", "x.h5:../../b", "c.npy"))
    assert [str(place) for place in sink.places.values()][::2] == ["x.h5/deep/a.1.npy", "c.npy"]
    assert all((tmp_path / place).resolve().is_relative_to(tmp_path) for place in sink.places.values())
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_an_array_is_a_file_of_numpy() -> None:
    values = np.arange(3)
    assert np.array_equal(np.load(io.BytesIO(as_npy(values))), values)
