"""The run that `continue=latest` goes on with: the newest unfinished one, of the project that was worked in last."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlpipe.errors import ConfigError, ProjectError, listing, problem
from mlpipe.runs import journal
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project


def find(project: Project, name: str, mode: str, *, named: bool) -> Run:
    """The run that `continue=` means.

    `latest` is the newest run of the mode that is not finished and that no other process runs, else the newest one. Runs are
    in the order in which they were begun, whatever the clock said.

    Args:
        project: The project.
        name: `latest`, a name or the end of one.
        mode: The mode of the command.
        named: Whether the command names the project; else another one that was worked in later is asked for.

    Raises:
        ProjectError: When there is no such run.
        ConfigError: When `proj=` is missing.
    """
    if name != "latest":
        _require_here(project, name, named=named)
        return journal.find(project, name)
    if not named:
        _require_last(project)
    runs = journal.all_runs(project)
    if not runs:
        return journal.find(project, name)
    plans = {run.name: _plan(run) for run in runs}
    runs.sort(key=journal.begun)
    of_mode = [run for run in runs if _mode(plans[run.name]) in ("", mode)] or runs
    unfinished = [run for run in of_mode if not _is_finished(run)]
    idle = [run for run in unfinished if journal.live_owner(run.folder / journal.LOCK_FILE) is None]
    return (idle or unfinished or of_mode)[-1]


def next_number(project: Project) -> int:
    """The number of a run that begins now."""
    return 1 + max((_plan(run).get("number") or 0 for run in journal.all_runs(project)), default=0)


def _plan(run: Run) -> dict[str, Any]:
    """A run's plan; a damaged one is named when the run is gone on with."""
    try:
        return run.plan()
    except ProjectError:
        return {}


def mode_of(run: Run) -> str:
    """The mode of the command that a run is of; empty where its plan does not say."""
    return _mode(_plan(run))


def _mode(plan: dict[str, Any]) -> str:
    words = str(plan.get("command") or "").split()
    return words[1] if len(words) > 1 else ""


def _is_finished(run: Run) -> bool:
    try:
        return run.is_finished()
    except ProjectError:
        return True


def projects(out_dir: Path) -> list[Project]:
    """The projects of a results folder that hold runs, records or studies."""
    folders = sorted(path for path in out_dir.glob("*") if path.is_dir()) if out_dir.is_dir() else []
    candidates = [Project(path) for path in folders]
    return [
        candidate
        for candidate in candidates
        if any(place.is_dir() for place in (candidate.runs_dir(), candidate.tasks_dir(), candidate.studies_dir()))
    ]


def last_project(out_dir: Path) -> Project | None:
    """The project of a results folder that has the last run; None: there is no run."""
    newest = _last_runs(out_dir)
    return Project(out_dir / _project_name(max(newest, key=_by_name))) if newest else None


def _require_last(project: Project) -> None:
    """Ask for `proj=` where another project of the folder has the last run, by the clock of runs or by that of files."""
    newest = _last_runs(project.root.parent)
    last = {_project_name(max(newest, key=key)) for key in (_by_name, _by_file)} if newest else set()
    if others := sorted(last - {project.name}):
        fix = f"add proj={others[0]}, or proj={project.name} where that one is meant"
        wrong = f"the last run below {project.root.parent} is of project {listing(others)}"
        raise ConfigError(problem("continue", wrong, got="latest", fix=fix))


def _last_runs(out_dir: Path) -> list[Run]:
    """The last run of each project of a results folder that has one."""
    run_lists = [journal.all_runs(project) for project in projects(out_dir)]
    return [max(runs, key=_by_name) for runs in run_lists if runs]


def _project_name(run: Run) -> str:
    return run.folder.parents[2].name


def _by_name(run: Run) -> tuple[str, float]:
    return run.name, 0.0


def _by_file(run: Run) -> tuple[str, float]:
    return "", (run.folder / journal.PLAN_FILE).stat().st_mtime


def _require_here(project: Project, name: str, *, named: bool) -> None:
    """Say of which project a run is that is not of this one."""
    if named or _has_run(journal.all_runs(project), name):
        return
    homes = [other.name for other in projects(project.root.parent) if _has_run(journal.all_runs(other), name)]
    if homes:
        wrong = f"is a run of project {listing(homes)}, not of {project.name}"
        raise ConfigError(problem("continue", wrong, got=name, fix=f"add proj={homes[0]}"))


def _has_run(runs: Iterable[Run], name: str) -> bool:
    return any(run.name == name or run.name.endswith(name) for run in runs)
