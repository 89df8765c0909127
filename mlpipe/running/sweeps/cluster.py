"""Sweeps on Slurm (`hydra/launcher=slurm`): the jobs form one array, which is followed until all have ended.

The parent resolves and plans every job and writes its run, as if it had been started and stopped; a worker is given the
run's name and continues it, so that later changes of a configuration do not reach a queued job. A job that is asked to
stop (USR1, TERM, or USR2 before its time limit) ends after its batch and is queued again; it finds its own state.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlpipe import current_folder
from mlpipe.config.launcher import GROUP, Launcher
from mlpipe.config.schema import RunConfig
from mlpipe.errors import (
    STEP_FAILED,
    STOPPED_RESUMABLE,
    ConfigError,
    Interrupted,
    MlpipeError,
    VisibleLines,
    in_short,
    not_installed,
    problem,
    typed,
)
from mlpipe.reports.progress import Display
from mlpipe.running import launch
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import RunContext, Step, Stop
from mlpipe.running.sweeps import combinations
from mlpipe.running.sweeps.combinations import Job
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")

_POLL, _ASK = 0.5, 3.0
# Seconds between Slurm's report of a job's end and our conclusion that it left no result: files appear with a delay.
_GRACE = 10.0
# How often a job that is stopped asks Slurm for its own state.
_QUESTIONS = 5
_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


@dataclass
class _Queued:
    """A job in the queue."""

    number: int
    job: Job
    run: Run
    submitted: Any
    has_run: bool = False
    missing_since: float | None = None
    outcome: dict[str, Any] | None = None
    started: float = field(default_factory=time.perf_counter)

    @property
    def label(self) -> str:
        return f"job {self.number} ({typed(self.job.varied) or 'as given'}, Slurm {self.submitted.job_id})"


def execute(mode: str, jobs: Sequence[Job], launcher: Launcher) -> dict[str, Any]:
    """Queue the jobs of a sweep and wait for all of them; failed or dead jobs are reported, the others are kept.

    Args:
        mode: The mode's name.
        jobs: The result of `sweeps.prepare`.
        launcher: How they are queued.

    Returns:
        The facts that `--json` prints, in the form of `sweeps.execute`.

    Raises:
        ConfigError: When a job cannot be planned, or Slurm refuses the array.
        Interrupted: When asked to stop; the jobs stay in the queue.
    """
    submitit = _submitit()
    # Every job is planned here, and its run created, before Slurm is called: errors in any job are reported at once,
    # and a job always continues a run, so that a job started twice by Slurm continues instead of starting anew.
    planned = _planned(mode, jobs)
    runs = [scheduler.start(steps) for scheduler, steps in planned]
    folder = _folder(launcher)
    try:
        parameters = _parameters(launcher, [job.prepared.run_config for job in jobs])
        executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=launcher.max_num_timeout)
        executor.update_parameters(**parameters)
        words = [_words(job, run) for job, run in zip(jobs, runs, strict=True)]
        submitted = executor.map_array(Worker(), [mode] * len(jobs), words)
    except Exception as error:
        # No job was accepted: runs that would never be executed must not stay in the project.
        for run in runs:
            shutil.rmtree(run.folder)
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        wrong = f"Slurm took no jobs ({reason[-1]})"
        raise ConfigError(problem(GROUP, wrong, fix="check the keys of hydra.launcher")) from error
    queue = [
        _Queued(number, job, run, submission)
        for number, (job, run, submission) in enumerate(zip(jobs, runs, submitted, strict=True), start=1)
    ]
    for entry in queue:
        entry.run.note("queue", "queued", job=entry.submitted.job_id)
        log.info(f"{entry.label}: queued as run {entry.run.name}")
    _wait(mode, queue)
    outcomes = [{**(item.outcome or {}), "run": item.run.name, "slurm": item.submitted.job_id} for item in queue]
    log.info("\n" + combinations.table(jobs, outcomes))
    code = max(outcome["exit_code"] for outcome in outcomes)
    if code == 0:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        log.info(f"what the jobs printed: {folder}")
    return {"mode": mode, "jobs": outcomes, "exit_code": code}


def _submitit() -> Any:
    try:
        module = importlib.import_module("submitit")
    except ImportError:
        raise ConfigError(not_installed(GROUP, "submitit", otherwise="leave it out")) from None
    if shutil.which("sbatch") is None:
        fix = "run it on a machine of the cluster, or leave it out"
        raise ConfigError(problem(GROUP, "this machine has no sbatch command", got="slurm", fix=fix))
    return module


def _planned(mode: str, jobs: Sequence[Job]) -> list[tuple[Scheduler, list[Step]]]:
    """Plan the steps of every job and report all problems together; nothing is written to the project."""
    problems: list[str] = []
    planned = []
    for job in jobs:
        scheduler: Scheduler = job.prepared.run_config.scheduler.build(
            job.prepared.run_config, RunContext(job.project, Display())
        )
        try:
            steps = [step for step in scheduler.plan() if step.in_project]
        except MlpipeError as error:
            problems += str(error).splitlines()
            continue
        if job.prepared.resumed is not None or not steps:
            problems.append(problem(GROUP, f"mml {mode} has no run to queue here", fix="leave it out"))
        planned.append((scheduler, steps))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return planned


def _folder(launcher: Launcher) -> Path:
    """Create a folder for the launcher's own files, outside all projects."""
    cache = current_folder.expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = current_folder.expanded(launcher.submitit_folder) if launcher.submitit_folder else cache / "mlpipe" / "queue"
    folder = home.absolute() / f"{time.strftime('%Y-%m-%d-%H-%M-%S')}-{secrets.token_hex(2)}"
    folder.mkdir(parents=True)
    return folder


def _words(job: Job, run: Run) -> list[str]:
    """Return the overrides for the worker: the run, and its folders."""
    return launch.words_to_continue(job.prepared.run_config, run.name)


def _parameters(launcher: Launcher, configs: Sequence[RunConfig]) -> dict[str, Any]:
    """Return submitit's parameters; the default number of cores is that of the largest job."""
    cores = launcher.cpus_per_task or max(_cores(config) for config in configs)
    own = ("partition", "qos", "account", "constraint", "exclude", "gres", "comment", "signal_delay_s",
           "array_parallelism")  # fmt: skip
    parameters = {f"slurm_{key}": getattr(launcher, key) for key in own}
    parameters |= {key: getattr(launcher, key) for key in ("name", "timeout_min", "gpus_per_node", "mem_gb")}
    parameters |= {"cpus_per_task": cores, "slurm_setup": launcher.setup or None}
    parameters["slurm_additional_parameters"] = launcher.additional_parameters or None
    return {key: value for key, value in parameters.items() if value is not None}


def _cores(config: RunConfig) -> int:
    def number(value: Any) -> int:
        return value if isinstance(value, int) else 1

    processes = number(config.sys.fold_workers) * number(config.recipe.trainer.get("devices", 1))
    loaders = config.sys.num_workers if isinstance(config.sys.num_workers, int) else 0
    return processes * (config.recipe.threads + loaders)


def _wait(mode: str, queue: Sequence[_Queued]) -> None:
    """Follow the jobs until each has an outcome."""
    stop, asked_at = Stop(), 0.0
    with stop.listening():
        while waiting := [item for item in queue if item.outcome is None]:
            if stop():
                array = str(queue[0].submitted.job_id).partition("_")[0]
                sentence = f"the jobs stay in the queue; scancel {array} ends them"
                commands = [f"mml {mode} {typed(_words(item.job, item.run))}" for item in waiting]
                raise Interrupted("\n".join([sentence, "to go on with one that has been ended:", *commands]))
            for entry in waiting:
                _take_result(entry)
            if time.monotonic() - asked_at >= _ASK:
                asked_at = time.monotonic()
                _compare_queue([item for item in waiting if item.outcome is None], mode)
            time.sleep(_POLL)


def _take_result(entry: _Queued) -> None:
    """Take the outcome that a worker left, if there is one."""
    if not entry.submitted.paths.result_pickle.is_file():
        return
    try:
        outcome = entry.submitted.result()
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        outcome = {"exit_code": STEP_FAILED, "error": lines[-1].strip() if lines else type(error).__name__}
    _note_outcome(entry, outcome)


def _note_outcome(entry: _Queued, outcome: dict[str, Any]) -> None:
    seconds = round(time.perf_counter() - entry.started, 1)
    entry.outcome = {"job": entry.number, "overrides": entry.job.overrides, "facts": {}, **outcome, "seconds": seconds}
    if outcome["error"]:
        log.error(f"{entry.label} failed: {outcome['error']}")
    else:
        log.info(f"{entry.label}: done")


def _compare_queue(waiting: Sequence[_Queued], mode: str) -> None:
    """Report jobs that Slurm no longer knows and that left no outcome, and state changes of the others."""
    if not waiting:
        return
    # Slurm forgets a job soon after its end, while the file with its outcome may still be on its way through a shared
    # disk: a job is given up only after it has been missing for a while. None: Slurm did not answer, which proves
    # nothing.
    job_states = states([str(item.submitted.job_id) for item in waiting])
    for entry in waiting if job_states is not None else ():
        assert job_states is not None
        state = job_states.get(str(entry.submitted.job_id), "")
        if state and state not in _ENDED:
            if entry.has_run and state == "PENDING":
                log.info(f"{entry.label}: was stopped and is queued again")
            entry.has_run = state == "RUNNING" or (entry.has_run and state != "PENDING")
            entry.missing_since = None
        elif entry.missing_since is None:
            entry.missing_since = time.monotonic()
        elif time.monotonic() - entry.missing_since > _GRACE:
            how = _slurm_ending(str(entry.submitted.job_id)) or state or "Slurm does not know it any more"
            go_on = f"mml {mode} {typed(_words(entry.job, entry.run))}"
            entry.run.note("queue", "failed", error=how)
            _note_outcome(
                entry, {"exit_code": STEP_FAILED, "error": f"ended without a result ({how}); to go on: {go_on}"}
            )


def states(ids: Sequence[str]) -> dict[str, str] | None:
    """Return Slurm's state of each job that it knows, such as RUNNING; None if it does not answer.

    Args:
        ids: The jobs, those of arrays as `ARRAY_TASK`.
    """
    arrays = ",".join(dict.fromkeys(name.partition("_")[0] for name in ids))
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={arrays}", "--format=%i|%T"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return {} if "Invalid job id" in answer.stderr else None
    lines = [line.split("|") for line in answer.stdout.splitlines() if "|" in line]
    return {name.strip(): state.strip() for name, state in lines}


def _slurm_ending(name: str) -> str:
    """Describe how a job ended, as far as Slurm still knows."""
    command = ["scontrol", "show", "job", name, "--oneliner"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    state, code = re.search(r"JobState=(\w+)", output), re.search(r"ExitCode=(\d+):(\d+)", output)
    if state is None or code is None:
        return ""
    number = int(code[2]) or max(int(code[1]) - 128, 0)
    try:
        return f"{state[1]}, {signal.Signals(number).name}"
    except ValueError:
        return f"{state[1]}, exit code {code[1]}"


class Worker:
    """A Slurm job: it continues its run and, when asked to stop, is queued again with its saved state."""

    def __call__(self, mode: str, words: list[str]) -> dict[str, Any]:
        """Continue a run.

        Args:
            mode: The run's mode.
            words: `continue=` and the folders of the project.

        Returns:
            `exit_code`, `error` and `facts`, as for a job of a sweep in this process.
        """
        stop = Stop()
        again = signal.getsignal(signal.SIGUSR2)
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
            signal.signal(number, lambda number, frame: setattr(stop, "asked", True))
        _set_up_logging()
        try:
            facts = launch.execute(launch.prepare(launch.Command(mode, words)), stop=stop)
        except Interrupted as error:
            return _queue_again(again, str(error))
        except MlpipeError as error:
            return {"exit_code": max(STEP_FAILED, error.exit_code), "error": str(error)}
        except Exception as error:
            log.exception("the job failed")
            return {"exit_code": STEP_FAILED, "error": in_short(error)}
        return {"exit_code": 0, "error": None, "facts": facts}

    def checkpoint(self, mode: str, words: list[str]) -> Any:
        """Return the job that submitit queues again: the same, because the state is already in the run's folder."""
        return importlib.import_module("submitit").helpers.DelayedSubmission(self, mode, words)


def _queue_again(handler: Any, sentence: str) -> dict[str, Any]:
    """End with 75 to be queued again by submitit, unless Slurm is ending the job itself (scancel, a preemption).

    Returns:
        The outcome of a job that may not be queued again.
    """
    state = _own_state()
    if state in ("RUNNING", ""):
        signal.signal(signal.SIGUSR2, handler)
        try:
            signal.raise_signal(signal.SIGUSR2)
        except Exception as error:
            return {"exit_code": STOPPED_RESUMABLE, "error": f"{error} {sentence}"}
        except SystemExit:
            log.info("queued again")
    else:
        log.info(f"Slurm ends this job itself: {state}")
    sys.exit(STOPPED_RESUMABLE)


def _own_state() -> str:
    """Return Slurm's state of the job of this process; empty if it has none or does not answer.

    Slurm is asked several times: the signal that stops a job reaches all of its processes, and may end the query's.
    """
    own = os.environ.get("SLURM_JOB_ID", "")
    known = {own, f"{os.environ.get('SLURM_ARRAY_JOB_ID', '')}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"}
    for _ in range(_QUESTIONS):
        if (job_states := states([own])) is not None:
            return next((state for name, state in job_states.items() if name in known), "")
        time.sleep(1)
    return ""


def _set_up_logging() -> None:
    """Log plain lines to the file that the launcher keeps of the job's output; the run's log has everything."""
    log.setLevel(logging.DEBUG)
    log.propagate = False
    handler = logging.StreamHandler(sys.stdout)
    handler.setLevel(logging.INFO)
    handler.setFormatter(VisibleLines("%(message)s"))
    log.handlers = [handler]
    logging.captureWarnings(True)
