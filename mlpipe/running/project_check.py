"""Whether the project that a command reads is there, so that nothing is made for one that is not."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mlpipe.config.schema import RunConfig
from mlpipe.errors import ProjectError, did_you_mean, listing, problem
from mlpipe.runs import continuing, records
from mlpipe.runs.project import Project

# Modes that read records, which they do not make.
_READ = ("predict", "test", "post")
# Modes that look at a project; without its name, also at a task that nothing was trained on, or at data alone.
_LOOK = ("info", "verify", "upgrade", "downgrade")
# What names models, predictions or slices of somewhere else.
_ELSEWHERE = ("reuse", "arch", "recipe")


def check(config: RunConfig, keys: Collection[str]) -> None:
    """Refuse a command that reads what a project does not hold.

    Args:
        config: The configuration, without records of elsewhere put in.
        keys: What the command line says.

    Raises:
        ProjectError: When there is no such project, or it is empty.
    """
    mode = config.mode
    if mode not in (*_READ, *_LOOK) or _makes_its_own(config.tree, keys):
        return
    project, named = Project(config.project_dir), "proj" in keys
    there = [one.name for one in continuing.projects(config.out_dir)]
    if project.name not in there and (named or (there and (mode in _READ or "task" not in keys))):
        near = did_you_mean(project.name, there)
        known = f"there are {listing(there)}" if there else f"train something first: mml train proj={project.name}"
        fix = f"{near} {known}" if near else known
        wrong = f"there is no project {project.name} in {config.out_dir}"
        raise ProjectError(problem("proj", wrong, fix=fix))
    if mode in _READ and not records.load_all(project):
        raise records.untrained(project, _task(config))


def _makes_its_own(tree: Any, keys: Collection[str]) -> bool:
    trains = "train" in (tree["mode"].get("subroutines") or ())
    # `mml upgrade mode.source=DIR` takes a project of mml-core over into a new one; elsewhere it names images.
    imports = "source_data" in tree["mode"] and tree["mode"].get("source") is not None
    return trains or imports or any(key.split(".")[0] in _ELSEWHERE for key in keys)


def _task(config: RunConfig) -> str:
    """A task as the command line names it."""
    name = config.task.params.get("name")
    return str(name) if isinstance(name, str) else config.task.target.rpartition(".")[2]
