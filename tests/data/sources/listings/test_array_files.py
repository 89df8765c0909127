"""Arrays of files: what is small and stands for much more than it could honestly hold is refused, class numbers are not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlpipe import limits
from mlpipe.data.sources.listings import array_files
from mlpipe.data.sources.listings.array_layout import Form
from mlpipe.errors import DataError


@pytest.fixture
def masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Masks of a square each: 800,000 bytes, of which a few thousand are stored."""
    monkeypatch.setattr(limits, "UNPACKED", 1 << 20)
    square = np.zeros((200, 200), np.uint8)
    square[50:150, 50:150] = 1
    np.savez_compressed(tmp_path / "m.npz", **{f"m{number:02d}": np.roll(square, number) for number in range(20)})
    return tmp_path / "m.npz"


def test_class_numbers_are_packed_a_thousandfold(masks: Path) -> None:
    assert masks.stat().st_size * limits.GROWTH < 20 * 200 * 200 * 4
    read = list(array_files.arrays_below(masks, "task.train", Form("hwc", 2)))
    assert len(read) == 20 and all(value.shape[:2] == (200, 200) and value.sum() == 10_000 for _, value in read)


def test_samples_that_would_take_much_of_the_memory_are_none(masks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "machine_memory", lambda: 8 << 20)
    with h5py.File(masks.with_name("m.h5"), "w") as file:
        file.create_dataset("m", data=np.zeros((200, 200, 20), np.uint8), compression="gzip")
    with pytest.raises(DataError, match=r"task.train: m.h5 would have 3,200,000 bytes, of which"):
        list(array_files.arrays_below(masks.with_name("m.h5"), "task.train", Form("hwc", 2)))
