"""Search over a Musket experiment's `hyperparameters`, and the files of the search in the experiment's folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.config.recipe_file import as_text
from mlpipe.dialects import front, musket, sentences
from mlpipe.dialects.musket import experiment_files, search_files
from mlpipe.dialects.musket.experiment_files import CONFIG, SUMMARY
from mlpipe.dialects.musket.search_files import Trial
from mlpipe.errors import ProjectError, problem
from mlpipe.reports import studies as report_of_studies
from mlpipe.running import launch
from mlpipe.running.launch import Command
from mlpipe.running.sweeps import search, trials
from mlpipe.running.sweeps.search import Search
from mlpipe.runs import records, studies
from mlpipe.runs.project import Project

log = logging.getLogger("mlpipe")

_HEADER = "#%Musket Classification 1.0\n"


def values_of(config: Path) -> list[str]:
    """Return the best values of a searched experiment as overrides; empty if it was not searched.

    Args:
        config: The experiment's configuration file.
    """
    values = search_files.best_values(config.parent)
    return [f"given.{name}={as_text(value)}" for name, value in values.items()]


def run(
    config: Path, project: Project, overrides: Sequence[str], display: Any = None, stop: Any = None
) -> dict[str, Any]:
    """Search until the number of trials in the file is reached, and write the experiment's folder.

    Args:
        config: The experiment's configuration file.
        project: The project with its trials.
        overrides: Those of a training, including `recipe=FILE`.
        display: Shows progress; None: a new display.
        stop: The request to stop; None: a new one.

    Returns:
        The summary.

    Raises:
        ConfigError: With a sentence for every problem.
        Interrupted: When asked to stop; the same call resumes.
        TrainingError: When no trial could be finished.
    """
    own = [text for text in overrides if not text.startswith("given.")]
    with sentences.of_file(own):
        prepared = search.prepare(Command("train", own), front=front)
        facts = trials.execute(prepared, display=display, stop=stop)
    return _write_search(config, project, prepared, facts)


def report(config: Path, project: Project, overrides: Sequence[str]) -> dict[str, Any]:
    """Write the experiment's folder from the existing trials, and return the summary.

    Args:
        config: The experiment's configuration file.
        project: The project with its trials.
        overrides: Those of a training.

    Raises:
        ProjectError: When nothing was searched yet.
    """
    prepared = search.prepare(Command("train", overrides), front=front)
    with studies.loaded(project, prepared.study, prepared.hpo.storage) as study:
        facts = report_of_studies.facts(study, prepared.address)
    return _write_search(config, project, prepared, facts)


def _write_search(config: Path, project: Project, prepared: Search, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the files of the search, a folder for each finished trial, and last the summary."""
    folder, best = config.parent, facts["best"]
    if not best:
        fix = f"mml fit --name {folder.name}"
        raise ProjectError(problem(str(folder), "no trial is finished yet", fix=fix))
    all_trials = [_trial(row, best[0]["trial"]) for row in facts["trials"]]
    results = {}
    for trial in all_trials:
        if trial.state == "complete" and trial.run is not None:
            results[trial.trial] = _write_trial(config, project, prepared, trial)
    search_files.write(folder, all_trials)
    chosen = next(candidate for candidate in all_trials if candidate.best)
    summary = {
        "completed": True,
        "cfgName": config.name,
        "trials": len(all_trials),
        "best": {
            "trial": chosen.trial,
            "values": dict(chosen.values),
            prepared.metrics[0]: chosen.score,
            "result": results[chosen.trial],
        },
    }
    files.write_text(folder / SUMMARY, files.yaml_text(summary))
    return summary


def _trial(row: Mapping[str, Any], best: int) -> Trial:
    values = {key.removeprefix("given."): _plain(value) for key, value in row["params"].items()}
    score = row["values"][0] if row["values"] else None
    is_best = row["trial"] == best
    return Trial(row["trial"], row["state"], values, score, row.get(studies.RUN), row.get(studies.ERROR), is_best)


def _plain(value: Any) -> Any:
    """Return a value of a trial in the form for a file; lists and strings with blanks stay as written."""
    return files.plain_yaml(value) if isinstance(value, str) and value[:1] in "[{'\"" else value


def _write_trial(config: Path, project: Project, prepared: Search, trial: Trial) -> float:
    """Write the folder of a trial: configuration with its values, weights, metrics and summary; return its result."""
    path = search_files.trial_folder(config.parent, trial.trial) / CONFIG
    content = _HEADER + files.yaml_text(_trial_config(config, trial.values))
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, content)
    words = launch.words_to_continue(prepared.base, str(trial.run))
    config_of_run = launch.prepare(launch.Command(prepared.base.mode, words)).run_config
    own_records = [record for record in records.load_all(project) if record.run == trial.run]
    return experiment_files.report(path, project, config_of_run, found=records.newest_folds(own_records))[1]


def _trial_config(config: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return an experiment's configuration with the values of a trial and unchanged data."""
    return musket.filled(experiment_files.written(config), values)
