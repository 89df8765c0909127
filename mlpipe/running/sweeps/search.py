"""Hyperparameter search (`hpo=optuna`): its trials are ordinary runs; it can be stopped and continued at any time.

The space and all its possible choices are checked before the first trial. Optuna (Akiba et al. 2019) proposes and
judges; it is used through ask-and-tell, so that a trial may be pruned after an epoch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlpipe import files, kinds
from mlpipe.config import objectives, search_space
from mlpipe.config.overrides import key_of
from mlpipe.config.schema import AUTO, OPTIONAL_SECTIONS, RECIPE_SECTIONS, Healing, Hpo, Reuse, RunConfig
from mlpipe.config.search_space import Parameter
from mlpipe.errors import ConfigError, did_you_mean, listing, problem
from mlpipe.names import identified, name_of
from mlpipe.running import launch
from mlpipe.running.launch import Command, Front, Prepared
from mlpipe.runs import studies
from mlpipe.runs.project import Project

Direction = Literal["minimize", "maximize"]

_REFIT = "mode.refit"
# Keys that change how many epochs a trial has, or what an epoch reports.
_OF_EPOCHS = (
    "trainer.max_epochs", "trainer.max_steps", "trainer", "split", "split.folds", "split.repeats", "metrics.monitor",
)  # fmt: skip


@dataclass(frozen=True)
class Search:
    """A checked search.

    Attributes:
        base: The configuration of a trial without changes.
        fixed: The overrides that all trials share.
        front: Reads files of other programs, for each trial with its values.
        space: The search space.
        extra_dirs: Further folders of configuration files.
        study: The study's name.
        metrics: The metrics to optimise.
        directions: Whether a lower or higher value of each is better.
        steps: The steps of the first trial.
        task: The name of the task that all trials learn, which other images would change.
    """

    base: RunConfig
    fixed: tuple[str, ...]
    front: Front
    space: Mapping[str, Parameter]
    extra_dirs: tuple[Path, ...]
    study: str
    metrics: tuple[str, ...]
    directions: tuple[Direction, ...]
    steps: tuple[str, ...]
    task: str = ""

    @property
    def hpo(self) -> Hpo:
        """The keys of the search."""
        assert self.base.hpo is not None
        return self.base.hpo

    @property
    def project(self) -> Project:
        """The project of its runs."""
        return Project(self.base.project_dir)

    @property
    def address(self) -> str:
        """The address of the study's storage, without a password."""
        return studies.address(self.project, self.study, self.hpo.storage)

    @property
    def refits(self) -> bool:
        """Whether a model of all folds is requested, which no trial trains."""
        return bool(self.base.tree["mode"].get("refit"))

    def trial(self, values: Mapping[str, search_space.Value], number: int | None = None) -> Prepared:
        """Return the run of one trial.

        Args:
            values: The values of the trial.
            number: Its number in the study, which is stored in the run's configuration.
        """
        # A recipe file that requests the search applies the rest of its content to every trial.
        texts = [*self.fixed, "hpo=none", "search_space=none", *search_space.overrides(values)]
        if self.refits:
            # A trial is judged by its folds: a model of all folds would be useful only for the best trial.
            texts = [*(text for text in texts if key_of(text) != _REFIT), f"{_REFIT}=false"]
        prepared = launch.prepare(self.front.native(Command("train", texts)), self.extra_dirs)
        facts = {"study": self.study, "number": number, "params": dict(values)}
        config = prepared.run_config
        return replace(prepared, run_config=replace(config, tree={**config.tree, "trial": facts}))

    def shared(self) -> dict[str, Any]:
        """Return the part of the configuration that must be equal in all trials of a study."""
        tree = self.base.tree
        keys = ("task", "mode", *RECIPE_SECTIONS, "seed", *self._used_sections())
        sections = {key: identified(key, tree[key]) for key in keys}
        facts = {**sections, "threads": self.base.recipe.threads}
        plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        return plain

    def _used_sections(self) -> list[str]:
        """Return the other sections that change a trial; unused ones are left out, so that studies keep their names."""
        base, tree = self.base, self.base.tree
        used = {
            **{key: name_of(tree[key]["_target_"]) != "none" for key in OPTIONAL_SECTIONS},
            "stages": bool(base.recipe.stages),
            "tags": bool(base.tags),
            "task_list": bool(tree["mode"]["multitask"]),
            "reuse": base.reuse != Reuse(),
            "healing": base.healing != Healing(),
        }
        return [key for key, is_used in used.items() if is_used]


def prepare(command: Command, extra_dirs: Sequence[Path] = (), *, front: Front) -> Search:
    """Check a search and every corner of its space; nothing is written to the project.

    Args:
        command: The command as typed, sweeps included.
        extra_dirs: Further folders of configuration files.
        front: Reads files of other programs.

    Raises:
        ConfigError: With a sentence for every problem.
    """
    overrides = command.overrides
    if command.mode != "train":
        raise ConfigError(problem("hpo", "searches with mml train only", got=command.mode, fix="leave hpo= out"))
    if any(key_of(text) == "continue" for text in overrides):
        fix = "run the command of the search again: it goes on with its study"
        raise ConfigError(problem("continue", "continues a run, not a search", fix=fix))
    fixed, space, problems = search_space.split(overrides)
    # The search may be requested by a recipe file.
    fixed += [] if any(text.startswith("hpo=") for text in fixed) else ["hpo=optuna"]
    # The base is an ordinary run with the first value of every searched key: it shows what the file and the options
    # add, and which keys cannot sensibly be searched.
    fixed += _first_values(fixed, space)
    base = _base(Command("train", fixed), front, extra_dirs, problems)
    assert base.hpo is not None
    of_file, wrong = search_space.read((base.tree.get("search_space") or {}).get("params") or {})
    space = {**of_file, **space}
    names = _metric_names(base)
    problems += wrong + search_space.fixed_key_problems(space) + _rules(base, base.hpo, space, names)
    directions = _directions(base, base.hpo, names, problems)
    if base.hpo.sampler == "grid" and not problems:
        search_space.points(space)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    # A study is named after everything that its trials share and its space, so that the same command continues it, and
    # another command never mixes with it. The time limit is that of the search, not of a trial.
    own = tuple(text for text in fixed if _section(text) not in (*search_space.SECTIONS, "time_limit"))
    search = Search(base, own, front, space, tuple(extra_dirs), "", names, directions, ())
    digest = files.digest([search.shared(), sorted((key, repr(value)) for key, value in space.items())])[:8]
    search = replace(search, study=base.hpo.study or f"search-{digest}")
    steps = tuple(_checked_corners(search))
    from mlpipe.running import tasks

    return replace(search, steps=steps, task=tasks.pivot(base).name)


def shown(search: Search) -> dict[str, Any]:
    """Return the configuration for printing, without the storage's password."""
    tree = dict(search.base.tree)
    tree["hpo"] = {**tree["hpo"], "study": search.study, "storage": search.address}
    return tree


def _base(command: Command, front: Front, extra_dirs: Sequence[Path], problems: list[str]) -> RunConfig:
    try:
        return launch.prepare(front.native(command), extra_dirs).run_config
    except ConfigError as error:
        raise ConfigError(list(dict.fromkeys([*problems, *error.problems]))) from None


def _first_values(fixed: Sequence[str], space: Mapping[str, Parameter]) -> list[str]:
    """Return a value for each searched `given.NAME` that has none, because formulas refer to it."""
    first = (search_space.corners(space) or [{}])[0]
    keys = {key_of(text) for text in fixed}
    return search_space.overrides(
        {key: value for key, value in first.items() if key.startswith("given.") and key not in keys}
    )


def _section(text: str) -> str:
    return key_of(text).partition(".")[0]


def _metric_names(base: RunConfig) -> tuple[str, ...]:
    assert base.hpo is not None
    metric = base.hpo.metric
    if metric is None:
        return (base.recipe.metrics.monitor,)
    return (metric,) if isinstance(metric, str) else tuple(metric)


def _rules(base: RunConfig, hpo: Hpo, space: Mapping[str, Parameter], names: Sequence[str]) -> list[str]:
    """Return combinations that a search does not allow."""
    problems = (
        [] if names else [problem("hpo.metric", "must name a metric", got=[], fix="leave it out for the usual one")]
    )
    if hpo.study is not None and (not hpo.study or files.safe_name(hpo.study) != hpo.study):
        problems.append(problem("hpo.study", "must be a plain name", got=hpo.study, fix="for example hpo.study=first"))
    if "train" not in base.tree["mode"]["subroutines"]:
        problems.append(problem("mode.subroutines", "a search trains", fix="add train"))
    for name in names:
        part, _, metric = name.partition("/")
        if part not in ("val", "test") or not metric:
            problems.append(
                problem("hpo.metric", "must be val/NAME or test/NAME", got=name, fix="such as val/accuracy")
            )
        elif part == "test" and "test" not in base.tree["mode"]["subroutines"]:
            fix = "add mode.subroutines=[train,test], or choose val/NAME: what chose a model is no longer a test"
            problems.append(problem("hpo.metric", "nothing is tested", got=name, fix=fix))
    if hpo.pruner != "none":
        if list(names) != [base.recipe.metrics.monitor]:
            fix = "leave hpo.metric out, or use hpo.pruner=none"
            problems.append(problem("hpo.pruner", "needs metrics.monitor as the only metric", got=hpo.pruner, fix=fix))
        if base.sys.fold_workers != 1:
            problems.append(problem("hpo.pruner", "compares folds one after the other", fix="use sys.fold_workers=1"))
        problems += [
            problem("hpo.pruner", f"compares trials at the same epoch, but {key} is searched", fix="leave one out")
            for key in space
            if key in _OF_EPOCHS or _section(key) == "stages"
        ]
    return problems


def _directions(base: RunConfig, hpo: Hpo, names: Sequence[str], problems: list[str]) -> tuple[Direction, ...]:
    settings = [hpo.direction] * len(names) if isinstance(hpo.direction, str) else list(hpo.direction)
    if len(settings) != len(names):
        wrong = f"must have one entry for each of {listing(names)}"
        problems.append(problem("hpo.direction", wrong, got=settings, fix="use auto"))
        return ()
    from mlpipe.post import metrics

    directions: list[Direction] = []
    for name, direction in zip(names, settings, strict=True):
        if direction not in ("auto", "minimize", "maximize"):
            problems.append(problem("hpo.direction", "must be auto, minimize or maximize", got=direction))
        if direction == "maximize" and objectives.is_by_the_loss(name, base.tree):
            problems.append(problem("hpo.direction", f"less of {name} is better", got=direction, fix="use auto"))
        monitored = name == base.recipe.metrics.monitor and base.recipe.metrics.direction != "auto"
        less = base.recipe.metrics.direction == "min" if monitored else metrics.direction(name) == "min"
        directions.append("minimize" if direction == "minimize" or (direction == "auto" and less) else "maximize")
    return tuple(directions)


def _checked_corners(search: Search) -> list[str]:
    """Return the steps of the first corner's run; every corner is composed and planned, which needs the task."""
    problems: list[str] = []
    steps: list[str] = []
    trees = []
    for corner in search_space.corners(search.space):
        try:
            trial = search.trial(corner)
            planned = launch.planned(trial)
        except ConfigError as error:
            problems += error.problems
        else:
            steps = steps or planned
            trees.append(trial.run_config.tree)
    if not problems:
        problems += _metric_problems(search) or _loss_problems(search, trees)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return steps


def _loss_problems(search: Search, trees: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence if trials would be compared by values of different losses, with a suitable metric."""
    # Two trials with different losses have values of `val/loss` in different units, so that the lowest one is not the
    # best. The sentence therefore names a metric of this kind of task that judges every trial alike.
    names = [name for name in search.metrics if objectives.is_by_the_loss(name, search.base.tree)]
    if not names or not objectives.have_different_losses(trees):
        return []
    from mlpipe.post import kind as post_kind
    from mlpipe.post import metrics

    keys = [key for key in search.space if _changes_the_loss(search, key)] or list(search.space)
    kind, measured = _kind_and_metrics(search)
    preferred = [*metrics.PROPER, post_kind.of(kind).HEADLINE, *measured]
    other = next((metric for metric in preferred if metric in measured and metric in post_kind.of(kind).METRICS), None)
    if other is None or objectives.is_by_the_loss(other):
        fix = f"leave {listing(keys)} out of the search"
    elif search.hpo.metric is None:
        fix = f"add metrics.monitor=val/{other}"
    elif len(search.metrics) == 1:
        fix = f"use hpo.metric=val/{other}"
    else:
        metric_names = [f"val/{other}" if name in names else name for name in search.metrics]
        fix = f"use hpo.metric=[{','.join(dict.fromkeys(metric_names))}]"
    searched = f"{listing(keys)} {'is' if len(keys) == 1 else 'are'} searched"
    return [
        problem("hpo.metric", f"values of different losses cannot be compared, and {searched}", got=name, fix=fix)
        for name in names
    ]


def _changes_the_loss(search: Search, key: str) -> bool:
    """Return whether a searched key by itself changes the loss."""
    first = search_space.corners(search.space)[0]
    trees = []
    for value in search.space[key].extremes():
        try:
            trees.append(search.trial({**first, key: value}).run_config.tree)
        except ConfigError:
            # Its value changes together with another key's.
            continue
    return objectives.have_different_losses(trees)


def _kind_and_metrics(search: Search) -> tuple[str, list[str]]:
    """Return the kind of the trials' predictions, and the metrics of their records."""
    from mlpipe.post import kind as post_kind
    from mlpipe.running import tasks

    kind = kinds.decide(tasks.pivot(search.base).kind, search.base.recipe.loss)
    setting = search.base.recipe.metrics.final
    return kind, list(post_kind.of(kind).FINAL) if setting == AUTO else list(setting)


def _metric_problems(search: Search) -> list[str]:
    """Return a sentence for every metric that records of this task do not have."""
    _, measured = _kind_and_metrics(search)
    problems = []
    for name in search.metrics:
        part, _, metric = name.partition("/")
        known = ["loss", *measured] if part == "val" else measured
        if metric not in known:
            otherwise = f"measured: {listing(known)}; metrics.final=[...] takes more"
            fix = did_you_mean(metric, known, otherwise=otherwise)
            problems.append(problem("hpo.metric", "is not measured", got=re.sub(r"\s", " ", name), fix=fix))
    return problems
