"""Files of the experiments in a Musket project: their locations, settings, and the files written for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlpipe import current_folder, files
from mlpipe.config import snapshot
from mlpipe.config.schema import OPTIONAL_SECTIONS, RECIPE_SECTIONS, RunConfig
from mlpipe.data import user_code
from mlpipe.dialects import musket
from mlpipe.dialects.musket import comparison_table as metrics_tables
from mlpipe.dialects.musket import files as layout
from mlpipe.dialects.musket import prediction_tables, search_files
from mlpipe.errors import ConfigError, ProjectError, did_you_mean, first_line, listing, problem
from mlpipe.reports import gallery
from mlpipe.running import tasks
from mlpipe.running.steps import Follower
from mlpipe.runs import journal, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord

CONFIG, CONCRETE, SUMMARY = "config.yaml", "config_concrete.yaml", "summary.yaml"


def project_root(folder: str | None) -> Path:
    """Return the project's folder: the given one, else the current one or the one that contains it."""
    return current_folder.expanded(folder).absolute() if folder else current_project()


def experiment_names(name: str, project: str | None) -> list[str]:
    """Split comma-separated experiment names; an empty text in an experiment's folder means that experiment.

    Args:
        name: The names.
        project: The project in the command; None: it is searched for.
    """
    cwd = Path.cwd()
    base = current_project() / "experiments"
    if name or project or base not in cwd.parents or not (cwd / CONFIG).is_file():
        return listed(name)
    return [cwd.relative_to(base).as_posix()]


def listed(text: str) -> list[str]:
    """Split comma-separated names."""
    return [part.strip() for part in text.split(",") if part.strip()]


def experiments(root: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of the experiments with these names, in order; all experiments if no name is given.

    Raises:
        ConfigError: When there is none at all, or none of a name. Trials of a search must be named explicitly.
    """
    base = root / "experiments"
    known = {path.parent.relative_to(base).as_posix(): path.parent for path in sorted(base.glob(f"**/{CONFIG}"))}
    if not known:
        fix = "name a folder that has experiments/NAME/config.yaml"
        raise ConfigError(problem("mode.project", "has no experiments", got=str(root), fix=fix))
    wrong = [
        problem(
            "mode.name",
            "there is no such experiment",
            got=name,
            fix=did_you_mean(name, known, otherwise=f"there are {listing(known)}"),
        )
        for name in names
        if name not in known
    ]
    if wrong:
        raise ConfigError(wrong)
    if names:
        return [known[name] for name in names]
    return [folder for folder in known.values() if not search_files.is_trial(folder)]


def keys_of_recipes(run_config: RunConfig, mode: str) -> list[str]:
    """Return a sentence for every recipe key on the command line, because the experiments' files define the training.

    Args:
        run_config: The checked configuration.
        mode: The mode's name.
    """
    learned = {*RECIPE_SECTIONS, *OPTIONAL_SECTIONS, "stages", "trainer", "task", "seed", "sys", "logging", "healing"}
    keys = sorted(key for key in run_config.given or () if key.partition(".")[0] in learned)
    fix = f'write mml {mode} --overrides "KEY=VALUE"'
    return [problem(key, f"is not for mml {mode}, which goes by the experiments' files", fix=fix) for key in keys]


def home_of(config: Path) -> musket.Home:
    """Return the home of an experiment, with the functions that a Python program registered."""
    return musket.Home.of(config, frozenset(user_code.custom_objects()))


def results_of(config: Path) -> Project:
    """Return the native project in which an experiment is trained."""
    home = home_of(config)
    return Project(home.project / "results" / home.name.replace("/", "-"))


def unfinished(project: Project) -> Run | None:
    """Return the newest interrupted run; None if there is none."""
    runs = [run for run in journal.all_runs(project) if not run.is_finished()]
    return runs[-1] if runs else None


def is_resumable_as(run: Run, now: RunConfig) -> bool:
    """Return whether an interrupted run has the same recipe as a configuration, so that it can be resumed.

    Args:
        run: The run.
        now: The configuration.
    """
    folders = {"out_dir": str(now.out_dir), "data_dir": str(now.data_dir), "proj": now.proj}
    then = snapshot.load(run.folder / journal.CONFIG_FILE, **folders, allowed=now.tree, trust=now.tree["trust"])
    # The number of threads depends on the machine, and the run keeps its own.
    recipe = replace(then.recipe, threads=now.recipe.threads)
    return (recipe, then.task, then.split) == (now.recipe, now.task, now.split)


def seeds_of(folder: Path) -> list[Path]:
    """Return the configuration files of the seeds that an experiment's own configuration asks for; empty if it asks for none.

    Args:
        folder: The experiment's folder.

    Raises:
        ConfigError: When its configuration cannot be read.
    """
    count = source_of(folder / CONFIG).get("num_seeds")
    seeds = range(count if isinstance(count, int) and not isinstance(count, bool) else 0)
    return [path for seed in seeds if (path := folder / str(seed) / CONCRETE).is_file()]


def best_metric_values(folder: Path, metric: str, mode: str) -> list[tuple[int, int, float, float]]:
    """Return fold, stage, best value and smallest learning rate of each of an experiment's metrics files.

    Args:
        folder: The experiment's folder.
        metric: A column.
        mode: `min`, `max` or `auto`: lower is better for losses and errors.

    Raises:
        ProjectError: When there are no such files, or they have no such column.
    """
    results = []
    for path in sorted((folder / "metrics").glob("metrics-*.csv")):
        if path.stem.endswith(".csvall"):
            # A file of batches.
            continue
        less = mode == "min" or (mode == "auto" and metrics_tables.less_is_better(metric))
        try:
            fold, stage = (int(part) for part in path.stem.removeprefix("metrics-").split("."))
            rows = files.csv_rows(path)
            if not rows:
                raise ValueError("it has no rows")
            if metric not in rows[0]:
                fix = f"there are {listing(rows[0])}"
                raise ProjectError(problem("metric", "was not measured", got=metric, fix=fix))
            values = [float(row[metric]) for row in rows if row[metric]]
            results.append((fold, stage, (min if less else max)(values), min(float(row["lr"]) for row in rows)))
        except (OSError, ValueError, KeyError) as error:
            fix = "train it again, or remove it"
            raise ProjectError(problem(str(path), f"is damaged ({first_line(error)})", fix=fix)) from error
    if not results:
        raise ProjectError(problem(str(folder), "nothing was trained yet", fix="call fit first"))
    return results


def trained(config: Path, project: Project) -> list[ModelRecord]:
    """Return the records of an experiment's folds, from its newest training, or from the best trial of a search.

    Args:
        config: The experiment's configuration file.
        project: The project with its records.
    """
    stored, run = records.load_all(project), search_files.best_run(config.parent)
    return _cross_validation(project, [record for record in stored if run is None or record.run == run])


def _cross_validation(project: Project, stored: Sequence[ModelRecord]) -> list[ModelRecord]:
    """Return the newest record of each fold that was trained like the newest one.

    The first training writes the split files and later ones read them, which counts as the same split.
    """
    if not stored:
        return []
    newest = max(stored, key=lambda record: record.number)
    alike = [
        record
        for record in stored
        if record.recipe == newest.recipe
        or (record.task == newest.task and _recipe_of(project, record) == _recipe_of(project, newest))
    ]
    return records.newest_folds(alike)


def _recipe_of(project: Project, record: ModelRecord) -> dict[str, Any]:
    """Return the settings that determine a record's training, independent of whether its split was drawn or read from files."""
    tree = files.read_yaml(project.model_dir(record.pivot, record.id) / records.CONFIG_FILE)
    sections = {key: tree.get(key) for key in (*RECIPE_SECTIONS, *OPTIONAL_SECTIONS, "stages", "seed", "healing")}
    split = {key: value for key, value in (sections["split"] or {}).items() if key not in ("folds_file", "test_file")}
    return {**sections, "split": split}


def report(
    config: Path,
    project: Project,
    config_of_run: RunConfig,
    subsample: float = 1.0,
    found: Sequence[ModelRecord] | None = None,
) -> tuple[dict[str, Any], float]:
    """Write an experiment's folder from the records of its project; return the summary and the experiment's result.

    Args:
        config: The experiment's configuration file.
        project: The project with its records.
        config_of_run: The checked configuration.
        subsample: Share of the training images per epoch.
        found: The records; None: those of the newest training.

    Raises:
        ProjectError: When nothing was trained.
    """
    found = _cross_validation(project, records.load_all(project)) if found is None else found
    if not found:
        fix = f"mml fit --name {config.parent.name}"
        raise ProjectError(problem(str(config.parent), "nothing was trained yet", fix=fix))
    from mlpipe.learn.losses import by_output
    from mlpipe.learn.own_parts import own_metrics

    source = source_of(config)
    names = musket.names_of(source, home_of(config))
    result = str(source.get("experiment_result", "")).removeprefix("val_").removesuffix("_holdout")
    native = next((key for key, name in names.items() if name == result), None)
    kind, outputs = found[0].kind, len(found[0].classes)
    own = own_metrics.measures(config_of_run.recipe.metrics, kind, outputs)
    own |= by_output.measures_of(config_of_run.recipe.loss, kind, outputs)
    images = partial(_images, config_of_run, found[0])
    split = _split(config_of_run, found[0])
    trained = layout.Trained(
        project, found, names, native, own, images, subsample, split, _named_for_training(source, names)
    )
    if source.get("dumpPredictionsToCSV") and kind != "segmentation":
        prediction_tables.write(config.parent, trained)
    summary = layout.write(config.parent, config.name, trained)
    return summary, layout.result(summary, trained)


def follower(config: Path, project: Project) -> Follower:
    """Return the object that writes an experiment's metrics and weights during training.

    Args:
        config: The experiment's configuration file.
        project: The project with its records.
    """
    source = source_of(config)
    names = musket.names_of(source, home_of(config))
    progress = layout.Progress(config.parent, project, names, _named_for_training(source, names))
    return Follower(progress.begun, lambda *facts: None, progress.epochs)


def _named_for_training(source: Mapping[str, Any], names: Mapping[str, str]) -> frozenset[str]:
    """Return the metrics in `metrics`, which are also computed on training images, including each head's own."""
    metrics = source.get("metrics") or []
    listed = {str(name).removeprefix("val_") for name in (metrics if isinstance(metrics, list) else [metrics])}
    return frozenset(name for name in names.values() if {name, re.sub(r"^out\d+_", "", name)} & listed)


def _split(config_of_run: RunConfig, record: ModelRecord) -> layout.Split:
    """Return the split, with all folds, that a record was trained with."""
    task = tasks.named(record.pivot, config_of_run.data_dir)
    return layout.Split.of(task.samples, tasks.split_of(tasks.config_of(config_of_run, record), task))


def _images(config_of_run: RunConfig, record: ModelRecord, rows: list[int]) -> tuple[Any, Any]:
    """Return pixels and targets for rows of the task that a record was trained on; for masks, class numbers."""
    task = tasks.named(record.pivot, config_of_run.data_dir)
    pack = tasks.pack_of(tasks.config_of(config_of_run, record), task, workers=1)
    numbers = np.array(rows, np.int64)
    pixels = gallery.eight_bit(pack.take_fixed(numbers))
    if record.kind == "segmentation" and pack.masks is not None:
        return pixels, pack.masks.take_fixed(numbers)[:, :, :, 0]
    return pixels, task.samples.targets[rows]


def seed_config(path: Path) -> dict[str, Any]:
    """Return the configuration of one seed from its file; empty if there is none that can be read."""
    try:
        content = files.read_yaml(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def current_project() -> Path:
    """Return the current folder, or the project that contains it."""
    cwd = Path.cwd()
    for folder in (cwd, *cwd.parents):
        if (folder / "experiments").is_dir():
            return folder
    return cwd


def source_of(config: Path) -> Mapping[str, Any]:
    """Return an experiment's configuration, merged with its project's, and with the best trial's values if it was searched.

    Raises:
        ConfigError: When it cannot be read.
    """
    return musket.filled(written(config), search_files.best_values(config.parent))


def is_searched(config: Path) -> bool:
    """Return whether an experiment's configuration asks for a search.

    Raises:
        ConfigError: When it cannot be read.
    """
    return bool(written(config).get("hyperparameters"))


def written(config: Path) -> Mapping[str, Any]:
    """Return an experiment's configuration as written, merged with its project's.

    Raises:
        ConfigError: When it cannot be read.
    """
    try:
        own = files.read_yaml(config)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(problem(str(config), f"cannot be read ({reason})")) from error
    if not isinstance(own, Mapping):
        raise ConfigError(problem(str(config), "must be a mapping", got=own))
    return musket.united(own, home_of(config).common())
