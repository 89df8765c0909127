"""The main job through the command line: train, predict, test, info, on digits and on a folder nobody prepared."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlpipe.cli import main
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.build import SMALL
from tests.conftest import make_pictures

DIGITS = ["task=digits", "split.folds=2", *SMALL]


def project(tmp_path: Path, name: str = "default") -> Project:
    return Project(tmp_path / "results" / name)


def test_everything_a_run_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *DIGITS, "mode.nested=false", "mode.subroutines=[train,predict,test]"]) == 0
    found = records.load_all(project(tmp_path), "digits")
    assert [(record.fold, record.task, record.nested) for record in found] == [
        (0, "digits", False),
        (1, "digits", False),
    ]
    for record in found:
        folder = project(tmp_path).model_dir("digits", record.id)
        assert {file.name for file in folder.iterdir()} == {
            "record.json", "weights.safetensors", "metrics.csv", "config.yaml",
        }  # fmt: skip
        assert record.val_used_for == ["best_checkpoint"]
        assert "optimistic" in record.notes[0]
        assert record.timings["train_images_per_s"] > 0
        table = pq.ParquetFile(project(tmp_path).predictions_file("digits", record.id)).read().to_pandas()
        assert table.groupby("split").size().to_dict() == {"test": 359, "val": record.counts["val"]}
        assert not table.duplicated(["task", "split", "sample_id"]).any()
    run = project(tmp_path).run_dir(found[0].run)
    assert {file.name for file in run.iterdir()} >= {"config.yaml", "plan.json", "journal.jsonl", "log.txt"}
    assert list((run / "checkpoints").iterdir()) == [] if (run / "checkpoints").exists() else True
    assert not list((tmp_path / "results").rglob("*.p*kl")) + list((tmp_path / "results").rglob("*.ckpt"))
    capsys.readouterr()
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (row,) = facts["models"]
    assert row["folds"] == 2
    probabilities = []
    for record in found:
        table = pq.ParquetFile(project(tmp_path).predictions_file("digits", record.id)).read().to_pandas()
        test = table[table["split"] == "test"].sort_values("sample_id")
        logits = np.stack(test["logits"]).astype(np.float64)
        probabilities.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    accuracy = (np.mean(probabilities, axis=0).argmax(axis=1) == test["target"].to_numpy()).mean()
    assert row["test"] == pytest.approx(accuracy, abs=1e-12)
    assert facts["headline"] == f"test accuracy {accuracy:.3f}"
    assert all(Path(picture).read_bytes()[:4] == b"\x89PNG" for picture in facts["pictures"])
    with (project(tmp_path).reports_dir() / "leaderboard.csv").open() as handle:
        assert [line["recipe"] for line in csv.DictReader(handle)] == [row["recipe"]]


def test_nested_folds_then_predict_and_test_by_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """F23: only one fold's model was tested."""
    assert main(["train", "mode.subroutines=[train]", *DIGITS]) == 0
    assert main(["predict"]) == 0
    assert "task=digits: the most recently trained one" in capsys.readouterr().out
    assert main(["test"]) == 0
    found = records.load_all(project(tmp_path))
    assert [record.task for record in found] == ["digits+nested?0", "digits+nested?1"]
    tested: list[str] = []
    for record in found:
        table = pq.ParquetFile(project(tmp_path).predictions_file("digits", record.id)).read().to_pandas()
        sizes = table.groupby(["task", "split"]).size().to_dict()
        assert set(sizes) == {(record.task, "val"), (record.task, "test"), ("digits", "test")}
        own = table[(table["task"] == record.task) & (table["split"] == "test")]
        right = own["logits"].map(lambda row: int(np.argmax(row))) == own["target"]
        assert record.scores["test"]["accuracy"] == pytest.approx(right.mean(), abs=1e-12)
        assert "optimistic" not in " ".join(record.notes)
        tested += own["sample_id"].tolist()
    assert len(tested) == len(set(tested)) == 1797 - 359


def test_a_folder_nobody_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "my pictures"
    make_pictures(root / "train", {"dark": 8, "light one": 9})
    make_pictures(root / "test", {"dark": 3}, seed=1)
    make_pictures(root / "unlabelled", {"any": 4}, seed=2)
    (root / "train" / "notes.txt").write_text("not an image")
    arguments = ["task=folder", f"task.root={root}", "split.folds=2", *SMALL]
    assert main(["train", *arguments, "mode.nested=false", "mode.subroutines=[train,predict,test]"]) == 0
    record = records.load_all(project(tmp_path))[0]
    assert record.pivot.startswith("my_pictures-")
    assert record.counts == {"train": 8, "val": 9, "test": 3, "unlabelled": 4} or record.counts["unlabelled"] == 4
    assert (
        main(["train", "mode.subroutines=[train]", f"task={record.pivot}", "split.folds=2", *SMALL, "mode.cv=false"])
        == 0
    )


def test_unreadable_images_are_refused_or_left_out_everywhere(
    picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F28: one unreadable image ended the run."""
    whole = (picture_folder / "dark" / "000.jpg").read_bytes()
    (picture_folder / "dark" / "000.jpg").write_bytes(whole[: len(whole) // 2])
    (picture_folder / "light" / "001.png").write_bytes(b"")
    arguments = ["train", "task=folder", f"task.root={picture_folder}", "split.folds=2", *SMALL, "mode.nested=false"]
    assert main(arguments) == 2
    shown = capsys.readouterr().err
    assert "dark/000.jpg: " in shown
    assert "light/001.png: the file is empty" in shown
    assert "task.max_unreadable=2" in shown
    assert not (tmp_path / "results").exists()
    assert main([*arguments, "task.max_unreadable=2", "mode.subroutines=[train,predict]"]) == 0
    for record in records.load_all(project(tmp_path)):
        assert record.counts["train"] + record.counts["val"] == 34
        path = project(tmp_path).predictions_file(record.pivot, record.id)
        assert not {"dark/000.jpg", "light/001.png"} & set(pq.ParquetFile(path).read()["sample_id"].to_pylist())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["split.folds=4"], "class 'small': 5 training images are too few for nested 4 x 4 folds"),
        (["split.folds=6", "mode.nested=false"], "class 'small': 5 training images are too few for 6 folds"),
        (["mode.nested=false", "split.folds=2", "mode.subroutines=[train,test]"], "has no test images"),
        (["loss.class_weights=[1,2,3]", "split.folds=2"], "loss.class_weights: does not fit the classes"),
        (["arch=vit_tiny_patch16_224", "preprocessing.size=15", "split.folds=2"], "arch"),
    ],
)
def test_what_does_not_fit_the_data(
    overrides: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_pictures(tmp_path / "few", {"small": 5, "large": 20})
    assert main(["train", "task=folder", f"task.root={root}", *SMALL, *overrides]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_no_weights_are_kept_when_asked(tmp_path: Path) -> None:
    assert main(["train", "mode.subroutines=[train]", *DIGITS, "mode.store_parameters=false", "mode.folds=[1]"]) == 0
    (record,) = records.load_all(project(tmp_path))
    assert (record.fold, record.weights) == (1, None)
    assert not list((tmp_path / "results").rglob("*.safetensors"))
    assert main(["predict"]) == 2


def test_eval_on_needs_the_same_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *DIGITS, "mode.subroutines=[train,predict]", "mode.eval_on=fashion_mini"]) == 2
    assert (
        "mode.eval_on=fashion_mini: it is no classification task with the classes of digits, it has"
        in capsys.readouterr().err
    )
    one = make_pictures(tmp_path / "one", {"a": 6, "b": 6, "c": 6})
    # Some of the classes are matched by name.
    other = make_pictures(tmp_path / "other", {"a": 4, "c": 4}, seed=9)
    assert main(["create", "task=folder", f"task.root={other}"]) == 0
    name = next(file.parent.name for file in (tmp_path / "data").glob("other-*/task.json"))
    arguments = ["task=folder", f"task.root={one}", "split.folds=2", *SMALL, "mode.nested=false"]
    assert main(["train", *arguments, "mode.subroutines=[train,predict,test]", f"mode.eval_on={name}"]) == 0
    record = records.load_all(project(tmp_path))[-1]
    assert f"test:{name}" in record.scores
    path = project(tmp_path).predictions_file(record.pivot, record.id)
    rows = pq.ParquetFile(path).read().to_pylist()
    assert {row["task"] for row in rows} == {name}
    assert {row["sample_id"].partition("/")[0]: row["target"] for row in rows} == {"a": 0, "c": 2}
    assert all(len(row["logits"]) == 3 for row in rows)


def test_a_finished_run_continues_to_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "mode.subroutines=[train]", *DIGITS, "mode.cv=false"]) == 0
    assert main(["train", "continue=latest"]) == 0
    assert "is finished; nothing to do" in capsys.readouterr().out
    # What the run says of itself may be said again.
    assert main(["train", "continue=latest", *DIGITS[:2], "mode.cv=false", "seed=42", "optimizer=adamw"]) == 0
    assert "is finished; nothing to do" in capsys.readouterr().out
    assert main(["train", "continue=latest", "seed=1", "task=fashion_mini", DIGITS[1]]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"continue: run \S+ has seed=42, task=digits and keeps it, got 'seed=1 task=fashion_mini'; "
        r"write mml train continue=\S+ alone, or leave continue= out to start a new run",
        sentence,
    )
    assert main(["predict", "continue=latest"]) == 2
    assert len(records.load_all(project(tmp_path))) == 1


def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    arguments = [*DIGITS, "trainer.max_epochs=12", "mode.nested=false", "arch.drop_rate=0.2"]
    assert main(["train", "mode.subroutines=[train]", *arguments, "proj=whole"]) == 0
    command = [sys.executable, "-m", "mlpipe.cli", "train", *arguments, "proj=cut"]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "results" / "cut").glob("runs/*/*/checkpoints/*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 75, shown
    assert "stopped; to go on: mml train continue=" in shown
    assert main(["train", "continue=latest", "proj=cut"]) == 0
    whole, cut = (records.load_all(project(tmp_path, name)) for name in ("whole", "cut"))
    assert [record.weights for record in whole] == [record.weights for record in cut]
    assert len(whole) == 2


def test_a_running_run_is_not_continued_by_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mlpipe import files
    from mlpipe.runs import journal

    assert main(["train", "mode.subroutines=[train]", *DIGITS, "mode.cv=false"]) == 0
    run = journal.find(project(tmp_path), "latest")
    lines = (run.folder / "journal.jsonl").read_text().splitlines()
    (run.folder / "journal.jsonl").write_text("\n".join(lines[:1]) + "\n")
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        owner = {**journal.identity(), "pid": other.pid, "started": journal._start_time(other.pid)}
        files.write_json(run.folder / journal.LOCK_FILE, owner)
        assert main(["train", "continue=latest"]) == 2
        assert "another process is running it" in capsys.readouterr().err
    finally:
        other.communicate(b"\n")
    assert main(["train", "continue=latest"]) == 0


def test_a_loss_that_is_no_number_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *DIGITS, "mode.cv=false", "optimizer=sgd", "optimizer.lr=1e30", "lr_scheduler=none"]
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert "the loss is" in shown and "lower optimizer.lr" in shown
    assert records.load_all(project(tmp_path)) == []


def test_info_without_torch_on_an_empty_project(tmp_path: Path) -> None:
    code = "import sys; from mlpipe.cli import main; main(['info']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert not {"torch", "timm", "pytorch_lightning", "pandas", "scipy"} & set(done.stderr.split())
    assert "no records yet" in done.stdout and "no study" in done.stdout


def test_pp_fills_the_cache_that_train_uses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["pp", *DIGITS[:1], "preprocessing.size=16"]) == 0
    from mlpipe.data import sources

    monkeypatch.setattr(sources, "reader", lambda *given: pytest.fail("decoded again"))
    assert main(["train", "mode.subroutines=[train]", *DIGITS, "mode.cv=false"]) == 0
