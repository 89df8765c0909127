"""A stored run's versions and device against those of here."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

import mlpipe
from mlpipe.errors import ProjectError
from mlpipe.modes.doctor import stored_environment
from mlpipe.runs import journal
from mlpipe.runs.project import Project

NOW = {"mlpipe": "0.1.0", "torch": "2.9.0", "numpy": None, "device": "AMD EPYC", "python": "3.11.7"}


def test_differences_come_with_their_meaning() -> None:
    then = {"python": "3.12.0", "torch": "2.8.0", "numpy": "2.1", "mlpipe": "0.1.0", "threads": 8, "tta": "flips"}
    found = stored_environment.differences(then, NOW)
    assert [(one.name, one.then, one.now) for one in found] == [
        ("torch", "2.8.0", "2.9.0"), ("numpy", "2.1", None), ("python", "3.12.0", "3.11.7"),
    ]  # fmt: skip
    assert "weights do not" in found[0].meaning
    assert stored_environment.differences({"torch": "2.9.0"}, NOW) == []


def test_values_of_here() -> None:
    import numpy

    found = stored_environment.machine_values({"torch": "2.9.0+cu130", "gpus": [{"name": "NVIDIA H200"}]})
    assert (found["torch"], found["device"], found["numpy"]) == ("2.9.0+cu130", "NVIDIA H200", numpy.__version__)
    assert (found["mlpipe"], found["python"]) == (mlpipe.__version__, platform.python_version())
    assert stored_environment.machine_values({})["device"] == (platform.processor() or platform.machine())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path / "results/scans")
    for number, version in enumerate(("0.0.9", "0.1.0")):
        run = journal.Run(
            f"2026-01-0{number + 1}/10-00-00-aaa{number}", found.run_dir(f"2026-01-0{number + 1}/10-00-00-aaa{number}")
        )
        run.folder.mkdir(parents=True)
        run.write_plan([], "", {"mlpipe": version, "python": "3.11.7", "git": "abc"})
    return found


def test_a_run_without_records_is_compared_by_its_plan(project: Project) -> None:
    run, then = stored_environment.stored(project, "latest")
    assert run.name.endswith("aaa1") and then == {"mlpipe": "0.1.0", "python": "3.11.7"}
    run, then = stored_environment.stored(project, "aaa0")
    (row, exact) = stored_environment.compared(run, project, then, NOW)
    assert row.name == "mlpipe" and row.value.startswith("0.0.9 then, 0.1.0 now: ") and row.level == "ok"
    assert exact.level == "note"


def test_a_run_of_the_same_versions_can_be_repeated(project: Project) -> None:
    run, then = stored_environment.stored(project, "latest")
    (found,) = stored_environment.compared(run, project, then, NOW)
    assert f"mml verify mode.run={run.name} proj=scans" in found.value and found.level == "ok"


def test_projects_and_runs_that_are_not_there(project: Project) -> None:
    with pytest.raises(ProjectError, match=r"no project scan in .*; projects there: scans"):
        stored_environment.stored(Project(project.root.parent / "scan"), "latest")
    with pytest.raises(ProjectError, match="no such run"):
        stored_environment.stored(project, "zzz9")
