"""Out-of-fold rows of a recipe: each image once, the mean over repeats where there are any."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mlpipe import files
from mlpipe.errors import ProjectError
from mlpipe.post.ensembling import members
from mlpipe.post.ensembling.member_mixture import Fitting
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import move_prior
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests.runs.test_records import made


def rows(ids: list[str], chances: list[float]) -> Rows:
    """Rows with these probabilities of the second of two classes, calibrated ones with half of them."""
    raw, calibrated = (np.log(np.array([[1 - one, one] for one in part])) for part in (chances, np.array(chances) / 2))
    return Rows(ids, np.zeros(len(ids), np.int64), raw, calibrated)


def test_folds_of_one_repeat_are_joined_by_the_names_of_images() -> None:
    found = members.out_of_fold([rows(["b"], [0.25]), rows(["a", "c"], [0.5, 0.125])], "classification")
    assert found.ids == ["a", "b", "c"]
    assert np.exp(found.raw)[:, 1].tolist() == pytest.approx([0.5, 0.25, 0.125])


def test_repeats_are_averaged_for_each_image() -> None:
    parts = [rows(["b"], [0.25]), rows(["a"], [0.5]), rows(["a"], [0.9]), rows(["b"], [0.75])]
    found = members.out_of_fold(parts, "classification")
    assert found.ids == ["a", "b"]
    assert np.exp(found.raw)[:, 1].tolist() == pytest.approx([0.7, 0.5])
    assert np.exp(found.calibrated)[:, 1].tolist() == pytest.approx([0.35, 0.25])
    # What is no probability has its mean as it is.
    assert members.out_of_fold(parts, "regression").raw[0].tolist() == pytest.approx(
        [np.log([0.5, 0.1]).mean(), np.log([0.5, 0.9]).mean()]
    )


def test_rows_that_folds_share_without_being_repeats_are_refused() -> None:
    with pytest.raises(ProjectError, match="folds share held-out rows"):
        members.out_of_fold([rows(["a", "b"], [0.5, 0.5]), rows(["b", "c"], [0.5, 0.5])], "classification")


def test_a_member_is_called_as_its_preset_does() -> None:
    one = members.Member("aaaa net", [], rows(["a"], [0.5]), None, None)
    assert one.called == "aaaa net" and dataclasses.replace(one, preset="probe").called == "probe aaaa net"


@pytest.mark.parametrize("split", ["val", "test"])
def test_rows_that_were_predicted_again_are_at_the_prior_of_their_calibration(split: str, tmp_path: Path) -> None:
    """The column that `mml post` filled is gone, its calibration is not: both are of another prevalence."""
    project, record = Project(tmp_path / "p"), made("one")
    records.save(project, record)
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 40)
    logits = (rng.normal(size=(40, 2)) + 2 * np.eye(2)[targets]).astype(np.float32)
    how, prior = Fitting("affine", "none", 0), [0.9, 0.1]
    calibration, identity = (
        fitting.learn(logits, targets, "classification", prior) for fitting in (how, how.identity())
    )
    content = {"record": "one", "created": "", "prior": {"kind": "list", "values": prior}, "calibration": calibration}
    files.write_json(project.calibration_file("t", "one"), {**content, "identity": identity})
    path = project.predictions_file("t", "one")
    with predictions.writer(path, (), "classification") as sink:
        sink.add("t", split, 0, [f"{row:02d}" for row in range(40)], targets, logits)
    rows = members.rows(project, record, "t", split)
    assert rows is not None and rows.moved is not None
    own = np.bincount(targets) / 40
    moved = move_prior(log_softmax(logits), own, prior)
    assert rows.moved == pytest.approx(moved, abs=1e-6)
    # Of the rows that it was learned from a calibration knows too much.
    expected = moved if split == "val" else members.learned(calibration, "classification")(rows.raw)
    assert rows.calibrated == pytest.approx(expected, abs=1e-6)
    assert np.abs(rows.calibrated - log_softmax(logits)).max() > 0.5
    predictions.write_calibrated(path, {("t", split): np.zeros((40, 2), np.float32)})
    filled = members.rows(project, record, "t", split)
    assert filled is not None and not filled.calibrated.any()
