"""The command line `mml MODE [group=option] [key=value] ...`: from argv to a configuration, a scheduler and an exit code."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from mlpipe import current_folder
from mlpipe.command_line import Call, check_mode, parse
from mlpipe.config.environment import process_started
from mlpipe.errors import (
    INPUT_IS_WRONG,
    INTERRUPTED_TWICE,
    STEP_FAILED,
    STOPPED_RESUMABLE,
    DiskFull,
    MlpipeError,
    VisibleLines,
    in_short,
    is_out_of_memory,
    place_in_own_code,
)
from mlpipe.modes import WORDS

if TYPE_CHECKING:
    from mlpipe.running.jobs import PreparedCommand
    from mlpipe.running.launch import Prepared


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        0 done, 1 a step failed, 2 invalid input, 75 stopped and resumable, 130 interrupted twice.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["version"]):
        from mlpipe import __version__

        print(f"mlpipe {__version__}")
        return 0
    try:
        current_folder.require()
        with current_folder.isolated_processes():
            if arguments and arguments[0] in WORDS:
                return _run_word(arguments[0], arguments[1:])
            call = parse(arguments)
            if argv is None:
                # The process runs only this command, so that the command started with the process.
                call.started = process_started()
            return _run(call)
    except MlpipeError as error:
        for sentence in str(error).splitlines():
            print(sentence, file=sys.stderr)
        if argv is None and error.exit_code == STOPPED_RESUMABLE:
            # A further interrupt while Python shuts down ends the process without a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_TWICE
    except BrokenPipeError as error:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not closed:
            # The pipe of a child process or of a server: the command has failed.
            return _unexpected(error)
        for stream in closed:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 0
    except Exception as error:
        return _unexpected(error)


def _has_no_reader(stream: TextIO) -> bool:
    """Return whether the program that read a stream has ended, such as `head`."""
    try:
        poll = select.poll()
        poll.register(stream, select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):
        # The stream is no file.
        return False


def _run_word(word: str, rest: list[str]) -> int:
    """Run a word that is not a mode, such as a help command, with the following words as they were typed."""
    import importlib

    module = importlib.import_module(f"mlpipe.modes.{'help' if {'-h', '--help'} & {*rest} else word}")
    return int(module.main([word] if {"-h", "--help"} & {*rest} else rest))


def _run(call: Call) -> int:
    if "version" in call.flags:
        return main(["--version"])
    from mlpipe import plugins

    call.config_dirs = list(plugins.folders(call.config_dirs))
    if "help" in call.flags or not (call.mode or call.overrides):
        from mlpipe.modes import help

        exit_code = help.main([*filter(None, [call.mode]), *call.overrides], tuple(call.config_dirs))
        return exit_code if "help" in call.flags else INPUT_IS_WRONG
    check_mode(call)
    current_folder.require_plain_settings()

    _set_up_logging("json" in call.flags)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    # Image errors have messages of our own; OpenCV would print others, with locations in its source code.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "FATAL")
    from mlpipe.dialects import front, sentences
    from mlpipe.running import jobs
    from mlpipe.running.launch import Command

    command = Command(call.mode, call.overrides)
    if call.app:
        front.check_app(call.app, call.overrides)
    with sentences.of_file(call.overrides):
        return _run_command(
            call, jobs.prepare(command, call.config_dirs, front=front, multirun="multirun" in call.flags)
        )


def _run_command(call: Call, command: PreparedCommand) -> int:
    import logging

    for note in () if call.cfg else call.notes:
        logging.getLogger("mlpipe").info(note)
    if command.search is not None:
        return _search(call, command)
    if command.one is None:
        return _sweep(call, command)
    return _run_single(call, command.one)


def _run_single(call: Call, prepared: Prepared) -> int:
    import logging

    from mlpipe.config import snapshot
    from mlpipe.running import launch, steps

    if call.cfg:
        print(snapshot.text(prepared.run_config.tree), end="")
        return 0
    for note in prepared.notes:
        logging.getLogger("mlpipe").info(note)
    facts: dict[str, object]
    if "dry_run" in call.flags:
        facts = {"mode": call.mode, "steps": launch.planned(prepared)}
        if "json" not in call.flags:
            print("\n".join(str(step) for step in facts["steps"]))  # type: ignore[attr-defined]
    else:
        stop = steps.Stop(steps.end_process)
        stop.completed = partial(_with_project, call, permissions=launch.permissions_to_continue(prepared.run_config))
        try:
            facts = launch.execute(prepared, stop=stop, started=call.started)
        except MlpipeError as error:
            if (message := stop.completed(str(error))) != str(error):
                error.args = (message,)
            raise
    if "json" in call.flags:
        print(_json(facts))
    return int(str(facts.get("exit_code", 0)))


def _search(call: Call, command: PreparedCommand) -> int:
    """Run a hyperparameter search; every corner of its space is checked before the first trial."""
    from mlpipe.config import snapshot
    from mlpipe.running import jobs
    from mlpipe.running.sweeps import search

    prepared = command.search
    assert prepared is not None
    if call.cfg:
        print(snapshot.text(search.shown(prepared)), end="")
        return 0
    if "dry_run" in call.flags:
        facts: dict[str, object] = {"mode": call.mode, "study": prepared.study, "searched": list(prepared.space)}
        facts |= {"trials": prepared.hpo.trials, "steps": list(prepared.steps)}
        lines = [f"{key}: {value}" for key, value in facts.items() if key != "steps"]
        print(_json(facts) if "json" in call.flags else "\n".join([*lines, "steps of a trial:", *prepared.steps]))
        return 0
    facts = jobs.execute(command, started=call.started)
    if "json" in call.flags:
        print(_json(facts))
    return 0


def _sweep(call: Call, command: PreparedCommand) -> int:
    """Run every combination of comma-separated values; all are checked before the first one runs, failed ones are reported."""
    from mlpipe.running import jobs, launch

    if "dry_run" in call.flags and "json" in call.flags and not call.cfg:
        steps = [{"overrides": job.overrides, "steps": launch.planned(job.prepared)} for job in command.jobs]
        print(_json({"mode": call.mode, "jobs": [{"job": number, **job} for number, job in enumerate(steps, start=1)]}))
        return 0
    if call.cfg or "dry_run" in call.flags:
        for job in command.jobs:
            print(f"# {' '.join(job.varied)}")
            _run_single(Call(call.mode, job.overrides, call.flags - {"json"}, call.cfg, call.config_dirs), job.prepared)
        return 0
    facts = jobs.execute(command, started=call.started)
    if "json" in call.flags:
        print(_json(facts))
    return int(facts["exit_code"])


def _with_project(call: Call, sentence: str, permissions: Sequence[str] = ()) -> str:
    """Return a sentence that ends with a command to resume, with the project's location; other sentences unchanged.

    Args:
        call: The command line, whose folders are repeated.
        sentence: The sentence.
        permissions: Further overrides that the command needs.
    """
    if "to go on: mml " not in sentence:
        return sentence
    words = [text for text in call.overrides if text.partition("=")[0] in ("proj", "out_dir", "data_dir")]
    return f"{sentence} {shlex.join([*words, *permissions])}".rstrip()


def _set_up_logging(json: bool) -> None:
    """Log plain lines to standard output (standard error with --json); the log file gets everything."""
    import logging

    from mlpipe.reports.progress import LogLines

    logger = logging.getLogger("mlpipe")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = LogLines(sys.stderr if json else sys.stdout)
    handler.setLevel(logging.INFO)
    handler.setFormatter(VisibleLines("%(message)s"))
    logger.handlers = [handler]
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").propagate = False
    # Image errors are raised, too, and have messages of our own.
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _json(facts: object) -> str:
    import json

    return json.dumps(facts, indent=1, default=str)


def _unexpected(error: Exception) -> int:
    """Report an unexpected error, of this program or the user's code: one sentence here, the traceback in the log."""
    import traceback

    from mlpipe import files

    if files.disk_is_full(error):
        print(DiskFull(files.why_full(error), "then run the same command again"), file=sys.stderr)
        return STOPPED_RESUMABLE
    if "MML_DEBUG" in os.environ:
        traceback.print_exc()
    if is_out_of_memory(error):
        print(in_short(error), file=sys.stderr)
        return STEP_FAILED
    hint = "the run's log.txt has the traceback; MML_DEBUG=1 prints it here"
    if place := place_in_own_code(error, Path.cwd()):
        print(f"your own code: {place} fails ({in_short(error)}); mend it; {hint}", file=sys.stderr)
        return STEP_FAILED
    print(f"unexpected {in_short(error)}; {hint}", file=sys.stderr)
    return STEP_FAILED


if __name__ == "__main__":
    # `python -m` puts the current folder first on the path, where optional imports of libraries would find its files.
    if sys.path[:1] == [str(Path.cwd())]:
        del sys.path[0]
    sys.exit(main())
