"""Folders and files that `mml clean` may delete: path, size, and a reason to keep them."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from mlpipe import files
from mlpipe.data.cache import filling, packs
from mlpipe.errors import ProjectError
from mlpipe.runs import folder_users, journal, records, stale_files
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

Kind = Literal["temp", "download", "cache", "parameters"]
# A younger file may still be written by a process of another machine.
_SAFE_SECONDS = 3600.0


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may be deleted.

    Attributes:
        path: A file or a folder.
        kind: The subroutine that deletes it.
        size: Its size in bytes.
        kept: Why it is kept; empty if it may be deleted.
        in_use: A process uses it, so that it is kept even when forced.
        record: The record to which the weights belong.
    """

    path: Path
    kind: Kind
    size: int
    kept: str = ""
    in_use: bool = False
    record: ModelRecord | None = None


@dataclass(frozen=True)
class Unfinished:
    """A run that can be continued.

    Attributes:
        run: The run.
        project: Its project.
        tree: Its configuration.
        running: Whether a process is running it.
    """

    run: Run
    project: Project
    tree: dict[str, Any]
    running: bool

    @property
    def name(self) -> str:
        """The name shown in sentences."""
        return f"run {self.run.name} of {self.project.name}"

    @property
    def predicts(self) -> bool:
        """Whether it applies stored weights of its project; True if its configuration is unreadable."""
        mode = self.tree.get("mode")
        if not isinstance(mode, dict):
            return True
        subroutines = mode.get("subroutines") or ()
        return mode.get("search") == "soup" or (
            "train" not in subroutines and ("predict" in subroutines or "test" in subroutines)
        )

    def may_use(self, task: str, stored: dict[str, Any]) -> bool:
        """Return whether the run may train on a task or predict it; True if its configuration is unreadable.

        Args:
            task: The task's name.
            stored: The contents of the task's file.
        """
        node = self.tree.get("task") or {}
        function = str(node.get("_target_", "")).rpartition(".")[2]
        if task in (node.get("name"), function, *(self.tree.get("task_list") or ())):
            return True
        if node.get("name") is not None or function in ("digits", "fashion_mini"):
            return False
        root, own = node.get("root"), stored.get("source", {}).get("root")
        return root is None or own is None or root == own or Path(str(root)).is_file()


def unfinished(out_dir: Path) -> list[Unfinished]:
    """Return the runs of all projects that can be continued or are in progress."""
    runs = []
    for root in sorted(out_dir.iterdir()) if out_dir.is_dir() else ():
        project = Project(root)
        for run in journal.all_runs(project) if not root.is_symlink() else ():
            if _is_finished(run):
                continue
            runs.append(Unfinished(run, project, _config(run.folder / journal.CONFIG_FILE), _is_running(run)))
    return runs


def temporary_files(roots: Iterable[Path]) -> Iterator[Leftover]:
    """Return files and folders that a process started below some folders and never finished; links are not followed."""
    for root in roots:
        for folder, folders, names in os.walk(root):
            matched = [name for name in [*folders, *names] if stale_files.is_temporary(name)]
            folders[:] = [name for name in folders if name not in matched]
            for name in sorted(matched):
                path = Path(folder) / name
                if not path.is_symlink():
                    yield _temporary_leftover(path)


def checkpoints(project: Project, going_on: Collection[Unfinished]) -> Iterator[Leftover]:
    """Return saved training states: those of finished runs may be deleted, others are kept."""
    by_folder = {candidate.run.folder: candidate for candidate in going_on}
    for run in journal.all_runs(project):
        folder = run.checkpoints_dir
        if not folder.is_dir() or folder.is_symlink() or not any(folder.iterdir()):
            continue
        holder = by_folder.get(run.folder)
        yield Leftover(
            folder, "temp", size(folder), _need_sentence(holder), in_use=holder is not None and holder.running
        )


def unpacked(data_dir: Path, tasks: Collection[str], *, everything: bool) -> Iterator[Leftover]:
    """Return unpacked archives: those that no task reads may be deleted, others are kept.

    Args:
        data_dir: The folder of tasks.
        tasks: Tasks whose archives are included.
        everything: Whether archives of no task are included too.
    """
    root = data_dir / "archives"
    described = {path.parent.name: _task_description(path) for path in data_dir.glob("*/task.json")}
    for folder in sorted(root.iterdir()) if root.is_dir() and not root.is_symlink() else ():
        if folder.is_symlink() or not folder.is_dir() or folder.name.startswith("."):
            continue
        # A task that cannot be read may read its images from any archive.
        readers = [
            name
            for name, stored in described.items()
            if stored is None or _has_path_inside(stored.get("source"), folder)
        ]
        if everything or set(readers) & set(tasks):
            reason = f"task {readers[0]} reads its images there" if readers else ""
            yield Leftover(folder, "download", size(folder), reason)


def caches(data_dir: Path, task: str, going_on: Collection[Unfinished]) -> Iterator[Leftover]:
    """Return a task's packed images, with the features computed from them."""
    root = data_dir / task / "cache"
    if not root.is_dir() or root.is_symlink() or root.parent.is_symlink():
        return
    task_file = data_dir / task / "task.json"
    stored = _task_description(task_file) or {}
    needing = _first_running([candidate for candidate in going_on if candidate.may_use(task, stored)])
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink()):
        if stale_files.is_temporary(folder.name):
            continue
        running = needing is not None and needing.running
        leftover = Leftover(folder, "cache", size(folder), _need_sentence(needing), in_use=running)
        if not packs.is_complete(folder) and (folder / filling.PART_FILE).is_file():
            leftover = replace(leftover, kept=leftover.kept or "it is half filled, and mml pp goes on with it")
        users = folder_users.other_users(folder)
        if users:
            reason = f"process {users[0]['pid']} on {users[0]['host']} uses it"
            leftover = replace(leftover, kept=reason, in_use=True)
        elif is_locked(folder):
            leftover = replace(leftover, kept="a process fills it", in_use=True)
        yield leftover


def weights(project: Project, tasks: Collection[str], going_on: Collection[Unfinished]) -> Iterator[Leftover]:
    """Return the weights of a project's records, except those that unfinished runs still need."""
    by_run = {candidate.run.name: candidate for candidate in going_on if candidate.project.root == project.root}
    for record in records.load_all(project):
        folder = project.model_dir(record.pivot, record.id)
        path = folder / records.WEIGHTS_FILE
        linked = any(part.is_symlink() for part in (path, folder, folder.parent, folder.parent.parent))
        if record.pivot not in tasks or linked or not path.is_file():
            continue
        own = [by_run[record.run]] if record.run in by_run else []
        holder = _first_running(
            [*own, *(candidate for candidate in going_on if _starts_from(candidate, project, record))]
        )
        yield Leftover(
            path, "parameters", size(path), _need_sentence(holder), holder is not None and holder.running, record
        )


def _task_description(path: Path) -> dict[str, Any] | None:
    """Return a task's stored description; None if it cannot be read."""
    try:
        description = files.read_json(path)
    except (OSError, ValueError):
        return None
    return description if isinstance(description, dict) else None


def size(path: Path) -> int:
    """Return the size in bytes of a file, or of all files below a folder; links count as themselves."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a pack's folder."""
    if not (folder / ".lock").is_file():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def _temporary_leftover(path: Path) -> Leftover:
    leftover, pid = Leftover(path, "temp", size(path)), stale_files.process_of(path.name)
    if stale_files.is_dead(path.name):
        return leftover
    if journal.is_alive(pid):
        return replace(leftover, kept=f"process {pid} may be writing it", in_use=True)
    if time.time() - path.lstat().st_mtime < _SAFE_SECONDS:
        return replace(leftover, kept="it is younger than an hour, a process of another machine may be writing it")
    return leftover


def _first_running(needing: list[Unfinished]) -> Unfinished | None:
    """Return the first run of those needed that is in progress, if any."""
    return next(iter(sorted(needing, key=lambda run: not run.running)), None)


def _need_sentence(holder: Unfinished | None) -> str:
    if holder is None:
        return ""
    return f"{holder.name} {'is going on' if holder.running else 'is not finished and can be continued'}"


def _is_finished(run: Run) -> bool:
    """Return whether a run has ended; one whose plan cannot be read may still need its files."""
    try:
        return run.is_finished()
    except ProjectError:
        return False


def _is_running(run: Run) -> bool:
    try:
        run.refuse_if_running()
    except ProjectError:
        return True
    return False


def _starts_from(run: Unfinished, project: Project, record: ModelRecord) -> bool:
    """Return whether an unfinished run starts from a record, or predicts with those of its project."""
    if run.project.root == project.root and run.predicts and run.may_use(record.pivot.partition("+")[0], {}):
        return True
    reuse = run.tree.get("reuse") or {}
    texts = [reuse.get("parameters"), *([models] if isinstance(models := reuse.get("models"), str) else models or [])]
    for text in texts:
        name, _, reference = str(text or "").partition("#")
        root = Path(name) if "/" in name else run.project.root.parent / name
        if name and root == project.root and reference in ("", str(record.number), record.id):
            return True
    return False


def _has_path_inside(source: Any, folder: Path) -> bool:
    """Return whether a stored source names a path in a folder: of its images, tables, masks, or of one of its parts."""
    if isinstance(source, dict):
        return any(_has_path_inside(value, folder) for value in source.values())
    if isinstance(source, list):
        return any(_has_path_inside(value, folder) for value in source)
    return isinstance(source, str) and Path(source).is_relative_to(folder)


def _config(path: Path) -> dict[str, Any]:
    try:
        tree = files.read_yaml(path)
    except (OSError, ValueError):
        # Without a configuration, the run's needs are unknown, and `may_use` always returns True.
        return {}
    return tree if isinstance(tree, dict) else {}
