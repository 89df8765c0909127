"""The digits are those that scikit-learn gives, however its file was read."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mlpipe.data.sources import digits as make
from mlpipe.data.sources.created import reader


@pytest.mark.parametrize("is_there", [True, False])
def test_they_are_what_the_library_gives(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    module = sys.modules["mlpipe.data.sources.digits"]
    module._digits.cache_clear()
    if not is_there:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    task, expected = make(), load_digits()
    assert task.samples.targets.tolist() == expected.target.tolist()
    read = reader(task, 1)
    for row in (0, 900, 1796):
        assert np.array_equal(read(row)[:, :, 0], np.round(expected.images[row] * 255 / 16).astype(np.uint8))
    module._digits.cache_clear()
