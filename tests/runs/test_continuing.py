"""`continue=latest`: the newest unfinished run of the project that was worked in last."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlpipe import files
from mlpipe.errors import ConfigError
from mlpipe.runs import continuing, journal
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project


def make(project: Project, name: str, *, done: bool, mode: str = "train", number: int | None = None) -> Run:
    run = Run(name, project.run_dir(name))
    run.write_plan(["one"], "", {}, f"mml {mode} task=digits", number)
    if done:
        run.note("one", "done")
    return run


def latest(project: Project, mode: str = "train", *, named: bool = True) -> str:
    return continuing.find(project, "latest", mode, named=named).name


def test_an_unfinished_run_goes_before_a_finished_one_of_a_wrong_clock(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    make(project, "2030-01-01/00-00-00-aaaa", done=True)
    make(project, "2026-01-01/00-00-00-bbbb", done=False)
    make(project, "2025-01-01/00-00-00-cccc", done=False)
    assert latest(project) == "2026-01-01/00-00-00-bbbb"


def test_the_number_goes_before_the_clock(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    assert continuing.next_number(project) == 1
    make(project, "2030-01-01/00-00-00-aaaa", done=False, number=1)
    assert continuing.next_number(project) == 2
    make(project, "2026-01-01/00-00-00-bbbb", done=False, number=2)
    # Of an earlier version, without a number.
    make(project, "2031-01-01/00-00-00-cccc", done=False)
    assert latest(project) == "2026-01-01/00-00-00-bbbb"


def test_another_mode_and_one_that_runs_are_left_alone(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    make(project, "2026-01-01/00-00-00-aaaa", done=False)
    busy = make(project, "2026-01-02/00-00-00-bbbb", done=False)
    files.write_json(busy.folder / journal.LOCK_FILE, {**journal.identity(), "host": "another"})
    make(project, "2026-01-03/00-00-00-cccc", done=False, mode="predict")
    assert latest(project) == "2026-01-01/00-00-00-aaaa"
    assert latest(project, "predict") == "2026-01-03/00-00-00-cccc"
    make(project, "2026-01-04/00-00-00-dddd", done=True)
    assert latest(project, "test") == "2026-01-03/00-00-00-cccc"


def test_all_finished_gives_the_last(tmp_path: Path) -> None:
    project = Project(tmp_path / "p")
    make(project, "2026-01-01/00-00-00-aaaa", done=True, number=2)
    make(project, "2026-01-02/00-00-00-bbbb", done=True, number=1)
    assert latest(project) == "2026-01-01/00-00-00-aaaa"


@pytest.mark.parametrize("by", ["name", "file"])
def test_the_last_run_of_another_project_asks_for_its_name(tmp_path: Path, by: str) -> None:
    mine, theirs = Project(tmp_path / "default"), Project(tmp_path / "clinic")
    mine_at, theirs_at = ("2026-01-01", "2026-01-02") if by == "name" else ("2026-01-02", "2026-01-01")
    older = make(mine, f"{mine_at}/00-00-00-aaaa", done=False)
    newer = make(theirs, f"{theirs_at}/00-00-00-bbbb", done=False)
    os.utime(older.folder / journal.PLAN_FILE, (1, 1))
    os.utime(newer.folder / journal.PLAN_FILE, (2, 2) if by == "file" else (0, 0))
    with pytest.raises(
        ConfigError, match=r"continue: the last run below .* is of project clinic, got 'latest'; add proj=clinic"
    ):
        latest(mine, named=False)
    assert latest(mine, named=True) == older.name
    with pytest.raises(ConfigError, match=r"is a run of project clinic, not of default, got 'bbbb'; add proj=clinic"):
        continuing.find(mine, "bbbb", "train", named=False)


def test_the_only_project_is_asked_for_too(tmp_path: Path) -> None:
    make(Project(tmp_path / "clinic"), "2026-01-01/00-00-00-aaaa", done=False)
    with pytest.raises(ConfigError, match="add proj=clinic, or proj=default where that one is meant"):
        latest(Project(tmp_path / "default"), named=False)


def test_a_run_of_a_recipe_can_be_continued_now(tmp_path: Path) -> None:
    """A damaged plan of another run must not end a training, and one that is running cannot be continued."""
    project = Project(tmp_path / "p")
    assert continuing.of_recipe(project, "abc") is None
    for number, (name, recipe) in enumerate((("aaaa", "abc"), ("bbbb", "abc"), ("cccc", "abc"), ("dddd", "xyz"))):
        run = Run(f"2026-01-0{number + 1}/00-00-00-{name}", project.run_dir(f"2026-01-0{number + 1}/00-00-00-{name}"))
        run.write_plan(["one"], recipe, {}, "", number)
    first, second, third, _ = journal.all_runs(project)
    assert continuing.of_recipe(project, "abc") == third
    third.note("one", "done")
    files.write_json(second.folder / journal.LOCK_FILE, {**journal.identity(), "host": "another"})
    damaged = make(project, "2026-01-05/00-00-00-eeee", done=False)
    (damaged.folder / journal.PLAN_FILE).write_text("{")
    assert continuing.of_recipe(project, "abc") == first
