"""Candidates for the word that is being typed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe import modes
from mlpipe.arch import names
from mlpipe.config import catalog, keys
from mlpipe.modes.completion import candidates, line
from mlpipe.modes.completion.candidates import Candidate


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, without folders of results and data from outside."""
    for name in ("MML_RESULTS_PATH", "MML_DATA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(text: str) -> list[str]:
    read = line.read(f"mml {text}")
    return [one.text for one in candidates.of(read.words, read.word, os.environ)]


def project(root: Path, runs: list[str], records: list[str]) -> None:
    for run in runs:
        (root / "runs" / run).mkdir(parents=True)
        (root / "runs" / run / "plan.json").write_text("{}")
    for record in records:
        (root / "tasks" / record).mkdir(parents=True)
        (root / "tasks" / record / "record.json").write_text("{}")


def test_modes_and_words() -> None:
    assert set(found("")) == {*catalog.options("mode"), *modes.WORDS}
    assert found("tra") == ["train"] and found("doc") == ["doctor"] and found("zzz") == []


def test_flags_are_those_of_the_command_line() -> None:
    long = {name for name in modes.FLAGS if name.startswith("--")}
    assert set(candidates.FLAGS) == long | {"--cfg", "--config-dir"} and set(modes.SCRIPTS) == {
        "fit",
        "task",
        "analyze",
    }
    assert found("train --mu") == ["--multirun"] and "--app" in found("train --") and "--app" not in found("post --")
    assert "--name" in found("fit --") and "--name" not in found("train --")
    assert found("train --cfg ") == ["job"] and found("--js") == ["--json"]


def test_groups_and_top_keys() -> None:
    there = found("train ")
    assert {
        "arch=",
        "loss=",
        "cbs=",
        "callbacks=",
        "proj=",
        "seed=",
        "recipe=",
        "continue=",
        "trainer.",
        "cbs.",
    } <= set(there)
    # A group with one option has nothing to choose; the mode is chosen already.
    assert not {"trainer=", "sys=", "mode="} & set(there)
    assert found("train tr") == ["trust=", "trust_paths=", "trainer."]
    assert found("train +opt") == ["+optimizer=", "+optimizer."]


def test_options() -> None:
    assert set(found("train preset=")) == {f"preset={name}" for name in catalog.options("preset")}
    assert found("train loss=foc") == ["loss=focal"] and found("train hydra/launcher=") == ["hydra/launcher=slurm"]


def test_networks() -> None:
    there = found("train arch=res")
    assert {f"arch={name}" for name in names.timm_names() if name.startswith("res")} == set(there)
    assert "arch=unet" in found("train arch=") and "arch.encoder=resnet34" in found(
        "train arch=unet arch.encoder=resnet3"
    )
    assert "arch=resnet18.a1_in1k" in found("train arch=resnet18.") and found("train arch=resnet18,resnet34") == [
        "arch=resnet18,resnet34d",
    ]  # fmt: skip
    assert "resnet18" in found("models resnet1") and "resnet18.a1_in1k" in found("models resnet18.")


def test_keys() -> None:
    assert found("train trainer.max_") == ["trainer.max_epochs=", "trainer.max_steps="]
    assert found("train optimizer.l") == ["optimizer.lr=", "optimizer.layer_decay="]
    assert "optimizer.momentum=" in found("train optimizer=sgd optimizer.")
    assert "optimizer.momentum=" not in found("train optimizer=adam optimizer.")
    # None of the default option begins so, but one of others.
    assert found("train optimizer.mome") == ["optimizer.momentum=", "optimizer.momentum_decay="]
    assert "trainer.benchmark=" in found("train trainer.") and found("train recommend.ba") == ["recommend.batch_size="]
    assert "task.root=" in found("train task.ro") and "task.root=" not in found("train task=digits task.")
    assert "hydra.launcher.timeout_min=" in found("train hydra.launcher.t")


def test_keys_of_a_mode_are_its_own() -> None:
    assert "mode.calibrator=" in found("post mode.") and "mode.calibrator=" not in found("train mode.")
    own = {f"{key.name}=" for key in keys.of_group("mode").values() if "train" in key.options}
    assert set(found("train mode.")) == own


def test_keys_of_callbacks_bear_the_name_that_was_typed() -> None:
    there = found("train cbs=[early,swa] cbs.early.")
    assert "cbs.early.patience=" in there and all(one.startswith("cbs.early.") for one in there)
    assert "callbacks.early.patience=" in found("train callbacks.early.p")


def test_help_completes_what_can_be_looked_up() -> None:
    assert {"optimizer", "optimizer."} <= set(found("train --help opt")) and found("help optimizer.lr") == []
    assert found("help optimizer.l") == ["optimizer.lr", "optimizer.layer_decay"]
    assert found("help tra") == ["train", "trainer", "trainer."] and found("help optimizer=sg") == ["optimizer=sgd"]


def test_closed_values() -> None:
    assert found("train mode.cv=") == ["mode.cv=true", "mode.cv=false"]
    assert found("train metrics.direction=m") == ["metrics.direction=min", "metrics.direction=max"]
    assert "trainer.benchmark=true" in found("train trainer.benchmark=")
    assert found("train trainer.max_epochs=") == [] and found("train optimizer.lr=") == []


def test_lists() -> None:
    assert found("train callbacks=[early,s") == ["callbacks=[early,swa"]
    assert set(found("train callbacks=[early")) == {"callbacks=[early]", "callbacks=[early,", "callbacks=[early_train"}
    assert "callbacks=[early,early" not in found("train callbacks=[early,")
    assert found("train mode.subroutines=") == ["mode.subroutines=["]
    assert set(found("train mode.subroutines=[train,p")) == {
        "mode.subroutines=[train,predict",
        "mode.subroutines=[train,post",
    }


def test_tasks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("mlpipe_data/shapes-21ddf552", "other/cells"):
        (folder / place).mkdir(parents=True)
        (folder / place / "task.json").write_text("{}")
    (folder / "mlpipe_data/no_task").mkdir()
    assert found("train task=sh") == ["task=shapes-21ddf552"]
    assert {"task=digits", "task=shapes-21ddf552"} <= set(found("train task=")) and "task=no_task" not in found(
        "train task="
    )
    assert found("train data_dir=other task=ce") == ["task=cells"]
    monkeypatch.setenv("MML_DATA_PATH", str(folder / "other"))
    assert found("train task=ce") == ["task=cells"] and found("train task_list=[digits,c") == [
        "task_list=[digits,cells"
    ]


def test_projects_runs_and_records(folder: Path) -> None:
    project(
        folder / "results/clinic", ["2026-01-02/10-00-00-aaaa", "2026-01-03/09-00-00-bbbb"], ["eye/models/net-1-f0"]
    )
    project(folder / "elsewhere/deadline", ["2026-01-02/10-00-00-cccc"], [])
    (folder / "results/no_project").mkdir()
    # Names that a shell takes for a pattern, or for somebody's home.
    for name in ("[x", "a[1]", "~root"):
        (folder / "results" / name / "runs").mkdir(parents=True)
    assert found("predict proj=") == ["proj=clinic"] and found("predict out_dir=elsewhere proj=") == ["proj=deadline"]
    assert found("train proj=clinic continue=") == [
        "continue=latest", "continue=2026-01-03/09-00-00-bbbb", "continue=2026-01-02/10-00-00-aaaa",
    ]  # fmt: skip
    assert found("predict reuse.models=cl") == ["reuse.models=clinic", "reuse.models=clinic#"]
    assert found("predict reuse.models=[clinic#") == ["reuse.models=[clinic#net-1-f0"]
    assert found("doctor proj=clinic 2026-01-03") == ["2026-01-03/09-00-00-bbbb"]
    assert found("doctor proj=") == ["proj=clinic"]


def test_files(folder: Path) -> None:
    (folder / "shapes/red").mkdir(parents=True)
    for name in ("shapes/red/a.png", "shapes.zip", ".hidden", "recipe.yaml"):
        (folder / name).touch()
    assert found("train recipe=re") == ["recipe=recipe.yaml"]
    assert found("train task=folder task.root=sh") == ["task.root=shapes/", "task.root=shapes.zip"]
    assert found("predict mode.source=shapes/") == ["mode.source=shapes/red/"]
    assert found("predict ./sh") == ["./shapes/", "./shapes.zip"] and found("predict sh") == ["shapes/", "shapes.zip"]
    assert found("train --config-dir ") == ["shapes/"] and found("train --config=re") == ["--config=recipe.yaml"]
    assert found("train out_dir=s") == ["out_dir=shapes/"] and found("post sh") == []
    assert found("train task=folder task.name=sh") == []


def test_a_home_folder_stays_as_it_was_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / "scans").mkdir()
    assert found("predict mode.source=~/s") == ["mode.source=~/scans/"]


def test_options_of_a_folder_of_ones_own(folder: Path) -> None:
    for name in ("conf/loss/squared.yaml", "conf/mode/count.yaml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("# What it is for.\n_target_: own.one\nscale: 1.0\n")
    for option in ("--config-dir=conf", "--config-dir conf", "-cd conf"):
        assert found(f"{option} cou") == ["count"]
        assert found(f"train {option} loss=squ") == ["loss=squared"]
        assert found(f"train {option} loss=squared loss.s") == ["loss.scale="]


@pytest.mark.parametrize(
    "name", ["a b", "a'b", 'a"b', "a\nb", "a\x1b[31mb", "a;b", "a$(b)", "a`b`", "a|b", "a&b", "a\\b", "a*b"]
)
def test_names_that_a_shell_would_have_to_quote_are_left_out(folder: Path, name: str) -> None:
    project(folder / "results" / name, ["2026-01-02/10-00-00-aaaa"], [])
    project(folder / "results/plain", [], ["eye/models/net-1-f0"])
    (folder / name).mkdir()
    assert found("predict proj=") == ["proj=plain"] and found("predict mode.source=a") == []


def test_nothing_of_a_project_is_read_or_run(folder: Path) -> None:
    project(folder / "results/odd", ["2026-01-02/10-00-00-aaaa"], ["eye/models/net-1-f0"])
    for file in (folder / "results").rglob("*.json"):
        file.write_text("no json")
    (folder / "results/linked").symlink_to("odd")
    (folder / "torch.py").write_text("raise SystemExit('run')")
    (folder / "yaml.py").write_text("raise SystemExit('run')")
    assert found("predict proj=") == ["proj=odd"] and found("predict proj=odd continue=") == [
        "continue=latest", "continue=2026-01-02/10-00-00-aaaa",
    ]  # fmt: skip


def test_every_candidate_is_taken_by_the_program() -> None:
    """Every key that is offered is one that composing knows."""
    known = keys.all_keys()
    for group in catalog.groups():
        for one in found(f"train {group}."):
            name = one.removesuffix("=")
            assert name in known or name in keys.keys_without_file(group)


def test_meanings() -> None:
    by_text = {one.text: one.about for one in candidates.of(["train"], "trainer.", os.environ)}
    assert by_text["trainer.max_epochs="] and all(
        about.isprintable() and len(about) <= 70 for about in by_text.values()
    )
    assert not any(one.about for one in candidates.of(["train"], "optimizer.", os.environ, with_meanings=False))


@pytest.mark.parametrize(
    ("text", "is_whole"), [("proj=", False), ("a/", False), ("x#", False), ("[a,", False), ("a]", True)]
)
def test_what_goes_on(text: str, is_whole: bool) -> None:
    assert Candidate(text).is_whole is is_whole


@pytest.mark.parametrize(
    "text", ["", "train arch=res", "train trainer.max_", "train optimizer.l", "post mode.calibrator="]
)
def test_nothing_heavy_is_imported(text: str) -> None:
    code = (
        "import os, sys\nfrom mlpipe.modes.completion import candidates, line\n"
        f"read = line.read({'mml ' + text!r})\nassert candidates.of(read.words, read.word, os.environ)\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "timm", "numpy", "hydra", "omegaconf", "yaml", "pandas"} & set(done.stdout.split())


def test_a_project_of_the_program(folder: Path) -> None:
    """What the names of folders and files are, the modules that write them say."""
    from mlpipe.runs import journal, records
    from mlpipe.runs.project import Project

    one = Project(folder / "results/real")
    run = journal.create(one)
    run.write_plan([], "", {})
    (one.model_dir("digits", "net-1-f0")).mkdir(parents=True)
    (one.model_dir("digits", "net-1-f0") / records.RECORD_FILE).write_text(json.dumps({}))
    one.studies_dir().mkdir()
    journal_file = one.studies_dir() / "first.log"
    journal_file.touch()
    assert found("train proj=real continue=") == ["continue=latest", f"continue={run.name}"]
    assert found("predict reuse.models=real#") == ["reuse.models=real#net-1-f0"]
    assert found("train proj=real use_best_params=") == ["use_best_params=first"]
