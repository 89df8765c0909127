"""`mml clean`: free disk space, after asking; files that are in use or needed to continue a run stay."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlpipe import files
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, ProjectError, did_you_mean, listing, problem
from mlpipe.reports import tables
from mlpipe.running import deletable, task_names
from mlpipe.running.deletable import Leftover
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step
from mlpipe.runs import folder_users, records
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_WORDS = {
    "temp": "unfinished files or states of finished runs",
    "download": "unpacked archives",
    "cache": "caches",
    "parameters": "weights",
}


class CleanScheduler(Scheduler):
    """Delete leftovers in the data folder and in the project; links are never followed.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        subroutines: Any of `temp` (unfinished files, states of finished runs), `download` (unpacked archives), `cache`
            (packed images), `parameters` (the weights of the project's records).
        force: Do not ask, and also delete what unfinished runs need.
        all: All tasks; False: those of `task_list`, and `task` if it is given.
        pivot: Include `task`; None: only if it was given on the command line.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        subroutines: list[str],
        force: bool,
        all: bool,
        pivot: bool | None,
    ) -> None:
        super().__init__(run_config, context)
        self._subroutines, self._force, self._all, self._pivot = subroutines, force, all, pivot
        self._agreed = False

    def refuse_links(self) -> None:
        """Keep links, wherever they point: only the link itself could be deleted."""

    def plan(self) -> list[Step]:
        """Plan one step that asks, and one step for each path to delete.

        Raises:
            ConfigError: When no task is named, or an unknown one.
        """
        leftovers = [self._with_force(item) for item in self._leftovers()]
        going = [item for item in leftovers if not item.kept]
        for leftover in leftovers:
            if leftover.kept:
                log.info(f"kept: {leftover.path} ({_megabytes(leftover.size)}): {leftover.kept}")
        self.context.facts.update(
            deleted=[], bytes=0, kept={str(item.path): item.kept for item in leftovers if item.kept}
        )
        if not going:
            log.info(
                f"nothing to delete: there are no {' and no '.join(_WORDS[subroutine] for subroutine in self._subroutines)}"
            )
            return []
        steps = [
            Step(f"delete {item.path} ({_megabytes(item.size)})", partial(self._delete, item), False) for item in going
        ]
        return [Step("ask", partial(self._ask, going), in_project=False), *steps]

    def _leftovers(self) -> list[Leftover]:
        config, project = self.run_config, self.context.project
        data_dir, chosen = config.data_dir, self._tasks()
        going_on = deletable.unfinished(config.out_dir)
        leftovers: list[Leftover] = []
        if "temp" in self._subroutines:
            of_tasks = [*(data_dir / name for name in chosen), *(project.tasks_dir() / name for name in chosen)]
            leftovers += deletable.temporary_files(_real_folders([data_dir, project.root] if self._all else of_tasks))
            leftovers += deletable.checkpoints(project, going_on) if self._all else []
        if "download" in self._subroutines:
            leftovers += deletable.unpacked(data_dir, chosen, everything=self._all)
        if "cache" in self._subroutines:
            leftovers += [leftover for name in chosen for leftover in deletable.caches(data_dir, name, going_on)]
        if "parameters" in self._subroutines:
            leftovers += deletable.weights(project, chosen, going_on)
        # A folder inside another deleted folder is deleted with it.
        folders = {leftover.path for leftover in leftovers}
        return [leftover for leftover in leftovers if not folders & set(leftover.path.parents)]

    def _tasks(self) -> list[str]:
        """Return the names of the selected tasks."""
        config, project = self.run_config, self.context.project
        of_project = [path.name for path in project.tasks_dir().iterdir()] if project.tasks_dir().is_dir() else []
        known_tasks = sorted({*task_names.created(config.data_dir), *of_project})
        if self._all:
            return known_tasks
        names = [*config.task_list, *([self._pivot_name()] if self._pivot else [])]
        if not names:
            fix = "add task=NAME, task_list=[NAME,...] or mode.all=true"
            raise ConfigError(problem("mode.all=false", "no task is named, so there is nothing to clean", fix=fix))
        wrong = [
            problem(
                "task_list",
                "unknown task",
                got=name,
                fix=did_you_mean(name, known_tasks, otherwise=_known_tasks_hint(known_tasks)),
            )
            for name in names
            if name not in known_tasks
        ]
        if wrong:
            raise ConfigError(wrong)
        return list(dict.fromkeys(names))

    def _pivot_name(self) -> str:
        """Return the task's name; a created task is not read, so that a damaged one can be cleaned too."""
        of = self.run_config.task
        return str(of.params["name"] if of.name == "created" else of.build().name)

    def _with_force(self, leftover: Leftover) -> Leftover:
        return replace(leftover, kept="") if self._force and not leftover.in_use else leftover

    def _ask(self, going: list[Leftover], run: Run | None) -> None:
        """Show what will be deleted and how large it is, and ask for confirmation on a terminal.

        Raises:
            ConfigError: When there is no terminal and `mode.force` is not set.
        """
        rows = [[leftover.kind, _megabytes(leftover.size), str(leftover.path)] for leftover in going]
        log.info(tables.grid(["what", "size", "where"], rows))
        total = _megabytes(sum(leftover.size for leftover in going))
        if self._force:
            self._agreed = True
            return
        if not sys.stdin.isatty():
            fix = "add mode.force=true to delete without being asked, or --dry-run to look only"
            raise ConfigError(problem("mode.force", f"there is no terminal to ask on before {total} go", fix=fix))
        print(f"delete these {len(going)} ({total})? [y/N] ", end="", file=sys.stderr, flush=True)
        self._agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
        # Ctrl-C at the question counts as a no.
        self.context.stop.check()
        if not self._agreed:
            log.info("nothing was deleted")

    def _delete(self, leftover: Leftover, run: Run | None) -> None:
        if not self._agreed:
            return
        self._require_inside(leftover.path)
        if leftover.record is not None:
            records.without_weights(self.context.project, leftover.record, "deleted by mml clean")
        elif leftover.kind == "cache" and (
            folder_users.other_users(leftover.path) or deletable.is_locked(leftover.path)
        ):
            log.warning(f"kept: {leftover.path}: a process has begun to use it")
            return
        elif leftover.path.is_dir():
            # Rename first, so that other processes see either the whole folder or none of it.
            moved = (
                leftover.path
                if leftover.kind == "temp"
                else leftover.path.with_name(files.temporary_name(leftover.path))
            )
            if moved != leftover.path:
                leftover.path.rename(moved)
            shutil.rmtree(moved)
        else:
            leftover.path.unlink(missing_ok=True)
        self.context.facts["deleted"].append(str(leftover.path))
        self.context.facts["bytes"] += leftover.size
        log.info(f"deleted {leftover.path} ({_megabytes(leftover.size)})")

    def _require_inside(self, path: Path) -> None:
        roots = [self.run_config.data_dir.resolve(), self.context.project.root.resolve()]
        if path.is_symlink() or not any(path.resolve().is_relative_to(root) for root in roots):
            raise ProjectError(
                problem(str(path), "lies outside the data folder and the project", fix="delete it by hand")
            )


def _real_folders(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]


def _known_tasks_hint(names: list[str]) -> str:
    return f"known tasks: {listing(names) or 'none'}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 50_000 else f"{size / 1e3:.1f} kB"
