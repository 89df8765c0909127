"""A task of the same name that was stored before: the same samples, or another task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.config.components import Component
from mlpipe.errors import DataError
from mlpipe.names import path_of
from mlpipe.running import tasks


def test_the_same_bytes_in_another_order_of_axes_are_another_task(tmp_path: Path) -> None:
    """The stored task was described anew, and its folds, caches and records were taken for those of the other images."""
    file = tmp_path / "x.npy"
    np.save(file, np.arange(4 * 45, dtype=np.uint8).reshape(4, 3, 5, 3))
    np.save(tmp_path / "y.npy", np.arange(4) % 2)

    def source(layout: str, **more: str) -> Component:
        keys = {"file": str(file), "targets": str(tmp_path / "y.npy"), "layout": layout, **more}
        return Component("task", path_of("task", "arrays"), keys)

    made = tasks.resolve(source("hwc"), tmp_path / "data")
    assert tasks.resolve(source("hwc"), tmp_path / "data").source == made.source
    with pytest.raises(DataError, match=r"holds a task of this name with task\.layout=hwc; give this one another name"):
        tasks.resolve(source("chw"), tmp_path / "data")
    assert tasks.resolve(source("chw", name="other"), tmp_path / "data").source["layout"] == "chw"
