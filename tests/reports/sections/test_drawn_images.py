"""The section on drawn images: a row of grids over epochs, and what was measured in them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import drawn_images
from mlpipe.runs import grids, records
from mlpipe.runs.project import Project
from tests.runs.test_records import made


def facts(folder: Path, epochs: int) -> TaskFacts:
    """Of a project with a generator whose Fréchet distance in an epoch is its number, counted from 0."""
    project = Project(folder)
    details = {"val": {"features": 64, "images": 30}}
    record = records.save(project, made("one", kind="generation", scores={"val": {"frechet": 1.0}}, details=details))
    lines = ["epoch,train/loss,val/frechet,train/penalty", *(f"{epoch},1,{epoch},0.5" for epoch in range(epochs))]
    own = project.model_dir("t", "one")
    (own / records.METRICS_FILE).write_text("\n".join(lines))
    for epoch in range(1, epochs + 1):
        grids.write(np.zeros((4, 1, 8, 8), np.uint8), grids.file_of(own, epoch))
    return TaskFacts("t", "generation", ["a"], {"abc": [record]}, [], [], None, None, "", project, folder)


def test_epochs_are_spread_evenly_with_the_first_and_the_last() -> None:
    assert drawn_images.spread([1, 2, 3], 8) == [1, 2, 3]
    assert drawn_images.spread(list(range(1, 16)), 8) == [1, 3, 5, 7, 9, 11, 13, 15]
    assert drawn_images.spread(list(range(1, 11)), 4) == [1, 4, 7, 10]


def test_a_row_of_grids_and_a_table_of_the_same_epochs(tmp_path: Path) -> None:
    of = facts(tmp_path, 15)
    # What somebody put beside them is none.
    (grids.file_of(of.project.model_dir("t", "one"), 1).parent / "epoch_best.png").touch()
    section = drawn_images.drawn_images(of)
    page = "".join(str(part) for part in section.content)
    assert [f"drawn in epoch {epoch}" in page for epoch in range(1, 16)] == [True, False] * 7 + [True]
    assert page.count("data:image/png;base64,") == 8
    assert "64 features of 30 validation images" in page
    # Epochs of the file are counted from 0.
    assert re.sub(r"<[^>]*>|\s+", " ", page).split()[-3:] == ["15", "14.000", "0.5000"]


def test_without_pictures_it_says_so(tmp_path: Path) -> None:
    section = drawn_images.drawn_images(facts(tmp_path, 0))
    assert "the grids of the epochs are gone" in "".join(str(part) for part in section.content)
