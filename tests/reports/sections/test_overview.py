"""Out-of-fold beside test scores, those of the stored predictions; which scores are called optimistic."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe.reports import facts, tables
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import overview
from mlpipe.reports.sections.ensemble import ensembles
from mlpipe.running import leaderboard
from tests.reports import projects


def test_out_of_fold_beside_test(two_classes: TaskFacts) -> None:
    text = str(overview.out_of_fold_and_test(two_classes).body())
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", text)
    shown = two_classes.shown
    assert shown is not None and shown.held_out is not None and shown.test is not None
    accuracies = [(rows.raw.argmax(axis=1) == rows.targets).mean() for rows in (shown.held_out, shown.test)]
    place = cells.index("accuracy")
    assert cells[place + 1] == f"{accuracies[0]:.3f}" and cells[place + 3] == f"{accuracies[1]:.2f}"
    briers = [
        ((np.exp(rows.raw) / np.exp(rows.raw).sum(axis=1, keepdims=True) - np.eye(2)[rows.targets]) ** 2)
        .sum(axis=1)
        .mean()
        for rows in (shown.held_out, shown.test)
    ]
    place = cells.index("brier")
    assert np.allclose([float(cells[place + 1]), float(cells[place + 3])], briers, atol=6e-3)


@pytest.mark.parametrize(
    ("members", "calibrated", "remark"),
    [
        (1, False, "the mean of its folds"),
        (1, True, "the calibrated mean of its folds"),
        (2, True, "out-of-fold is optimistic: it chose the ensemble"),
    ],
)
def test_an_ensemble_that_nothing_was_chosen_for_is_not_called_optimistic(
    members: int, calibrated: bool, remark: str, tmp_path: Path
) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40, with_test=False)
    made = [{"name": f"recipe{one} net", "weight": 1 / members, "records": [f"r{one}-0"]} for one in range(members)]
    score = {"value": 0.8, "low": 0.7, "high": 0.9, "level": 0.95, "method": "wilson", "note": ""}
    record = projects.ensemble(
        project, members=made, stage="after" if calibrated else "none", scores={"chosen on": {"accuracy": score}},
        calibration={"method": "affine"} if calibrated else None,
        losses={"members": {one["name"]: 0.4 for one in made}}, decide={},
    )  # fmt: skip
    (task,) = facts.gather(project, data_dir)
    said = " ".join(map(str, (part(task).body() for part in (overview.summary, overview.leaderboard, ensembles))))
    (row,) = [row for row in task.board if row["ensemble"]]
    assert tables.as_text([row]).splitlines()[-1].endswith(remark)
    is_chosen = members > 1
    assert ("The out-of-fold images also chose the ensemble: the score is optimistic" in said) is is_chosen
    assert ("rows that chose it (optimistic)" in said) is is_chosen
    assert ("images that chose the ensemble" in leaderboard.figures(record, 40)) is is_chosen
    # Its folds kept their best epochs by these images, whatever was put together of them.
    assert ("validation images also chose something (best_checkpoint)" in said) is not is_chosen


def test_an_ensemble_that_scores_as_its_recipe_is_drawn_once(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40, recipes=1)
    (alone,) = facts.gather(project, data_dir)
    (row,) = alone.board
    # Of numbers the stored score of the mean is another one in its last digits.
    twin = {**row, "test": row["test"] * (1 + 1e-9), "recipe": "ens-1", "ensemble": "ens-1", "val_used_for": "nothing"}
    both = [row, twin]
    assert not overview.leaderboard(dataclasses.replace(alone, board=both)).plots
    other = {**twin, "test": row["test"] / 2}
    (plot,) = overview.leaderboard(dataclasses.replace(alone, board=[row, other])).plots
    assert [name for name, *_ in plot.rows] == ["recipe0 net", "ens-1"]


def test_the_next_commands_take_what_the_page_is_about(two_classes: TaskFacts) -> None:
    shown = two_classes.shown
    assert shown is not None
    of_recipe = dataclasses.replace(two_classes, shown=dataclasses.replace(shown, ensemble=None))
    assert "mode.ensemble" not in str(overview._next_commands(of_recipe))
    ensemble: Any = SimpleNamespace(id="ens-1")
    told = str(
        overview._next_commands(dataclasses.replace(two_classes, shown=dataclasses.replace(shown, ensemble=ensemble)))
    )
    assert "mml predict proj=p mode.ensemble=latest mode.source=FOLDER" in told
    assert "mml export proj=p mode.ensemble=latest" in told


def test_the_next_command_of_a_generator_draws(two_classes: TaskFacts) -> None:
    assert "mml predict proj=p mode.source=FOLDER" in str(overview._next_commands(two_classes))
    of_drawn = str(overview._next_commands(dataclasses.replace(two_classes, kind="generation")))
    assert "mml predict proj=p mode.samples=64" in of_drawn
    assert "mode.source" not in of_drawn and "mml export" not in of_drawn
    # An equation's solution is of no image: `mml predict mode.source=` and `mml export` would be refused.
    of_equation = str(overview._next_commands(dataclasses.replace(two_classes, kind="solutions")))
    assert "mml predict" not in of_equation and "mml export" not in of_equation and "mml info" in of_equation


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("segmentation", "mml post averages what all folds predict for the test images"),
        ("generation", "the leaderboard has each fold's score of the test images"),
    ],
)
def test_test_images_that_folds_judged_one_by_one_are_there(two_classes: TaskFacts, kind: str, more: str) -> None:
    assert two_classes.shown is not None
    shown = dataclasses.replace(two_classes.shown, test=None)
    board = [{**row, "fold_test": 0.0} for row in two_classes.board]
    of_folds = dataclasses.replace(two_classes, kind=kind, shown=shown, board=board)
    assert overview._cautions(of_folds, shown) == [f"Shown are out-of-fold images; {more}."]
    without = dataclasses.replace(of_folds, board=[{**row, "fold_test": None} for row in board])
    assert overview._cautions(without, shown)[0].startswith("There are no test images")


def test_the_tiles_say_what_the_sentence_says_and_each_command_has_a_line(two_classes: TaskFacts) -> None:
    text = str(overview.summary(two_classes).body())
    (share,) = re.findall(r"is right on ([\d.]+ %)", text)
    assert f"<dt>test accuracy</dt>\n<dd>{share}</dd>" in text
    lines = re.findall(r"<li><code>(mml [^<]*)</code>\s+([^<]*)</li>", text)
    assert [line[0].split()[1] for line in lines] == ["predict", "export", "info"]
