"""The command line `mml MODE [group=option] [key=value] ...`: argv to a configuration, a scheduler and an exit code."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipe.errors import (
    INPUT_IS_WRONG,
    INTERRUPTED_TWICE,
    STEP_FAILED,
    STOPPED_RESUMABLE,
    ConfigError,
    MlpipeError,
    in_short,
    is_out_of_memory,
    place_in_own_code,
    problem,
)
from mlpipe.modes import WORDS

if TYPE_CHECKING:
    from mlpipe.running.jobs import PreparedCommand
    from mlpipe.running.launch import Prepared

_FLAGS = {
    "-h": "help", "--help": "help", "--version": "version", "-m": "multirun", "--multirun": "multirun",
    "--json": "json", "--dry-run": "dry_run",
}  # fmt: skip

# Options of scripts that are texts, also where they look like numbers.
_TEXTS = ("project", "name", "task", "cache", "inputFolder", "output", "onlyMetric", "sortBy")
# Modes whose keys may be written as `--key value` too.
_SCRIPTS = ("fit", "task", "analyze")


@dataclass
class Call:
    """The parsed command line."""

    mode: str = ""
    overrides: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    cfg: str = ""
    config_dirs: list[Path] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        0 done, 1 a step failed, 2 the input is wrong, 75 stopped and resumable, 130 interrupted twice.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments in (["--version"], ["version"]):
        from mlpipe import __version__

        print(f"mlpipe {__version__}")
        return 0
    try:
        if arguments and arguments[0] in WORDS:
            return _word(arguments[0], arguments[1:])
        return _run(_parse(arguments))
    except MlpipeError as error:
        for sentence in str(error).splitlines():
            print(sentence, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED_TWICE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _unexpected(error)


def _word(word: str, rest: list[str]) -> int:
    """What a word that runs nothing does with what stands behind it, as it is typed."""
    import importlib

    module = importlib.import_module(f"mlpipe.modes.{'help' if {'-h', '--help'} & {*rest} else word}")
    return int(module.main([word] if {"-h", "--help"} & {*rest} else rest))


def _parse(arguments: list[str]) -> Call:
    from mlpipe.errors import did_you_mean

    call, found, rest = Call(), list[str](), list(arguments)
    while rest:
        text = rest.pop(0)
        name, equals, value = text.partition("=")
        if text in _FLAGS:
            call.flags.add(_FLAGS[text])
        elif (fix := _with_value(call, name)) and not _takes(call, name, given := _value(call, equals, value, rest)):
            found.append(problem(name, "needs a value", fix=fix))
        elif name in ("--cfg", "-c"):
            call.cfg = given or ""
        elif name in ("--config-dir", "-cd"):
            call.config_dirs.append(Path(given or "").absolute())
        elif call.mode == "train" and name == "--config":
            # What rmldnn's command line is: --config=FILE, --config FILE, --config= FILE.
            call.overrides.append(f"recipe={_quoted(given or '')}")
        elif call.mode == "train" and name == "--app":
            # The loss of rmldnn's configuration says that it is an equation.
            if given != "pde":
                fix = "leave it out, or use --app=pde for Poisson2D_pde and Burgers_pde"
                found.append(problem("--app", f"{given} is not available in this version", fix=fix))
        elif fix:
            call.overrides.append(_script_option(name, given or ""))
        elif text.startswith("-") and not text[1:].replace(".", "").isdigit():
            fix = did_you_mean(text, [*_FLAGS, "--cfg", "--config-dir"], otherwise="see mml --help")
            found.append(problem(text, "unknown option", fix=fix))
        elif not call.mode and "=" not in text:
            call.mode = text
        else:
            call.overrides.append(text)
    found += [
        problem("--config-dir", "there is no such folder", got=str(path), fix="name an existing folder")
        for path in call.config_dirs
        if not path.is_dir()
    ]
    if call.cfg not in ("", "job"):
        found.append(problem("--cfg", "shows the configuration of the job", got=call.cfg, fix="write --cfg job"))
    if found:
        raise ConfigError(found)
    return call


def _with_value(call: Call, name: str) -> str:
    """How an option that needs a value is written; empty for what is none."""
    fixes = {"--cfg": "write --cfg job", "-c": "write --cfg job"}
    fixes |= dict.fromkeys(("--config-dir", "-cd"), "write --config-dir DIR")
    if call.mode == "train":
        fixes |= {"--config": "write --config=FILE", "--app": "write --app=pde"}
    if name not in fixes and call.mode in _SCRIPTS and name.startswith("--") and len(name) > 2:
        return f"write {name} VALUE"
    return fixes.get(name, "")


def _value(call: Call, equals: str, value: str, rest: list[str]) -> str | None:
    """What stands behind an option's `=`, else the next word, which is taken; None where another option follows."""
    if value or not rest or rest[0].startswith("--") or (equals and call.mode in _SCRIPTS):
        return value if equals else None
    return rest.pop(0)


def _takes(call: Call, name: str, value: str | None) -> bool:
    """Whether an option has its value; one of a script may be an empty text."""
    return (
        value is not None
        if call.mode in _SCRIPTS and name not in ("--cfg", "-c", "--config-dir", "-cd")
        else bool(value)
    )


def _script_option(name: str, value: str) -> str:
    """An option of a script, such as `--name "one, two"`, as the mode's key."""
    lower = value.lower()
    if name[2:] not in _TEXTS and (lower in ("true", "false", "null") or value.isdigit()):
        return f"mode.{name[2:]}={lower}"
    return f"mode.{name[2:]}={_quoted(value)}"


def _quoted(value: str) -> str:
    """A text in Hydra's grammar."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _run(call: Call) -> int:
    if "version" in call.flags:
        return main(["--version"])
    if "help" in call.flags or not (call.mode or call.overrides):
        from mlpipe.modes import help

        shown = help.main([*filter(None, [call.mode]), *call.overrides], tuple(call.config_dirs))
        return shown if "help" in call.flags else INPUT_IS_WRONG
    from mlpipe.config import catalog

    catalog.check_mode(call.mode, tuple(call.config_dirs))
    _set_up_logging("json" in call.flags)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    from mlpipe.dialects import front
    from mlpipe.running import jobs
    from mlpipe.running.commands import Command

    asked = Command(call.mode, call.overrides)
    command = jobs.prepare(asked, call.config_dirs, front=front, multirun="multirun" in call.flags)
    if command.search is not None:
        return _search(call, command)
    if command.one is None:
        return _sweep(call, command)
    return _one(call, command.one)


def _one(call: Call, prepared: Prepared) -> int:
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
        try:
            facts = launch.execute(prepared, stop=steps.Stop(steps.end_process), started=call.started)
        except MlpipeError as error:
            if "to go on: mml " in str(error):
                error.args = (f"{error}{_project_words(call)}",)
            raise
    if "json" in call.flags:
        print(_json(facts))
    return int(str(facts.get("exit_code", 0)))


def _search(call: Call, command: PreparedCommand) -> int:
    """A search for hyperparameters, every corner of its space checked before the first trial."""
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
    facts = jobs.execute(command)
    if "json" in call.flags:
        print(_json(facts))
    return 0


def _sweep(call: Call, command: PreparedCommand) -> int:
    """Every combination of comma-separated values, all checked before the first one runs; a failed one is reported."""
    from mlpipe.running import jobs

    if call.cfg or "dry_run" in call.flags:
        for job in command.jobs:
            print(f"# {' '.join(job.varied)}")
            _one(Call(call.mode, job.overrides, call.flags - {"json"}, call.cfg, call.config_dirs), job.prepared)
        return 0
    facts = jobs.execute(command)
    if "json" in call.flags:
        print(_json(facts))
    return int(facts["exit_code"])


def _project_words(call: Call) -> str:
    words = [text for text in call.overrides if text.partition("=")[0] in ("proj", "out_dir", "data_dir")]
    return "".join(f" {word}" for word in words)


def _set_up_logging(json: bool) -> None:
    """Plain lines on standard output (standard error with --json); the log file gets everything."""
    import logging

    logger = logging.getLogger("mlpipe")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr if json else sys.stdout)
    handler.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").propagate = False


def _json(facts: object) -> str:
    import json

    return json.dumps(facts, indent=1, default=str)


def _unexpected(error: Exception) -> int:
    """An error of ours, or of code of the user's own: one sentence here, the traceback where the log goes."""
    import traceback

    from mlpipe import files

    if files.disk_is_full(error):
        print("the disk is full; free space, then run the same command again", file=sys.stderr)
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
    sys.exit(main())
