"""Shares of classes, with as many digits as the images of a part can tell."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from mlpipe.data import task
from mlpipe.data.task import Row
from mlpipe.reports import facts
from mlpipe.reports.plots.shares import Value
from mlpipe.reports.sections import prevalence
from tests.reports import projects


def test_shares_have_the_digits_of_their_images(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=120, recipes=1)
    (task,) = facts.gather(project, data_dir)
    assert task.task is not None
    parts, targets = np.array(task.task.samples.parts), task.task.samples.targets
    train, test = ((targets[parts == part] == 0).mean() for part in ("train", "test"))
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", str(prevalence.prevalence(task).content[1]))
    # 120 training images, 60 test images.
    assert cells[cells.index("a") + 1 :][:2] == [f"{train:.3f}", f"{test:.2f}"]


def test_a_label_is_as_frequent_as_it_is_where_it_is_known(tmp_path: Path) -> None:
    """A label that one image of four is known to have or not, and that half of them have, is no label of one in eight."""
    rng, rows = np.random.default_rng(0), []
    for index in range(80):
        rare = float(index % 8 == 0) if index % 4 == 0 else float("nan")
        rows.append(Row(f"{index:02d}.png", "train", (rare, float(rng.random() < 0.5), float("nan")), "", ""))
    of = task.make(
        "t",
        ["rare", "always", "never"],
        rows,
        channels=3,
        source={"type": "folder", "root": str(tmp_path)},
        kind="multilabel",
    )
    ((part, values, count),) = prevalence._part_shares(of, list(of.classes), frozenset())
    assert (part, count) == ("training", 80)
    targets = of.samples.targets
    assert [value.value for value in values] == [0.5, targets[:, 1].mean(), 0.0]


@pytest.mark.parametrize(
    ("parts", "alike"),
    [
        ([[0.10, 0.90], [0.11, 0.89]], True),
        ([[0.10, 0.90], [0.12, 0.88]], False),
        ([[0.01, 0.99], [0.02, 0.98]], False),
        ([[0.30, 0.70]], True),
        ([[0.0, 1.0], [0.0, 1.0]], True),
    ],
)
def test_shares_that_are_the_same_in_all_parts_are_not_drawn(parts: list[list[float]], alike: bool) -> None:
    assert prevalence._are_alike([[Value("", share) for share in part] for part in parts]) is alike
    assert not prevalence._are_alike([[Value("", 0.5, 0.4, 0.6)], [Value("", 0.5)]])
