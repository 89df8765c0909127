"""`-m`: a failed job is reported and the others go on; a stop says how to go on."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import pytest

from mlpipe.cli import main
from mlpipe.errors import DiskFull, Interrupted, TrainingError
from mlpipe.running import launch

SWEEP = ["train", "task=digits", "loss=ce,focal", "optimizer.lr=0.1,0.2", "-m"]
Fake = Callable[[launch.Prepared], dict[str, Any]]


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], list[float]]:
    """Put a function in place of running; collects the learning rates of what ran."""

    def use(fake: Fake) -> list[float]:
        ran: list[float] = []

        def execute(prepared: launch.Prepared, **rest: Any) -> dict[str, Any]:
            ran.append(prepared.run_config.recipe.optimizer.params["lr"])
            return fake(prepared)

        monkeypatch.setattr(launch, "execute", execute)
        return ran

    return use


def test_a_failed_job_does_not_stop_the_others(executed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fake(prepared: launch.Prepared) -> dict[str, Any]:
        lr = prepared.run_config.recipe.optimizer.params["lr"]
        if lr == 0.2:
            raise TrainingError("the loss is nan") if "focal" in prepared.run_config.recipe.loss.target else MemoryError
        return {"run": "r", "lr": lr}

    ran = executed(fake)
    assert main([*SWEEP, "--json"]) == 1
    assert ran == [0.1, 0.2, 0.1, 0.2]
    output = capsys.readouterr()
    facts = json.loads(output.out)
    assert [job["exit_code"] for job in facts["jobs"]] == [0, 1, 0, 1]
    assert facts["jobs"][3]["error"] == "the loss is nan"
    assert facts["jobs"][2]["facts"] == {"run": "r", "lr": 0.1}
    assert "job 4/4 (loss=focal optimizer.lr=0.2) failed: the loss is nan" in output.err
    assert output.err.count("failed") >= 4 and "MemoryError" in output.err


def test_all_well_is_zero(executed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    executed(lambda prepared: {"run": "r"})
    assert main(SWEEP) == 0
    shown = capsys.readouterr().out
    assert "job 2/4: loss=ce optimizer.lr=0.2" in shown
    assert "loss=focal optimizer.lr=0.1  done" in shown


def test_a_stop_names_the_jobs_that_did_not_start(executed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fake(prepared: launch.Prepared) -> dict[str, Any]:
        raise Interrupted("stopped; to go on: mml train continue=x")

    ran = executed(fake)
    assert main(SWEEP) == 75
    assert len(ran) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "stopped; to go on: mml train continue=x"
    assert lines[-1] == "mml train task=digits loss=focal optimizer.lr=0.2"
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("error", "count"),
    [
        # Without a run, the job begins anew with those that did not start.
        (OSError(errno.ENOSPC, "No space left on device"), 4),
        (DiskFull("no room", "to go on: mml train continue=x"), 3),
    ],
)
def test_a_full_disk_stops_a_sweep(
    error: Exception, count: int, executed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def fake(prepared: launch.Prepared) -> dict[str, Any]:
        raise error

    ran = executed(fake)
    assert main(SWEEP) == 75
    assert len(ran) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "free space" in lines[0]
    assert len(lines) == 2 + count


def test_the_plans_of_all_jobs_are_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "mode.folds=0,1", "-m"]
    assert main([*words, "--dry-run", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [job["job"] for job in facts["jobs"]] == [1, 2]
    assert [job["overrides"][-1] for job in facts["jobs"]] == ["mode.folds=0", "mode.folds=1"]
    assert ["train fold 1" in job["steps"] for job in facts["jobs"]] == [False, True]


def test_the_problems_of_all_jobs_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "task=digits", "arch=test_resnet", "arch.pretrained=false", "-m"]
    assert main([*words, "use_best_params=first,second"]) == 2
    shown = capsys.readouterr().err
    assert "got 'first'" in shown and "got 'second'" in shown
