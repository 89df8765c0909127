"""The run that `continue=latest` continues: the newest unfinished one, of the project used last."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlpipe.errors import ConfigError, ProjectError, listing, problem
from mlpipe.runs import journal
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project


def find(project: Project, name: str, mode: str, *, named: bool) -> Run:
    """Return the run that `continue=` names.

    `latest` is the newest run of the mode that is unfinished and not running in another process, else the newest one.
    Runs are ordered by their start, regardless of the clock.

    Args:
        project: The project.
        name: `latest`, a name or the end of one.
        mode: The mode of the command.
        named: Whether the command names the project; otherwise, `proj=` is requested if another project was used later.

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
    return ([run for run in unfinished if _is_idle(run)] or unfinished or of_mode)[-1]


def of_recipe(project: Project, recipe: str) -> Run | None:
    """Return the newest run of a recipe that can be continued now; None: there is none.

    Args:
        project: The project.
        recipe: The recipe's hash.
    """
    runs = [run for run in journal.all_runs(project) if _plan(run).get("recipe") == recipe]
    return max((run for run in runs if not _is_finished(run) and _is_idle(run)), key=journal.begun, default=None)


def _is_idle(run: Run) -> bool:
    """Return whether no other process is running a run."""
    return journal.live_owner(run.folder / journal.LOCK_FILE) is None


def next_number(project: Project) -> int:
    """Return the number of a new run."""
    return 1 + max((_plan(run).get("number") or 0 for run in journal.all_runs(project)), default=0)


def _plan(run: Run) -> dict[str, Any]:
    """Return a run's plan; a damaged plan is reported when the run is continued."""
    try:
        return run.plan()
    except ProjectError:
        return {}


def mode_of(run: Run) -> str:
    """Return the mode of a run's command; empty if its plan does not say."""
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
    """Return the projects of a results folder that contain runs, records or studies."""
    folders = sorted(path for path in out_dir.glob("*") if path.is_dir()) if out_dir.is_dir() else []
    candidates = [Project(path) for path in folders]
    return [
        candidate
        for candidate in candidates
        if any(place.is_dir() for place in (candidate.runs_dir(), candidate.tasks_dir(), candidate.studies_dir()))
    ]


def last_project(out_dir: Path) -> Project | None:
    """Return the project of a results folder with the last run; None: there is no run."""
    newest = _last_runs(out_dir)
    return Project(out_dir / _project_name(max(newest, key=_by_name))) if newest else None


def _require_last(project: Project) -> None:
    """Require `proj=` if another project of the folder has the last run, by the clock of runs or of files."""
    newest = _last_runs(project.root.parent)
    last = {_project_name(max(newest, key=key)) for key in (_by_name, _by_file)} if newest else set()
    if others := sorted(last - {project.name}):
        fix = f"add proj={others[0]}, or proj={project.name} where that one is meant"
        wrong = f"the last run below {project.root.parent} is of project {listing(others)}"
        raise ConfigError(problem("continue", wrong, got="latest", fix=fix))


def _last_runs(out_dir: Path) -> list[Run]:
    """Return the last run of each project of a results folder that has runs."""
    run_lists = [journal.all_runs(project) for project in projects(out_dir)]
    return [max(runs, key=_by_name) for runs in run_lists if runs]


def _project_name(run: Run) -> str:
    return run.folder.parents[2].name


def _by_name(run: Run) -> tuple[str, float]:
    return run.name, 0.0


def _by_file(run: Run) -> tuple[str, float]:
    return "", (run.folder / journal.PLAN_FILE).stat().st_mtime


def _require_here(project: Project, name: str, *, named: bool) -> None:
    """Raise an error that names the project of a run that is not in this one."""
    if named or _has_run(journal.all_runs(project), name):
        return
    homes = [other.name for other in projects(project.root.parent) if _has_run(journal.all_runs(other), name)]
    if homes:
        wrong = f"is a run of project {listing(homes)}, not of {project.name}"
        raise ConfigError(problem("continue", wrong, got=name, fix=f"add proj={homes[0]}"))


def _has_run(runs: Iterable[Run], name: str) -> bool:
    return any(run.name == name or run.name.endswith(name) for run in runs)
