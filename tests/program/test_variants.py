"""Variants through the command line: trained, predicted, tested, calibrated and shown under their name, without a copy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlpipe.cli import main
from mlpipe.data.splits import methods
from mlpipe.running import launch, tasks
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.build import SMALL
from tests.conftest import make_pictures

DIGITS = ["split.folds=3", *SMALL]


def test_every_mode_takes_a_variant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(tmp_path / "results" / "default")
    name = "digits+shrink?150+noise?0.2"
    assert (
        main(["train", "mode.subroutines=[train]", "task=digits+shrink?150+confuse?0.20", *DIGITS, "mode.folds=[1]"])
        == 0
    )
    # No split is given from here on: the variant is what its record was trained on.
    assert main(["predict"]) == 0 and main(["test", f"task={name}"]) == 0 and main(["post", "mode.budget=20"]) == 0
    (record,) = records.load_all(project)
    assert (record.pivot, record.task) == (name, f"{name}+nested?1")
    assert record.counts["train"] + record.counts["val"] + record.counts["test"] == 150
    table = pq.ParquetFile(project.predictions_file(name, record.id)).read().to_pandas()
    sizes = table.groupby(["task", "split"]).size().to_dict()
    assert sizes == {(record.task, "val"): record.counts["val"], (record.task, "test"): 50, (name, "test"): 359}
    assert not table["calibrated"].isna().any()
    config = launch.prepare(launch.Command("train", ["task=digits", *DIGITS])).run_config
    digits = tasks.pivot(config)
    held = np.flatnonzero(tasks.split_of(config, digits).fold == methods.TEST)
    own = {row.sample_id: row.target for row in table[table["task"] == name].itertuples()}
    assert own == {digits.samples.ids[row]: digits.samples.targets[row] for row in held}
    capsys.readouterr()
    assert main(["info", f"task={name}", "task_list=[digits+remove?3]", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [task["task"] for task in facts["tasks"]] == [name, "digits+remove?3"]
    assert facts["tasks"][0]["file"] == str(tmp_path / "data" / "digits" / "task.json")
    assert [row["task"] for row in facts["models"] if not row["ensemble"]] == [name]
    assert all("?" not in Path(picture).name and Path(picture).is_file() for picture in facts["pictures"])
    assert [folder.name for folder in (tmp_path / "data").iterdir()] == ["digits"]
    assert len(list((tmp_path / "data").rglob("images.npy"))) == 1


def test_nested_as_a_task_is_the_fold_that_train_makes(tmp_path: Path) -> None:
    project = Project(tmp_path / "results" / "default")
    assert main(["train", "mode.subroutines=[train]", "task=digits", *DIGITS, "mode.folds=[2]"]) == 0
    assert (
        main(
            [
                "train",
                "mode.subroutines=[train]",
                "task=digits+nested?2",
                *DIGITS,
                "mode.nested=false",
                "mode.folds=[0]",
            ]
        )
        == 0
    )
    inside, alone = records.load_all(project)
    assert inside.counts == {**alone.counts, "unlabelled": 0}
    assert inside.task == alone.task == "digits+nested?2"


def test_a_folder_with_classes_of_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_pictures(tmp_path / "pets", {"cat": 8, "dog": 8})
    other = make_pictures(tmp_path / "farm", {"cow": 8, "pig": 8}, seed=3)
    assert main(["create", "task=folder", f"task.root={other}"]) == 0
    farm = next(file.parent.name for file in (tmp_path / "data").glob("farm-*/task.json"))
    arguments = ["train", "task=folder", f"task.root={root}", "split.folds=2", *SMALL, "mode.nested=false"]
    assert main([*arguments, f"tags=bring?{farm}:cow", "mode.subroutines=[train,predict]"]) == 0
    record = records.load_all(Project(tmp_path / "results" / "default"))[-1]
    assert record.classes == ["cat", "dog", "cow"] and record.counts["train"] + record.counts["val"] == 24
    capsys.readouterr()
    assert main([*arguments, f"tags=bring?{farm}:cw"]) == 2
    assert "did you mean 'cow'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        ("digits+sbset?0.1", "there is no such tag, got '+sbset?0.1'; did you mean 'subset'?"),
        ("digits+subset?0.001", "no training image is left of"),
        ("digits+shrink?20", "training images are too few for nested 3 x 3 folds"),
        ("digts+subset?0.1", "unknown option, got 'digts+subset?0.1'; did you mean 'digits'?"),
    ],
)
def test_what_is_no_variant(task: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", f"task={task}", *DIGITS]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_folds_of_mml_core_in_a_run(tmp_path: Path) -> None:
    arguments = ["train", "task=fashion_mini", "split=mml", "split.folds=5", "mode.folds=[1]", *SMALL]
    assert main([*arguments, "mode.subroutines=[train,predict]"]) == 0
    (record,) = records.load_all(Project(tmp_path / "results" / "default"))
    assert record.counts == {"train": 640, "val": 160, "test": 200, "unlabelled": 0}
    stored = json.loads((tmp_path / "data" / "fashion_mini" / "task.json").read_text())
    (split,) = stored["splits"].values()
    assert split["dealing"] == "mml" and np.bincount(np.array(split["fold"]) + 1).tolist() == [300, *[200] * 5]
