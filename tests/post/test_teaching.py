"""A teacher's predictions by sample: those of held-out rows and of rows without a target, at one prevalence."""

from __future__ import annotations

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.post import teaching
from mlpipe.post.comparison import Contender
from mlpipe.post.ensembling.member_rows import Rows


def rows(ids: list[str], values: list[list[float]]) -> Rows:
    found = np.array(values)
    return Rows(ids, np.zeros(len(ids), np.int64), found + 9, found)


def test_each_sample_has_its_own_row_and_test_images_have_none() -> None:
    held_out, unlabelled = rows(["b", "d"], [[1, 2], [3, 4]]), rows(["a", "gone"], [[5, 6], [7, 8]])
    teacher = Contender("ens-1", held_out, rows(["c"], [[0, 0]]), {}, (), "classification", unlabelled=unlabelled)
    found = teaching.outputs(teacher, ["a", "b", "c", "d"], 2)
    nan = [np.nan, np.nan]
    np.testing.assert_array_equal(found, np.array([[5, 6], [1, 2], nan, [3, 4]], np.float32))
    lesson = teaching.Teaching("ens-1", found, 1.0, 0.1)
    assert lesson.known.tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("kind", "held_out", "sentence"),
    [
        ("classification", None, "ens-1 has no predictions of training images by models that held them out"),
        ("classification", rows(["z"], [[1, 2]]), "ens-1 has no predictions of training images"),
        ("segmentation", rows(["a"], [[1, 2]]), "ens-1 predicts no classes, labels or numbers of whole images"),
    ],
)
def test_who_cannot_teach_is_told_so(kind: str, held_out: Rows | None, sentence: str) -> None:
    with pytest.raises(ProjectError, match=sentence):
        teaching.outputs(Contender("ens-1", held_out, None, {}, (), kind), ["a"], 2)
