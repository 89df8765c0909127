"""Searches: refused with every problem, resumed to a total, shared by processes, pruned, and survived."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from mlpipe.cli import main
from mlpipe.dialects import front
from mlpipe.errors import ConfigError, DiskFull, Interrupted, Pruned, TrainingError
from mlpipe.running import jobs, launch
from mlpipe.running.launch import Command
from mlpipe.running.sweeps import search, trials
from mlpipe.runs import records, studies
from mlpipe.runs.project import Project

SMALL = [
    "task=digits", "split.folds=2", "mode.nested=false", "arch=test_resnet", "arch.pretrained=false",
    "preprocessing.size=16", "sys.threads=1", "trainer.max_epochs=1",
]  # fmt: skip
SEARCH = [*SMALL, "hpo=optuna", "hpo.study=s", "optimizer.lr=tag(log,interval(1e-4,1e-2))"]
Fake = Callable[[optuna.Trial], list[float]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], None]:
    """Put a function in place of training."""

    def use(fake: Fake) -> None:
        monkeypatch.setattr(trials, "_measure", lambda search, trial, *rest: fake(trial))

    return use


def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "results" / "default")


def frozen(tmp_path: Path, name: str = "s", storage: str | None = None) -> list[optuna.trial.FrozenTrial]:
    with studies.loaded(project(tmp_path), name, storage) as study:
        return study.get_trials()


def lr(trial: optuna.Trial) -> list[float]:
    return [float(trial.params["optimizer.lr"])]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["hpo=optuna"], "search_space: there is nothing to search"),
        (["hpo.trials=3"], "hpo.trials: belongs to a search; add hpo=optuna"),
        (["hpo=optuna", "hpo.trials=0", "optimizer.lr=1,2"], "hpo.trials: must be a whole number >= 1, got 0"),
        (["hpo=optuna", "loss=ce,foca"], "loss: unknown option, got 'foca'; did you mean 'focal'?"),
        (["hpo=optuna", "optimizer.lr=interval(-1,1)"], "optimizer.lr: must be a number > 0, got -1.0"),
        (["hpo=optuna", "optimizer.lr=interval(1,2)", "hpo.sampler=grid"], "optimizer.lr: an interval has no grid"),
        (["hpo=optuna", "optimizer.lr=1,2", "hpo.metric=val/acuracy"], "hpo.metric: is not measured"),
        (["hpo=optuna", "optimizer.lr=1,2", "hpo.metric=test/accuracy"], "hpo.metric: nothing is tested"),
        (["hpo=optuna", "optimizer.lr=1,2", "hpo.metric=[val/loss]", "hpo.direction=[]"], "hpo.direction: must have"),
        (["hpo=optuna", "trainer.max_epochs=1,2", "hpo.pruner=median"], "hpo.pruner: compares trials at the same"),
        (["hpo=optuna", "optimizer.lr=1,2", "sys.fold_workers=2", "hpo.pruner=median"], "hpo.pruner: compares folds"),
        (["hpo=optuna", "seed=1,2", "proj=a,b"], "proj: cannot be searched"),
        (["optimizer.lr=interval(1,2)", "-m"], "optimizer.lr: has no end of values to run"),
        (["use_best_params=x"], "project default has no studies, got 'x'"),
    ],
)
def test_refused_and_nothing_written(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["train", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_the_same_command_goes_on_to_the_total(measured: Any, tmp_path: Path) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 0
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 0
    first = [trial.params for trial in frozen(tmp_path)]
    assert len(first) == 3
    assert main(["train", *SEARCH, "hpo.trials=5"]) == 0
    assert main(["train", *SEARCH, "hpo.trials=5", "hpo.study=t"]) == 0
    once = [trial.params for trial in frozen(tmp_path, "t")]
    assert [trial.params for trial in frozen(tmp_path)] == once and once[:3] == first
    assert len({trial["optimizer.lr"] for trial in once}) == 5


def test_lines_of_trials_have_the_digits_that_tell(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(lambda trial: [3.2e-7])
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 0
    value = lr(frozen(tmp_path)[0])[0]
    out = capsys.readouterr().out
    assert f"trial 0 (1/1): optimizer.lr={value:.4g}\n" in out and repr(value) not in out
    assert "trial 0: val/loss 3.2e-07\n" in out


def test_no_trial_is_refitted(measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SEARCH, "mode.refit=true", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "train fold 1" in shown and "train refit" not in shown
    measured(lr)
    assert main(["train", *SEARCH, "mode.refit=true", "hpo.trials=1"]) == 0
    assert "mml train use_best_params=s mode.refit=true ..." in capsys.readouterr().out
    assert main(["train", *SMALL, "use_best_params=s", "mode.refit=true", "--dry-run"]) == 0
    assert "train refit" in capsys.readouterr().out


def test_the_last_line_leads_to_the_project_of_the_study(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=1", "proj=other"]) == 0
    assert "mml train use_best_params=s proj=other ..." in capsys.readouterr().out


def test_another_configuration_is_not_mixed_in(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 0
    assert main(["train", *SEARCH, "hpo.trials=2", "trainer.max_epochs=7"]) == 2
    assert "study s: was begun with another trainer.max_epochs (1 instead of 7)" in capsys.readouterr().err
    assert main(["train", *SEARCH, "hpo.trials=2", "optimizer.weight_decay=0.1,0.2"]) == 2
    assert "does not search optimizer.weight_decay" in capsys.readouterr().err
    assert main(["train", *SEARCH, "hpo.trials=2", "hpo.metric=val/accuracy"]) == 2
    assert len(frozen(tmp_path)) == 1


def test_a_failed_trial_is_recorded_and_survived(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(trial: optuna.Trial) -> list[float]:
        if trial.number == 0:
            raise TrainingError("the loss is nan")
        if trial.number == 1:
            raise RuntimeError("CUDA out of memory")
        return lr(trial)

    measured(fake)
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 0
    assert [trial.state.name for trial in frozen(tmp_path)] == ["FAIL", "FAIL", "COMPLETE"]
    assert "trial 1 failed: RuntimeError: CUDA out of memory" in capsys.readouterr().out
    measured(lambda trial: fake_failure())
    assert main(["train", *SEARCH, "hpo.trials=2", "hpo.study=t"]) == 1


def fake_failure() -> list[float]:
    raise TrainingError("always")


def test_an_interrupted_trial_is_gone_on_with(measured: Any, tmp_path: Path) -> None:
    def fake(trial: optuna.Trial) -> list[float]:
        if trial.number == 1:
            raise Interrupted("stopped as asked")
        return lr(trial)

    measured(fake)
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 75
    before = frozen(tmp_path)
    assert [trial.state.name for trial in before] == ["COMPLETE", "RUNNING"]
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 0
    after = frozen(tmp_path)
    assert [trial.state.name for trial in after] == ["COMPLETE"] * 3
    assert after[1].params == before[1].params


def test_a_trial_whose_run_is_gone_fails_and_does_not_count(measured: Any, tmp_path: Path) -> None:
    def fake(trial: optuna.Trial) -> list[float]:
        trial.set_user_attr(studies.RUN, "2000-01-01/00-00-00-abcd")
        raise Interrupted("stopped as asked")

    measured(fake)
    assert main(["train", *SEARCH, "hpo.trials=2"]) == 75
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=2"]) == 0
    assert [trial.state.name for trial in frozen(tmp_path)] == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("place", ["../../../mine", "ABSOLUTE", ["2000-01-01"], "."])
def test_a_trial_that_says_to_be_a_run_elsewhere_deletes_nothing_there(
    place: Any, measured: Any, tmp_path: Path
) -> None:
    """States of a trial that failed are removed, and its study may be somebody else's."""
    mine = tmp_path / "mine"
    for folder in (mine, project(tmp_path).runs_dir()):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.ckpt").write_text("the user's own")
        (folder / "plan.json").write_text("{}")

    def fake(trial: optuna.Trial) -> list[float]:
        trial.set_user_attr(studies.RUN, str(mine) if place == "ABSOLUTE" else place)
        raise Interrupted("stopped as asked")

    measured(fake)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 75
    measured(lambda trial: fake_failure())
    main(["train", *SEARCH, "hpo.trials=1"])
    for folder in (mine, project(tmp_path).runs_dir()):
        assert (folder / "checkpoints" / "last.ckpt").read_text() == "the user's own"


def test_a_study_that_says_nothing_of_its_beginning_is_one_sentence(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 0
    for odd in (7, "[", "[1]"):
        with studies.loaded(project(tmp_path), "s") as study:
            study.set_user_attr(studies.BASE, odd)
        capsys.readouterr()
        assert main(["train", *SEARCH, "hpo.trials=2"]) == 2
        assert "study s: " in capsys.readouterr().err


def test_a_grid_is_visited_once_and_ends(measured: Any, tmp_path: Path) -> None:
    measured(lr)
    grid = [
        *SMALL,
        "hpo=optuna",
        "hpo.study=s",
        "hpo.sampler=grid",
        "optimizer.lr=0.1,0.2",
        "loss=ce,focal",
        "metrics.monitor=val/nll",
    ]
    assert main(["train", *grid, "hpo.trials=3"]) == 0
    assert main(["train", *grid, "hpo.trials=99"]) == 0
    tried = [(trial.params["optimizer.lr"], trial.params["loss"]) for trial in frozen(tmp_path)]
    assert sorted(tried) == [(0.1, "ce"), (0.1, "focal"), (0.2, "ce"), (0.2, "focal")]


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "gp", "nsga2"])
def test_samplers_stay_inside_the_space(sampler: str, measured: Any, tmp_path: Path) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=5", f"hpo.sampler={sampler}", "hpo.startup_trials=3"]) == 0
    values = [trial.params["optimizer.lr"] for trial in frozen(tmp_path)]
    # gp may come back to the minimum that it has found, the end of the range.
    assert len(set(values)) >= (4 if sampler == "gp" else 5) and all(1e-4 <= value <= 1e-2 for value in values)


def test_several_metrics_leave_a_front(measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(lambda trial: [trial.params["optimizer.lr"], trial.params["optimizer.lr"]])
    assert main(["train", *SEARCH, "hpo.trials=3", "hpo.metric=[val/loss,val/accuracy]", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["directions"] == ["minimize", "maximize"]
    assert len(facts["best"]) == 3
    assert main(["train", *SMALL, "use_best_params=s", "--cfg", "job"]) == 2
    assert main(["train", *SMALL, "use_best_params=s#1", "--cfg", "job"]) == 0


def test_the_best_values_apply_unless_the_command_line_says_otherwise(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=3", "loss=ce,focal", "metrics.monitor=val/nll"]) == 0
    best = min(frozen(tmp_path), key=lambda trial: float(trial.value or 0))
    capsys.readouterr()
    assert main(["train", *SMALL, "use_best_params=s", "loss=mse", "--cfg", "job"]) == 0
    tree = yaml.safe_load(capsys.readouterr().out)
    assert tree["optimizer"]["lr"] == best.params["optimizer.lr"]
    assert tree["loss"]["_target_"].endswith("mse")
    assert main(["train", *SMALL, "use_best_params=default:s", "proj=other", "--cfg", "job"]) == 0


def test_a_password_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *SEARCH, "'hpo.storage=x'", "--cfg", "job"]) == 2
    storage = "hpo.storage=postgresql://me:secret@127.0.0.1:1/none"
    assert main(["train", *SEARCH, storage, "--cfg", "job"]) == 0
    assert main(["train", *SEARCH, storage]) == 2
    shown = "".join(capsys.readouterr())
    assert "me:***@" in shown and "secret" not in shown


def test_reports_are_means_over_folds_and_survive_an_interruption() -> None:
    study = optuna.create_study(direction="minimize", pruner=optuna.pruners.NopPruner())
    trial = study.ask()
    reporter = trials.Reporter(trial, "minimize")
    for epoch, score in enumerate([3.0, 1.0, 2.0]):
        reporter.epoch(0, epoch, 3, score)
    reporter.epoch(1, 0, 3, 5.0)
    reporter = trials.Reporter(trial, "minimize")
    reporter.epoch(1, 0, 3, 5.0)
    reporter.epoch(1, 1, 3, 2.0)
    assert study.get_trials()[0].intermediate_values == {0: 3.0, 1: 1.0, 2: 1.0, 3: 3.0, 4: 1.5}
    assert trials.best_of_folds({0: 3.0, 1: 1.0, 2: 1.0, 3: 3.0, 4: 1.5}, 3) == {0: 1.0, 1: 2.0}


def test_a_trial_worse_than_the_median_is_pruned() -> None:
    study = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner(n_startup_trials=1))
    good, bad = study.ask(), study.ask()
    trials.Reporter(good, "minimize").epoch(0, 0, 2, 1.0)
    study.tell(good, 1.0)
    with pytest.raises(Pruned, match="pruned after epoch 1 of 2$"):
        trials.Reporter(bad, "minimize").epoch(0, 0, 2, 9.0)


def test_trials_are_ordinary_runs_and_bad_ones_are_pruned(tmp_path: Path) -> None:
    arguments = [*SMALL, "trainer.max_epochs=2", "hpo=optuna", "hpo.study=s", "hpo.sampler=grid", "hpo.pruner=median"]
    arguments += ["hpo.startup_trials=1", "optimizer.lr=0.003,1e-7", "hpo.metric=val/loss"]
    assert main(["train", *arguments]) == 0
    good, bad = frozen(tmp_path)
    found = records.load_all(project(tmp_path))
    own = [record for record in found if record.run == good.user_attrs["run"]]
    assert [record.fold for record in own] == [0, 1]
    assert good.value == pytest.approx(sum(float(record.scores["val"]["loss"] or 0) for record in own) / 2)
    assert bad.state.name == "PRUNED"
    folder = project(tmp_path).model_dir("digits", own[0].id)
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    assert stored["trial"] == {"study": "s", "number": 0, "params": {"optimizer.lr": 0.003}}
    assert not list(project(tmp_path).runs_dir().rglob("state.json"))


def test_a_search_stopped_by_a_signal_goes_on_with_its_trial(tmp_path: Path) -> None:
    arguments = ["train", *SEARCH, "hpo.trials=2", "trainer.max_epochs=6"]
    command = [sys.executable, "-m", "mlpipe.cli", *arguments]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "results").rglob("state.json")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 75, shown
    assert "stopped with 0 of 2 trials of study s finished; to go on, run the same command again" in shown
    (before,) = frozen(tmp_path)
    assert main(arguments) == 0
    after = frozen(tmp_path)
    assert [trial.state.name for trial in after] == ["COMPLETE", "COMPLETE"]
    assert after[0].user_attrs["run"] == before.user_attrs["run"]
    assert len(records.load_all(project(tmp_path))) == 4


WORKER = """
import sys, time
from mlpipe.cli import main
from mlpipe.running.sweeps import trials
def measure(search, trial, *rest):
    time.sleep(0.1)
    return [trial.params["optimizer.lr"]]
trials._measure = measure
sys.exit(main(sys.argv[1:]))
"""


def two_workers(arguments: list[str], tmp_path: Path) -> None:
    """Two processes at one study, their projects their own where the storage is shared."""
    processes = [
        subprocess.Popen([sys.executable, "-c", WORKER, "train", *arguments, *own], env=os.environ)
        for own in ([], ["proj=other"] if any("hpo.storage" in text for text in arguments) else [])
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]


def test_two_processes_share_a_journal_and_keep_the_total(tmp_path: Path) -> None:
    main(["create", "task=digits"])
    two_workers([*SEARCH, "hpo.trials=12"], tmp_path)
    found = frozen(tmp_path)
    assert [trial.state.name for trial in found] == ["COMPLETE"] * 12
    assert len({trial.user_attrs["owner"]["pid"] for trial in found}) == 2


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """A PostgreSQL of our own on a free port of loopback; it refuses root, so another user runs it then."""
    if not all(shutil.which(name) for name in ("initdb", "pg_ctl")):
        pytest.skip("PostgreSQL's initdb and pg_ctl are not installed")
    pytest.importorskip("psycopg")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Another user cannot enter pytest's folders.
    folder = Path("/tmp") / f"mlpipe-postgres-{port}"
    folder.mkdir()
    prefix: list[str] = []
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root needs setpriv to start PostgreSQL as another user")
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    control = [*prefix, "pg_ctl", "-D", str(folder / "data"), "-w"]
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "cwd": folder, "timeout": 120}
    try:
        subprocess.run([*prefix, "initdb", "-D", str(folder / "data"), "-U", "me", "-A", "trust"], **quiet)
        subprocess.run(
            [*control, "-o", options, "-l", str(folder / "log"), "start"], **{**quiet, "capture_output": False}
        )
        try:
            yield f"postgresql+psycopg://me:secret@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.services
def test_two_processes_share_a_server(postgres: str, tmp_path: Path) -> None:
    main(["create", "task=digits"])
    two_workers([*SEARCH, "hpo.trials=10", f"hpo.storage={postgres}"], tmp_path)
    found = frozen(tmp_path, storage=postgres)
    assert 10 <= len(found) <= 11
    assert {trial.state.name for trial in found} == {"COMPLETE"}
    assert len({trial.user_attrs["owner"]["pid"] for trial in found}) == 2
    for file in (tmp_path / "results").rglob("*"):
        assert not file.is_file() or b"secret" not in file.read_bytes()


def test_what_belongs_to_a_search() -> None:
    def is_search(*words: str) -> bool:
        return jobs.is_search(Command("train", words), front)

    assert is_search("hpo=optuna") and not is_search("hpo=none", "search_space=none")
    assert not is_search("use_best_params=x", "hpo.storage=sqlite:///x.db")


FULL = [
    DiskFull("2 folds need 3.0 MB, 0.0 MB are free"),
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EFBIG, "File too large"),
    OSError("200000 requested and 76768 written"),
]


@pytest.mark.parametrize("error", FULL, ids=str)
@pytest.mark.parametrize("released", [True, False])
def test_a_full_disk_ends_a_search_and_its_trial_is_run_again(
    error: Exception,
    released: bool,
    measured: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def second_fails(trial: optuna.Trial) -> list[float]:
        if trial.number:
            raise error
        return lr(trial)

    write = optuna.Trial.set_user_attr

    def no_room(trial: optuna.Trial, key: str, value: Any) -> None:
        if isinstance(value, dict) and value.get("released"):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(trial, key, value)

    if not released:
        monkeypatch.setattr(optuna.Trial, "set_user_attr", no_room)
    measured(second_fails)
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 75
    shown = capsys.readouterr().err
    fix = "raise that limit" if "too large" in str(error) else "free space"
    assert f"1 of 3 trials of study s finished; {fix}; then run the same command again" in shown
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=3"]) == 0
    assert [trial.state.name for trial in frozen(tmp_path)] == ["COMPLETE"] * 3


def test_a_full_disk_while_a_trial_is_told_runs_it_again(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = optuna.Study.tell

    def no_room(*given: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    measured(lr)
    monkeypatch.setattr(optuna.Study, "tell", no_room)
    assert main(["train", *SEARCH, "hpo.trials=2"]) == 75
    monkeypatch.setattr(optuna.Study, "tell", tell)
    assert main(["train", *SEARCH, "hpo.trials=2"]) == 0
    assert [trial.state.name for trial in frozen(tmp_path)] == ["COMPLETE"] * 2


def test_a_trial_that_was_asked_for_and_not_taken_is_run(
    measured: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = optuna.Trial.set_user_attr

    def no_room(trial: optuna.Trial, key: str, value: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    measured(lr)
    monkeypatch.setattr(optuna.Trial, "set_user_attr", no_room)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 75
    monkeypatch.setattr(optuna.Trial, "set_user_attr", write)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 0
    assert [trial.state.name for trial in frozen(tmp_path)] == ["COMPLETE"]


def test_a_journal_that_a_full_disk_tore_goes_on(measured: Any, tmp_path: Path) -> None:
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 0
    file = studies.journal_file(project(tmp_path), "s")
    whole = file.read_bytes()
    file.write_bytes(whole + whole.splitlines()[-1][:17])
    assert main(["train", *SEARCH, "hpo.trials=2"]) == 0
    assert file.read_bytes().startswith(whole)
    assert [trial.state.name for trial in frozen(tmp_path)] == ["COMPLETE"] * 2


COMPARED = [
    (["loss=ce,focal"], "loss is", "add metrics.monitor=val/nll"),
    (["loss.label_smoothing=interval(0,0.5)"], "loss.label_smoothing is", "add metrics.monitor=val/nll"),
    (["loss.class_weights=null,balanced"], "loss.class_weights is", "add metrics.monitor=val/nll"),
    (["loss=composite", "loss.expression=ce,ce+0.1*dice"], "loss.expression is", "add metrics.monitor=val/nll"),
    (["loss=focal", "loss.gamma=${given.g}", "given.g=1,2"], "given.g is", "add metrics.monitor=val/nll"),
    (["loss=ce,focal", "optimizer.lr=0.1,0.2", "hpo.metric=val/loss"], "loss is", "use hpo.metric=val/nll"),
    (["loss=ce,focal", "hpo.metric=[val/accuracy,val/loss]"], "loss is", "use hpo.metric=[val/accuracy,val/nll]"),
    (["loss=ce,focal", "metrics.final=[accuracy]"], "loss is", "add metrics.monitor=val/accuracy"),
    (
        ["stages.list=choice([{epochs:1,loss:ce}],[{epochs:1,loss:focal}])"],
        "stages.list is",
        "add metrics.monitor=val/nll",
    ),
]


@pytest.mark.parametrize(("words", "keys", "fix"), COMPARED)
def test_values_of_different_losses_are_not_compared_and_the_fix_composes(
    words: list[str], keys: str, fix: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        search.prepare(Command("train", [*SMALL, "hpo=optuna", *words]), front=front)
    (sentence,) = caught.value.problems
    assert sentence.startswith(f"hpo.metric: values of different losses cannot be compared, and {keys}")
    assert fix in sentence
    override = sentence.rpartition("; ")[2].split(" ", 1)[1]
    kept = [word for word in words if not word.startswith("hpo.metric")]
    assert not any(
        "loss" in name
        for name in search.prepare(Command("train", [*SMALL, "hpo=optuna", *kept, override]), front=front).metrics
    )


@pytest.mark.parametrize(
    "words",
    [
        ["loss=focal", "optimizer.lr=0.1,0.2"],
        ["loss.label_smoothing=interval(0.1,0.1)"],
        ["augmentations=mixup,none"],
        ["loss=ce,focal", "hpo.metric=val/accuracy"],
        ["loss=ce,focal", "metrics.monitor=val/brier"],
    ],
)
def test_values_of_one_loss_or_of_a_metric_are_compared(words: list[str]) -> None:
    assert search.prepare(Command("train", [*SMALL, "hpo=optuna", *words]), front=front).steps


def test_more_of_a_loss_is_never_better() -> None:
    with pytest.raises(ConfigError, match=r"hpo.direction: less of val/loss is better, got 'maximize'; use auto"):
        search.prepare(
            Command("train", [*SMALL, "hpo=optuna", "optimizer.lr=0.1,0.2", "hpo.direction=maximize"]), front=front
        )
    with pytest.raises(ConfigError, match=r"metrics.direction: less of val/loss is better, got 'max'"):
        launch.prepare(launch.Command("train", [*SMALL, "metrics.direction=max"]))


def test_a_study_of_different_losses_has_no_best_trial(measured: Any, tmp_path: Path, capsys: Any) -> None:
    measured(lambda trial: [0.5])
    words = ["hpo.study=s", "loss=ce,focal", "metrics.monitor=val/nll", "hpo.sampler=grid", "hpo.trials=2"]
    assert main(["train", *SMALL, "hpo=optuna", *words]) == 0
    with studies.loaded(project(tmp_path), "s") as study:
        # As a search of an earlier version left it.
        study.set_user_attr(studies.METRICS, ["val/loss"])
    assert main(["train", *SMALL, "use_best_params=s"]) == 2
    assert "its trials have different losses (loss), of which val/loss are values" in capsys.readouterr().err
    assert main(["train", *SMALL, "use_best_params=s#1", "--dry-run"]) == 0
    assert main(["info", "mode.study_name=s", "mode.subroutines=[hpo]"]) == 0
    assert "best: none, its trials have different losses (loss)" in capsys.readouterr().out


def test_a_study_is_of_one_task_and_its_images(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same words give another task after the files of a source have changed."""
    measured(lr)
    assert main(["train", *SEARCH, "hpo.trials=1"]) == 0
    with studies.loaded(project(tmp_path), "s") as study:
        assert study.user_attrs[studies.TASK] == "digits"
        study.set_user_attr(studies.TASK, "digits-0000")
    assert main(["train", *SEARCH, "hpo.trials=2"]) == 2
    assert "study s: was begun with the images of task digits-0000, these are digits" in capsys.readouterr().err
    assert main(["train", *SEARCH, "hpo.trials=2", "tta=flips"]) == 2
    assert "study s: was begun with another tta" in capsys.readouterr().err
    assert len(frozen(tmp_path)) == 1


def test_trials_that_all_failed_are_no_matter_of_time(
    measured: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(lambda trial: fake_failure())
    assert main(["train", *SEARCH, "hpo.trials=2", "time_limit=10m"]) == 1
    assert "study s: no trial could be finished" in capsys.readouterr().err
