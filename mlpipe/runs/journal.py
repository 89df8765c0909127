"""The journal of a run on disk: its plan, the finished steps, and the process that currently runs it."""

from __future__ import annotations

import json
import os
import platform
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mlpipe import files, limits, stored
from mlpipe.errors import ProjectError, counted, did_you_mean, listing, problem
from mlpipe.runs import formats
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

CONFIG_FILE = "config.yaml"
PLAN_FILE = "plan.json"
JOURNAL_FILE = "journal.jsonl"
_FIX = "move it away; steps that are done are done again"
LOCK_FILE = "running.json"
_ENDS = ("done", "interrupted", "failed")


class Line(TypedDict):
    """The keys of every line of a journal; the others depend on the step."""

    step: str
    event: str


class Owner(TypedDict):
    """A process as described by `identity`."""

    pid: int
    host: str
    boot: NotRequired[str]
    started: NotRequired[str | None]
    at: NotRequired[str]
    slurm: NotRequired[tuple[str, int]]


class Plan(TypedDict):
    """The plan that `Run.write_plan` writes."""

    steps: list[str]
    recipe: NotRequired[str]
    versions: NotRequired[dict[str, Any]]
    command: NotRequired[str]
    number: NotRequired[int]


@dataclass(frozen=True)
class Run:
    """A run's folder and journal.

    Attributes:
        name: `DATE/TIME-SUFFIX`.
        folder: Its folder.
    """

    name: str
    folder: Path

    @property
    def checkpoints_dir(self) -> Path:
        """The folder of training states for resuming; emptied as records are written."""
        return self.folder / "checkpoints"

    @property
    def log_file(self) -> Path:
        """The complete log."""
        return self.folder / "log.txt"

    def write_plan(
        self,
        steps: Sequence[str],
        recipe: str,
        versions: Mapping[str, Any],
        command: str = "",
        number: int | None = None,
    ) -> None:
        """Write the names of all steps in order, the versions that the run uses, and its command.

        A number orders the runs of a project by their start, regardless of the clock.
        """
        plan = {"format": formats.RUN, "recipe": recipe, "steps": list(steps), "versions": dict(versions)}
        numbered = {} if number is None else {"number": number}
        files.write_json(self.folder / PLAN_FILE, {**plan, "command": command, **numbered})

    def note(self, step: str, event: str, **facts: Any) -> None:
        """Append a line to the journal: a step's `start`, `done` or `failed`."""
        line = {"at": now(), "step": step, "event": event, **facts}
        path = self.folder / JOURNAL_FILE
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        files.append_line(path, ("\n" if torn else "") + json.dumps(line))

    def events(self) -> list[dict[str, Any]]:
        """Return the journal's lines, without incomplete or invalid ones.

        Raises:
            ProjectError: When the file is not a regular file, or has more lines than any run.
        """
        path = self.folder / JOURNAL_FILE
        try:
            content = limits.content(path, limits.STORED) if path.exists() else b""
        except OSError as error:
            raise ProjectError(problem(str(path), f"cannot be read as a journal ({error})", fix=_FIX)) from error
        if content.count(b"\n") > limits.EVENTS:
            wrong = f"cannot be read as a journal (it has more than {limits.EVENTS:,} lines)"
            raise ProjectError(problem(str(path), wrong, fix=_FIX))
        lines = []
        for line in content.splitlines():
            try:
                lines.append(dict(stored.checked(Line, files.plain_json(line.decode("utf-8")))))
            except (ValueError, TypeError):
                # A step without a certain `done` line is repeated.
                continue
        return lines

    def done(self) -> set[str]:
        """The finished steps."""
        return {line["step"] for line in self.events() if line["event"] == "done"}

    def steps_at(self, moment: str) -> set[str]:
        """Return the steps that were running at a time in the format of `now`.

        Args:
            moment: The time.

        Raises:
            ProjectError: When the journal is not a regular file.
        """
        begun, steps = dict[str, str](), set[str]()
        for line in self.events():
            step, at = line["step"], str(line.get("at", ""))
            if line["event"] == "start":
                begun[step] = at
            elif line["event"] in _ENDS and begun.pop(step, "~") <= moment <= at:
                steps.add(step)
        return steps

    def plan(self) -> dict[str, Any]:
        """Return the plan that `write_plan` wrote.

        Raises:
            ProjectError: When the file is damaged or of another format.
        """
        path = self.folder / PLAN_FILE
        try:
            plan: dict[str, Any] = files.read_json(path, limits.RECORD)
        except (OSError, ValueError) as error:
            raise ProjectError(problem(str(path), f"cannot be read as a plan ({error})")) from error
        formats.check(plan, formats.RUN, path)
        if not stored.fits(plan.get("steps"), list[str]):
            raise ProjectError(problem(str(path), "has no list of steps", fix="start a new run"))
        try:
            return dict(stored.checked(Plan, plan))
        except TypeError as error:
            wrong = f"cannot be read as a plan ({error})"
            raise ProjectError(problem(str(path), wrong, fix="start a new run")) from error

    def is_finished(self) -> bool:
        """Whether every step is finished."""
        return set(self.plan()["steps"]) <= self.done()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Mark the run as running in this process, so that no other process continues it.

        Raises:
            ProjectError: When another live process is running it.
        """
        path = self.folder / LOCK_FILE
        with files.locked(self.folder / ".lock"):
            self.refuse_if_running()
            files.write_json(path, identity())
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    def refuse_if_running(self) -> None:
        """Refuse a run that another live process is running.

        Raises:
            ProjectError: When one is.
        """
        if owner := live_owner(self.folder / LOCK_FILE):
            wrong = f"another process is running it (pid {owner['pid']} on {owner['host']})"
            raise ProjectError(problem(f"continue={self.name}", wrong, fix="wait for it or stop it first"))


def names_of_recipes(project: Project, models: Iterable[ModelRecord]) -> dict[str, str]:
    """Return preset names of recipes, such as `probe`, by the recipes' hashes; other recipes are omitted.

    Steps of a preset begin with the name of their recipe, and a record is written during the step that trains it.

    Args:
        project: The project.
        models: Records; those whose run is missing, or has an unreadable journal, are skipped.
    """
    recipe_names: dict[str, str] = {}
    for record in models:
        run = Run(record.run, project.run_dir(record.run))
        try:
            steps = run.steps_at(record.created) if record.recipe not in recipe_names else set()
        except ProjectError:
            continue
        names = {step.partition(": ")[0] for step in steps if ": train " in step}
        if len(names) == 1:
            recipe_names[record.recipe] = names.pop()
    return recipe_names


def called(names: Mapping[str, str], recipe: str) -> str:
    """Return a recipe's name for people: its preset name, if any, before its hash.

    Args:
        names: The result of `names_of_recipes`.
        recipe: The hash, possibly followed by more words.
    """
    name = names.get(recipe.partition(" ")[0], "")
    return f"{name} {recipe}" if name else recipe


def create(project: Project) -> Run:
    """Create a new run's folder, named by date, time and a suffix of milliseconds (for sorting) and a random digit."""
    while True:
        moment = datetime.now()
        suffix = moment.microsecond // 1000 * 16 + secrets.randbelow(16)
        name = f"{moment:%Y-%m-%d}/{moment:%H-%M-%S}-{suffix:04x}"
        try:
            project.run_dir(name).mkdir(parents=True, exist_ok=False)
        except FileExistsError:
            continue
        return Run(name, project.run_dir(name))


def find(project: Project, name: str, key: str = "continue") -> Run:
    """Return the run that `latest`, a name or a unique ending of one names.

    Args:
        project: The project.
        name: `latest`, a name or the end of one.
        key: The configuration key with the name, for messages.

    Raises:
        ProjectError: When there is no such run; the sentence lists the existing ones.
    """
    runs = all_runs(project)
    if not runs:
        raise ProjectError(problem(key, f"project {project.name} has no runs", got=name, fix="start one"))
    if name == "latest":
        return max(runs, key=begun)
    fitting = [run for run in runs if run.name == name or run.name.endswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    names = [run.name for run in runs]
    fix = did_you_mean(name, ["latest", *names], otherwise=f"runs: {listing(names[::-1], most=5)}")
    wrong = counted(len(fitting), "run fits", "runs fit") if fitting else "there is no such run"
    raise ProjectError(problem(key, wrong, got=name, fix=fix))


def begun(run: Run) -> tuple[int, str]:
    """Return the sort key of runs by start, regardless of the clock; runs of earlier versions have no number."""
    try:
        return run.plan().get("number") or 0, run.name
    except ProjectError:
        return 0, run.name


def all_runs(project: Project) -> list[Run]:
    """Return all runs that have a plan, oldest first by the clock; after a clock change, `begun` gives the true order."""
    paths = sorted(project.runs_dir().glob(f"*/*/{PLAN_FILE}")) if project.runs_dir().is_dir() else []
    return [Run(f"{path.parent.parent.name}/{path.parent.name}", path.parent) for path in paths]


def all_run_folders(project: Project) -> list[Run]:
    """Return all runs, including those stopped before they had a plan, oldest first."""
    paths = sorted(project.runs_dir().glob("*/*/")) if project.runs_dir().is_dir() else []
    return [Run(f"{path.parent.name}/{path.name}", path) for path in paths]


def now() -> str:
    """Return the current time in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def identity() -> dict[str, Any]:
    """Return the identity of this process: number, host, boot and start; in a Slurm job, also the job."""
    pid = os.getpid()
    own = {"pid": pid, "host": platform.node(), "boot": _boot(), "started": _start_time(pid), "at": now()}
    return {**own, "slurm": _slurm_start()} if _slurm_start() else own


def live_owner(path: Path) -> dict[str, Any] | None:
    """Return the owner of a lock, unless it is this process or has ended; None as well for an invalid file."""
    owner = _owner(path)
    return owner if owner is not None and is_live(owner) and not is_own(owner) else None


def is_owned(path: Path) -> bool:
    """Return whether a lock is this process's; that of an ended process with the same number is not."""
    owner = _owner(path)
    return owner is not None and is_own(owner)


def _owner(path: Path) -> dict[str, Any] | None:
    """Return the contents of a lock; None if there are none or they are invalid."""
    try:
        return dict(stored.checked(Owner, files.read_json(path, limits.RECORD)))
    except (OSError, ValueError, TypeError):
        return None


def is_own(owner: Mapping[str, Any]) -> bool:
    """Return whether an `identity` is this process's."""
    is_here = owner.get("pid") == os.getpid() and owner.get("host") == platform.node()
    return is_here and owner.get("boot", _boot()) == _boot() and owner.get("started") == _start_time(os.getpid())


def is_live(owner: Mapping[str, Any]) -> bool:
    """Return whether the process of an `identity` may still run; only its own host can know that it has ended."""
    job, start = owner.get("slurm") or ("", 0)
    own_job, own_start = _slurm_start() or ("", 0)
    if job and job == own_job and start < own_start:
        # Slurm restarts a job only after it has ended, on whatever host.
        return False
    if owner.get("host") != platform.node():
        return True
    return owner.get("boot") == _boot() and _start_time(int(owner["pid"])) == owner.get("started")


def _slurm_start() -> list[Any]:
    """Return the Slurm job of this process and its restart count; empty outside Slurm."""
    job = os.environ.get("SLURM_JOB_ID")
    return [job, int(os.environ.get("SLURM_RESTART_COUNT", 0))] if job else []


def is_alive(pid: int) -> bool:
    """Return whether this machine runs a process with that number."""
    return _start_time(pid) is not None


def _boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text("utf-8").strip() if path.exists() else ""


def _start_time(pid: int) -> str | None:
    """Return a process's start time as counted by the system; None if there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        state, *fields = stat.read_text("utf-8").rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "other user"
    return "alive"
