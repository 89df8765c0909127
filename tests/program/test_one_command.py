"""`mml train` alone: folds, predictions of all parts, calibration, a report, and the command that predicts new images."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mlpipe.cli import main
from mlpipe.reports import out_of_fold
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from tests.build import DIGITS, SMALL
from tests.conftest import make_pictures
from tests.program.test_segmentation import make_masks


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a person sees."""
    return capsys.readouterr().out.splitlines()


def command_of(lines: list[str]) -> list[str]:
    """The command of the last line."""
    head, _, command = lines[-1].partition(": mml ")
    assert head == "new images"
    return shlex.split(command)


def test_nested_folds_end_with_a_report_and_predict_new_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *DIGITS, "proj=whole"]) == 0
    lines = said(capsys)
    command = command_of(lines)
    assert command == ["predict", "mode.source=FOLDER", "mode.ensemble=latest", "proj=whole"]
    project = Project(tmp_path / "results" / "whole")
    # What a person wants to know, and no table above it; the log has the tables and a line for each epoch.
    sentence, *_, report, figures, _ = lines[lines.index(next(line for line in lines if " is right on " in line)) :]
    assert len(lines) - lines.index(sentence) <= 5 and sentence in (project.reports_dir() / "report.html").read_text(
        "utf-8"
    )
    assert (
        report == f"report: {project.reports_dir() / 'report.html'}" and figures == "all figures: mml info proj=whole"
    )
    assert not [line for line in lines if line.startswith(("metric ", "recipe "))]
    (log,) = (project.root / "runs").glob("*/*/log.txt")
    written = log.read_text("utf-8")
    # Further lines of one message stand back.
    assert "\n    metric " in written and "\n    recipe " in written
    epochs = [line for line in written.splitlines() if " DEBUG fold 0 (1/2) epoch 1/" in line]
    assert len(epochs) == 1 and ", validation loss " in epochs[0] and epochs[0].endswith(" s")
    assert main(["info", "proj=whole", "mode.subroutines=[models]"]) == 0
    told = capsys.readouterr().out
    assert "\nmetric " in told and "\nrecipe " in told and sentence in told
    made = records.load_all(project)
    assert [record.fold for record in made] == [0, 1] and all(record.nested for record in made)
    for record in made:
        there = predictions.contents(project.predictions_file(record.pivot, record.id))
        assert {(record.task, "val"), (record.task, "test"), (record.pivot, "test")} <= set(there)
        assert "accuracy" in record.scores["test"]
    (ensemble,) = ensembles.load_all(project, "digits")
    assert [member["records"] for member in ensemble.members] == [[record.id for record in made]]
    assert "low" in ensemble.scores["test"]["accuracy"]
    assert (project.reports_dir() / "report.html").is_file()
    assert "ens-" in (project.reports_dir() / "leaderboard.csv").read_text("utf-8")

    digits = load_digits()
    (tmp_path / "new").mkdir()
    for number in range(3):
        pixels = (digits.images[number] * 15).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / f"{number}.png")
    assert main([word.replace("FOLDER", str(tmp_path / "new")) for word in command]) == 0
    (table,) = (project.reports_dir() / "predictions").glob("*.csv")
    assert len(table.read_text("utf-8").splitlines()) == 4


def test_a_validation_folder_needs_one_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part, count in (("train", 8), ("val", 4)):
        root = make_pictures(tmp_path / "pictures" / part, {"dark": count, "light": count}).parent
    words = ["train", "task=folder", f"task.root={root}", "task.allow_overlap=true", *SMALL, "mode.subroutines=[train]"]
    assert main([*words, "split=given", "mode.nested=true"]) == 2
    assert main([*words, "split=given"]) == 0
    assert "no fold is set aside for tests (mode.nested=false)" in capsys.readouterr().out
    assert main([*words, "split=given", "mode.nested=false"]) == 0
    first, second = records.load_all(Project(tmp_path / "results" / "default"))
    assert first.recipe == second.recipe and (first.counts["train"], first.counts["val"]) == (16, 8)
    # Who asks for a score of images that chose nothing is not given one of images that did.
    assert main([*words, "split=given", "mode.strict_validation=true"]) == 2


def test_each_recipe_has_its_own_end_and_post_mixes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pictures", {"dark": 12, "light": 12})
    words = ["task=folder", f"task.root={root}", "split.folds=2", "mode.nested=false", *SMALL]
    assert main(["train", *words]) == 0
    assert main(["train", *words, "optimizer.lr=0.01", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    project = Project(tmp_path / "results" / "default")
    recipes = list(dict.fromkeys(record.recipe for record in records.load_all(project)))
    name = records.load_all(project)[0].pivot
    mixed = ensembles.load_all(project, name)
    assert [[member["name"].split()[0] for member in one.members] for one in mixed] == [[recipe] for recipe in recipes]
    # Without a test part, out-of-fold images judge.
    assert facts["final"]["where"] == "out-of-fold" and facts["next"].startswith("mml predict mode.source=FOLDER")
    assert main(["post", f"mode.recipes=[{recipes[0]}]", "mode.report=false"]) == 0
    assert ensembles.load_all(project, name)[-1].members[0]["name"].startswith(recipes[0])
    assert main(["post", "mode.recipes=[unknown]"]) == 2
    assert f"there is no such recipe, got 'unknown'; recipes of {name}: {recipes[0]}" in capsys.readouterr().err


def test_what_keeps_no_weights_promises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *DIGITS, "mode.store_parameters=false", "mode.cv=false"]) == 0
    assert not [line for line in said(capsys) if "mml predict" in line or "report" in line]
    assert main(["train", *DIGITS, "remove.parameters=true", "mode.cv=false"]) == 0
    lines = said(capsys)
    assert not [line for line in lines if "mml predict" in line]
    assert [line for line in lines if line.endswith("report.html")]


def test_masks_without_a_test_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_masks(tmp_path / "d", 12)
    words = ["task=masks", f"task.root={tmp_path / 'd'}", "arch=unet", "arch.encoder=test_resnet", "split.folds=2"]
    assert main(["train", *words, "mode.nested=false", *SMALL[1:], "preprocessing.size=32"]) == 0
    lines = said(capsys)
    assert [line for line in lines if line.endswith("report.html")]
    rows = out_of_fold.rows(project := Project(tmp_path / "results" / "default"), records.load_all(project)[0].pivot)
    assert len({row["image"] for row in rows}) == len(rows) == 12
    assert all(0 <= row["raw dice"] <= 1 for row in rows)
    # Nothing was averaged on test images, so that no ensemble is named.
    assert command_of(lines) == ["predict", "mode.source=FOLDER"]


def test_a_fold_that_nothing_judges_is_reported_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_pictures(tmp_path / "pictures", {"dark": 6, "light": 6})
    words = ["task=folder", f"task.root={root}", "split=on_test", "mode.nested=false", "mode.store_best=false"]
    assert main(["train", *words, *SMALL]) == 0
    lines = said(capsys)
    assert "no calibration and no intervals: a fold has no image that it did not learn from" in lines
    assert command_of(lines) == ["predict", "mode.source=FOLDER"]
