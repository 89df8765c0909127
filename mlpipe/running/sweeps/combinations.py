"""Sweeps (`-m`): every combination of comma-separated values as a run, all checked before the first one starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mlpipe.config import presets
from mlpipe.config.overrides import expand
from mlpipe.errors import (
    STOPPED_RESUMABLE,
    ConfigError,
    DataError,
    Interrupted,
    MlpipeError,
    ProjectError,
    in_short,
    typed,
)
from mlpipe.post import kind as post_kind
from mlpipe.post.figures import number
from mlpipe.reports import tables
from mlpipe.running import launch, leaderboard, next_command
from mlpipe.running.folds import output_records
from mlpipe.running.launch import Command, Front, Prepared
from mlpipe.running.time_plan import clock
from mlpipe.runs import records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

log = logging.getLogger("mlpipe")


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        overrides: All its overrides.
        varied: The overrides that distinguish it from the others.
        prepared: Its checked configuration.
    """

    overrides: list[str]
    varied: list[str]
    prepared: Prepared

    @property
    def project(self) -> Project:
        """The project of its run."""
        return Project(self.prepared.run_config.project_dir)


def prepare(command: Command, extra_dirs: Sequence[Path] = (), *, front: Front) -> list[Job]:
    """Return the jobs of a sweep, all of them checked.

    Args:
        command: The command as typed.
        extra_dirs: Further folders of configuration files.
        front: Reads files of other programs, for each job.

    Raises:
        ConfigError: With a sentence for every problem of every job.
    """
    jobs, prepared, problems = expand(command.overrides), [], []
    for job in jobs:
        try:
            prepared.append(launch.prepare(front.native(replace(command, overrides=job)), extra_dirs))
        except (ConfigError, DataError, ProjectError) as error:
            problems += list(error.problems)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    shared = set.intersection(*(set(job) for job in jobs))
    return [
        Job(job, [text for text in job if text not in shared], preparation)
        for job, preparation in zip(jobs, prepared, strict=True)
    ]


def execute(
    mode: str, jobs: Sequence[Job], *, display: Any = None, stop: Any = None, started: float | None = None
) -> dict[str, Any]:
    """Run the jobs one after the other; failed jobs are reported, and the others continue.

    A time limit applies to the whole command: each job has an equal share of what is left when it starts, unless limits
    are swept.

    Args:
        mode: The mode's name.
        jobs: The result of `prepare`.
        display: Shows progress; None makes one for standard error.
        stop: Whether the user asked to stop; None makes one.
        started: The start time of the command, on the clock of `time.monotonic`; None: now.

    Returns:
        The facts that `--json` prints: for each job its overrides, its exit code, its error and its facts; under
        `exit_code` the largest of the codes.

    Raises:
        Interrupted: When asked to stop, or the disk is full; says how to continue this job and those that did not
            start.
    """
    from mlpipe.reports.progress import Display
    from mlpipe.running.steps import AGAIN, Stop, end_process, full_disk

    stop, display, outcomes = stop or Stop(end_process), display or Display(), []
    since = time.monotonic() if started is None else started
    with stop.listening():
        for number, job in enumerate(jobs, start=1):
            if stop():
                raise Interrupted(_continue_commands("stopped", mode, jobs[number - 1 :]))
            # The run before it is executed.
            stop.go_on = Stop.go_on
            stop.completed = partial(_continue_sentence, mode, jobs, number)
            log.info(f"job {number}/{len(jobs)}: {typed(job.varied) or 'as given'}")
            started = time.perf_counter()
            outcome: dict[str, Any] = {"job": number, "overrides": job.overrides, "exit_code": 0, "error": None}
            try:
                with full_disk(AGAIN), display.within(f"job {number} of {len(jobs)}"):
                    prepared = _job_with_share(job, since, len(jobs) - number + 1)
                    outcome["facts"] = launch.execute(prepared, display=display, stop=stop, is_part=True)
            except MlpipeError as error:
                if error.exit_code == STOPPED_RESUMABLE:
                    raise Interrupted(_continue_sentence(mode, jobs, number, str(error))) from None
                outcome |= {"exit_code": 1, "error": str(error)}
            except Exception as error:
                # For example a full GPU: the next job may be smaller.
                log.debug(f"job {number} failed", exc_info=True)
                outcome |= {"exit_code": 1, "error": in_short(error)}
            outcome["seconds"] = round(time.perf_counter() - started, 1)
            if outcome["error"]:
                log.error(f"job {number}/{len(jobs)} ({typed(job.varied)}) failed: {outcome['error']}")
            else:
                log.info(f"job {number}/{len(jobs)}: {_scores(job, outcome['facts'])}, {clock(outcome['seconds'])}")
            outcomes.append(outcome)
    _end(jobs, outcomes)
    return {"mode": mode, "jobs": outcomes, "exit_code": max(outcome["exit_code"] for outcome in outcomes)}


def _end(jobs: Sequence[Job], outcomes: Sequence[dict[str, Any]]) -> None:
    """Print the leaderboards at the end of the jobs, each once, and the jobs below them."""
    ended = [(job, outcome.get("facts") or {}) for job, outcome in zip(jobs, outcomes, strict=True)]
    boards = [(job.project, row["task"]) for job, facts in ended for row in facts.get("leaderboard") or ()]
    leaderboard.print_several(boards)
    log.info("\n" + table(jobs, outcomes))
    configs = {job.project: job.prepared.run_config for job, facts in ended if facts.get("leaderboard")}
    for project, config in configs.items():
        log.info(f"results: {project.root}\nall figures: {next_command.info_command(config, project)}")


def _job_with_share(job: Job, begun: float, left: int) -> Prepared:
    """Return the job with its share of the command's time limit.

    Args:
        job: The job.
        begun: The start time of the command.
        left: The number of jobs left, this one included.
    """
    config = job.prepared.run_config
    limit = presets.seconds_of(config.tree.get("time_limit"))
    if limit is None or any(text.startswith("time_limit=") for text in job.varied):
        return job.prepared
    share = max(1.0, (limit - (time.monotonic() - begun)) / left)
    return replace(job.prepared, run_config=replace(config, tree={**config.tree, "time_limit": round(share)}))


def _continue_sentence(mode: str, jobs: Sequence[Job], number: int, sentence: str) -> str:
    """Return how to continue a sweep stopped in one of its jobs, given the sentence on continuing that job alone."""
    # A job without a run starts anew with the others.
    begun = "continue=" in sentence
    text = f"{sentence}{_project(jobs[number - 1])}" if begun else sentence
    return _continue_commands(text, mode, jobs[number - (not begun) :])


def _project(job: Job) -> str:
    """Return the overrides that `continue=` needs besides the run's name."""
    words = [text for text in job.overrides if text.partition("=")[0] in ("proj", "out_dir", "data_dir")]
    return "".join(f" {typed([word])}" for word in [*words, *launch.permissions_to_continue(job.prepared.run_config)])


def _continue_commands(sentence: str, mode: str, left: Sequence[Job]) -> str:
    commands = [f"mml {mode} {typed(job.overrides)}" for job in left]
    return "\n".join([sentence, *(["jobs of the sweep that did not start:"] if commands else []), *commands])


def table(jobs: Sequence[Job], outcomes: Sequence[dict[str, Any]]) -> str:
    """Format a row for each job: its overrides, its scores or its error, its run."""
    header = ["job", "overrides", "result", "recipe", "run", "seconds", "error"]
    rows = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        facts = outcome.get("facts", {})
        error = (outcome["error"] or "").partition("\n")[0]
        rows.append(
            [
                str(outcome["job"]),
                " ".join(job.varied),
                "failed" if error else _scores(job, facts),
                " ".join(dict.fromkeys(record.recipe for record in _records(job, facts))),
                str(facts.get("run", "")),
                f"{outcome['seconds']:.0f}",
                error[:80],
            ]
        )
    return tables.grid(header, rows)


def _records(job: Job, facts: dict[str, Any]) -> list[ModelRecord]:
    """Return the records of a job's run; for several outputs, the joint records, which judge the run."""
    own = [record for record in records.load_all(job.project) if record.run == facts.get("run")]
    return output_records.without_heads(own)


def _scores(job: Job, facts: dict[str, Any]) -> str:
    """Return the final score if the run reported one, as presets do; else the mean over its folds, if it made records."""
    if (final := facts.get("final")) and final["value"] is not None:
        return f"{final['where']} {final['metric']} {number(final['value'], final.get('images'))}"
    folds = [record for record in _records(job, facts) if not record.refit]
    parts = []
    for split in ("val", "test"):
        name = post_kind.of(folds[0].kind).HEADLINE if folds else ""
        values = [record.scores.get(split, {}).get(name) for record in folds]
        numbers = [value for value in values if value is not None]
        if numbers:
            # As in the leaderboard: validation scores cover all images together, test scores the same images.
            images = [record.counts.get(split, 0) for record in folds]
            count = sum(images) if split == "val" else max(images)
            parts.append(f"{split} {name} {number(sum(numbers) / len(numbers), count or None)}")
    return ", ".join(parts) or "done"
