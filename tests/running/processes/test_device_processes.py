"""Several processes for one fold: the weights and predictions of one process, and no hang when one of them dies."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from mlpipe.cli import main
from mlpipe.data.sampling import Shard
from mlpipe.errors import DataError, Interrupted, MlpipeError, Pruned, TrainingError
from mlpipe.learn.machine import hardware
from mlpipe.learn.machine.device_group import DeviceGroup, trainer_arguments
from mlpipe.reports.progress import Display
from mlpipe.running.processes import device_processes
from mlpipe.running.processes.child_processes import Outcome, Pool, Worker
from mlpipe.running.steps import Follower, RunContext, Stop
from mlpipe.runs import records
from mlpipe.runs.project import Project

# Without batch normalisation and dropout two processes compute what one does, but for the order of sums.
TOLERANCE = 1e-4
PLAIN = [
    "task=digits", "mode.nested=false", "arch=test_convnext", "arch.pretrained=false", "preprocessing.size=32",
    "sys.threads=1", "split.folds=3", "split.test_fraction=0.8", "mode.folds=[0]", "sampling.eval_batch_size=32",
    "trainer.accelerator=cpu", "mode.subroutines=[train,predict]",
]  # fmt: skip


@pytest.mark.program
def test_what_several_devices_cannot_go_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "trainer.devices=2", "sys.fold_workers=2", "sampling.batch_size=3"]) == 2
    shown = capsys.readouterr().err
    assert "trainer.devices: several devices learn one fold at a time, got 'sys.fold_workers'" in shown
    assert "sampling.batch_size: is divided among 2 devices, which need two images each, got 3; use 4 or more" in shown
    assert main(["train", "trainer.devices=0"]) == 2
    assert "trainer.devices: must be a whole number >= 1 or auto" in capsys.readouterr().err
    linear = ["train", "trainer.devices=2", "optimizer=linear", "arch.freeze=true", "augmentations=none"]
    assert main(linear) == 2
    assert "optimizer=linear makes the head on one device" in capsys.readouterr().err


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert hardware.device_problems({"accelerator": "auto", "devices": 2}) == []
    assert hardware.device_count({"devices": "auto"}) == 1
    (sentence,) = hardware.device_problems({"accelerator": "gpu"})
    assert sentence.startswith("trainer.accelerator: this machine has no such device")
    (sentence,) = hardware.device_problems({"devices": 2, "sync_batchnorm": True})
    assert sentence.startswith("trainer.sync_batchnorm: torch synchronises batch statistics between GPUs only")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert hardware.device_count({"devices": "auto"}) == 2
    assert hardware.device_problems({"devices": 2, "sync_batchnorm": True}) == []
    (sentence,) = hardware.device_problems({"accelerator": "gpu", "devices": 4})
    assert sentence == "trainer.devices: there are 2 GPUs, got 4; use as many, or trainer.devices=auto"


def test_lightning_is_told_that_the_processes_are_there() -> None:
    assert trainer_arguments({"devices": 2, "max_epochs": 3}, Shard()) == {"devices": 1, "max_epochs": 3}
    given = trainer_arguments({"devices": "auto", "sync_batchnorm": True}, Shard(1, 2))
    assert given["devices"] == 2 and given["sync_batchnorm"] is True
    assert given["strategy"]._ddp_kwargs == {"broadcast_buffers": False}
    assert DeviceGroup().is_alone and not DeviceGroup(Shard(0, 2)).is_alone


def ended(*outcomes: Outcome) -> list[Worker]:
    nobody: Any = None
    return [Worker(nobody, None, outcome) for outcome in outcomes]


LOST = Outcome("failed", "RuntimeError: connection closed by peer")


@pytest.mark.parametrize(
    ("outcome", "error", "sentence"),
    [
        (Outcome("died", "its process was ended by SIGKILL"), TrainingError, "device 2 of 2: its process was"),
        (Outcome("failed", "the loss is nan", 1, is_known=True), TrainingError, "the loss is nan"),
        (Outcome("failed", "no image", 2, is_known=True), DataError, "no image"),
    ],
)
def test_the_cause_is_told_and_not_its_consequence(
    outcome: Outcome, error: type[MlpipeError], sentence: str, tmp_path: Path
) -> None:
    context = RunContext(Project(tmp_path), Display())
    with pytest.raises(error, match=f"^{sentence}"):
        device_processes._raise(ended(LOST, outcome), context, "mml train continue=x")
    context.stop.asked = True
    with pytest.raises(Interrupted):
        device_processes._raise(ended(LOST, outcome), context, "mml train continue=x")


class Ended:
    """As much of a process that has ended by a signal as the parent looks at."""

    pid, exitcode = None, -9

    def join(self, timeout: float) -> None:
        pass


def two(count: int = 2) -> tuple[list[Worker], list[Any]]:
    """Processes that are not there, and their ends of the pipes."""
    pipes = [multiprocessing.Pipe(duplex=False) for _ in range(count)]
    process: Any = Ended()
    return [Worker(process, ours) for ours, _ in pipes], [end for _, end in pipes]


def pool_of(workers: list[Worker]) -> Pool:
    pool = Pool(Stop(), signal.SIGUSR1, grace=0.1)
    pool.workers = workers
    return pool


def test_a_search_hears_of_every_epoch_and_may_prune(tmp_path: Path) -> None:
    heard = []

    def epoch(*facts: Any) -> None:
        heard.append(facts)
        if len(heard) == 2:
            raise Pruned("no better than the others")

    context = RunContext(Project(tmp_path), Display(), follower=Follower(lambda name: None, epoch))
    team, ends = two()
    for number in range(3):
        ends[0].send(("epoch", 0, number, 3, 0.5))
    with pytest.raises(Pruned):
        device_processes._follow(pool_of(team), context)
    assert heard == [(0, 0, 3, 0.5), (0, 1, 3, 0.5)]


def test_the_others_are_not_waited_for_when_one_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_processes, "_GRACE", 0.1)
    team, ends = two()
    ends[1].close()
    device_processes._follow(pool_of(team), RunContext(Project(tmp_path), Display()))
    assert team[0].outcome is None
    assert team[1].outcome == Outcome("died", "its process was ended by SIGKILL")


def trained(tmp_path: Path, name: str) -> tuple[dict[str, Any], dict[str, Any], pd.DataFrame]:
    """A project's one record, its weights and its predictions."""
    project = Project(tmp_path / "results" / name)
    (record,) = records.load_all(project)
    weights = load_file(project.model_dir("digits", record.id) / "weights.safetensors")
    return dataclasses.asdict(record), weights, pd.read_parquet(project.predictions_file("digits", record.id))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mlpipe.cli", "train", *arguments]


@pytest.mark.program
@pytest.mark.timeout(1800)
# Five batches in a step, the last step of an epoch having fewer.
@pytest.mark.parametrize("more", [[], ["trainer.accumulate_grad_batches=5"]], ids=["plain", "accumulated"])
def test_two_processes_make_the_weights_scores_and_predictions_of_one(tmp_path: Path, more: list[str]) -> None:
    given = [*PLAIN, "trainer.max_epochs=2", "sampling.batch_size=29", *more]
    assert main(["train", "mode.subroutines=[train]", *given, "proj=one"]) == 0
    arguments = [*given, "proj=two", "trainer.devices=2"]
    done = subprocess.run(command(*arguments), env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr
    (one, weights, predicted), (two, others, also) = trained(tmp_path, "one"), trained(tmp_path, "two")
    assert one["counts"] == two["counts"] and one["best_epoch"] == two["best_epoch"]
    for name, tensor in weights.items():
        np.testing.assert_allclose(others[name], tensor, atol=TOLERANCE, err_msg=name)
    for name, score in one["scores"]["val"].items():
        assert abs(two["scores"]["val"][name] - score) < 1e-3, name
    assert not also.duplicated(["task", "split", "sample_id"]).any()
    assert list(predicted["sample_id"]) == list(also["sample_id"])


@pytest.mark.program
@pytest.mark.timeout(1800)
def test_every_process_of_a_sweeps_job_has_the_jobs_configuration(tmp_path: Path) -> None:
    """A job of a sweep that two processes learn ends as the same training by itself."""
    small = [*PLAIN, "trainer.max_epochs=1", "trainer.devices=2"]
    sweep = [*small, "optimizer.lr=1e-3,5e-4", "proj=sweep", "-m"]
    done = subprocess.run(command(*sweep), env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    # The later job: its processes might have that of the first, or that of neither.
    alone = [*small, "optimizer.lr=5e-4", "proj=low"]
    done = subprocess.run(command(*alone), env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    swept = {record.recipe: record for record in records.load_all(Project(tmp_path / "results" / "sweep"))}
    single, _, _ = trained(tmp_path, "low")
    record = swept[single["recipe"]]
    assert record.weights == single["weights"] and record.scores == single["scores"]
    assert len(swept) == 2 and len({one.weights for one in swept.values()}) == 2


def in_training(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A run of two processes that has saved a state, and these processes."""
    arguments = command(*PLAIN, "arch.drop_rate=0.2", "trainer.max_epochs=6", "trainer.devices=2")
    process = subprocess.Popen(arguments, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "results").rglob("state.json")):
        assert process.poll() is None
        time.sleep(0.02)
    found = []
    for stat in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"MML_RESULTS_PATH={tmp_path}/" in stat.read_text("utf-8", errors="replace"):
                found.append(int(stat.parent.name))
        except OSError:
            continue
    parents = {pid: int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1]) for pid in found}
    # The two processes are children of multiprocessing's server, which is a child of the command.
    team = sorted(pid for pid, parent in parents.items() if parents.get(parent) == process.pid)
    assert len(team) == 2
    return process, team


@pytest.mark.program
@pytest.mark.timeout(1800)
def test_a_killed_process_ends_the_fold_with_a_sentence_and_the_run_goes_on(tmp_path: Path) -> None:
    process, team = in_training(tmp_path)
    os.kill(team[1], signal.SIGKILL)
    _, shown = process.communicate(timeout=600)
    assert process.returncode == 1, shown
    assert "of 2: its process was ended by SIGKILL; what is done is kept; to go on: mml train continue=" in shown
    assert not any(Path(f"/proc/{pid}").exists() for pid in team)
    go_on = subprocess.run(command("continue=latest"), env=os.environ, capture_output=True, text=True, timeout=900)
    assert go_on.returncode == 0, go_on.stderr
    assert trained(tmp_path, "default")[0]["epochs"] == 6


@pytest.mark.program
@pytest.mark.timeout(1800)
def test_a_signal_stops_all_and_going_on_ends_as_if_there_had_been_none(tmp_path: Path) -> None:
    process, team = in_training(tmp_path)
    process.send_signal(signal.SIGTERM)
    _, shown = process.communicate(timeout=600)
    assert process.returncode == 75, shown
    assert "stopped; to go on: mml train continue=" in shown
    assert not any(Path(f"/proc/{pid}").exists() for pid in team)
    (journal,) = (tmp_path / "results").rglob("journal.jsonl")
    assert json.loads(journal.read_text("utf-8").splitlines()[-1])["event"] == "interrupted"
    again = ["continue=latest"], [*PLAIN, "arch.drop_rate=0.2", "trainer.max_epochs=6", "trainer.devices=2", "proj=b"]
    for arguments in again:
        done = subprocess.run(command(*arguments), env=os.environ, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
    (_, cut, _), (_, whole, _) = trained(tmp_path, "default"), trained(tmp_path, "b")
    assert all(np.array_equal(cut[name], whole[name]) for name in whole)
