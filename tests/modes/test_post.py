"""Sentences of `mml post` on what calibrations gain; what the whole command does is in tests/program/test_post.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.modes.post import PostprocessScheduler
from mlpipe.post.ensembling.member_rows import Rows


@pytest.mark.parametrize(
    ("groups", "want"), [((), "rows of every class)"), (("p", "p"), "rows of every class in several groups)")]
)
def test_rows_that_are_not_held_out_lack_classes_or_groups(groups: tuple[str, ...], want: str) -> None:
    """Rows of one patient are of every class, and there is no other patient to learn from."""
    scheduler: Any = object.__new__(PostprocessScheduler)
    sentences = list[str]()
    scheduler._task, scheduler._tell = SimpleNamespace(samples=SimpleNamespace(groups=groups)), sentences.append
    scheduler.context = SimpleNamespace(facts={})
    rows = Rows(["a", "b"], np.array([0, 1]), np.zeros((2, 2)), np.eye(2))
    record: Any = SimpleNamespace(id="r", refit=None, kind="classification")
    scheduler._tell_gain(record, rows, None, 2)
    assert sentences == [
        f"r: validation nll 0.69 as it is, 0.31 calibrated (cross-fitted; 2 of 2 rows left as they are there, for want of {want}"
    ]
