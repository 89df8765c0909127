"""What a replay needs of the project: the predictions of a student's teacher, an ensemble or records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.post import comparison
from mlpipe.running import replay
from mlpipe.runs import predictions
from mlpipe.runs.project import Project
from tests.build import make_record


def test_a_teacher_of_records_is_brought_with_what_it_predicted(tmp_path: Path) -> None:
    stored, temporary = Project(tmp_path / "a/default"), Project(tmp_path / "b/default")
    for fold in range(2):
        record = make_record(stored, f"net-f{fold}", fold=fold, recipe="abcd1234", config="seed: 1\n")
        with predictions.writer(stored.predictions_file("digits", record.id), (), "classification") as sink:
            logits = np.random.default_rng(fold).normal(size=(4, 10)).astype(np.float32)
            sink.add("digits", "val", fold, [f"{fold}{place}" for place in range(4)], np.arange(4), logits)
    for teacher in ("abcd1234", "net-f1"):
        replay._bring_teacher(stored, temporary, "digits", teacher)
        ours, theirs = (comparison.contender(one, "digits", teacher) for one in (stored, temporary))
        assert ours.held_out is not None and theirs.held_out is not None
        assert ours.held_out.ids == theirs.held_out.ids
        np.testing.assert_array_equal(ours.held_out.calibrated, theirs.held_out.calibrated)
    # No weights are copied, and nothing is brought where there is no teacher.
    assert not list(temporary.root.rglob("*.safetensors"))
    replay._bring_teacher(stored, temporary, "digits", None)
    with pytest.raises(ProjectError, match="gone, its teacher, is not stored any more, so it cannot be replayed"):
        replay._bring_teacher(stored, temporary, "digits", "gone")
