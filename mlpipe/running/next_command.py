"""The next command for the user after a training: predictions of new images."""

from __future__ import annotations

import shlex

from mlpipe import kinds
from mlpipe.config.schema import RunConfig
from mlpipe.data import sources
from mlpipe.data.task import Task
from mlpipe.runs import ensembles
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

_PLACES = ("out_dir", "data_dir")


def predict_command(config: RunConfig, project: Project, task: Task, kind: str, run: Run) -> str:
    """Return `mml predict mode.source=FOLDER ...`; empty if `mml predict` accepts no new samples of the task.

    For models that draw samples, it is `mml predict mode.samples=64 ...`.

    Args:
        config: The run's configuration.
        project: The project.
        task: The task.
        kind: The kind of its models.
        run: The run; if it made an ensemble, that is named.
    """
    if kinds.of(kind).draws:
        return f"mml predict {' '.join(['mode.samples=64', *_words(config, project)])}"
    source = sources.open(task)
    if source.cuts() or (kinds.of(kind).rows_are_losses and not source.has_arrays):
        return ""
    newest = ensembles.load_all(project, task.name)[-1:]
    ensemble = ["mode.ensemble=latest"] if newest and newest[0].run == run.name else []
    where = "FILE" if source.has_arrays else "FOLDER"
    return f"mml predict {' '.join([f'mode.source={where}', *ensemble, *_words(config, project)])}"


def info_command(config: RunConfig, project: Project, *more: str) -> str:
    """Return the `mml info ...` command that shows all figures of a project.

    Args:
        config: The run's configuration.
        project: The project.
        more: Further words of the command.
    """
    return " ".join(["mml info", *more, *_words(config, project)])


def _words(config: RunConfig, project: Project) -> list[str]:
    """Return the overrides that locate the project: its name, and folders named on the command line."""
    words = [] if project.name == "default" else [f"proj={shlex.quote(project.name)}"]
    keys = [key for key in _PLACES if key in (config.given or ())]
    return [*words, *(f"{key}={shlex.quote(str(getattr(config, key)))}" for key in keys)]
