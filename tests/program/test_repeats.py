"""Repeated cross-validation: folds numbered on, one row of the leaderboard, out-of-fold rows averaged for each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.reports import out_of_fold, tables
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from tests.build import SMALL
from tests.conftest import make_pictures


@pytest.mark.parametrize("nested", ["false", "true"])
def test_two_repeats_of_two_folds(nested: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pictures", {"dark": 12, "light": 12})
    words = ["task=folder", f"task.root={root}", "split.folds=2", "split.repeats=2", f"mode.nested={nested}", *SMALL]
    assert main(["train", *words]) == 0
    project = Project(tmp_path / "results" / "default")
    made = records.load_all(project)
    assert [record.fold for record in made] == [0, 1, 2, 3] and len({record.recipe for record in made}) == 1
    name = made[0].pivot
    rows = out_of_fold.rows(project, name)
    assert len(rows) == 48 and [row["repeat"] for row in rows] == [0] * 24 + [1] * 24
    for repeat in (0, 1):
        assert len({row["image"] for row in rows if row["repeat"] == repeat}) == 24
    (recipe,) = [row for row in tables.leaderboard(project, name) if not row["ensemble"]]
    assert (recipe["folds"], recipe["repeats"]) == (4, 2) and recipe["out_of_fold_sd"] is not None
    capsys.readouterr()
    assert main(["info"]) == 0 and "2 x 2" in capsys.readouterr().out
    # The ensemble is judged on each image once, by the mean over repeats.
    (ensemble,) = ensembles.load_all(project, name)
    stored = predictions.load(project.ensembles_dir(name) / f"{ensemble.id}.parquet", name, "val")
    assert len(stored.sample_ids) == len(set(stored.sample_ids)) == 24
    mean = {row["image"]: [] for row in rows}
    for row in rows:
        mean[row["image"]].append(row["raw p(light)"])
    chances = np.exp(stored.logits - np.logaddexp.reduce(stored.logits, axis=1, keepdims=True))[:, 1]
    assert chances.tolist() == pytest.approx([np.mean(mean[one]) for one in stored.sample_ids], abs=1e-6)
    assert main(["info", "mode.subroutines=[models,oof]"]) == 0
