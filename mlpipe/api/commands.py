"""Run any mode of the command line from Python."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from mlpipe.config import catalog
from mlpipe.dialects import front, sentences
from mlpipe.errors import ConfigError, problem
from mlpipe.running import jobs
from mlpipe.running.launch import Command
from mlpipe.running.steps import Stop


def run(mode: str, *words: str) -> dict[str, Any]:
    """Run `mml MODE WORDS...` and return its facts; sweeps (`-m`), searches (`hpo=optuna`) and presets work too.

    Args:
        mode: The mode's name, such as `train`.
        words: Overrides as on the command line, including `-m` and `--config-dir=DIR`.

    Raises:
        ConfigError: When words are wrong, with one sentence per mistake.
        MlpipeError: When a step fails.
    """
    started = time.monotonic()
    overrides, multirun, folders, problems = list[str](), False, list[Path](), list[str]()
    fix = "write 'key=value', one for each"
    if others := [problem("overrides", "must be texts", got=word, fix=fix) for word in words if type(word) is not str]:
        raise ConfigError(others)
    for word in words:
        name, _, value = word.partition("=")
        if word in ("-m", "--multirun"):
            multirun = True
        elif name == "--config-dir" and Path(value).is_dir() and value:
            folders.append(Path(value).absolute())
        elif word.startswith("--"):
            fix = "Python takes overrides, -m and --config-dir=DIR"
            problems.append(problem(name, "is an option of the command line", got=value or None, fix=fix))
        else:
            overrides.append(word)
    if problems:
        raise ConfigError(problems)
    catalog.check_mode(mode, tuple(folders))
    with sentences.of_file(overrides):
        command = jobs.prepare(Command(mode, overrides), folders, front=front, multirun=multirun)
        # Ctrl-C twice leaves a notebook running.
        return jobs.execute(command, stop=Stop(), started=started)
