"""Reuse of other runs: blueprints, models to transfer from, weights to start from, predictions."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpipe import files
from mlpipe.config import blueprint, objectives, snapshot
from mlpipe.config.assemble import assemble
from mlpipe.config.components import with_random_weights
from mlpipe.config.schema import RunConfig
from mlpipe.data.task import Task
from mlpipe.errors import DataError, ProjectError, counted, did_you_mean, listing, problem
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics
from mlpipe.runs import references
from mlpipe.runs.project import Project
from mlpipe.runs.references import Located

if TYPE_CHECKING:
    from mlpipe.arch.initial_weights import Start
    from mlpipe.post.teaching import Teaching


def applied(config: RunConfig, keys: Collection[str]) -> tuple[RunConfig, list[str]]:
    """Return a configuration with its blueprint applied and, for `tl`, with the model that it starts from.

    Args:
        config: A checked configuration; it is not changed.
        keys: The keys of the command line: an `arch` given there is kept.

    Returns:
        The configuration, and notes for the user.

    Raises:
        ConfigError: When a reused part does not pass the checks.
        ProjectError: When a project, a record or a model does not exist.
    """
    tree: dict[str, Any] = dict(config.tree)
    notes: list[str] = []
    mode = tree["mode"]
    own_arch = {key for key in keys if key.partition(".")[0] == "arch"}
    if mode.get("use_blueprint") is True:
        sections = blueprint.read(_blueprint_file(str(config.reuse.blueprint), config.out_dir))
        tree, notes = blueprint.applied(tree, sections, mode["pipeline_keys"])
        if "arch" in mode["pipeline_keys"] and "arch" in sections:
            own_arch = {"arch"}
    if config.mode == "tl":
        chosen, how = _transferred_from(config)
        tree = _with_model(tree, chosen, own_arch, config.out_dir)
        notes.append(f"starts from {chosen.name(config.out_dir)} ({chosen.record.id}): {how}")
    if tree == config.tree:
        return config, notes
    snapshot.check_code("what is reused", tree, config.tree, config.tree["trust"])
    return assemble(tree), notes


def start(config: RunConfig, task: Task, how: str = "") -> Start | None:
    """Return the initial weights of a training; heads are kept if kind and classes are the same.

    Raises:
        ProjectError: When the record is not there, or its weights are gone or changed.
        DataError: When there is no such file.
    """
    from mlpipe.arch.initial_weights import Start

    text = config.reuse.parameters
    if text is None:
        return None
    allow = config.reuse.allow_missing
    if "#" not in text:
        file = Path(text)
        if not file.is_file():
            fix = "name an existing file, or a record such as PROJ#3"
            raise DataError(problem("reuse.parameters", "there is no such file", got=text, fix=fix))
        return Start(file, files.digest_file(file), file.name, keep_heads=True, allow_missing=allow)
    location = references.record(text, "reuse.parameters", config.out_dir)
    references.check_weights(location, "reuse.parameters", config.out_dir)
    record = location.record
    same = (record.kind, record.classes) == (task.kind, list(task.classes))
    facts = ", ".join([record.id, f"task {record.task}", *([how] if how else [])])
    name = f"{location.name(config.out_dir)} ({facts})"
    start = Start(location.weights, str(record.weights), name, keep_heads=same, allow_missing=allow)
    return replace(start, sides=_sides(location))


def _sides(location: Located) -> tuple[int, int] | None:
    """Return the height and width of a record's training images, as far as its configuration tells."""
    section = blueprint.read(location.config).get("preprocessing") if location.config.is_file() else None
    size = section.get("size") if isinstance(section, dict) else None
    both = [size, size] if isinstance(size, int) else size
    if isinstance(both, list) and len(both) == 2 and all(isinstance(side, int) and side > 0 for side in both):
        return both[0], both[1]
    return None


def recipe_hash(config: RunConfig, names: str, begun: Start | None, teaching: Teaching | None = None) -> str:
    """Return the hash of the recipe, the names of the tasks, the initial weights, and the teacher and its settings."""
    own = config.recipe_hash(names)
    own = own if begun is None else files.digest([own, begun.digest, begun.keep_heads])[:8]
    if teaching is None:
        return own
    return files.digest([own, teaching.teacher, float(teaching.temperature), float(teaching.hard_weight)])[:8]


def foreign_records(texts: str | Sequence[str] | None, key: str, config: RunConfig, task: str) -> list[Located]:
    """Return the records of a task that references name and that lie in other projects.

    Raises:
        ProjectError: When a reference is invalid.
    """
    locations = references.located(texts, key, config.out_dir) if texts is not None else []
    home = config.project_dir.resolve()
    return [
        location for location in locations if location.record.pivot == task and location.project.root.resolve() != home
    ]


def choose(candidates: Sequence[Located], how: str, seed: int) -> Located:
    """Choose one of several models.

    Args:
        candidates: At least one model.
        how: `performance`: the lowest finite validation loss (the later model if equal), or the best value of another
            metric if models have different losses (`measure`); `created`: the latest; `random`: drawn from the seed.
        seed: The run's seed.

    Raises:
        ProjectError: When `performance` finds no finite loss, or no common metric for different losses.
    """
    in_order = sorted(
        candidates, key=lambda candidate: (candidate.record.created, candidate.record.number, str(candidate.folder))
    )
    if how == "created":
        return in_order[-1]
    if how == "random":
        return in_order[int(np.random.default_rng(seed).integers(len(in_order)))]
    name = measure(in_order)
    scored = [(value, candidate) for candidate in in_order if (value := _score(candidate, name)) is not None]
    if not scored:
        fix = "use mode.model_selection=created"
        raise ProjectError(problem("mode.model_selection", f"no model has a finite validation {name}", fix=fix))
    best = (min if metrics.direction(name) == "min" else max)(value for value, _ in scored)
    return [candidate for value, candidate in scored if value == best][-1]


def measure(candidates: Sequence[Located]) -> str:
    """Return the measure that compares models: their loss, or a common metric if they have different losses.

    Raises:
        ProjectError: When they have different losses, and no other metric in common.
    """
    configs = {(candidate.project.root, candidate.record.recipe): candidate.config for candidate in candidates}
    if not objectives.have_different_losses([_stored(path) for path in configs.values()]):
        return "loss"
    preferred = [*metrics.PROPER, *(post_kind.of(candidate.record.kind).HEADLINE for candidate in candidates)]
    names = [*preferred, *(name for candidate in candidates for name in candidate.record.scores.get("val", {}))]
    for name in dict.fromkeys(names):
        known = all(_score(candidate, name) is not None for candidate in candidates)
        if known and not objectives.is_by_the_loss(name) and name in post_kind.of(candidates[0].record.kind).METRICS:
            return name
    wrong = "the models were trained with different losses, whose values cannot be compared"
    fix = "use mode.model_selection=created, or name one with reuse.parameters=PROJ#3"
    raise ProjectError(problem("mode.model_selection", wrong, got="performance", fix=fix))


def _stored(path: Path) -> dict[str, Any]:
    """Return a record's configuration; empty if it is missing."""
    return blueprint.read(path) if path.is_file() else {}


def _score(candidate: Located, name: str) -> float | None:
    value = candidate.record.scores.get("val", {}).get(name)
    return value if value is not None and math.isfinite(value) else None


def _transferred_from(config: RunConfig) -> tuple[Located, str]:
    """Return the model that `tl` starts from, and how it was chosen; a named model is used directly."""
    mode, text = config.tree["mode"], config.reuse.parameters
    task_name = mode["pretrain_task"]
    if text is not None:
        if "#" not in text:
            fix = "name a record such as PROJ#3, or use mml train for a file of weights"
            raise ProjectError(problem("reuse.parameters", "mml tl starts from a record", got=text, fix=fix))
        location = references.record(text, "reuse.parameters", config.out_dir)
        if location.record.pivot != task_name:
            wrong = f"{text} was trained on {location.record.pivot}"
            raise ProjectError(problem("mode.pretrain_task", wrong, got=task_name, fix="name one of the two only"))
        return location, "named by reuse.parameters"
    candidates = _candidates(config, task_name)
    how = mode["model_selection"]
    chosen = choose(candidates, how, config.seed)
    by = ""
    if how == "performance" and (name := measure(candidates)) != "loss":
        by = f" (val/{name}, for their losses differ)"
    return chosen, f"{how}{by} of {counted(len(candidates), 'model')} of {task_name}"


def _candidates(config: RunConfig, task_name: str) -> list[Located]:
    texts = config.reuse.models
    if texts is None:
        if not Project(config.project_dir).tasks_dir().is_dir():
            fix = "say where they are with reuse.models=PROJ, or train them first"
            raise ProjectError(problem("reuse.models", f"project {config.proj} has no models yet", fix=fix))
        texts = config.proj
    locations = references.located(texts, "reuse.models", config.out_dir)
    of_task = [location for location in locations if location.record.pivot == task_name]
    candidates = [
        location for location in of_task if location.record.weights is not None and location.weights.is_file()
    ]
    if candidates:
        return candidates
    places = texts if isinstance(texts, str) else listing(texts)
    if of_task:
        fix = "train them again with mode.store_parameters=true, or use another project with reuse.models=PROJ"
        raise ProjectError(problem("reuse.models", f"no model of {task_name} in {places} keeps its weights", fix=fix))
    tasks = sorted({location.record.pivot for location in locations})
    near = did_you_mean(task_name, tasks) or f"there are models of {listing(tasks) or 'no task'}"
    fix = f"{near}; say where others are with reuse.models=PROJ"
    raise ProjectError(problem("mode.pretrain_task", f"no model of it in {places}", got=task_name, fix=fix))


def _with_model(tree: dict[str, Any], chosen: Located, own_arch: Collection[str], out_dir: Path) -> dict[str, Any]:
    """Return the configuration with the chosen model as its start, and with its network unless one was named."""
    new = {**tree, "reuse": {**tree["reuse"], "parameters": chosen.name(out_dir)}}
    arch = dict(tree["arch"])
    if "arch" not in own_arch and (stored := blueprint.read(chosen.config).get("arch")):
        settings = {key: arch[key] for key in arch if f"arch.{key}" in own_arch}
        arch = {**stored, **settings}
    # Whether the body is frozen is decided by this run, not by the stored model's training.
    arch |= {key: value for key, value in with_random_weights(str(arch["_target_"]), arch).items() if key in arch}
    if "freeze" in arch:
        arch["freeze"] = tree["mode"]["freeze"] or tree["arch"].get("freeze")
    return {**new, "arch": arch}


def _blueprint_file(text: str, out_dir: Path) -> Path:
    if "#" in text:
        return references.record(text, "reuse.blueprint", out_dir).config
    if text.endswith((".yaml", ".yml")):
        return Path(text)
    fix = f"name one of its records, {text}#3 for example, or a file that ends in .yaml"
    raise ProjectError(problem("reuse.blueprint", "a blueprint is one record's or a file's", got=text, fix=fix))
