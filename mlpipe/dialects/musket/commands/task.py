"""`mml task`: run a Musket project's own functions, marked with `tasks.task`, on its trained experiments."""

from __future__ import annotations

import inspect
import logging
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from mlpipe import current_folder, errors
from mlpipe.config.recipe_file import as_text
from mlpipe.config.schema import RunConfig
from mlpipe.data import items, user_code
from mlpipe.dialects import musket
from mlpipe.dialects.musket import experiment_files
from mlpipe.dialects.musket.experiment import Experiment
from mlpipe.dialects.musket.experiment_files import CONFIG, SUMMARY
from mlpipe.errors import ConfigError, TrainingError, did_you_mean, listing, problem
from mlpipe.running.scheduler import Scheduler
from mlpipe.running.steps import AGAIN, RunContext, Step, full_disk
from mlpipe.runs.journal import Run

log = logging.getLogger("mlpipe")


class TaskScheduler(Scheduler):
    """Runs tasks on experiments, each in its own folder below the experiment's.

    Args:
        run_config: The checked configuration.
        context: The project, the display and the request to stop.
        project: The folder with experiments; None: the current folder, or the project that contains it.
        name: Names of experiments, separated by commas; empty: all finished ones.
        task: Names of tasks, separated by commas; `all` or empty: all tasks.
        num_gpus: Number of GPUs for trainings, as for `mml fit`.
        gpus_per_net: Number of GPUs that train one fold together.
        num_workers: Number of loader processes for trainings.
        allow_resume: First train unfinished experiments, from where they stopped.
        force_recalc: First compute predictions and reports again.
        launch_tasks: Accepted for compatibility with old commands; tasks run anyway.
        cache: Folder of the image cache; None: `.cache` in the project.
        overrides: Further overrides for each experiment, separated by blanks.
    """

    def __init__(
        self,
        run_config: RunConfig,
        context: RunContext,
        *,
        project: str | None,
        name: str,
        task: str,
        num_gpus: Annotated[int, ">= 0"],
        gpus_per_net: Annotated[int, ">= 0"],
        num_workers: Annotated[int, ">= 0"],
        allow_resume: bool,
        force_recalc: bool,
        launch_tasks: bool,
        cache: str | None,
        overrides: str,
    ) -> None:
        super().__init__(run_config, context)
        self._root = experiment_files.project_root(project)
        self._names = experiment_files.experiment_names(name, project)
        self._tasks = experiment_files.listed(task)
        self._resume, self._recalculate = allow_resume, force_recalc
        self._overrides = overrides
        self._cache = current_folder.expanded(cache).absolute() if cache else self._root / ".cache"
        self._of_fit = {"num_gpus": num_gpus, "gpus_per_net": gpus_per_net, "num_workers": num_workers}

    def plan(self) -> list[Step]:
        """Return a step per task and experiment, preceded by one that trains or predicts if requested.

        Raises:
            ConfigError: With a sentence for every missing experiment and task.
        """
        if wrong := experiment_files.keys_of_recipes(self.run_config, "task"):
            raise ConfigError(wrong)
        folders = experiment_files.experiments(self._root, self._names)
        unfinished = [folder for folder in folders if not (folder / SUMMARY).exists()]
        steps = []
        if unfinished and self._resume:
            steps.append(self._fit_step(unfinished, "allow_resume"))
        elif unfinished and self._names:
            fix = "mml fit trains it; --allow_resume True does it first"
            untrained = [
                problem("mode.name", "is not trained yet", got=experiment.name, fix=fix) for experiment in unfinished
            ]
            raise ConfigError(untrained)
        else:
            folders = [folder for folder in folders if folder not in unfinished]
        if self._recalculate and (again := [folder for folder in folders if folder not in unfinished]):
            steps.append(self._fit_step(again, "force_recalc"))
        trust = tuple(self.run_config.tree.get("trust") or ())
        settings = Settings(trust, tuple(shlex.split(self._overrides)), self._cache)
        for folder in folders:
            for config in experiment_files.seeds_of(folder) or [folder / CONFIG]:
                steps += steps_of(config, self._root, self._tasks, settings, self.context)
        if not steps:
            log.info("no experiment is finished; mml fit trains them")
        return steps

    def run(self, resumed: Run | None = None) -> None:
        """Run one task after the other."""
        with full_disk(AGAIN), self.context.stop.listening():
            for step in self.plan():
                self.context.stop.check()
                step.call(None)

    def _fit_step(self, folders: Sequence[Path], key: str) -> Step:
        names = ",".join(folder.relative_to(self._root / "experiments").as_posix() for folder in folders)
        arguments = {"project": str(self._root), "name": names, key: True, "cache": str(self._cache), **self._of_fit}
        arguments["overrides"] = self._overrides
        return Step(f"fit {names}", partial(self._fit, arguments), in_project=False)

    def _fit(self, arguments: Mapping[str, Any], run: Run | None) -> None:
        from mlpipe.running import launch

        trust = self.run_config.tree.get("trust") or []
        prepared = launch.prepare(
            launch.Command(
                "fit",
                [*(f"mode.{key}={as_text(value)}" for key, value in arguments.items()), f"trust={as_text(trust)}"],
            )
        )
        launch.execute(prepared, display=self.context.display, stop=self.context.stop)


@dataclass(frozen=True)
class Settings:
    """The command line's settings for every experiment.

    Attributes:
        trust: Modules, and folders outside the current one, whose code may run.
        overrides: Further overrides.
        cache: Folder of the image cache.
    """

    trust: tuple[str, ...]
    overrides: tuple[str, ...]
    cache: Path


def steps_of(
    config: Path, root: Path, task_names: Sequence[str], settings: Settings, context: RunContext
) -> list[Step]:
    """Return a step for each task of one experiment.

    Args:
        config: The experiment's configuration.
        root: The project's folder.
        task_names: Names of tasks; empty, or including `all`: all tasks.
        settings: The command line's settings.
        context: Receives the return values of tasks as facts.

    Raises:
        ConfigError: When there is no task of a name, or the experiment lacks an argument of a task.
        DataError: When the project's modules cannot be imported, or are not trusted.
    """
    known = marked(config, settings.trust, "task")
    names = list(known) if not task_names or "all" in task_names else task_names
    if not known:
        fix = "mark a function in modules/*.py with @tasks.task"
        raise ConfigError(problem("mode.task", "the project has no tasks", got=str(root), fix=fix))
    if wrong := [name for name in names if name not in known]:
        fixes = [did_you_mean(name, known, otherwise=f"there are {listing(known)}") for name in wrong]
        pairs = zip(wrong, fixes, strict=True)
        raise ConfigError([problem("mode.task", "there is no such task", got=name, fix=fix) for name, fix in pairs])
    experiment = Experiment(config, settings.cache)
    if wrong := [sentence for name in names for sentence in _argument_kinds(name, known[name], experiment)[1]]:
        raise ConfigError(wrong)
    label = config.parent.relative_to(root).as_posix()
    call = partial(_run, config, settings=settings, context=context)
    return [Step(f"task {label} {name}", partial(call, name, known[name]), in_project=False) for name in names]


def marked(config: Path, trust: Sequence[str], mark: str) -> dict[str, Callable[..., Any]]:
    """Return the functions of an experiment's project that a decorator marked, by name.

    Args:
        config: The experiment's configuration.
        trust: Modules, and folders outside the current one, whose code may run.
        mark: The decorator's name, `task` or `after_fit`.

    Raises:
        DataError: When the project's modules cannot be imported, or are not trusted.
    """
    source, home = experiment_files.source_of(config), experiment_files.home_of(config)
    code = musket.code_of(source, home)
    if home.modules is not None:
        user_code.check_trusted(home.modules, trust, "modules")
    user_code.check_imports(code["imports"], home.modules, trust, "imports")
    functions = user_code.functions(home.modules, code["imports"], code["stand_ins"])
    return {name: function for name, function in functions.items() if items.is_marked(function, mark)}


def called(label: str, function: Callable[..., Any], /, **given: Any) -> Any:
    """Call a function of the project's own, and return its result.

    Args:
        label: Name of the function in error messages.
        function: The function.
        given: Its arguments.

    Raises:
        TrainingError: When it fails, with its own error in short.
    """
    with errors.own_code(TrainingError, label, ""):
        return function(**given)


def _run(
    config: Path,
    name: str,
    function: Callable[..., Any],
    run: Run | None,
    *,
    settings: Settings,
    context: RunContext,
) -> None:
    """Call a task in its folder, and store its return value as a fact."""
    folder = config.parent
    log.info(f"task {name} of {folder.name}")
    experiment = Experiment(config, settings.cache)
    experiment.overrides = [*settings.overrides, *([f"trust={as_text(settings.trust)}"] if settings.trust else [])]
    arguments = _arguments(name, function, experiment, settings.trust)
    place = folder / name
    place.mkdir(exist_ok=True)
    with _working_folder(place):
        returned = called(f"task {name}", function, **arguments)
    context.facts.setdefault("tasks", {}).setdefault(folder.name, {})[name] = returned


def _arguments(name: str, function: Callable[..., Any], experiment: Experiment, trust: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a task: the experiment, data sets, and its entry in the file's `tasks`.

    Raises:
        ConfigError: When a parameter is none of these.
    """
    bindings, problems = _argument_kinds(name, function, experiment)
    if problems:
        raise ConfigError(problems)
    opened = {
        key: experiment.get_dataset(set_name, trust) for key, (kind, set_name) in bindings.items() if kind == "data"
    }
    return {
        key: opened[key] if kind == "data" else experiment if kind == "model" else value
        for key, (kind, value) in bindings.items()
    }


def _argument_kinds(
    name: str, function: Callable[..., Any], experiment: Experiment
) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return the kind of each parameter of a task (`data` and a set's name, `model`, `value`), and all problems with them."""
    arguments = experiment.task_arguments(name)
    bindings, problems = dict[str, tuple[str, Any]](), list[str]()
    for parameter in inspect.signature(function).parameters.values():
        key, kind = parameter.name, _parameter_kind(parameter.annotation)
        if kind == "data" or (kind == "" and key not in arguments and key in experiment.data_names):
            set_name = str(arguments.get(key, "dataset" if key in ("ds", "dataset", "data_set") else key))
            bindings[key] = ("data", set_name)
            problems += experiment.problems_of_data(f"task {name}", set_name)
        elif key in arguments:
            bindings[key] = ("value", arguments[key])
        elif kind == "model" or key in ("m", "model", "cfg", "config", "experiment"):
            bindings[key] = ("model", None)
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            fix = f"annotate it with ConnectedModel or DataSet, or say tasks: {{{name}: {{{key}: VALUE}}}}"
            problems.append(problem(f"task {name}", "nothing says what this parameter is", got=key, fix=fix))
    return bindings, problems


def _parameter_kind(annotation: Any) -> str:
    """Return `model` or `data`, according to the name of a parameter's annotation."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    last = text.rpartition(".")[2]
    return "data" if last.endswith("DataSet") else "model" if last.endswith(("Model", "Config", "Experiment")) else ""


@contextmanager
def _working_folder(folder: Path) -> Iterator[None]:
    """Change to a folder, so that a task writes its files there, as in Musket."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
