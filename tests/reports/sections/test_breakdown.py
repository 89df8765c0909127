"""Scores by what images look like: the thirds are those of the pixels, and stored names lead nowhere else."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from mlpipe.reports.facts import Rows, TaskFacts
from mlpipe.reports.sections import breakdown
from mlpipe.reports.sections.pictures import Album


def test_dark_images_that_are_wrong_are_seen(two_classes: TaskFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    task, shown = two_classes.task, two_classes.shown
    assert task is not None and shown is not None and shown.rows is not None
    rows, many = shown.rows, len(shown.rows)
    assert many == 80
    # The first 27 are dark and wrong, all others brighter and right.
    brightness = np.concatenate([np.full(27, 10), np.full(27, 100), np.full(26, 200)])
    pack = np.zeros((len(task.samples), 4, 4, 1), np.uint8)
    row_of = {name: row for row, name in enumerate(task.samples.ids)}
    for name, value in zip(rows.ids, brightness, strict=True):
        pack[row_of[name]] = value
    monkeypatch.setattr(Album, "packed", lambda self: pack)
    predicted = np.where(np.arange(many) < 27, 1 - rows.targets, rows.targets)
    outputs = 3.0 * (predicted[:, None] == np.arange(2))
    judged = dataclasses.replace(shown, test=Rows(rows.ids, rows.targets, outputs, outputs))
    text = str(breakdown.breakdown(dataclasses.replace(two_classes, shown=judged)).body())
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)
    place = cells.index("brightness, the lower third")
    assert cells[place + 1 : place + 5] == ["4 %", "4 %", "27", "0.00"]
    place = cells.index("brightness, the upper third")
    assert cells[place + 1 : place + 5] == ["78 %", "78 %", "26", "1.00"]
    # Flat images have no contrast to be put in thirds by, and all files have one size.
    assert not any(cell.startswith(("contrast", "longer side")) for cell in cells)


def test_sizes_are_read_within_the_folder(two_classes: TaskFacts) -> None:
    task = two_classes.task
    assert task is not None
    ids = ("train00000.png", "../data/t/task.json", "../../../../etc/passwd", "gone.png")
    renamed = dataclasses.replace(task, samples=dataclasses.replace(task.samples.only(np.arange(4)), ids=ids))
    ((what, _, sides),) = breakdown._file_values(renamed, [0, 1, 2, 3])
    assert what == "longer side" and sides[0] == 24 and np.isnan(sides[1:]).all()
