"""Curves are drawn of what has any: the learning rate beside them, and no empty plot of a head that is solved at once."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.plots import learning
from mlpipe.reports.sections import training


def test_no_empty_plot_where_there_is_one_epoch(two_classes: TaskFacts) -> None:
    section = training.curves(two_classes)
    assert len(section.plots) == 2 and section.plots[0].header[-1] == "lr"
    assert [row[-1] for row in section.plots[0].rows[:3]] == [0.1] * 3
    tables = list(two_classes.project.model_dir("t", "r0-0").parent.glob("r0-*/metrics.csv"))
    whole = {path: path.read_text("utf-8") for path in tables}
    try:
        for path, text in whole.items():
            path.write_text("\n".join(text.splitlines()[:2]) + "\n", "utf-8")
        assert [plot.name for plot in training.curves(two_classes).plots] == ["t_learning_recipe1"]
    finally:
        for path, text in whole.items():
            path.write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("name", "score", "left"),
    [
        ("frechet", [3.0, 2.0], ("score",)),
        ("frechet", [float(np.float32(3.0000003)), 2.0], ("score",)),
        ("equation_loss", [3.0, 2.0], ("val",)),
        ("rmse", [3.0, 1.0], ("val", "score")),
        ("rmse", [], ("val",)),
    ],
)
def test_one_curve_is_not_drawn_under_two_names(name: str, score: list[float], left: tuple[str, ...]) -> None:
    one = learning.History(0, [1, 2], [1.0, 0.5], [3.0, 2.0], score, 2)
    (shown,) = training.once([one], name)
    assert tuple(key for key in ("val", "score") if getattr(shown, key)) == left and shown.train == one.train
    titles = [panel.get_title(loc="left") for panel in learning.learning_curves([shown], name).axes]
    assert len(titles) == (2 if "score" in left else 1)
    assert titles[0] == ("loss (dashed: training)" if "val" in left else "training loss")


def test_seconds_of_an_epoch(two_classes: TaskFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = two_classes.recipes["recipe0"]
    assert training._epoch_seconds(folds) == ""
    for record, seconds in zip(folds, (30.0, 60.0), strict=True):
        monkeypatch.setitem(record.timings, "train_seconds", seconds)
    # Three epochs each.
    assert training._epoch_seconds(folds) == "15"


def test_each_fold_has_its_score_and_the_epoch_that_was_kept(two_classes: TaskFacts) -> None:
    first = two_classes.recipes["recipe0"][0]
    scored = dataclasses.replace(first, scores={"val": {"accuracy": 0.75, "loss": 0.5}})
    of_one = dataclasses.replace(two_classes, recipes={"recipe0": [scored, *two_classes.recipes["recipe0"][1:]]})
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", str(training.curves(of_one).body()))
    place = cells.index("fold 0")
    # 60 images: two decimals; the second of three epochs.
    assert cells[place + 1 : place + 5] == ["0.75", "0.50", "2 of 3", "12"]


def test_a_note_of_several_recipes_stands_once(two_classes: TaskFacts) -> None:
    first = two_classes.recipes["recipe0"]
    noted = {**two_classes.recipes, "recipe0": [dataclasses.replace(first[0], notes=["an own note"]), *first[1:]]}
    text = str(training.trained(dataclasses.replace(two_classes, recipes=noted)).body())
    (shared,) = re.findall(r"<li>([^<]*): validation images also chose best checkpoint, so", text)
    assert sorted(shared.split(", ")) == ["recipe0", "recipe1"] and "<li>recipe0: an own note</li>" in text
