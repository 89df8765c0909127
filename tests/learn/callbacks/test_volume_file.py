"""Predictions of a validated volume are joined when all of its slices are validated, and refused in a sentence otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.config.schema import with_artifacts_in
from mlpipe.data import sources
from mlpipe.errors import ConfigError
from mlpipe.learn.callbacks import volume_file


def task_of(folder: Path, sets: list[dict[str, Any]]) -> Any:
    rng = np.random.default_rng(0)
    for part, planes in (("train", 5), ("test", 4)):
        np.save(folder / f"{part}.npy", rng.normal(size=(planes, 8, 9)))
        np.save(folder / f"{part}_classes.npy", rng.integers(0, 2, (planes, 8, 9)))
    files = {part: str(folder / f"{part}.npy") for part in ("train", "test")}
    targets = {f"{part}_targets": str(folder / f"{part}_classes.npy") for part in ("train", "test")}
    return sources.slices(slices=sets, **files, **targets)


def test_all_slices_of_one_volume_are_joined(tmp_path: Path) -> None:
    task = task_of(
        tmp_path, [{"name": "a", "sizes": [1, 8, 9]}, {"name": "b", "sizes": [1, 4, 9], "padded_sizes": [1, 8, 9]}]
    )
    names = [name for name in task.samples.ids if name.startswith("test/")]
    cuts = volume_file.whole_volume(task, names)
    assert cuts.part == "test" and [len(grid) for grid in cuts.grids] == [4, 8]
    with pytest.raises(ConfigError, match="callbacks.volume: joins a whole volume, 11 slices are validated"):
        volume_file.whole_volume(task, names[1:])
    with pytest.raises(ConfigError, match="callbacks.volume: joins slices of a volume, got 'digits"):
        volume_file.whole_volume(sources.digits(), names)


def test_gaps_are_refused(tmp_path: Path) -> None:
    task = task_of(tmp_path, [{"sizes": [1, 8, 4], "strides": [1, 8, 5]}])
    with pytest.raises(ConfigError, match=r"task\.slices\[0\]\.strides: leaves gaps"):
        volume_file.whole_volume(task, [name for name in task.samples.ids if name.startswith("test/")])


def test_a_replay_writes_its_file_elsewhere(tmp_path: Path) -> None:
    tree = {
        "sys": {},
        "callbacks": {"volume": {"outfile": "p.h5", "layout": "channels_last"}, "other": {"folder": "f"}},
    }
    found = with_artifacts_in(tree, tmp_path)["callbacks"]
    assert found["volume"] == {"outfile": str(tmp_path / "volume.h5"), "layout": "channels_last"}
    assert found["other"] == {"folder": "f"} and with_artifacts_in(tree, None)["callbacks"]["volume"]["outfile"] is None
