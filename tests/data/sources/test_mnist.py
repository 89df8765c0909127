"""IDX files as MNIST has them, plain and packed, and damaged ones."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from mlpipe.data import sources
from mlpipe.errors import DataError


def write_idx(path: Path, values: np.ndarray) -> None:
    content = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    content += values.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def pixels(tmp_path: Path) -> np.ndarray:
    drawn = np.random.default_rng(0).integers(0, 256, (9, 5, 4), np.uint8)
    write_idx(tmp_path / "m" / "train-images-idx3-ubyte.gz", drawn[:6])
    write_idx(tmp_path / "m" / "train-labels.idx1-ubyte", np.arange(6) % 3)
    write_idx(tmp_path / "m" / "t10k-images-idx3-ubyte", drawn[6:])
    write_idx(tmp_path / "m" / "t10k-labels-idx1-ubyte.gz", np.arange(3))
    return drawn


def test_both_parts_with_their_class_numbers(tmp_path: Path, pixels: np.ndarray) -> None:
    task = sources.mnist(root=str(tmp_path / "m"))
    assert task.classes == ("0", "1", "2") and task.part_sizes() == {"train": 6, "test": 3}
    row = task.samples.ids.index("test/0000002")
    assert task.samples.targets[row] == 2
    assert np.array_equal(sources.reader(task, 1)(row)[:, :, 0], pixels[8])
    assert sources.mnist(test_root=str(tmp_path / "m"), labelled=False, classes=["a"]).part_sizes() == {"unlabelled": 3}


def test_what_is_missing_or_damaged_is_named(tmp_path: Path, pixels: np.ndarray) -> None:
    labels = tmp_path / "m" / "train-labels.idx1-ubyte"
    write_idx(labels, np.arange(5))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz has 6 images, train-labels\.idx1-ubyte 5"):
        sources.mnist(root=str(tmp_path / "m"))
    labels.write_bytes(labels.read_bytes()[:-1])
    (tmp_path / "n").mkdir()
    labels.rename(tmp_path / "n" / "train-labels-idx1-ubyte")
    write_idx(tmp_path / "n" / "train-images-idx3-ubyte", pixels)
    with pytest.raises(DataError, match=r"is no IDX file of bytes \(it has 4 values, its header says 5\)"):
        sources.mnist(root=str(tmp_path / "n"))
    with pytest.raises(DataError, match=r"task\.root: has no file train-labels-idx1-ubyte"):
        sources.mnist(root=str(tmp_path / "m"))


def test_files_that_have_changed_are_read_anew_and_are_not_those_of_the_task(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    task = sources.mnist(root=str(tmp_path / "m"))
    write_idx(tmp_path / "m" / "t10k-images-idx3-ubyte", pixels[6:][::-1])
    read, first = sources.reader(task, 1), task.samples.ids.index("test/0000000")
    with pytest.raises(DataError, match=r"test/0000000: has changed since the task m-\w+ was created"):
        read(first)
    assert np.array_equal(read(first + 1)[:, :, 0], pixels[7])
    assert np.array_equal(sources.reader(sources.mnist(root=str(tmp_path / "m")), 1)(first)[:, :, 0], pixels[8])
