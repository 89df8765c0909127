"""Launch a run: turn overrides into a checked configuration and a running plan, for the command line and for Python."""

from __future__ import annotations

import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from mlpipe import current_folder, plugins
from mlpipe.arch import names
from mlpipe.config import recipe_file, snapshot, written_paths
from mlpipe.config.environment import base_folder
from mlpipe.config.overrides import key_of, parse, value_of
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, ProjectError, did_you_mean, listing, problem, typed
from mlpipe.names import name_of
from mlpipe.running import steps, task_names, tracking
from mlpipe.runs import continuing, journal, records, studies
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project

_OF_LATEST_TASK = ("distill", "explain", "export", "predict", "serve", "test", "info", "post")
# Keys that stand in place of a project, if set.
_IN_PLACE = {"serve": "mode.file"}
_WORKERS = "sys.num_workers"
_WITH_RESUME = ("continue", "proj", "out_dir", "data_dir", _WORKERS, "trust", "trust_paths")

# Modes that read records but create none.
_READ = ("predict", "test", "post")
# Modes that inspect a project; without its name, they also accept a task without trained models, or data alone.
_LOOK = ("info", "verify", "upgrade", "downgrade")
# Modes that need no project, but if one is named, it must exist.
_NAMED = ("clean", "evaluate")
# Keys that name models, predictions or slices from elsewhere.
_ELSEWHERE = ("reuse", "arch", "recipe")


@dataclass(frozen=True)
class Command:
    """One requested run.

    Attributes:
        mode: The mode's name.
        overrides: Overrides in Hydra's grammar.
        notes: Notes for the user before it starts.
        words: The mode and overrides as typed; empty: the same as above.
    """

    mode: str
    overrides: Sequence[str]
    notes: Sequence[str] = ()
    words: Sequence[str] = ()


class Front(Protocol):
    """Reader of other programs' files, called in turn for the jobs of a sweep and the trials of a search."""

    def searches(self, command: Command) -> bool:
        """Return whether the file that a command names requests a search, and the command does not override that."""

    def native(self, command: Command) -> Command:
        """Return the command with its file translated to native overrides, placed before its own."""


@dataclass(frozen=True)
class Prepared:
    """A checked configuration, ready to run.

    Attributes:
        run_config: The configuration.
        resumed: The run that it continues; None for a new run.
        notes: Notes for the user before it starts.
        command: The command line of the run, with passwords masked.
    """

    run_config: RunConfig
    resumed: Run | None = None
    notes: tuple[str, ...] = ()
    command: str = ""


def prepare(command: Command, extra_dirs: Sequence[Path] = ()) -> Prepared:
    """Compose and check the configuration of a command; nothing is written.

    Args:
        command: The command with native overrides.
        extra_dirs: Further folders of configuration files.

    Raises:
        ConfigError: With a sentence for every problem.
        ProjectError: When a run to continue does not exist.
    """
    from mlpipe.config.compose import Facts, compose

    mode, words = command.mode, command.words or (command.mode, *command.overrides)
    line = typed(["mml", *map(studies.masked, words)])
    # Read from the overrides before anything is composed: a study, a run to continue or the latest task add further
    # overrides, which are then checked like any other.
    overrides, more = with_best_trial(command.overrides)
    notes = [*command.notes, *more]
    out_dir = _folder("out_dir", overrides)
    data_dir = _folder("data_dir", overrides)
    project = Project(out_dir / (value_of("proj", overrides) or "default"))
    if "continue=" in overrides:
        raise ConfigError(problem("continue", "needs a run", fix="write continue=latest, or continue=RUN"))
    if (name := value_of("continue", overrides)) is not None:
        return _prepare_resumed(mode, project, data_dir, name, overrides)
    overrides = recipe_file.applied(mode, overrides)
    texts = list(overrides)
    is_of_project = value_of(_IN_PLACE.get(mode, ""), overrides) is None
    if mode in _OF_LATEST_TASK and is_of_project and not any(text.startswith("task=") for text in texts):
        latest = max(records.load_all(project), key=lambda record: record.number, default=None)
        if latest is not None and task_names.is_known(data_dir, latest.pivot):
            texts.append(f"task={latest.pivot}")
            notes.append(f"task={latest.pivot}: the most recently trained one of project {project.name}")
    created, folders = task_names.created(data_dir), plugins.folders(extra_dirs)
    texts, more = task_names.with_whole_names(texts, created, folders)
    notes += more
    facts = Facts(
        names.timm_names, created, out_dir, data_dir, folders, _tag_problems, names.timm_tags, names.is_network
    )
    config, keys = compose(mode, texts, facts), {key_of(text) for text in overrides}
    # Once the command is known to be correct, check that what it reads exists.
    _check_project(config, keys)
    # Imported late, so that a wrong command is refused before data and metrics are imported.
    from mlpipe.config import presets
    from mlpipe.running import reuse

    # Stored records may determine the network, so they are applied before the recipes of a preset are composed.
    config, more = reuse.applied(config, keys)
    config = presets.with_recipes(config, texts, facts)
    _check_paths(config, command)
    steps.raise_all(tracking.problems(config, command.words[1:] if command.words else command.overrides))
    notes += _unused_task_notes(config, keys)
    config = replace(config, given=frozenset(key_of(text) for text in texts))
    return Prepared(config, notes=(*notes, *more), command=line)


def words_to_continue(config: RunConfig, run: str) -> list[str]:
    """Return the overrides that continue a run: its folders, and its code and output paths as trusted.

    Args:
        config: The run's configuration, or one with the same folders and code.
        run: The run's name.
    """
    places = {"proj": config.proj, "out_dir": config.out_dir, "data_dir": config.data_dir}
    words = [f"continue={run}", *(f"{key}={recipe_file.as_text(str(value))}" for key, value in places.items())]
    return [*words, _trusted_paths(config), *_trusted_code(config)]


def permissions_to_continue(config: RunConfig) -> list[str]:
    """Return the overrides without which a continued run is refused, because of its code or its output paths.

    Args:
        config: The run's configuration.
    """
    try:
        written_paths.check(config.tree, (), ours=("out_dir", "data_dir"))
    except ConfigError:
        return [_trusted_paths(config), *_trusted_code(config)]
    return _trusted_code(config)


def _trusted_paths(config: RunConfig) -> str:
    paths = dict.fromkeys(path for _, path in written_paths.paths(config.tree))
    return f"{written_paths.KEY}={recipe_file.as_text(list(paths))}"


def _trusted_code(config: RunConfig) -> list[str]:
    trust = dict.fromkeys([*(config.tree["trust"] or ()), *current_folder.named_code(config.tree)])
    return [f"trust={recipe_file.as_text(list(trust))}"] if trust else []


def execute(
    prepared: Prepared,
    *,
    display: Any = None,
    stop: Any = None,
    follower: Any = None,
    started: float | None = None,
    is_part: bool = False,
) -> dict[str, Any]:
    """Run a prepared configuration.

    Args:
        prepared: The result of `prepare`.
        display: Shows progress; None makes one for standard error.
        stop: Whether the user asked to stop, shared by the runs of a sweep; None makes one.
        follower: An outside follower of the run.
        started: The start time of the command, on the clock of `time.monotonic`; None: now.
        is_part: Whether it is one of several runs, after which all results are reported together.

    Returns:
        The facts that `--json` prints.

    Raises:
        MlpipeError: When a step fails, or the user asked to stop.
    """
    from mlpipe.reports.progress import Display, quiet
    from mlpipe.running import console
    from mlpipe.running.scheduler import Scheduler
    from mlpipe.running.steps import RunContext, Stop

    config = prepared.run_config
    project = Project(config.project_dir)
    context = RunContext(
        project,
        display or Display(),
        stop or Stop(),
        follower=follower,
        command=prepared.command,
        started=time.monotonic() if started is None else started,
        is_part=is_part,
    )
    context.facts.update(mode=config.mode, project=config.proj)
    scheduler: Scheduler = config.scheduler.build(config, context)
    if prepared.resumed is not None and prepared.resumed.is_finished():
        context.facts.update(run=prepared.resumed.name, finished=True)
        return context.facts
    with console.of(config).around(), quiet() if is_part else nullcontext():
        scheduler.run(prepared.resumed)
    return context.facts


def planned(prepared: Prepared) -> list[str]:
    """Return the names of the steps that `execute` would run; a missing task is described in the data folder."""
    from mlpipe.reports.progress import Display
    from mlpipe.running.scheduler import Scheduler
    from mlpipe.running.steps import RunContext

    config = prepared.run_config
    scheduler: Scheduler = config.scheduler.build(config, RunContext(Project(config.project_dir), Display()))
    finished_names = prepared.resumed.done() if prepared.resumed else set()
    steps = [step.name for step in scheduler.plan() if step.name not in finished_names]
    scheduler.outlook()
    return steps


def _unused_task_notes(config: RunConfig, keys: Collection[str]) -> list[str]:
    """Return a note on tasks that a command lists but its training does not use."""
    if "task_list" not in keys or not config.task_list or config.tree["mode"].get("multitask", True) is not False:
        return []
    learned, first = _task(config), config.task_list[0]
    if (config.tree["mode"].get("eval_on") or []) != [] or learned in config.task_list:
        return []
    fix = f"task={first} trains on that one, mode.multitask=2 on both"
    return [f"task_list={listing(config.task_list)}: not used by this training, which is of {learned}; {fix}"]


def _check_paths(config: RunConfig, command: Command) -> None:
    """Refuse output paths from a recipe, a study or a blueprint that the command line does not name."""
    words = list(command.words[1:] if command.words else command.overrides)
    file_name = recipe_file.named(words)
    if file_name is not None or {"use_best_params", "reuse.blueprint"} & set(map(key_of, words)):
        written_paths.check(config.tree, words, beside=recipe_file.path_of(file_name).parent if file_name else None)


def _tag_problems(text: str) -> Sequence[str]:
    """Return problems of the tags of a task's name; the tags' module is imported only if there are tags."""
    if not text:
        return ()
    from mlpipe.data import tags

    return tags.problems(text)


def _check_project(config: RunConfig, keys: Collection[str]) -> None:
    """Refuse a command that reads what a project does not contain.

    Args:
        config: The configuration, before records from elsewhere are applied.
        keys: The keys set on the command line.

    Raises:
        ProjectError: When there is no such project, or it is empty.
    """
    mode = config.mode
    project, is_named = Project(config.project_dir), "proj" in keys
    modes = (*_READ, *_LOOK, *(_NAMED if is_named else ()))
    if mode not in modes or _makes_project(config.tree, keys) or config.tree["mode"].get("subroutines") == ["plugins"]:
        return
    project_names = [other.name for other in continuing.projects(config.out_dir)]
    if project.name not in project_names and (is_named or (project_names and (mode in _READ or "task" not in keys))):
        near = did_you_mean(project.name, project_names)
        known = (
            f"there are {listing(project_names)}"
            if project_names
            else f"train something first: mml train proj={project.name}"
        )
        fix = f"{near} {known}" if near else known
        if project_names and not is_named:
            fix = f"{known}; add proj={project_names[0]}{'' if len(project_names) == 1 else ', or another'}"
        wrong = f"there is no project {project.name} in {config.out_dir}"
        raise ProjectError(problem("proj", wrong, fix=fix))
    if mode in _READ and not records.load_all(project):
        raise records.untrained_error(project, _task(config))


def _makes_project(tree: Any, keys: Collection[str]) -> bool:
    trains = "train" in (tree["mode"].get("subroutines") or ())
    # `mml upgrade mode.source=DIR` imports a project of mml-core into a new one; in other modes it names images.
    imports = "source_data" in tree["mode"] and tree["mode"].get("source") is not None
    return trains or imports or any(key.split(".")[0] in _ELSEWHERE for key in keys)


def _task(config: RunConfig) -> str:
    """Return a task as named on the command line."""
    name = config.task.params.get("name")
    return str(name) if isinstance(name, str) else config.task.target.rpartition(".")[2]


def _prepare_resumed(mode: str, project: Project, data_dir: Path, run_name: str, overrides: Sequence[str]) -> Prepared:
    own = [text for text in overrides if text.partition("=")[0] not in _WITH_RESUME]
    near = did_you_mean(run_name, ["latest", *(run.name for run in journal.all_runs(project))])
    if own and run_name != "latest" and near == "did you mean 'latest'?":
        fix = f"write mml {mode} continue=latest, without the other overrides"
        raise ConfigError(problem("continue", "there is no such run", got=run_name, fix=fix))
    run = continuing.find(project, run_name, mode, named=value_of("proj", overrides) is not None)
    config = snapshot.load(
        run.folder / journal.CONFIG_FILE,
        out_dir=str(project.root.parent),
        data_dir=str(data_dir),
        proj=project.name,
        trust=_trusted_modules(overrides),
    )
    config = _with_workers(config, overrides)
    if (config.tree.get("preset") or {}).get("trees"):
        from mlpipe.config import presets

        config = presets.with_preset_scheduler(config)
    note = f"continue={run_name}: run {run.name} of project {project.name}, {_run_summary(run, config)}"
    if config.mode != mode:
        fix = f"mml {config.mode} continue={run.name}"
        raise ConfigError(problem("continue", f"run {run.name} is one of mml {config.mode}", got=mode, fix=fix))
    _refuse_others(run, config, own)
    if run.is_finished():
        return Prepared(config, run, (f"run {run.name} is finished; nothing to do", note))
    run.refuse_if_running()
    written_paths.check(config.tree, overrides, ours=("out_dir", "data_dir"))
    return Prepared(replace(config, resume=run.name), run, (note,))


def _with_workers(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Return a stored configuration with the command's number of loader processes, which changes no result."""
    changes, problems = parse([text for text in overrides if key_of(text) == _WORKERS])
    if problems:
        raise ConfigError(problems)
    if not changes:
        return config
    from mlpipe.config.assemble import assemble

    def changed(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {**tree, "sys": {**tree["sys"], "num_workers": changes[-1].value}}

    tree = changed(config.tree)
    if trees := (tree.get("preset") or {}).get("trees"):
        tree["preset"] = {**tree["preset"], "trees": {name: changed(recipe) for name, recipe in trees.items()}}
    return assemble(tree)


def _refuse_others(run: Run, config: RunConfig, own: Sequence[str]) -> None:
    """Refuse overrides that contradict the configuration of a continued run.

    Args:
        run: The run.
        config: Its configuration.
        own: The configuration overrides of the command.

    Raises:
        ConfigError: With one sentence that lists all differences.
    """
    changes, wrong = parse(own)
    command_values = _command_values(str(run.plan().get("command") or ""))
    has, requests = [], []
    for change in changes:
        is_known, value = _stored_value(config.tree, change.key)
        if change.key in command_values and command_values[change.key] == change.value:
            continue
        if not change.deletes and is_known and value == change.value:
            continue
        value = command_values.get(change.key, value)
        setting = (
            f"its own {change.key}" if isinstance(value, Mapping) else f"{change.key}={recipe_file.as_text(value)}"
        )
        has.append(setting if is_known or change.key in command_values else f"no {change.key}")
        requests.append(studies.masked(change.text))
    if requests or wrong:
        reason = f"run {run.name} has {listing(has)} and keeps it" if has else "a run keeps its own configuration"
        fix = f"write mml {config.mode} continue={run.name} alone, or leave continue= out to start a new run"
        raise ConfigError(
            [*wrong, *([problem("continue", reason, got=" ".join(requests), fix=fix)] if requests else [])]
        )


def _command_values(command: str) -> dict[str, Any]:
    """Return the override values of a run's command; its configuration lacks names of options, recipes and studies."""
    try:
        words = shlex.split(command)[2:]
    except ValueError:
        # The stored command was edited and is not valid any more.
        return {}
    return {change.key: change.value for change in parse(words)[0]}


def _stored_value(tree: Any, key: str) -> tuple[bool, Any]:
    """Return whether a configuration has a key, and its value; for a group, the name of the chosen option."""
    node: Any = tree
    for part in key.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False, None
        node = node[part]
    if isinstance(node, Mapping) and "_target_" in node:
        return True, node.get("name") or name_of(str(node["_target_"]))
    return True, node


def _run_summary(run: Run, config: RunConfig) -> str:
    """Describe a run by its task and the command that started it."""
    task = config.tree["task"]
    name = task.get("name") or config.task.target.rpartition(".")[2]
    place = task.get("root") or task.get("file") or ""
    command = str(run.plan().get("command") or "")
    return f"task {name}{f' of {place}' if place else ''}" + (f" ({command})" if command else "")


def _trusted_modules(overrides: Sequence[str]) -> Any:
    """Return the modules that the command line trusts: a stored configuration cannot declare its own code trusted."""
    changes, problems = parse([text for text in overrides if text.partition("=")[0] == "trust"])
    if problems:
        raise ConfigError(problems)
    return changes[-1].value if changes else []


def with_best_trial(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides with a study's best trial in place of `use_best_params=`, and a note about it."""
    reference = value_of("use_best_params", overrides)
    rest = [text for text in overrides if key_of(text) != "use_best_params"]
    if reference is None:
        return rest, []
    from mlpipe.config.search_space import fixed_key_problems
    from mlpipe.config.search_space import overrides as as_overrides
    from mlpipe.reports import studies as study_reports

    name, _, number = reference.rpartition("#")
    if not name or not number.isdigit():
        name, number = reference, ""
    storage = value_of("hpo.storage", overrides)
    if value_of("hpo", overrides) is None:
        rest = [text for text in rest if text.partition("=")[0] != "hpo.storage"]
    with studies.loaded(project_of(overrides), name, storage) as study:
        if not number and (mixed := study_reports.mixed_losses(study)):
            fix = f"choose one, such as use_best_params={name}#{studies.finished(study)[0].number}"
            raise ConfigError(problem(f"study {study.study_name}", f"{mixed}, so that none is the best", fix=fix))
        trial = studies.best(study, int(number) if number else None)
        label = f"use_best_params: trial {trial.number} of study {study.study_name}"
        alike = [] if number else studies.best_trials(study)
    if wrong := fixed_key_problems(dict.fromkeys(trial.params)) if trial.params else []:
        raise ConfigError(wrong)
    recipe_file.check_code(label, trial.params, rest)
    # Overrides on the command line take precedence.
    own = {key_of(text) for text in rest}
    texts = as_overrides({key: value for key, value in trial.params.items() if key not in own})
    more = f", the first of {len(alike)} with the same value" if len(alike) > 1 else ""
    return [*texts, *rest], [f"{label}{more}: {' '.join(texts)}"]


def project_of(overrides: Sequence[str]) -> Project:
    """Return the project that overrides name, before anything is composed."""
    return Project(_folder("out_dir", overrides) / (value_of("proj", overrides) or "default"))


def _folder(key: str, overrides: Sequence[str]) -> Path:
    return current_folder.expanded(base_folder(key, value_of(key, overrides))).absolute()
