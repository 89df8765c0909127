"""Folds side by side: the same records as one after the other, and nothing lost when a process dies."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlpipe.cli import main
from mlpipe.errors import Interrupted
from mlpipe.reports.progress import Display
from mlpipe.running.processes import fold_processes
from mlpipe.running.processes.child_processes import Outcome
from mlpipe.running.steps import RunContext, Step, Stop
from mlpipe.runs import records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

SMALL = [
    "task=digits", "mode.nested=false", "arch=test_resnet", "arch.pretrained=false", "arch.drop_rate=0.2",
    "preprocessing.size=16", "sys.threads=1",
]  # fmt: skip


def step(name: str, lane: int | None = None) -> Step:
    return Step(name, lambda run: None, lane=lane)


def test_steps_without_a_lane_are_barriers() -> None:
    plan = [step("a"), step("t0", 0), step("t1", 1), step("p0", 0), step("p1", 1), step("b"), step("q0", 0)]
    names = [[[one.name for one in lane] for lane in block] for block in fold_processes.blocks(plan)]
    assert names == [[["a"]], [["t0", "p0"], ["t1", "p1"]], [["b"]], [["q0"]]]


def test_what_is_left_is_not_told_before_folds_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds in which processes start were taken for the speed of training: 53 minutes were left of 15 seconds."""
    shown, stream = [0.0], io.StringIO()
    monkeypatch.setattr(time, "perf_counter", lambda: shown[0])
    display, lanes = Display(stream, every=10.0), [fold_processes._Lane([step("a")]), fold_processes._Lane([step("b")])]
    display.start("2 folds", 2000)
    shown[0] += 20
    lanes[0].take("start", ["fold 0", 1000], cast(Any, None))
    lanes[0].take("progress", [2, "", (), None], cast(Any, None))
    fold_processes._show(lanes, display, 0)
    assert stream.getvalue() == "fold 0, 0 %\n"
    lanes[1].take("start", ["fold 1", 1000], cast(Any, None))
    lanes[1].take("progress", [2, "", (), None], cast(Any, None))
    display.start("2 folds", 2000, done=fold_processes._share(lanes))
    for lane in lanes:
        lane.take("progress", [102, "", (), None], cast(Any, None))
    shown[0] += 10
    fold_processes._show(lanes, display, fold_processes._share(lanes))
    # A tenth of both in ten seconds.
    assert stream.getvalue().splitlines()[1:] == ["fold 0 | fold 1, 10 %, 0:01:30 left"]


def test_how_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipe.config.environment.cores", lambda: 8)
    monkeypatch.setattr(fold_processes, "devices", list)
    assert fold_processes.workers(3, 1, 5) == 3
    assert fold_processes.workers(9, 1, 5) == 5
    assert fold_processes.workers("auto", 2, 5) == 4
    assert fold_processes.workers("auto", 16, 5) == 1
    said = list[str]()
    monkeypatch.setattr(fold_processes.log, "info", said.append)
    assert fold_processes.workers(3, 8, 5) == 3 and "; sys.threads=2 would fit" in said[-1]
    # One thread each is the least there is: then it is the folds that are too many.
    assert fold_processes.workers(12, 1, 12) == 12 and "12 folds with 1 thread each share 8 cores" in said[-1]
    assert "sys.fold_workers=8 would be as fast" in said[-1] and "sys.threads" not in said[-1]
    monkeypatch.setattr(fold_processes, "devices", lambda: ["0", "1", "2"])
    assert fold_processes.workers("auto", 8, 5) == 3


def test_gpus_are_counted_as_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert fold_processes.devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-abc")
    assert fold_processes.devices() == ["5", "GPU-abc"]


def test_gpus_are_given_out_in_turn() -> None:
    taken: list[str | None] = []
    for _ in range(5):
        taken.append(fold_processes.free_device(["5", "GPU-abc"], taken))
    assert taken == ["5", "GPU-abc", "5", "GPU-abc", "5"]
    assert fold_processes.free_device(["0", "1"], ["0"]) == "1"
    assert fold_processes.free_device([], []) is None


@pytest.mark.program
def test_the_number_of_workers_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sys.fold_workers=0"]) == 2
    assert "sys.fold_workers: must be" in capsys.readouterr().err


def facts(tmp_path: Path, name: str) -> list[dict[str, Any]]:
    """What must not depend on how many folds ran at a time."""
    found = sorted(records.load_all(Project(tmp_path / "results" / name)), key=lambda record: record.fold)
    keys = ("fold", "task", "recipe", "counts", "scores", "best_epoch", "epochs", "weights", "details", "environment")
    return [{key: getattr(record, key) for key in keys} for record in found]


@pytest.mark.program
def test_two_at_a_time_make_the_same_records_and_weights(tmp_path: Path) -> None:
    arguments = [*SMALL, "split.folds=3", "trainer.max_epochs=2", "mode.subroutines=[train,predict,test]"]
    assert main(["train", "mode.subroutines=[train]", *arguments, "proj=one"]) == 0
    command = [sys.executable, "-m", "mlpipe.cli", "train", *arguments, "sys.fold_workers=2", "proj=two"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    one, two = facts(tmp_path, "one"), facts(tmp_path, "two")
    assert len(one) == 3 and all(record["weights"] for record in one)
    assert one == two
    assert all(f"fold {number}: validation" in done.stdout for number in range(3))


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[dict[str, Any]], Path]:
    """A run whose two folds are in training, the journal's starts, and the journal."""
    arguments = [*SMALL, "split.folds=2", "trainer.max_epochs=8", "sys.fold_workers=2", "mode.subroutines=[train]"]
    command = [sys.executable, "-m", "mlpipe.cli", "train", *arguments]
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list((tmp_path / "results").rglob("state.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    (journal,) = (tmp_path / "results").rglob("journal.jsonl")
    return process, [json.loads(line) for line in journal.read_text().splitlines()], journal


@pytest.mark.program
def test_a_killed_fold_fails_alone_and_the_run_goes_on(tmp_path: Path) -> None:
    process, events, journal = started(tmp_path)
    victim = next(line for line in events if line["step"] == "train fold 1")
    os.kill(victim["pid"], signal.SIGKILL)
    _, shown = process.communicate(timeout=300)
    assert process.returncode == 1, shown
    assert "train fold 1: its process was ended by SIGKILL" in shown
    assert "to go on: mml train continue=" in shown
    ends = {line["step"]: line["event"] for line in map(json.loads, journal.read_text().splitlines())}
    assert ends == {"train fold 0": "done", "train fold 1": "failed"}
    assert main(["train", "continue=latest"]) == 0
    assert [record["fold"] for record in facts(tmp_path, "default")] == [0, 1]


@pytest.mark.program
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_fold_and_the_run_goes_on_to_the_same_weights(
    number: signal.Signals, tmp_path: Path
) -> None:
    process, events, journal = started(tmp_path)
    process.send_signal(number)
    _, shown = process.communicate(timeout=120)
    assert process.returncode == 75, shown
    assert "stopped; to go on: mml train continue=" in shown
    ends = {line["step"]: line["event"] for line in map(json.loads, journal.read_text().splitlines())}
    assert set(ends.values()) == {"interrupted"}
    assert not any(Path(f"/proc/{line['pid']}").exists() for line in events if "pid" in line)
    assert main(["train", "continue=latest"]) == 0
    assert (
        main(["train", "mode.subroutines=[train]", *SMALL, "split.folds=2", "trainer.max_epochs=8", "proj=whole"]) == 0
    )
    cut, whole = facts(tmp_path, "default"), facts(tmp_path, "whole")
    assert [record["weights"] for record in cut] == [record["weights"] for record in whole]


def test_a_stop_after_the_last_fold_is_no_interruption(tmp_path: Path) -> None:
    """Everything is done, and the run that one was told to continue is finished."""
    stop = Stop()
    stop.asked = True
    context, run = RunContext(Project(tmp_path), Display(io.StringIO()), stop), Run("a/b", tmp_path)
    lanes = [fold_processes._Lane([step("a")], cast(Any, SimpleNamespace(outcome=Outcome("done")))) for _ in range(2)]
    fold_processes._raise(lanes, context, "train", run)
    lanes[1].worker = None
    with pytest.raises(Interrupted, match="to go on: mml train continue=a/b"):
        fold_processes._raise(lanes, context, "train", run)
