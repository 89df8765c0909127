"""Shares of classes, with as many digits as the images of a part can tell."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mlpipe.reports import facts
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
