"""The command line `mml MODE [group=option] [key=value] ...`: from argv to a configuration, a scheduler and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
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
    problem,
    typed,
)
from mlpipe.modes import WORDS

if TYPE_CHECKING:
    from mlpipe.running.jobs import PreparedCommand
    from mlpipe.running.launch import Prepared


# What is wrong with a place that the system refuses, and what to do.
_IN_ITS_PLACE = "needs a folder where there is a file", "move that file away, or name another place"
_WRONG_PLACES = {
    errno.ENAMETOOLONG: ("is longer than the system lets one be", "shorten it"),
    errno.ENOTDIR: _IN_ITS_PLACE,
    errno.EEXIST: _IN_ITS_PLACE,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        0 done, 1 a step failed, 2 invalid input, 75 stopped and resumable, 130 interrupted twice.
    """
    if argv is None:
        _hold_streams()
    return _written_out(_run_arguments(list(sys.argv[1:] if argv is None else argv), is_process=argv is None))


def _hold_streams() -> None:
    """Open the null device in place of closed standard streams, whose numbers a file of the project would get otherwise.

    Libraries write messages to these numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)


def _run_arguments(arguments: list[str], *, is_process: bool) -> int:
    """Run a command line and print what is wrong.

    Args:
        arguments: The words after the program's name.
        is_process: Whether the process runs only this command.
    """
    try:
        if arguments in (["--version"], ["version"]):
            return _print_version()
        current_folder.require()
        with current_folder.isolated_processes():
            if arguments and arguments[0] in WORDS:
                return _run_word(arguments[0], arguments[1:])
            call = parse(arguments)
            if is_process:
                # The command started with the process.
                call.started = process_started()
            return _run(call)
    except MlpipeError as error:
        for sentence in str(error).splitlines():
            _say(sentence)
        if is_process and error.exit_code == STOPPED_RESUMABLE:
            # A further interrupt while Python shuts down ends the process without a traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED_TWICE
    except BrokenPipeError as error:
        closed = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not closed:
            # The pipe of a child process or of a server: the command has failed.
            return _unexpected(error)
        for stream in closed:
            _discard(stream)
        return 0
    except Exception as error:
        return _unexpected(error)


def _print_version() -> int:
    from mlpipe import __version__

    print(f"mlpipe {__version__}")
    return 0


def _say(sentence: object) -> None:
    """Print a sentence to standard error; if that is full or closed, the exit code alone tells."""
    with suppress(OSError, ValueError):
        print(sentence, file=sys.stderr)


def _written_out(exit_code: int) -> int:
    """Write the rest of the output, and return the exit code: another one if a command did its work but its output is incomplete.

    Python would write the rest when it ends, and ignore errors or show a traceback.
    """
    handlers = logging.getLogger("mlpipe").handlers
    lost = [getattr(handler, "failure", None) for handler in handlers if getattr(handler, "stream", None) is sys.stdout]
    error = next(filter(None, [*lost, _flush(sys.stdout)]), None)
    if exit_code == 0 and error is not None and not isinstance(error, BrokenPipeError):
        from mlpipe import files

        is_full = files.disk_is_full(error)
        wrong = f"is incomplete ({files.why_full(error) if is_full else error.strerror}), though the command has done its work"
        _say(problem("standard output", wrong, fix="free space, or send it elsewhere"))
        exit_code = STOPPED_RESUMABLE if is_full else STEP_FAILED
    _flush(sys.stderr)
    return exit_code


def _flush(stream: TextIO | None) -> OSError | None:
    """Write what a stream holds; if that fails, return the error and discard everything that is still written to the stream."""
    if stream is None or stream.closed:
        return None
    try:
        stream.flush()
    except OSError as error:
        with suppress(OSError, ValueError):
            _discard(stream)
        return error
    return None


def _discard(stream: TextIO) -> None:
    """Send everything that is still written to a stream to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
        return _print_version()
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
    for note in () if call.cfg else call.notes:
        logging.getLogger("mlpipe").info(note)
    if command.search is not None:
        return _search(call, command)
    if command.one is None:
        return _sweep(call, command)
    return _run_single(call, command.one)


def _run_single(call: Call, prepared: Prepared) -> int:
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
    return f"{sentence} {typed([*words, *permissions])}".rstrip()


def _set_up_logging(json: bool) -> None:
    """Log plain lines to standard output (standard error with --json); the log file gets everything."""
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
        _say(DiskFull(files.why_full(error), "then run the same command again"))
        return STOPPED_RESUMABLE
    if "MML_DEBUG" in os.environ:
        traceback.print_exc()
    if isinstance(error, OSError) and error.filename and error.errno in _WRONG_PLACES:
        wrong, fix = _WRONG_PLACES[error.errno]
        _say(problem("the name of a file", wrong, got=error.filename, fix=fix))
        return INPUT_IS_WRONG
    if is_out_of_memory(error):
        _say(in_short(error))
        return STEP_FAILED
    hint = "the run's log.txt has the traceback; MML_DEBUG=1 prints it here"
    if place := place_in_own_code(error, Path.cwd()):
        _say(f"your own code: {place} fails ({in_short(error)}); mend it; {hint}")
        return STEP_FAILED
    _say(f"unexpected {in_short(error)}; {hint}")
    return STEP_FAILED


if __name__ == "__main__":
    # `python -m` puts the current folder first on the path, where optional imports of libraries would find its files.
    if sys.path[:1] == [str(Path.cwd())]:
        del sys.path[0]
    sys.exit(main())
