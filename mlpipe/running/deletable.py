"""Folders and files that `mml clean` may delete: their place and size, and why one is better kept."""

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
# A process of another machine may be writing a younger one.
_SAFE_SECONDS = 3600.0


@dataclass(frozen=True)
class Leftover:
    """Something that may be deleted.

    Attributes:
        path: A file or a folder.
        kind: The subroutine that deletes it.
        size: Its bytes.
        kept: Why it stays, empty when it goes.
        in_use: It stays even when forced, because a process uses it.
        record: The record that the weights belong to.
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
        running: Whether a process runs it now.
    """

    run: Run
    project: Project
    tree: dict[str, Any]
    running: bool

    @property
    def name(self) -> str:
        """The name in sentences."""
        return f"run {self.run.name} of {self.project.name}"

    def may_use(self, task: str, stored: dict[str, Any]) -> bool:
        """Whether it may learn a task or predict it; yes when its configuration does not tell.

        Args:
            task: The task's name.
            stored: What the task's file holds.
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
    """The runs of all projects that can be continued or are going on."""
    found = []
    for root in sorted(out_dir.iterdir()) if out_dir.is_dir() else ():
        project = Project(root)
        for run in journal.all_runs(project) if not root.is_symlink() else ():
            if run.is_finished():
                continue
            found.append(Unfinished(run, project, _config(run.folder / journal.CONFIG_FILE), _is_running(run)))
    return found


def temporary(roots: Iterable[Path]) -> Iterator[Leftover]:
    """Files and folders that a process began below some folders and never finished; links are not followed."""
    for root in roots:
        for folder, folders, names in os.walk(root):
            matched = [name for name in [*folders, *names] if stale_files.is_temporary(name)]
            folders[:] = [name for name in folders if name not in matched]
            for name in sorted(matched):
                path = Path(folder) / name
                if not path.is_symlink():
                    yield _judged_temporary(path)


def checkpoints(project: Project, going_on: Collection[Unfinished]) -> Iterator[Leftover]:
    """States to resume from: those of finished runs go, those of others stay."""
    by_folder = {one.run.folder: one for one in going_on}
    for run in journal.all_runs(project):
        folder = run.checkpoints_dir
        if not folder.is_dir() or folder.is_symlink() or not any(folder.iterdir()):
            continue
        one = by_folder.get(run.folder)
        yield Leftover(folder, "temp", size(folder), _needed(one), in_use=one is not None and one.running)


def unpacked(data_dir: Path, tasks: Collection[str], *, everything: bool) -> Iterator[Leftover]:
    """Archives that were unpacked: those that no task reads go, the others stay.

    Args:
        data_dir: The folder of tasks.
        tasks: Tasks whose archives count.
        everything: Archives that belong to no task count too.
    """
    root = data_dir / "archives"
    described = {path.parent.name: _described(path) for path in data_dir.glob("*/task.json")}
    for folder in sorted(root.iterdir()) if root.is_dir() and not root.is_symlink() else ():
        if folder.is_symlink() or not folder.is_dir() or folder.name.startswith("."):
            continue
        # Where a task cannot be read, it may read its images anywhere.
        readers = [
            name for name, stored in described.items() if stored is None or _reads(stored.get("source") or {}, folder)
        ]
        if everything or set(readers) & set(tasks):
            kept = f"task {readers[0]} reads its images there" if readers else ""
            yield Leftover(folder, "download", size(folder), kept)


def caches(data_dir: Path, task: str, going_on: Collection[Unfinished]) -> Iterator[Leftover]:
    """A task's packed images, with the features that were computed from them."""
    root = data_dir / task / "cache"
    if not root.is_dir() or root.is_symlink() or root.parent.is_symlink():
        return
    task_file = data_dir / task / "task.json"
    stored = _described(task_file) or {}
    needing = _first([one for one in going_on if one.may_use(task, stored)])
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.is_symlink()):
        if stale_files.is_temporary(folder.name):
            continue
        running = needing is not None and needing.running
        found = Leftover(folder, "cache", size(folder), _needed(needing), in_use=running)
        if not packs.is_complete(folder) and (folder / filling.PART_FILE).is_file():
            found = replace(found, kept=found.kept or "it is half filled, and mml pp goes on with it")
        users = folder_users.others(folder)
        if users:
            kept = f"process {users[0]['pid']} on {users[0]['host']} uses it"
            found = replace(found, kept=kept, in_use=True)
        elif is_locked(folder):
            found = replace(found, kept="a process fills it", in_use=True)
        yield found


def weights(project: Project, tasks: Collection[str], going_on: Collection[Unfinished]) -> Iterator[Leftover]:
    """The weights of a project's records, but for what unfinished runs still need."""
    by_run = {one.run.name: one for one in going_on if one.project.root == project.root}
    for record in records.load_all(project):
        folder = project.model_dir(record.pivot, record.id)
        path = folder / records.WEIGHTS_FILE
        linked = any(part.is_symlink() for part in (path, folder, folder.parent, folder.parent.parent))
        if record.pivot not in tasks or linked or not path.is_file():
            continue
        own = [by_run[record.run]] if record.run in by_run else []
        one = _first([*own, *(one for one in going_on if _starts_from(one, project, record))])
        yield Leftover(path, "parameters", size(path), _needed(one), one is not None and one.running, record)


def _described(path: Path) -> dict[str, Any] | None:
    """A task's stored description; None where it cannot be read."""
    try:
        found = files.read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def size(path: Path) -> int:
    """The bytes of a file, or of all files below a folder; links count as themselves."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum((Path(folder) / name).lstat().st_size for folder, _, names in os.walk(path) for name in names)


def is_locked(folder: Path) -> bool:
    """Whether a process holds the lock of a pack's folder."""
    if not (folder / ".lock").is_file():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def _judged_temporary(path: Path) -> Leftover:
    found, pid = Leftover(path, "temp", size(path)), stale_files.process_of(path.name)
    if stale_files.is_dead(path.name):
        return found
    if journal.is_alive(pid):
        return replace(found, kept=f"process {pid} may be writing it", in_use=True)
    if time.time() - path.lstat().st_mtime < _SAFE_SECONDS:
        return replace(found, kept="it is younger than an hour, a process of another machine may be writing it")
    return found


def _first(needing: list[Unfinished]) -> Unfinished | None:
    """Of the runs that need something one that is going on, if there is any."""
    return next(iter(sorted(needing, key=lambda one: not one.running)), None)


def _needed(one: Unfinished | None) -> str:
    if one is None:
        return ""
    return f"{one.name} {'is going on' if one.running else 'is not finished and can be continued'}"


def _is_running(run: Run) -> bool:
    try:
        run.refuse_if_running()
    except ProjectError:
        return True
    return False


def _starts_from(one: Unfinished, project: Project, record: ModelRecord) -> bool:
    """Whether an unfinished run starts from a record, or predicts with those of its project."""
    reuse = one.tree.get("reuse") or {}
    texts = [reuse.get("parameters"), *([models] if isinstance(models := reuse.get("models"), str) else models or [])]
    for text in texts:
        name, _, wanted = str(text or "").partition("#")
        root = Path(name) if "/" in name else one.project.root.parent / name
        if name and root == project.root and wanted in ("", str(record.number), record.id):
            return True
    return False


def _reads(source: dict[str, Any], folder: Path) -> bool:
    root = source.get("root")
    return root is not None and Path(root).is_relative_to(folder)


def _config(path: Path) -> dict[str, Any]:
    try:
        tree = files.read_yaml(path)
    except (OSError, ValueError):
        # Without a configuration nothing is known of what the run needs, and `may_use` says yes to everything.
        return {}
    return tree if isinstance(tree, dict) else {}
