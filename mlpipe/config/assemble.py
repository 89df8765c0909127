"""Freeze a resolved tree of plain data into a `RunConfig`, or list all its problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mlpipe import current_folder, files, names
from mlpipe.config import catalog, components, near_values, rules, signatures
from mlpipe.config.components import Component
from mlpipe.config.environment import cores
from mlpipe.config.schema import (
    OPTIONAL_SECTIONS,
    Augmentations,
    Clip,
    Healing,
    Hpo,
    LayerRates,
    Metrics,
    Preset,
    Recipe,
    Remove,
    Reuse,
    RunConfig,
    Stage,
    Sys,
)
from mlpipe.errors import ConfigError, did_you_mean, listing, problem

MOST_THREADS = 8
_ACCELERATORS = ["auto", "cpu", "gpu", "cuda", "mps", "tpu", "hpu", "xla"]
_CLIP_KEYS = ("clip_norm", "clip_value")
_LAYER_KEYS = ("layer_decay",)
_COMPONENTS = (
    "task",
    "split",
    "arch",
    "loss",
    "optimizer",
    "lr_scheduler",
    "preprocessing",
    "sampling",
    "logging",
    *OPTIONAL_SECTIONS,
)

# Sections that may be missing in snapshots of runs that did not use them.
_SINCE_LATER = {"healing": Healing, "reuse": Reuse, "remove": Remove}

# Sections that rules between sections read; these rules are checked if each of the sections is valid.
_FOR_RULES = (
    "mode", "trainer", "callbacks", "lr_scheduler", "metrics", "stages", "optimizer", "loss", "tune", "peft", "reuse",
    "sampling", "slicing", "sys", "task",
)  # fmt: skip


def assemble(tree: dict[str, Any]) -> RunConfig:
    """Check a resolved configuration and freeze it.

    Args:
        tree: Plain data with every section of `conf/config.yaml`, plus `mode_name` and `resume`.

    Raises:
        ConfigError: With a sentence for every problem.
    """
    # The code below requires mappings here: other values would cause Python errors instead of sentences.
    if wrong := _shape_problems(tree):
        raise ConfigError(wrong)
    # Checked before any code is looked up: folders of results and data must not contain the user's own code.
    current_folder.exclude(
        *(Path(tree[key]) for key in ("out_dir", "data_dir")), *current_folder.task_folders(tree.get("task"))
    )
    checks = _Checks()
    _complete_tree(tree, checks)
    # From here on, nothing is raised until all sections are checked, so that the user can correct all mistakes at once.
    parts = {name: checks.component(name, name, _section_for_component(tree, name)) for name in _COMPONENTS}
    scheduler = _scheduler(tree["mode_name"], tree["mode"], checks)
    cpu, device = (_pipeline(tree.get("augmentations"), where, checks) for where in ("cpu", "device"))
    parts["preprocessing"] = _with_parts(parts["preprocessing"], "before", "augmentations", checks)
    parts["tta"] = _with_parts(parts["tta"], "views", "device_augmentations", checks)
    parts["logging"] = _with_loggers(parts["logging"], checks)
    callbacks = _callbacks("callbacks", tree.get("callbacks"), checks)
    listed = _stages(tree["stages"], checks)
    _check_sections(tree, checks)
    augmentations = Augmentations(_normalization(tree.get("augmentations"), checks), tuple(cpu), tuple(device))
    # A rule reads several sections. If one of these is invalid itself, the rule would fail or repeat its sentence.
    are_plain = all(isinstance(tree.get(name, {}), dict) for name in _FOR_RULES)
    if are_plain and not any(
        sentence.startswith(("mode", "metrics", "reuse", "stages")) for sentence in checks.problems
    ):
        checks.problems += rules.broken(tree) + _reserved_argument_problems(tree["mode_name"], tree["trainer"])
    if checks.problems or scheduler is None:
        raise ConfigError(list(dict.fromkeys(checks.problems)))
    return _run_config(tree, scheduler, parts, _recipe(tree, parts, augmentations, callbacks, listed, checks.trust))


def _check_sections(tree: Mapping[str, Any], checks: _Checks) -> None:
    """Check that each section that is not a component has the keys and types of its dataclass."""
    of_optimizer = _mapping(tree.get("optimizer"))
    checks.section("optimizer", _entries_of_keys(of_optimizer, _CLIP_KEYS), Clip)
    checks.section("optimizer", _entries_of_keys(of_optimizer, _LAYER_KEYS), LayerRates)
    checks.section("metrics", tree.get("metrics"), Metrics)
    checks.section("sys", tree.get("sys"), Sys)
    checks.problems += _console_problems(_mapping(tree.get("sys")))
    for name, schema in _SINCE_LATER.items():
        checks.section(name, tree.get(name, {}), schema)
    if tree.get("hpo"):
        checks.section("hpo", tree["hpo"], Hpo)
    # Snapshots of earlier versions do not have them.
    checks.section("preset", tree.get("preset") or {}, Preset)
    checks.problems += _trainer_problems(tree.get("trainer"))


def _entries_of_keys(section: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the entries of a section for some keys, if present."""
    return {key: value for key, value in section.items() if key in keys}


def _recipe(
    tree: Mapping[str, Any],
    parts: Mapping[str, Component | None],
    augmentations: Augmentations,
    callbacks: dict[str, Component],
    listed: tuple[Stage, ...],
    trust: Sequence[str],
) -> Recipe:
    """Return the recipe of a checked tree."""
    of_recipe = {key: part for key, part in parts.items() if key not in ("task", "split", "logging")}
    return Recipe(
        **{key: part for key, part in of_recipe.items() if part is not None},
        metrics=Metrics(**{**tree["metrics"], "trust": list(trust)}),
        augmentations=augmentations,
        clip=Clip(**_entries_of_keys(tree["optimizer"], _CLIP_KEYS)),
        callbacks=callbacks,
        trainer=tree["trainer"],
        layer_decay=LayerRates(**_entries_of_keys(tree["optimizer"], _LAYER_KEYS)).layer_decay,
        stages=listed,
        seed=tree["seed"],
        threads=tree["sys"]["threads"],
        # None if the task does not define heads.
        heads=tuple(tree["task"]["heads"] or ()) if "heads" in tree["task"] else None,
    )


def _run_config(
    tree: dict[str, Any], scheduler: Component, parts: Mapping[str, Component | None], recipe: Recipe
) -> RunConfig:
    """Freeze a checked tree."""
    task, split, logging = parts["task"], parts["split"], parts["logging"]
    assert task is not None and split is not None and logging is not None
    return RunConfig(
        mode=tree["mode_name"],
        scheduler=scheduler,
        task=task,
        split=split,
        recipe=recipe,
        logging=logging,
        sys=Sys(**tree["sys"]),
        seed=tree["seed"],
        proj=tree["proj"],
        out_dir=current_folder.expanded(tree["out_dir"]),
        data_dir=current_folder.expanded(tree["data_dir"]),
        task_list=tuple(tree["task_list"] or ()),
        resume=tree.get("resume"),
        tree=tree,
        tags=str(tree.get("tags") or ""),
        hpo=Hpo(**tree["hpo"]) if tree.get("hpo") else None,
        **{name: schema(**tree.get(name, {})) for name, schema in _SINCE_LATER.items()},
    )


class _Checks:
    """Check sections one after the other, and collect a sentence for each problem."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        # The user's own modules that are allowed.
        self.trust: tuple[str, ...] = ()

    def component(self, key: str, slot: str, node: Any) -> Component | None:
        """Return the component that a node describes; None if it is invalid."""
        part, problems = components.check(key, slot, node, trust=self.trust)
        self.problems += problems
        return part

    def section(self, name: str, section: Any, schema: type) -> None:
        """Check that a section has the keys and types of a dataclass."""
        self.problems += _section_problems(name, section, schema)


def _complete_tree(tree: dict[str, Any], checks: _Checks) -> None:
    """Add values that follow from others or that earlier versions did not store, so that new snapshots have them."""
    if isinstance(tree.get("sys"), dict) and tree["sys"].get("threads") == "auto":
        tree["sys"] = {**tree["sys"], "threads": min(cores(), MOST_THREADS)}
    for section in OPTIONAL_SECTIONS:
        tree.setdefault(section, {"_target_": names.path_of(section, "none")})
    tree["stages"] = _with_options(tree.get("stages"), checks.problems)
    checks.trust = _trust(tree.get("trust"), checks.problems)
    if isinstance(tree.get("task"), dict) and "trust" in tree["task"]:
        # A list of the task's own would bypass the checks of the top-level list.
        tree["task"] = {**tree["task"], "trust": list(checks.trust)}


def _section_for_component(tree: Mapping[str, Any], section: str) -> Any:
    """Return a section without the keys that the program handles itself, which no optimizer accepts."""
    node = tree.get(section)
    if section != "optimizer" or not isinstance(node, dict):
        return node
    return {key: value for key, value in node.items() if key not in (*_CLIP_KEYS, *_LAYER_KEYS)}


def _shape_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every top-level value of the wrong kind, because all other checks depend on these."""
    problems = []
    if not isinstance(tree.get("mode"), dict):
        problems.append(problem("mode", "must be a mapping", got=tree.get("mode"), fix="the mode is the first word"))
    if not isinstance(tree.get("preset") or {}, dict):
        problems.append(problem("preset", "must be a mapping", got=tree.get("preset"), fix="use preset=none"))
    texts = {key: tree.get(key) for key in ("out_dir", "data_dir", "mode_name")}
    problems += [
        problem(key, "must be text", got=text, fix="give it such a value")
        for key, text in texts.items()
        if not isinstance(text, str) or "\0" in text
    ]
    listed = tree.get("task_list") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        fix = "for example task_list=[digits]"
        problems.append(problem("task_list", "must be a list of names of tasks", got=listed, fix=fix))
    places = tree.get("trust_paths") or []
    if not isinstance(places, str) and not (isinstance(places, list) and all(isinstance(item, str) for item in places)):
        fix = "for example trust_paths=[../exports]"
        problems.append(problem("trust_paths", "must be a list of files and folders", got=places, fix=fix))
    return problems


def _trust(value: Any, problems: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        fix = "for example trust=[my_package.losses]"
        problems.append(problem("trust", "must be a list of modules", got=value, fix=fix))
        return ()
    return tuple(value)


def _normalization(section: Any, checks: _Checks) -> Literal["model", "unit"]:
    value = section.get("normalization") if isinstance(section, dict) else section
    if value == "model" or value == "unit":
        return "model" if value == "model" else "unit"
    wrong = "must be one of model, unit"
    checks.problems.append(problem("augmentations.normalization", wrong, got=value, fix="choose one"))
    return "model"


def _scheduler(name: str, mode: Mapping[str, Any], checks: _Checks) -> Component | None:
    """Return the class that plans a mode, with the mode's other keys as its parameters."""
    node = mode.get("scheduler")
    target = node.get("_target_") if isinstance(node, dict) else None
    keys = {key: value for key, value in mode.items() if key != "scheduler"}
    if isinstance(target, str):
        target = names.scheduler(name, target)
    return checks.component("mode", "mode", {"_target_": target, **keys})


def _mapping(section: Any) -> Mapping[str, Any]:
    return section if isinstance(section, dict) else {}


def _pipeline(section: Any, where: str, checks: _Checks) -> list[Component]:
    steps = _mapping(_mapping(section).get(where)).get("pipeline")
    key = f"augmentations.{where}.pipeline"
    if not isinstance(steps, list):
        checks.problems.append(problem(key, "must be a list of steps", got=steps, fix="use [] for none"))
        return []
    slot = "augmentations" if where == "cpu" else "device_augmentations"
    parts = [checks.component(f"{key}[{index}]", slot, node) for index, node in enumerate(steps)]
    return [part for part in parts if part is not None]


def _with_parts(component: Component | None, key: str, slot: str, checks: _Checks) -> Component | None:
    """Return a component whose listed parts are checked and turned into components; names of views are kept."""
    listed = None if component is None else component.params.get(key)
    if component is None or not isinstance(listed, list) or not listed:
        return component
    parts = [
        node
        if key == "views" and not isinstance(node, dict)
        else checks.component(f"{component.slot}.{key}[{index}]", slot, node)
        for index, node in enumerate(listed)
    ]
    return Component(component.slot, component.target, {**component.params, key: parts})


def _with_loggers(component: Component | None, checks: _Checks) -> Component | None:
    """Return several loggers, each checked and turned into a component; any other section is returned unchanged."""
    listed = None if component is None else component.params.get("loggers")
    if component is None or not isinstance(listed, dict):
        return component
    parts = {name: checks.component(f"logging.loggers.{name}", "logging", node) for name, node in listed.items()}
    return Component(component.slot, component.target, {**component.params, "loggers": parts})


def _callbacks(key: str, section: Any, checks: _Checks) -> dict[str, Component]:
    if not isinstance(section or {}, dict):
        wrong = "must be a mapping from names to callbacks"
        checks.problems.append(problem(key, wrong, got=section, fix="use {}"))
        return {}
    parts = {name: checks.component(f"{key}.{name}", "callbacks", node) for name, node in (section or {}).items()}
    return {name: part for name, part in parts.items() if part is not None}


def _section_problems(name: str, section: Any, schema: type) -> list[str]:
    if not isinstance(section, dict):
        return [problem(name, "must be a mapping", got=section)]
    signature = signatures.read(f"{schema.__module__}.{schema.__qualname__}")
    assert signature is not None
    return signature.problems(name, section)


def _console_problems(section: Mapping[str, Any]) -> list[str]:
    """Check the console, which is an option of a folder that is not a group."""
    name, known = section.get("console", "mlpipe"), catalog.options("console")
    if not isinstance(name, str) or name in known:
        return []
    wrong, fix = f"must be one of {listing(known)}", "give it such a value"
    return [problem("sys.console", wrong, got=name, fix=fix)]


def _trainer_problems(section: Any) -> list[str]:
    if not isinstance(section, dict):
        return [problem("trainer", "must be a mapping", got=section)]
    problems = [] if _is_default_trainer(section) else _trainer_arguments(section)
    epochs, key = section.get("max_epochs"), "trainer.max_epochs"
    if any(sentence.startswith(f"{key}:") for sentence in problems):
        return problems
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        fix = f"for example {key}=20" if epochs != -1 else f"give it an end, such as {key}=100 with cbs=early"
        problems.append(problem(key, "must be a whole number >= 1", got=epochs, fix=fix))
    elif epochs >= 2**31:
        problems.append(problem("trainer.max_epochs", "must be a whole number < 2147483648", got=epochs))
    steps = section.get("max_steps", -1)
    if not any(sentence.startswith("trainer.max_steps:") for sentence in problems) and (steps < 1 and steps != -1):
        fix = "leave it out: a training then ends with its epochs"
        problems.append(problem("trainer.max_steps", "must be a whole number >= 1", got=steps, fix=fix))
    wrong_keys = {sentence.partition(":")[0] for sentence in problems}
    return problems + [
        sentence for sentence in _bounds_of_gradients(section) if sentence.partition(":")[0] not in wrong_keys
    ]


def _bounds_of_gradients(section: Mapping[str, Any]) -> list[str]:
    """Check gradient bounds, for which Lightning accepts any value but fails, or does nothing, during training."""
    problems, parts, norm = [], section.get("accumulate_grad_batches", 1), section.get("gradient_clip_val")
    if isinstance(parts, int | float) and parts < 1:
        fix = "1: every batch is a step of its own"
        problems.append(problem("trainer.accumulate_grad_batches", "must be a whole number >= 1", got=parts, fix=fix))
    if isinstance(norm, int | float) and norm < 0:
        fix = "leave it out: gradients are then not bounded"
        problems.append(problem("trainer.gradient_clip_val", "must be a number >= 0 or null", got=norm, fix=fix))
    way = section.get("gradient_clip_algorithm")
    if way not in (None, "norm", "value"):
        key = "trainer.gradient_clip_algorithm"
        problems.append(problem(key, "must be one of norm, value", got=way, fix=f"write {key}=norm"))
    return problems


def _is_default_trainer(section: Mapping[str, Any]) -> bool:
    """Return whether only a trainer's epochs differ from its file, so that Lightning's long source need not be read."""
    usual = files.plain_yaml(catalog.option_text("trainer", "default"))
    epochs = section.get("max_epochs")
    return isinstance(epochs, int) and repr({**section, "max_epochs": usual.get("max_epochs")}) == repr(usual)


def _trainer_arguments(section: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that Lightning's Trainer would not accept."""
    signature = signatures.read("pytorch_lightning.trainer.trainer.Trainer")
    assert signature is not None
    return signature.problems("trainer", section) + _trainer_value_problems(section, signature)


def _with_options(section: Any, problems: list[str]) -> dict[str, Any]:
    """Return the section with names of options replaced by their files' content.

    Args:
        section: The section `stages` of a configuration; None if missing.
        problems: The list of sentences, to which problems of the section are added.
    """
    plain = dict(section) if isinstance(section, dict) else {}
    entries = plain.get("list", [])
    if not isinstance(entries, list):
        problems.append(problem("stages.list", "must be a list of stages", got=entries, fix="use [] for one"))
        entries = []
    filled = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            fix = "for example {epochs: 2, freeze: backbone}"
            problems.append(problem(f"stages.list[{number}]", "must be a mapping", got=entry, fix=fix))
            continue
        entry = dict(entry)
        for group in ("loss", "lr_scheduler"):
            if isinstance(entry.get(group), str):
                entry[group] = _option(f"stages.list[{number}].{group}", group, entry[group], problems)
        if isinstance(entry.get("callbacks"), list):
            key = f"stages.list[{number}].callbacks"
            options = [_option(key, "callbacks", name, problems) for name in entry["callbacks"]]
            entry["callbacks"] = {name: node for option in options for name, node in (option or {}).items()}
        filled.append(entry)
    return {**plain, "list": filled}


def _stages(section: Mapping[str, Any], checks: _Checks) -> tuple[Stage, ...]:
    """Return the stages of a section from `_with_options`."""
    stages = []
    for number, entry in enumerate(section["list"]):
        key, before = f"stages.list[{number}]", len(checks.problems)
        checks.section(key, entry, Stage)
        parts: dict[str, Any] = dict(entry)
        for group in ("loss", "lr_scheduler"):
            if parts.get(group) is not None:
                parts[group] = checks.component(f"{key}.{group}", group, parts[group])
        if isinstance(parts.get("callbacks"), dict):
            parts["callbacks"] = _callbacks(f"{key}.callbacks", parts["callbacks"], checks)
        if len(checks.problems) == before:
            stages.append(Stage(**parts))
    return tuple(stages)


def _option(key: str, group: str, name: Any, problems: list[str]) -> Any:
    options = catalog.options(group)
    if name not in options:
        fix = did_you_mean(str(name), options, otherwise=f"options: {listing(options, most=20)}")
        problems.append(problem(key, "unknown option", got=name, fix=fix))
        return None
    return files.plain_yaml(catalog.option_text(group, name))


def _reserved_argument_problems(mode: str, trainer: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each trainer argument that users must not set, with the key to set instead."""
    keys = [key for key in trainer if key in rules.SET_BY_MLPIPE]
    if not keys:
        return []
    from mlpipe.config import suggestions

    problems = []
    for key in keys:
        value = trainer[key]
        text = f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
        fix = suggestions.in_place_of(key, text.lower() if isinstance(value, bool) else text, mode)
        problems.append(problem(f"trainer.{key}", "is set by mlpipe itself", fix=fix or "leave it out"))
    return problems


def _trainer_value_problems(section: Mapping[str, Any], signature: signatures.Signature) -> list[str]:
    """Return problems of precisions and accelerators, which Lightning reports only when a training starts."""
    parameter = signature.parameters.get("precision")
    of_source = signatures.choices(parameter.annotation, signature.module) if parameter and parameter.annotation else []
    known = {"precision": ["auto", *of_source] if of_source else [], "accelerator": _ACCELERATORS}
    problems = []
    for name, options in known.items():
        value, key = section.get(name, "auto"), f"trainer.{name}"
        is_unset = name == "precision" and value is None
        if not options or is_unset or (not isinstance(value, bool) and str(value) in options):
            continue
        near = near_values.for_value(key, value, list(dict.fromkeys(options)))
        listed = listing(dict.fromkeys(options), most=16)
        fix = f"write {key}={near}" if near else f"for example {key}=auto"
        problems.append(problem(key, f"must be one of {listed}", got=value, fix=fix))
    return problems
