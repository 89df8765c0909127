"""The sentence of a final score."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlpipe import kinds
from mlpipe.post import kind as post_kind
from mlpipe.reports import facts, headline
from mlpipe.runs import predictions, records
from tests.reports import projects

RMSE = "Always predicting healthy would have a root mean squared error of"
MAYBE = "the interval holds that, so that this may be chance."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("auroc", "The ensemble reaches an area under the ROC curve of 0.912 on 120 test images."),
        ("rmse", "The ensemble reaches a root mean squared error of 0.912 on 120 test images."),
        ("accuracy", "The ensemble is right on 91.2 % of 120 test images."),
        ("psnr", "The ensemble reaches a peak signal-to-noise ratio of 0.912 dB on 120 test images."),
        ("dice", "The ensemble reaches a mean Dice coefficient of 0.912 on 120 test images."),
        ("frechet", "The ensemble reaches a Fréchet distance of 0.912 on 120 test images."),
        ("equation_loss", "The ensemble reaches a mean squared residual of 0.912 on 120 test images."),
    ],
)
def test_a_score_in_words(name: str, sentence: str) -> None:
    shown: Any = SimpleNamespace(name="the ensemble", where="test")
    assert headline._sentence(shown, name, 0.9123, None, None, 120) == sentence


def test_the_unit_stands_behind_every_figure() -> None:
    shown: Any = SimpleNamespace(name="the ensemble", where="test")
    said = headline._sentence(shown, "psnr", 12.184, 11.5, 12.75, 120)
    assert said.endswith("ratio of 12.18 dB on 120 test images (95 % interval 11.50 to 12.75 dB).")
    against = headline._baseline_comparison("grey", "psnr", 9.5, (12.184, 11.5, 12.75), 120)
    assert against == "Always predicting grey would have a peak signal-to-noise ratio of 9.500 dB: this is better."
    assert headline.WORDS["psnr"].whole == "peak signal-to-noise ratio in decibels"


def test_the_score_of_every_kind_has_words() -> None:
    assert {post_kind.of(name).HEADLINE for name in kinds.names()} == set(headline.WORDS)


@pytest.mark.parametrize(
    ("name", "baseline", "score", "sentence"),
    [
        ("accuracy", 0.852, (0.833, 0.75, 0.9), "Always predicting healthy would be right on 85.2 %: this is no better."),
        ("accuracy", 0.8, (0.833, 0.75, 0.9), f"Always predicting healthy would be right on 80.0 %: {MAYBE}"),
        ("accuracy", 0.7, (0.833, 0.75, 0.9), "Always predicting healthy would be right on 70.0 %: this is better."),
        ("accuracy", 0.7, (0.833, None, None), "Always predicting healthy would be right on 70.0 %."),
        ("rmse", 2.0, (1.0, 0.8, 1.2), f"{RMSE} 2.000: this is better."),
        ("rmse", 1.1, (1.0, 0.8, 1.2), f"{RMSE} 1.100: {MAYBE}"),
    ],
)  # fmt: skip
def test_a_score_against_a_constant_prediction(
    name: str, baseline: float, score: tuple[float, float | None, float | None], sentence: str
) -> None:
    assert headline._baseline_comparison("healthy", name, baseline, score, 120) == sentence


def test_the_constant_is_of_the_images_learned_from(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40, recipes=1)
    (task,) = facts.gather(project, data_dir)
    found = headline.headline(task)
    assert task.task is not None and found is not None
    parts, targets = np.array(task.task.samples.parts), task.task.samples.targets
    learned, judged = targets[parts == "train"], targets[parts == "test"]
    most = int(np.bincount(learned).argmax())
    assert found.baseline == pytest.approx((judged == most).mean())
    assert found.against.startswith(f"Always predicting {'ab'[most]} would be right on")


def test_the_mean_of_numbers_is_their_constant(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["size"], "regression", n=40, recipes=1)
    (task,) = facts.gather(project, data_dir)
    found = headline.headline(task)
    assert task.task is not None and found is not None
    parts, targets = np.array(task.task.samples.parts), task.task.samples.targets[:, 0]
    off = targets[parts == "test"] - targets[parts == "train"].mean()
    assert found.baseline == pytest.approx(np.sqrt((off**2).mean()))


@pytest.mark.parametrize("with_test", [True, False])
def test_a_score_that_is_not_defined_is_told_of(with_test: bool, tmp_path: Path) -> None:
    """Nobody has the label: there is no curve, and no figure may stand for its area."""
    project, data_dir = projects.make_project(tmp_path, ["a"], "multilabel", n=40, recipes=1, with_test=with_test)
    for record in records.load_all(project):
        path = project.predictions_file("t", record.id)
        for split in ("val", "test") if with_test else ("val",):
            rows = predictions.load(path, "t", split)
            with predictions.writer(path, [("t", split)], "multilabel") as table:
                table.add("t", split, record.fold, rows.sample_ids, np.zeros_like(rows.targets), rows.logits)
    (task,) = facts.gather(project, data_dir)
    found = headline.headline(task)
    assert found is not None and found.value is None and found.short == "" and found.against == ""
    where = "20 test images" if with_test else "40 out-of-fold images"
    undefined = "no class has both rows that are of it and rows that are not"
    assert found.sentence.endswith(f"has no area under the ROC curve on {where}: {undefined}.")


def test_what_is_left_out_is_called_as_its_preset_does(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40)
    members = [{"name": "recipe0 net", "weight": 1.0, "records": ["r0-0", "r0-1"]}]
    projects.ensemble(project, members=members)
    (task,) = facts.gather(project, data_dir)
    board = [{**row, "called": "tuned" if row["recipe"] == "recipe1" else ""} for row in task.board]
    found = headline.headline(dataclasses.replace(task, board=board))
    assert found is not None
    assert [one.partition(" is left out")[0] for one in found.left_out if "left out" in one] == ["tuned recipe1 net"]


def test_which_images_chose_is_told_where_the_newest_recipe_lacks_some(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a", "b"], n=40)
    note = "all 40 held-out rows choose, not 20 of them: what the newest recipe gains is no more than chance explains"
    projects.ensemble(project, notes=[note, "something else"])
    (task,) = facts.gather(project, data_dir)
    found = headline.headline(task)
    assert found is not None and note in found.left_out and "something else" not in found.left_out
