"""A small project of made-up predictions of two classes, one of each for all sections."""

from __future__ import annotations

import pytest

from mlpipe.reports import facts
from mlpipe.reports.facts import TaskFacts
from tests.reports import projects


@pytest.fixture(scope="package")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> TaskFacts:
    """A task of 160 images, 12 groups, two recipes of two folds, without an ensemble."""
    folder = tmp_path_factory.mktemp("sections")
    project, data_dir = projects.make_project(folder, ["healthy", "ill"], n=160, groups=12)
    for place, path in enumerate(sorted(project.model_dir("t", "r0-0").parent.glob("*/config.yaml"))):
        text = path.read_text("utf-8")
        pipeline = "[{_target_: mlpipe.data.augment.samples.horizontal_flip, p: 1.0}]"
        path.write_text(f"{text}augmentations:\n  cpu:\n    pipeline: {pipeline}\nwhere: {place % 2}\n", "utf-8")
    (task,) = facts.gather(project, data_dir)
    return task
