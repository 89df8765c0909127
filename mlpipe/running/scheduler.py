"""The base scheduler of all modes: a plan of resumable steps, run in order, each recorded in the run's journal."""

from __future__ import annotations

import logging
import platform
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import mlpipe
from mlpipe import files, limits
from mlpipe.config import snapshot
from mlpipe.config.schema import RunConfig
from mlpipe.errors import Interrupted, MlpipeError, ProjectError, VisibleLines, counted, problem
from mlpipe.running import tracking
from mlpipe.running.steps import AGAIN, RunContext, Step, Stop, full_disk
from mlpipe.runs import continuing, journal, stale_files
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

# A commit hash, and the maximum size of the Git files that lead to one.
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_MOST_BYTES = 1 << 12


class Scheduler(ABC):
    """Plan and run one mode. A subclass takes the mode's keys as keyword-only parameters.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
    """

    def __init__(self, run_config: RunConfig, context: RunContext) -> None:
        self.run_config, self.context = run_config, context
        self._snapshot, self._recipe_hash = run_config, ""

    @abstractmethod
    def plan(self) -> list[Step]:
        """Return all steps in order, after checking everything that requires the data.

        Raises:
            ConfigError: With a sentence for every problem.
            DataError: Likewise.
        """

    def outlook(self) -> None:  # noqa: B027
        """Report what can be said about a plan that is not executed, beside its steps' names; nothing for most modes."""

    def decided(self, config: RunConfig, recipe_hash: str = "") -> None:
        """Set, while planning, what is stored with the run.

        Args:
            config: The configuration with decisions that depend on the data.
            recipe_hash: The hash that groups the run's records with others; empty for modes that make none.
        """
        self._snapshot, self._recipe_hash = config, recipe_hash

    def run(self, resumed: Run | None = None) -> None:
        """Run every unfinished step.

        Args:
            resumed: The run to continue; None: start a new one.
        """
        self.refuse_links()
        go_on = self._continue_hint(resumed) if resumed else AGAIN
        # A continued run is locked before it is planned, so that two commands never plan the same one. A new run has no
        # folder yet: errors of planning and of the data steps, or a stop, leave no trace in the project.
        with full_disk(go_on), self.context.stop.listening(), resumed.running() if resumed else nullcontext():
            steps = self.plan()
            of_project = [step for step in steps if step.in_project]
            if resumed:
                stopped = f"stopped; {go_on}"
            elif of_project:
                stopped = f"stopped before anything was written to the project; {Stop.go_on}"
            else:
                stopped = f"stopped; what is done stays; {Stop.go_on}"
            self._prepare_data([step for step in steps if not step.in_project], stopped)
            if resumed:
                self._run_in_project(of_project, resumed)
            elif of_project:
                self._mention_unfinished()
                started = self.start(of_project)
                # From here on, there is a run to continue, which the inner guard names; the outer one leaves its
                # message unchanged.
                with full_disk(self._continue_hint(started)), started.running():
                    self._run_in_project(of_project, started)

    def refuse_links(self) -> None:
        """Refuse folders of results and data that contain links to elsewhere, because writing would change other files.

        Raises:
            ProjectError: With a sentence for each link.
        """
        config = self.run_config
        links = [*files.links_out(self.context.project.root), *files.links_out(config.data_dir, leaving=("archives",))]
        if links:
            fix = "replace it by what it leads to, or name that folder by out_dir= or data_dir="
            raise ProjectError([problem(str(link), "is a link that leads elsewhere", fix=fix) for link in links[:20]])

    def _continue_hint(self, run: Run) -> str:
        return f"to go on: mml {self.run_config.mode} continue={run.name}"

    def _prepare_data(self, steps: list[Step], stopped: str) -> None:
        """Run the steps before those of the run; their results are found again next time.

        Args:
            steps: The steps.
            stopped: The sentence for a user who asks to stop.
        """
        try:
            for step in steps:
                self.context.stop.check()
                step.call(None)
            self.context.stop.check()
        except Interrupted:
            raise Interrupted(stopped) from None

    def _run_in_project(self, steps: list[Step], run: Run) -> None:
        with _log_file(run.log_file):
            root = self.context.project.root
            # With the run locked, and before any step: half-written files of dead processes occupy space that steps may
            # need.
            for path in [*stale_files.sweep(root), *stale_files.sweep(root.parent, deep=False)]:
                log.debug(f"deleted {path}: the process that wrote it ended before it was whole")
            self.context.facts["run"] = run.name
            self.context.stop.go_on = self._continue_hint(run)
            if self.context.follower:
                self.context.follower.run(run.name)
            finished_names = run.done()
            if finished_names:
                log.info(
                    f"continues run {run.name}: {len(finished_names)} of {counted(len(steps), 'step is', 'steps are')} done"
                )
            self._do_all([step for step in steps if step.name not in finished_names], run)
            tracking.publish(self.run_config, self.context.project, run, self.context.facts)

    def _do_all(self, steps: list[Step], run: Run) -> None:
        """Run the steps one after the other, or lanes in parallel if configured."""
        setting = self.run_config.sys.fold_workers
        if setting == 1:
            for step in steps:
                self._do(step, run)
            return
        from mlpipe.running.processes import fold_processes

        for block in fold_processes.blocks(steps):
            at_once = fold_processes.workers(setting, self.run_config.recipe.threads, len(block))
            if at_once > 1:
                fold_processes.run(self._snapshot, self.context, run, block, at_once)
            else:
                for step in (step for lane in block for step in lane):
                    self._do(step, run)

    def start(self, steps: Sequence[Step]) -> Run:
        """Start a new run with all steps of the plan open; `run` or a process that continues it runs them.

        Args:
            steps: The steps that run in the project.
        """
        number = continuing.next_number(self.context.project)
        run = journal.create(self.context.project)
        snapshot.save(self._snapshot, run.folder / journal.CONFIG_FILE)
        versions = {"mlpipe": mlpipe.__version__, "python": platform.python_version(), "git": _git_commit(Path.cwd())}
        names = [step.name for step in steps]
        run.write_plan(names, self._recipe_hash, versions, self.context.command, number)
        return run

    def _mention_unfinished(self) -> None:
        run = continuing.of_recipe(self.context.project, self._recipe_hash) if self._recipe_hash else None
        if run is not None:
            log.info(f"an unfinished run of this recipe exists; to go on with it: continue={run.name}")

    def _do(self, step: Step, run: Run) -> None:
        # The journal records `start` before and `done` after a step: a step killed in between is repeated, so every
        # step must be repeatable.
        run.note(step.name, "start")
        started = time.perf_counter()
        try:
            self.context.stop.check()
            # Slow preparations before the first progress report, such as importing a library, are shown by name.
            with self.context.display.during(step.name):
                step.call(run)
        except Interrupted:
            run.note(step.name, "interrupted")
            raise Interrupted(f"stopped; {self._continue_hint(run)}") from None
        except KeyboardInterrupt:
            run.note(step.name, "interrupted")
            raise
        except Exception as error:
            if files.disk_is_full(error):
                log.debug("the disk is full", exc_info=True)
                # The journal may lie on the same full disk. Without the line, the step just counts as unfinished.
                with suppress(OSError):
                    run.note(step.name, "interrupted")
                raise
            run.note(step.name, "failed", error=str(error))
            if not isinstance(error, MlpipeError):
                log.debug("a step failed", exc_info=True)
            raise
        run.note(step.name, "done", seconds=round(time.perf_counter() - started, 3))


class _LogFile(logging.StreamHandler):  # type: ignore[type-arg]
    """A log file whose disk may be full: the next write then reports it, with what to do."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Report an error of writing a line, except for a full disk."""
        error = sys.exc_info()[1]
        if error is None or not files.disk_is_full(error):
            super().handleError(record)


class _Lines(VisibleLines):
    """Indent the further lines of a message, so that a name with a line break cannot look like a line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as lines."""
        return super().format(record).replace("\n", "\n    ")


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Write everything that is logged, including tracebacks, to the run's log file."""
    stream = files.open_own(path)
    handler = _LogFile(stream)
    handler.setLevel(logging.DEBUG)
    handler.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))
    warnings_log = logging.getLogger("py.warnings")
    for logger in (log, warnings_log):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in (log, warnings_log):
            logger.removeHandler(handler)
        handler.close()
        with suppress(OSError):
            stream.close()


def _git_commit(folder: Path) -> str | None:
    """Return the commit of the current folder, read from .git; None outside a repository."""
    for parent in (folder, *folder.parents):
        git = parent / ".git"
        # In a worktree or a submodule, .git is a file that names the folder; an enclosing repository is not meant.
        if git.is_file():
            git = parent / _short_text(git).removeprefix("gitdir: ")
        elif not (git / "HEAD").is_file():
            continue
        content = _short_text(git / "HEAD")
        if content.startswith("ref: "):
            name = content.removeprefix("ref: ")
            # Worktrees share references, and git packs rarely written ones.
            shared = git / _short_text(git / "commondir")
            content = _short_text(git / name) or _short_text(shared / name) or _packed(shared, name)
        # Any other content is not a commit, such as a text file of the user's that a reference points to.
        return content if _COMMIT.fullmatch(content) else None
    return None


def _packed(git: Path, name: str) -> str:
    """Return the target of a packed Git reference; empty if it is not packed."""
    lines = (line.partition(" ") for line in _short_text(git / "packed-refs", limits.TEXT).splitlines())
    return next((commit for commit, _, packed in lines if packed == name), "")


def _short_text(file: Path, most: int = _MOST_BYTES) -> str:
    """Return the text of a small file; empty if there is none."""
    try:
        return limits.text(file, most).strip()
    except (OSError, ValueError):
        return ""
