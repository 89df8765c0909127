"""What people import: run a mode, read a project as frames."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlpipe.api import load_project, run
from mlpipe.errors import ConfigError, ProjectError
from mlpipe.reports.html import write as write_report
from mlpipe.running import launch
from mlpipe.running.sweeps import trials
from tests.reports import projects

FAST = ["task=digits", "split.folds=2", "trainer.max_epochs=1", "sys.threads=1", "preprocessing.size=16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    folders = [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]
    facts = run("train", *FAST, "mode.nested=false", "mode.subroutines=[train,predict,test]", *folders)
    assert facts["task"] == "digits"
    return folder / "results"


@pytest.mark.program
def test_records_have_a_row_for_each_fold_with_scores(trained: Path) -> None:
    records = load_project(out_dir=trained).records()
    assert records["fold"].tolist() == [0, 1]
    assert records["number"].tolist() == [1, 2]
    assert records["val/accuracy"].between(0, 1).all()
    assert records["test/accuracy"].between(0, 1).all()
    assert (records["images/train"] + records["images/val"] == 1797 - records["images/test"]).all()


@pytest.mark.program
def test_predictions_score_as_the_record_says(trained: Path) -> None:
    project = load_project(out_dir=trained)
    record = project.records().iloc[0]
    rows = project.predictions(record["id"], task="digits", split="test")
    right = np.stack(rows["logits"]).argmax(axis=1) == rows["target"]
    assert right.mean() == pytest.approx(record["test/accuracy"], abs=1e-12)
    assert rows["sample_id"].is_unique


@pytest.mark.program
def test_metrics_have_a_row_for_each_epoch(trained: Path) -> None:
    project = load_project(out_dir=trained)
    history = project.metrics(project.records()["id"].iloc[0])
    assert history["epoch"].tolist() == [0]
    assert {"train/loss", "val/loss", "val/accuracy", "lr"} <= set(history)


@pytest.mark.program
def test_out_of_fold_predictions_score_as_the_leaderboard_says(trained: Path) -> None:
    project = load_project(out_dir=trained)
    rows = project.out_of_fold("digits")
    assert len(rows) == 1797 - project.records()["images/test"][0] and rows["image"].is_unique
    chances = rows[[f"raw p({number})" for number in range(10)]].to_numpy()
    assert chances.sum(axis=1) == pytest.approx(1)
    right = chances.argmax(axis=1) == rows["target"].astype(int)
    assert right.mean() == pytest.approx(project.leaderboard("digits")["out_of_fold"][0], abs=1e-12)
    assert project.out_of_fold().equals(rows) and project.out_of_fold("other").empty


@pytest.mark.program
def test_leaderboard_has_one_row_for_the_cross_validation(trained: Path) -> None:
    board = load_project(out_dir=trained).leaderboard("digits")
    assert board["folds"].tolist() == [2]


@pytest.mark.program
def test_what_is_not_there_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no such project"):
        load_project("nope", tmp_path)
    with pytest.raises(ProjectError, match="no such record, got 'nope'"):
        load_project(out_dir=trained).metrics("nope")
    with pytest.raises(ConfigError, match="did you mean 'lr'"):
        run("train", "optimizer.lrr=1")


SEARCH = [*FAST, "mode.nested=false", "hpo=optuna", "hpo.study=s", "hpo.trials=2", "optimizer.lr=interval(1e-4,1e-2)"]


def test_a_search_is_one_from_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_measure", lambda search, trial, *rest: [trial.params["optimizer.lr"]])
    facts = run("train", *SEARCH)
    assert facts["study"] == "s" and [one["state"] for one in facts["trials"]] == ["complete"] * 2
    with pytest.raises(ConfigError, match="loss is searched"):
        run("train", *FAST, "hpo=optuna", "loss=ce,focal", "mode.nested=false")


def test_a_sweep_is_one_from_python_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = []

    def execute(prepared: launch.Prepared, **rest: object) -> dict[str, object]:
        ran.append(prepared.run_config.recipe.optimizer.params["lr"])
        return {"run": "r"}

    monkeypatch.setattr(launch, "execute", execute)
    (tmp_path / "more" / "optimizer").mkdir(parents=True)
    (tmp_path / "more" / "optimizer" / "mine.yaml").write_text(
        "_target_: mlpipe.learn.optimizers.adam.adamw\nlr: 1e-2\n"
    )
    facts = run("train", *FAST, "optimizer=mine,sgd", "-m", f"--config-dir={tmp_path / 'more'}")
    assert facts["exit_code"] == 0 and len(facts["jobs"]) == len(ran) == 2 and ran[0] == 0.01


@pytest.mark.parametrize("words", [["--dry-run"], ["--cfg=job"], ["--config-dir=nowhere"], ["hydra/launcher=slurm"]])
def test_what_python_does_not_take_is_said(words: list[str]) -> None:
    with pytest.raises(ConfigError):
        run("train", *FAST, *words)


def test_a_mode_that_is_not_there_and_words_that_are_no_texts_are_said() -> None:
    with pytest.raises(ConfigError, match="^mode: unknown mode, got 'trian'; did you mean 'train'"):
        run("trian")
    with pytest.raises(ConfigError, match="overrides: must be texts, got .*; write 'key=value'") as caught:
        run("train", {"optimizer.lr": 0.1}, 3)  # type: ignore[arg-type]
    assert len(caught.value.problems) == 2


def test_a_notebook_shows_a_project_and_its_report(tmp_path: Path) -> None:
    project, data_dir = projects.make_project(tmp_path, ["a<b", "c"], n=40, recipes=1)
    frames = load_project("p", out_dir=tmp_path)
    assert "recipe0" in frames._repr_html_() and frames._repr_html_().count("<table") == 1
    with pytest.raises(
        ProjectError, match=r"report: project p has none yet; mml info proj=p mode.subroutines=\[report\]"
    ):
        frames.report()
    page = write_report(project, data_dir)
    shown = frames.report()._repr_html_()
    # The page is one attribute, whatever stands in it, and nothing that it runs is of the notebook's origin.
    (inside,) = re.findall(r'^<iframe sandbox="allow-scripts" srcdoc="([^"]*)"[^<>]*></iframe>$', shown)
    assert html.unescape(inside) == page.read_text("utf-8")


def test_a_notebook_without_widgets_has_no_hint_of_them() -> None:
    """Libraries import tqdm, which warns in a notebook; the progress of a run needs no widgets."""
    lines = [
        "import sys, types",
        "sys.modules['ipykernel.zmqshell'], sys.modules['ipywidgets'] = types.ModuleType('zmqshell'), None",
        "import IPython, mlpipe.api, tqdm.auto, tqdm.notebook",
        "print(tqdm.notebook.IProgress)",
    ]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
    assert ended.stdout == "None\n" and "IProgress" not in ended.stderr
