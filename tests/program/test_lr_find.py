"""`mml lr_find` and `tune=lr_find` through the command line: suggestions on disk, one for all folds, kept when continued."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mlpipe.cli import main
from mlpipe.errors import Interrupted
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.tune import lr_find
from mlpipe.runs import journal, records
from mlpipe.runs.project import Project

SMALL = [
    "task=digits", "split.folds=2", "arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sys.threads=1",
]  # fmt: skip


def test_a_suggestion_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["lr_find", *SMALL, "mode.steps=30", "mode.start=1e-5", "mode.end=1", "mode.smoothing=0.5", "--json"]) == 0
    )
    facts = json.loads(capsys.readouterr().out)
    assert facts["lr"] == facts["valley"] and 1e-5 < facts["steepest"] < 1
    project = Project(tmp_path / "results" / "default")
    (run,) = journal.all_runs(project)
    stored = json.loads((run.folder / "lr_find.json").read_text())
    assert stored["chosen"] == {"lr_found": facts["lr"]}
    rows = list(csv.DictReader((run.folder / "lr_find.csv").read_text().splitlines()))
    assert len(rows) == facts["ended_after"] and set(rows[0]) == {"step", "lr", "loss", "smoothed"}
    assert records.load_all(project) == []
    assert run.is_finished()


def test_wrong_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lr_find", *SMALL, "mode.end=1e-9", "mode.fold=7"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "mode.end: must be larger than mode.start=1e-07, got 1e-09",
        "mode.fold: there is no such fold, got 7; the folds are 0, 1",
    ]


def test_one_rate_for_all_folds_and_for_a_continued_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = [
        "train",
        *SMALL,
        "mode.nested=false",
        "trainer.max_epochs=1",
        "tune=lr_find",
        "tune.steps=30",
        "tune.smoothing=0.5",
    ]
    asked: list[int] = []
    find = lr_find.RangeTest.find

    def once(self: lr_find.RangeTest, job: object, watch: object) -> object:
        asked.append(1)
        return find(self, job, watch)  # type: ignore[arg-type]

    monkeypatch.setattr(lr_find.RangeTest, "find", once)
    from mlpipe.learn import fit

    fitted = fit.fit

    def interrupted(job: FoldJob, watch: Watch) -> object:
        if job.view.fold == 1 and len(asked) == 1:
            asked.append(2)
            raise Interrupted("stopped as asked")
        return fitted(job, watch)

    monkeypatch.setattr(fit, "fit", interrupted)
    assert main(train) == 75
    assert main(["train", "continue=latest"]) == 0
    assert asked == [1, 2]
    found = records.load_all(Project(tmp_path / "results" / "default"))
    assert len(found) == 2 and len({record.environment["lr_found"] for record in found}) == 1
    (run,) = journal.all_runs(Project(tmp_path / "results" / "default"))
    assert (
        json.loads((run.folder / "lr_find.json").read_text())["chosen"]["lr_found"] == found[0].environment["lr_found"]
    )
