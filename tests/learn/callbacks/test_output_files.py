"""Outputs in HDF5, named by files, as the file of a network gives them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch

from mlpipe.arch import boxes
from mlpipe.learn.callbacks import output_files
from mlpipe.runs.sinks import Predicted
from tests.learn.callbacks.test_layer_files import network


def test_outputs_are_named_by_files(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float64).reshape(3, 2)
    path = output_files.path_of(tmp_path / "new" / "out", 7)
    with output_files.opened(tmp_path / "new" / "out", 7) as sink:
        sink.add(Predicted(["test/a/1.png", "test/a/2.png", "b.png"], values))
    assert path.name == "output_7.h5"
    with h5py.File(path) as file:
        assert list(file) == ["a", "b.png"] and file["a/2.png"].dtype == np.float32
        assert np.array_equal(file["a"]["2.png"][()], [2, 3]) and np.array_equal(file["b.png"][()], [4, 5])
    softened = output_files.as_in_file(network("softmax", 3, 3), Predicted(["a"], np.zeros((1, 3), np.float32)))
    assert np.allclose(softened.outputs, 1 / 3)
    assert np.array_equal(output_files.as_in_file(torch.nn.Identity(), Predicted([], values)).outputs, values)


def test_a_detector_s_outputs_are_lists_of_boxes(tmp_path: Path) -> None:
    class Finds(torch.nn.Module):
        listed = staticmethod(boxes.listed)

    rows = np.full((2, 3, 6), np.nan, np.float32)
    rows[0, :2] = [[2, 3, 10, 9, 0.9, 1], [0, 0, 4, 4, 0.5, 0]]
    expected = [[2, 3, 8, 6, 0.9, 1], [0, 0, 4, 4, 0.5, 0]]
    # As a network gives them, and as rows of a validation have them.
    blocks = Predicted(["a.png", "b.png"], rows[:, 0, :0], arrays=rows)
    flat = Predicted(["a.png", "b.png"], np.nan_to_num(rows).reshape(2, -1))
    for number, given in enumerate((blocks, flat), 1):
        with output_files.opened(tmp_path, number) as sink:
            sink.add(output_files.as_in_file(Finds(), given))
        with h5py.File(tmp_path / f"output_{number}.h5") as file:
            assert np.allclose(file["a.png"][()], expected) and file["b.png"].shape == (0, 6)
