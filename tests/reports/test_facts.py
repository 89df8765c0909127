"""Facts of a task: the rows that the report shows are those of its scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.post.ensembling import evaluation
from mlpipe.post.ensembling.member_mixture import Final
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.post.measures import class_metrics
from mlpipe.post.prior import move_labels, move_prior
from mlpipe.reports import facts
from mlpipe.reports.sections import classes
from mlpipe.runs import predictions
from tests.reports import projects

PRIOR = [0.95, 0.05]


def test_held_out_rows_of_another_prevalence_are_at_their_own(tmp_path: Path) -> None:
    """Moved to 95 % healthy, hardly any image is said to be ill; the score beside it is of the images as they are."""
    project, data_dir = projects.make_project(tmp_path, ["well", "ill"], with_test=False)
    stored = projects.ensemble(project, classes=["well", "ill"], prior={"kind": "list", "values": PRIOR}, scores={})
    (task,) = facts.gather(project, data_dir)
    shown = task.shown
    assert shown is not None and shown.test is None and shown.rows is not None
    path = project.ensembles_dir("t") / f"{stored.id}.parquet"
    kept = predictions.load(path, "t", "val")
    assert kept.calibrated is not None
    own = np.bincount(kept.targets, minlength=2) / len(kept)
    expected = move_prior(kept.calibrated, PRIOR, own)
    assert shown.rows.calibrated == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(shown.rows.decided_by, kept.calibrated.astype(np.float64))
    # As many are right as the score says.
    rows = Rows(kept.sample_ids, kept.targets, kept.logits, kept.calibrated.astype(np.float64))
    score = evaluation.scores(Final(rows, None, None, "before", None, np.array(PRIOR)), None, "classification", None, 0)
    accuracy = score["chosen on"]["accuracy"]["value"]
    right = round(accuracy * len(kept))
    assert f"{right} of {len(kept)} out-of-fold images are right" in str(classes.confusion_section(task).content[0])
    assert accuracy != class_metrics.accuracy(rows.calibrated, rows.targets)


def test_cuts_decide_on_what_they_were_chosen_for(tmp_path: Path) -> None:
    from mlpipe.kinds.classification.report import _one_against_rest
    from mlpipe.kinds.multilabel.report import _label

    for kind in ("classification", "multilabel"):
        project, data_dir = projects.make_project(tmp_path / kind, ["well", "ill"], kind, with_test=False)
        cuts = {"criterion": "f1", "cuts": {"well": 0.6, "ill": 0.4}, "prevalence": PRIOR}
        projects.ensemble(
            project, classes=["well", "ill"], kind=kind, scores={}, prior={"kind": "list", "values": PRIOR},
            decide={"thresholds": cuts},
        )  # fmt: skip
        (task,) = facts.gather(project, data_dir)
        assert task.shown is not None and task.shown.rows is not None
        rows = task.shown.rows
        asked = (_one_against_rest if kind == "classification" else _label)(task.shown, rows, 1)
        if kind == "classification":
            chances = np.exp(class_metrics.log_softmax(rows.decided_by))
            # No cut is below half of its class's share.
            expected = (chances / np.array([0.6, 0.4])).argmax(axis=1) == 1
        else:
            expected = 1 / (1 + np.exp(-rows.decided_by[:, 1])) > 0.4
            own = rows.targets.mean(axis=0)
            assert rows.calibrated == pytest.approx(move_labels(rows.decided_by, PRIOR, own))
        assert np.array_equal(asked.said, expected) and expected.any() and not expected.all()
        assert asked.log_odds.shape == expected.shape
