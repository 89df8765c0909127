"""Target images beside predictions: those that folds held out, and those of the rows that are shown."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.reports import stored_maps
from mlpipe.runs import maps
from mlpipe.runs.project import Project

IDS = [f"{place}.png" for place in range(6)]


def value(name: str) -> np.ndarray:
    return np.full((1, 2, 2), int(name[0]), np.float16)


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """A task of images whose two folds held out two images each, and their mean on two test images."""
    project = Project(tmp_path / "p")
    folds = [SimpleNamespace(id=f"r-{fold}", task="t", held_out="val") for fold in range(2)]
    for record, names in zip(folds, (IDS[:2], IDS[2:4]), strict=True):
        with maps.writer(project.predictions_file("t", record.id).with_suffix(maps.SUFFIX)) as sink:
            for name in names:
                sink.add("t", "val", name, value(name) * 0, value(name))
    with maps.writer(project.ensembles_dir("t") / f"mean{maps.SUFFIX}") as sink:
        for name in IDS[4:]:
            sink.add("t", "test", name, value(name) * 0, value(name))
    task = SimpleNamespace(samples=SimpleNamespace(ids=IDS))
    return SimpleNamespace(name="t", project=project, task=task, recipes={"r": folds}, members=lambda shown: folds)


def found(told: Any, shown: Any) -> Any:
    with ExitStack() as stack:
        both = stored_maps.targets(told, shown, stack)
        return None if both is None else [[float(one.mean()) for one in some] for some in both]


def test_targets_learned_from_are_those_that_folds_held_out(told: Any) -> None:
    rows = SimpleNamespace(ids=IDS[:3:-1], targets=np.full((2, 1), 4.0))
    shown = SimpleNamespace(ensemble=SimpleNamespace(id="mean"), test=rows, rows=rows, recipe="")
    assert found(told, shown) == [[0, 1, 2, 3], [5, 4]]
    (told.project.predictions_file("t", "r-1").with_suffix(maps.SUFFIX)).unlink()
    assert found(told, shown) is None


def test_out_of_fold_images_are_both(told: Any) -> None:
    rows = SimpleNamespace(ids=IDS[:4], targets=np.full((4, 1), 4.0))
    shown = SimpleNamespace(ensemble=None, test=None, rows=rows, recipe="r")
    assert found(told, shown) == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_more_than_is_read_in_passing_is_not_read(told: Any) -> None:
    rows = SimpleNamespace(ids=IDS[:4], targets=np.full((4, 1), 1e9))
    assert found(told, SimpleNamespace(ensemble=None, test=None, rows=rows, recipe="r")) is None
