"""Samples in NumPy files with class numbers beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.data import sources
from mlpipe.errors import DataError


@pytest.fixture
def values(tmp_path: Path) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(0, 50, (6, 2, 5, 4)).astype(np.float32)
    np.savez(tmp_path / "x.npz", **{f"s{index}": value for index, value in enumerate(drawn)})
    (tmp_path / "y").mkdir()
    for index in range(6):
        np.save(tmp_path / "y" / f"t{index}.npy", np.int64(index % 3))
    return drawn


def test_values_stay_as_they_are_channels_last(tmp_path: Path, values: np.ndarray) -> None:
    task = sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    assert (task.classes, task.channels, task.dtype) == (("0", "1", "2"), 2, "float32")
    read = sources.reader(task, 2)
    for row, name in enumerate(task.samples.ids):
        index = int(name.removeprefix("train/x.npz:s"))
        assert np.array_equal(read(row), values[index].transpose(1, 2, 0))
        assert task.samples.targets[row] == index % 3


def test_folders_may_be_classes_and_two_axes_are_one_channel(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "z" / label).mkdir(parents=True)
        np.save(tmp_path / "z" / label / "0.npy", np.full((3, 7), ord(label)))
    task = sources.samples(train=str(tmp_path / "z"), labels="folders")
    assert task.classes == ("a", "b") and task.channels == 1
    assert sources.reader(task, 1)(1).shape == (3, 7, 1) and sources.reader(task, 1)(1)[0, 0, 0] == ord("b")


def test_what_does_not_fit_is_named(tmp_path: Path, values: np.ndarray) -> None:
    (tmp_path / "y" / "t5.npy").unlink()
    with pytest.raises(DataError, match=r"task\.train_targets: has 5 targets for 6 samples"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    np.save(tmp_path / "y" / "t5.npy", np.ones(4))
    with pytest.raises(DataError, match=r"holds targets that are no class numbers: t5\.npy"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"))
    np.save(tmp_path / "y" / "t5.npy", np.int64(7))
    with pytest.raises(DataError, match=r"x\.npz:s5: its class number is none of the classes, got 7"):
        sources.samples(train=str(tmp_path / "x.npz"), train_targets=str(tmp_path / "y"), classes=["a", "b", "c"])
    with pytest.raises(DataError, match=r"task\.train_targets: is needed"):
        sources.samples(train=str(tmp_path / "x.npz"))
