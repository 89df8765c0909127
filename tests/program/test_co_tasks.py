"""Several tasks through the command line: what is learned together, on which rows, interrupted and continued."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.data.cache import packs
from mlpipe.data.preprocessing import standard
from mlpipe.running import launch, loaded_model, tasks
from mlpipe.running.folds import co_tasks
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.build import SMALL

TOGETHER = ["task=digits", "split.folds=2", "mode.multitask=2", "task_list=[fashion_mini]", *SMALL]


def project(tmp_path: Path, name: str = "default") -> Project:
    return Project(tmp_path / "results" / name)


def colours(root: Path) -> Path:
    """A table of colour pictures with a number each."""
    rng, lines = np.random.default_rng(0), ["path,age,person"]
    root.mkdir()
    for index in range(24):
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(root / f"{index:02d}.png")
        lines.append(f"{index:02d}.png,{index},p{index // 2}")
    (root / "ages.csv").write_text("\n".join(lines) + "\n")
    return root / "ages.csv"


def test_grey_classes_with_numbers_of_colour_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = colours(tmp_path / "people")
    wanted = ["task=csv", f"task.file={table}", "task.target=age", "task.kind=regression"]
    assert main(["create", *wanted]) == 0
    name = next(file.parent.name for file in (tmp_path / "data").glob("ages-*/task.json"))
    arguments = [text for text in TOGETHER if not text.startswith("task_list")]
    assert (
        main(
            [
                "train",
                "mode.subroutines=[train]",
                *arguments,
                f"task_list=[{name}]",
                "mode.folds=[0]",
                "mode.task_weights=[1,0.1]",
            ]
        )
        == 0
    )
    assert main(["predict"]) == 0 and main(["test"]) == 0 and main(["post", "mode.budget=20"]) == 0
    (record,) = records.load_all(project(tmp_path))
    (other,) = record.co_tasks
    assert (other["name"], other["kind"], other["weight"]) == (name, "regression", 0.1)
    # New images: the weights have a head that the pivot's network has not, which was refused as another recipe's.
    new = tmp_path / "new"
    new.mkdir()
    for number in range(3):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)).save(new / f"{number}.png")
    assert main(["predict", f"mode.source={new}"]) == 0
    (table,) = (project(tmp_path).reports_dir() / "predictions").glob("new-*.csv")
    shown = loaded_model.load(project(tmp_path).root).predict(new)
    for row, own in zip(csv.DictReader(table.read_text().splitlines()), shown.to_dict("records"), strict=True):
        assert [float(row[f"p({digit})"]) for digit in range(10)] == pytest.approx(
            [own[f"p({digit})"] for digit in range(10)], abs=1e-6
        )
    assert other["val"]["rmse"] > 0 and "test" in record.scores
    assert "in_chans: 3" in (project(tmp_path).model_dir("digits", record.id) / "config.yaml").read_text()
    # The other way round: numbers with classes beside them.
    assert (
        main(
            [
                "train",
                "mode.subroutines=[train]",
                *wanted,
                *arguments[1:],
                "task_list=[digits]",
                "mode.folds=[0]",
                "proj=numbers",
            ]
        )
        == 0
    )
    (record,) = records.load_all(project(tmp_path, "numbers"))
    assert record.kind == "regression" and record.co_tasks[0]["val"]["accuracy"] >= 0


def test_no_image_that_the_pivot_holds_out_is_learned_by_a_detour(tmp_path: Path) -> None:
    config = launch.prepare(launch.Command("train", [*TOGETHER, "split.folds=4", "mode.folds=[0]"])).run_config
    pivot = tasks.pivot(config)
    other = tasks.other_task(config, "digits+noise?0.1")
    from mlpipe.data.splits import variants

    view = variants.nested(pivot, tasks.split_of(config, pivot), 1)
    pack = packs.build(pivot, standard(1, id="x", size=8), tmp_path / "pack", workers=1)
    (rows,) = co_tasks.views(config, pivot, view, [(other, pack)])
    learned = {pivot.samples.digests[row] for row in view.train}
    assert {other.samples.digests[row] for row in rows.train} <= learned
    held = {pivot.samples.digests[row] for row in (*view.val, *view.test)}
    assert not {other.samples.digests[row] for row in rows.train} & held
    assert len(rows.train) > 300


def test_groups_that_the_pivot_holds_out_are_left_out_too(tmp_path: Path) -> None:
    import dataclasses

    config = launch.prepare(launch.Command("train", [*TOGETHER, "split.folds=2", "split.test_fraction=0"])).run_config
    digits, clothes = tasks.pivot(config), tasks.other_task(config, "fashion_mini")

    def grouped(task: co_tasks.Task) -> co_tasks.Task:
        names = tuple(f"p{index % 40}" for index in range(len(task.samples)))
        return dataclasses.replace(task, samples=dataclasses.replace(task.samples, groups=names))

    digits, clothes = grouped(digits), grouped(clothes)
    from mlpipe.data.splits import methods, variants

    view = variants.plain(digits, methods.kfold(digits.samples, folds=2), 0)
    pack = packs.build(clothes, standard(1, id="x", size=8), tmp_path / "pack", workers=1)
    (rows,) = co_tasks.views(config, digits, view, [(clothes, pack)])
    held = {digits.samples.groups[row] for row in view.val}
    assert held and not {clothes.samples.groups[row] for row in rows.train} & held and len(rows.train)


def test_random_co_tasks_are_drawn_by_the_seed_and_stored(tmp_path: Path) -> None:
    """F9: a continued run drew other co-tasks."""
    names = "task_list=['digits+remove?1','digits+remove?2','digits+remove?3','digits+remove?4',fashion_mini]"
    drawn = []
    for seed in (1, 2, 3, 1):
        config = launch.prepare(
            launch.Command("train", [*TOGETHER, names, "mode.multitask=3", f"seed={seed}"])
        ).run_config
        request = co_tasks.Request(3, "random", None)
        drawn.append([task.name for task in co_tasks.chosen(config, tasks.pivot(config), request)])
        assert len(set(drawn[-1])) == 2 and request.weights == (1.0, 1.0, 1.0)
    assert drawn[0] == drawn[3] and len({tuple(names) for names in drawn}) > 1


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["mode.co_tasks=[fashon_mini]"], "mode.co_tasks: is not in task_list, got 'fashon_mini'; did you mean"),
        (["mode.multitask=3"], "task_list: mode.multitask=3 draws 2 of it"),
        (["mode.co_tasks=[fashion_mini]", "mode.multitask=3"], "the pivot is one of the 3: name 2 others"),
        (["mode.task_weights=[1,2,3]"], "mode.task_weights: does not fit mode.multitask=2, got [1, 2, 3]"),
        (["mode.task_weights=[1,-2]"], "give 2 numbers >= 0"),
        (["mode.task_weights=unsure"], "mode.task_weights: must be one of uncertainty or a list"),
        (["mode.co_tasks=[digits]", "task_list=[digits]"], "mode.co_tasks: is learned already, got 'digits'"),
        (["task_list=[digts]"], "mode.co_tasks: task: there is no such task, got 'digts'"),
        (["preprocessing=none"], "images of 8 x 8 x 1 and 28 x 28 x 1; choose a size"),
        (["task_list=['fashion_mini+shrink?15']"], "co-task fashion_mini+shrink?15: class"),
    ],
)
def test_what_cannot_be_learned_together(
    overrides: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [text for text in TOGETHER if not ("preprocessing=none" in overrides and "preprocessing" in text)]
    assert main(["train", *given, *overrides]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    arguments = [*TOGETHER, "trainer.max_epochs=10", "mode.folds=[0]", "mode.task_weights=uncertainty"]
    assert main(["train", "mode.subroutines=[train]", *arguments, "proj=whole"]) == 0
    command = [sys.executable, "-m", "mlpipe.cli", "train", "mode.subroutines=[train]", *arguments, "proj=cut"]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "results" / "cut").glob("runs/*/*/checkpoints/*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 75, shown
    assert main(["train", "continue=latest", "proj=cut"]) == 0
    whole, cut = (records.load_all(project(tmp_path, name)) for name in ("whole", "cut"))
    assert [record.weights for record in whole] == [record.weights for record in cut] and len(whole) == 1
    assert whole[0].co_tasks == cut[0].co_tasks
    assert json.dumps(whole[0].scores) == json.dumps(cut[0].scores)


def test_two_tasks_together_are_learned_about_as_well_as_each_alone(tmp_path: Path) -> None:
    recipe = [
        *SMALL,
        "trainer.max_epochs=8",
        "optimizer.lr=0.003",
        "split.folds=4",
        "mode.nested=false",
        "mode.folds=[0]",
    ]
    alone = {}
    for name in ("digits", "fashion_mini"):
        assert main(["train", f"task={name}", *recipe, f"proj={name}"]) == 0
        alone[name] = records.load_all(project(tmp_path, name))[0].scores["val"]["accuracy"]
    for weights in ("[1,1]", "uncertainty"):
        together = [
            "mode.multitask=2",
            "task_list=[fashion_mini]",
            f"mode.task_weights={weights}",
            f"proj=p{weights[1]}",
        ]
        assert main(["train", "task=digits", *recipe, *together]) == 0
        record = records.load_all(project(tmp_path, f"p{weights[1]}"))[0]
        found = {"digits": record.scores["val"]["accuracy"], "fashion_mini": record.co_tasks[0]["val"]["accuracy"]}
        # Five points are what a shared body may cost here; 250 images alone make three of chance.
        assert all(found[name] > alone[name] - 0.05 for name in alone), (found, alone)
        assert found["digits"] > 0.9 and found["fashion_mini"] > 0.65
