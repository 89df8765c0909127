"""The table of a sweep's runs."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlpipe.running.steps import Stop
from mlpipe.running.sweeps import combinations
from mlpipe.runs.project import Project
from tests.build import make_record


def test_a_run_with_a_final_score_shows_it(tmp_path: Path) -> None:
    """A preset's run has records of several recipes, whose mean is nothing."""
    job: Any = SimpleNamespace(project=Project(tmp_path), varied=["seed=1"])
    final = {"where": "out-of-fold", "metric": "accuracy", "value": 0.98125, "images": 300}
    outcomes = [{"job": 1, "error": "", "seconds": 3.0, "facts": {"run": "a", "final": one}} for one in (final, None)]
    shown = combinations.table([job, job], outcomes).splitlines()
    assert "out-of-fold accuracy 0.981" in shown[2] and "done" in shown[3]


def test_a_run_of_several_outputs_shows_that_of_all_together(tmp_path: Path) -> None:
    """Heads have records of the same run, whose scores were in the mean."""
    project, facts = Project(tmp_path), {"run": "a", "config": "seed: 1\n"}
    make_record(project, "net-f0", pivot="rows", task="rows", scores={"val": {"accuracy": 0.25}}, **facts)
    head = {"pivot": "rows+head?x", "task": "rows+head?x", "recipe": "22222222"}
    make_record(project, "net-f0-x", scores={"val": {"accuracy": 0.75}}, **head, **facts)
    job: Any = SimpleNamespace(project=project, varied=["seed=1"])
    row = combinations.table([job], [{"job": 1, "error": "", "seconds": 3.0, "facts": {"run": "a"}}]).splitlines()[-1]
    assert "val accuracy 0.2" in row and "11111111" in row and "22222222" not in row


def test_no_job_is_told_to_go_on_with_the_run_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, stop = list[str](), Stop()

    def run(prepared: Any, *, stop: Stop, **more: Any) -> dict[str, Any]:
        told.append(stop.go_on)
        stop.go_on = "to go on: mml train continue=RUN"
        return {}

    job: Any = SimpleNamespace(project=Project(tmp_path), varied=["seed=1"], overrides=[], prepared=None)
    monkeypatch.setattr(combinations.launch, "execute", run)
    monkeypatch.setattr(combinations, "_job_with_share", lambda job, begun, left: job.prepared)
    combinations.execute("train", [job, job], stop=stop)
    assert told == ["run the same command again"] * 2


def test_a_job_is_one_line_and_the_leaderboard_stands_once_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    project, numbers = Project(tmp_path / "p"), iter((0, 1))

    def run(prepared: Any, *, is_part: bool, **more: Any) -> dict[str, Any]:
        assert is_part
        place = next(numbers)
        make_record(project, f"{place}{place}-0", run=f"r{place}", recipe=f"recipe{place}", config="seed: 1\n")
        return {"run": f"r{place}", "leaderboard": [{"task": "digits"}]}

    config: Any = SimpleNamespace(given=None)
    jobs: Any = [
        SimpleNamespace(
            project=project, varied=[f"seed={one}"], overrides=[], prepared=SimpleNamespace(run_config=config)
        )
        for one in (1, 2)
    ]
    monkeypatch.setattr(combinations.launch, "execute", run)
    monkeypatch.setattr(combinations, "_job_with_share", lambda job, begun, left: job.prepared)
    monkeypatch.setattr(logging.getLogger("mlpipe"), "propagate", True)
    with caplog.at_level(logging.INFO, "mlpipe"):
        combinations.execute("train", jobs)
    # A record that propagates may be captured twice.
    said = list({id(record): record.getMessage() for record in caplog.records}.values())
    assert [one.rpartition(",")[0] for one in said if one.startswith("job") and "accuracy" in one] == [
        "job 1/2: val accuracy 0.5000",
        "job 2/2: val accuracy 0.5000",
    ]
    (board,) = [one for one in said if "accuracy of 2 recipes" in one]
    jobs_table = next(one for one in said if "overrides" in one)
    assert said.index(board) < said.index(jobs_table)
    assert "recipe0" in jobs_table and "recipe1" in jobs_table
    assert said[-1] == f"results: {project.root}\nall figures: mml info proj=p"


def test_who_asks_twice_is_told_of_the_jobs_that_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = SimpleNamespace(run_config=None)
    jobs: Any = [SimpleNamespace(overrides=[f"seed={one}", "proj=p"], prepared=prepared) for one in (1, 2, 3)]
    monkeypatch.setattr(combinations.launch, "permissions_to_continue", lambda config: [])
    told = combinations._continue_sentence("train", jobs, 2, "to go on: mml train continue=RUN")
    assert told.splitlines() == [
        "to go on: mml train continue=RUN proj=p",
        "jobs of the sweep that did not start:",
        "mml train seed=3 proj=p",
    ]
    # A job that left no run begins anew.
    assert combinations._continue_sentence("train", jobs, 2, Stop.go_on).splitlines()[2] == "mml train seed=2 proj=p"
