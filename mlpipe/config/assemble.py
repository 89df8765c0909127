"""Freeze a resolved tree of plain data into a `RunConfig`, listing everything that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mlpipe import names
from mlpipe.config import catalog, components, near_values, rules, signatures, stages
from mlpipe.config.components import Component
from mlpipe.config.schema import (
    OPTIONAL_SECTIONS,
    Augmentations,
    Clip,
    Healing,
    Hpo,
    LayerRates,
    Metrics,
    Recipe,
    Remove,
    Reuse,
    RunConfig,
    Sys,
)
from mlpipe.errors import ConfigError, listing, problem

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

# What rules between sections look into; they are asked where each of these is what it should be.
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
    # Everything below takes these to be mappings: with other values it would fail with errors of Python, not sentences.
    if wrong := _misshapen(tree):
        raise ConfigError(wrong)
    tree["sys"] = _resolved_sys(tree.get("sys"))
    for section in OPTIONAL_SECTIONS:
        # Runs of earlier versions were stored without them.
        tree.setdefault(section, {"_target_": names.path_of(section, "none")})
    found: list[str] = []
    tree["stages"], wrong = stages.resolved(tree.get("stages"))
    found += wrong
    trust = _trust(tree.get("trust"), found)
    if isinstance(tree.get("task"), dict) and "trust" in tree["task"]:
        # A task's own list would be a way around what is said of the other one.
        tree["task"] = {**tree["task"], "trust": list(trust)}

    def component(section: str) -> Component | None:
        node = _for_optimizer(tree.get(section)) if section == "optimizer" else tree.get(section)
        part, wrong = components.check(section, section, node, trust=trust)
        found.extend(wrong)
        return part

    # From here on nothing is raised until all sections were checked: a person corrects all mistakes at once.
    parts = {name: component(name) for name in _COMPONENTS}
    scheduler = _scheduler(tree["mode_name"], tree["mode"], found, trust)
    cpu = _pipeline(tree.get("augmentations"), "cpu", found, trust)
    device = _pipeline(tree.get("augmentations"), "device", found, trust)
    clip = {key: value for key, value in _mapping(tree.get("optimizer")).items() if key in _CLIP_KEYS}
    found += _section_problems("optimizer", clip, Clip)
    rates = {key: value for key, value in _mapping(tree.get("optimizer")).items() if key in _LAYER_KEYS}
    found += _section_problems("optimizer", rates, LayerRates)
    if parts["preprocessing"] is not None:
        parts["preprocessing"] = _before(parts["preprocessing"], found, trust)
    if parts["tta"] is not None:
        parts["tta"] = _views(parts["tta"], found, trust)
    callbacks = _callbacks(tree.get("callbacks"), found, trust)
    listed = stages.checked(tree["stages"], found, trust)
    found += _section_problems("metrics", tree.get("metrics"), Metrics)
    found += _section_problems("sys", tree.get("sys"), Sys) + _console_problems(_mapping(tree.get("sys")))
    # Snapshots of runs that reused nothing may lack these.
    reuse, remove, healing = (tree.get(name, {}) for name in ("reuse", "remove", "healing"))
    found += _section_problems("healing", healing, Healing)
    found += _section_problems("reuse", reuse, Reuse) + _section_problems("remove", remove, Remove)
    found += _section_problems("hpo", tree["hpo"], Hpo) if tree.get("hpo") else []
    found += _trainer_problems(tree.get("trainer"))
    normalization = _normalization(tree.get("augmentations"), found)
    # Rules read several sections at a time. Where one of these is broken itself, a rule would fail or repeat its
    # sentence.
    plain_sections = all(isinstance(tree.get(name, {}), dict) for name in _FOR_RULES)
    if plain_sections and not any(sentence.startswith(("mode", "metrics", "reuse", "stages")) for sentence in found):
        found += rules.broken(tree)
    if found or scheduler is None:
        raise ConfigError(list(dict.fromkeys(found)))
    recipe = Recipe(
        **{key: part for key, part in parts.items() if key not in ("task", "split", "logging") and part is not None},
        metrics=Metrics(**{**tree["metrics"], "trust": list(trust)}),
        augmentations=Augmentations(normalization, tuple(cpu), tuple(device)),
        clip=Clip(**clip),
        callbacks=callbacks,
        trainer=tree["trainer"],
        layer_decay=LayerRates(**rates).layer_decay,
        stages=listed,
        seed=tree["seed"],
        threads=tree["sys"]["threads"],
        heads=_heads(tree["task"]),
    )
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
        out_dir=Path(tree["out_dir"]).expanduser(),
        data_dir=Path(tree["data_dir"]).expanduser(),
        task_list=tuple(tree["task_list"] or ()),
        resume=tree.get("resume"),
        tree=tree,
        tags=str(tree.get("tags") or ""),
        reuse=Reuse(**reuse),
        remove=Remove(**remove),
        hpo=Hpo(**tree["hpo"]) if tree.get("hpo") else None,
        healing=Healing(**healing),
    )


def _misshapen(tree: Mapping[str, Any]) -> list[str]:
    """A sentence for everything at the top that is not even of its kind, on which all other checks build."""
    found = []
    if not isinstance(tree.get("mode"), dict):
        found.append(problem("mode", "must be a mapping", got=tree.get("mode"), fix="the mode is the first word"))
    if not isinstance(tree.get("preset") or {}, dict):
        found.append(problem("preset", "must be a mapping", got=tree.get("preset"), fix="use preset=none"))
    texts = {key: tree.get(key) for key in ("out_dir", "data_dir", "mode_name")}
    found += [
        problem(key, "must be text", got=text, fix="give it such a value")
        for key, text in texts.items()
        if not isinstance(text, str) or "\0" in text
    ]
    listed = tree.get("task_list") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        fix = "for example task_list=[digits]"
        found.append(problem("task_list", "must be a list of names of tasks", got=listed, fix=fix))
    return found


def cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _resolved_sys(section: Any) -> Any:
    """`threads: auto` becomes a number here, so that snapshots and records hold the number that was used."""
    if isinstance(section, dict) and section.get("threads") == "auto":
        return {**section, "threads": min(cores(), MOST_THREADS)}
    return section


def _trust(given: Any, found: list[str]) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        found.append(
            problem("trust", "must be a list of modules", got=given, fix="for example trust=[my_package.losses]")
        )
        return ()
    return tuple(given)


def _heads(task: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...] | None:
    """What a task's section says of heads; None where it knows nothing of them."""
    return tuple(task["heads"] or ()) if "heads" in task else None


def _normalization(section: Any, found: list[str]) -> Literal["model", "unit"]:
    given = section.get("normalization") if isinstance(section, dict) else section
    if given == "model" or given == "unit":
        return "model" if given == "model" else "unit"
    found.append(problem("augmentations.normalization", "must be one of model, unit", got=given, fix="choose one"))
    return "model"


def _scheduler(name: str, mode: Mapping[str, Any], found: list[str], trust: tuple[str, ...]) -> Component | None:
    node = mode.get("scheduler")
    target = node.get("_target_") if isinstance(node, dict) else None
    keys = {key: value for key, value in mode.items() if key != "scheduler"}
    if isinstance(target, str):
        target = names.scheduler(name, target)
    part, wrong = components.check("mode", "mode", {"_target_": target, **keys}, trust=trust)
    found.extend(wrong)
    return part


def _for_optimizer(section: Any) -> Any:
    """The optimizer's section without the keys that the program sees to, which no optimizer takes."""
    return (
        {key: value for key, value in section.items() if key not in (*_CLIP_KEYS, *_LAYER_KEYS)}
        if isinstance(section, dict)
        else section
    )


def _mapping(section: Any) -> Mapping[str, Any]:
    return section if isinstance(section, dict) else {}


def _pipeline(section: Any, where: str, found: list[str], trust: tuple[str, ...]) -> list[Component]:
    steps = _mapping(_mapping(section).get(where)).get("pipeline")
    key = f"augmentations.{where}.pipeline"
    if not isinstance(steps, list):
        found.append(problem(key, "must be a list of steps", got=steps, fix="use [] for none"))
        return []
    slot = "augmentations" if where == "cpu" else "device_augmentations"
    built = []
    for index, node in enumerate(steps):
        part, wrong = components.check(f"{key}[{index}]", slot, node, trust=trust)
        found.extend(wrong)
        if part is not None:
            built.append(part)
    return built


def _before(preprocessing: Component, found: list[str], trust: tuple[str, ...]) -> Component:
    """The component of `preprocessing` with the transforms before the resize checked and made components."""
    given = preprocessing.params.get("before")
    steps = []
    for index, node in enumerate(given if isinstance(given, list) else []):
        step, wrong = components.check(f"preprocessing.before[{index}]", "augmentations", node, trust=trust)
        found.extend(wrong)
        steps.append(step)
    params = {**preprocessing.params, "before": steps}
    return Component(preprocessing.slot, preprocessing.target, params) if steps else preprocessing


def _views(tta: Component, found: list[str], trust: tuple[str, ...]) -> Component:
    """The component of `tta` with its own views checked: those with a `_target_` become components."""
    given = tta.params.get("views")
    views = []
    for index, node in enumerate(given if isinstance(given, list) else []):
        if isinstance(node, dict):
            view, wrong = components.check(f"tta.views[{index}]", "device_augmentations", node, trust=trust)
            found.extend(wrong)
            views.append(view)
        else:
            views.append(node)
    return Component(tta.slot, tta.target, {**tta.params, "views": views}) if views else tta


def _callbacks(section: Any, found: list[str], trust: tuple[str, ...]) -> dict[str, Component]:
    built = {}
    if not isinstance(section or {}, dict):
        found.append(problem("callbacks", "must be a mapping from names to callbacks", got=section, fix="use {}"))
        return {}
    for name, node in (section or {}).items():
        part, wrong = components.check(f"callbacks.{name}", "callbacks", node, trust=trust)
        found.extend(wrong)
        if part is not None:
            built[name] = part
    return built


def _section_problems(name: str, section: Any, schema: type) -> list[str]:
    if not isinstance(section, dict):
        return [problem(name, "must be a mapping", got=section)]
    signature = signatures.read(f"{schema.__module__}.{schema.__qualname__}")
    assert signature is not None
    return signature.problems(name, section)


def _console_problems(section: Mapping[str, Any]) -> list[str]:
    """What the terminal looks like is an option of a folder that is no group."""
    name, known = section.get("console", "mlpipe"), catalog.options("console")
    if not isinstance(name, str) or name in known:
        return []
    wrong, fix = f"must be one of {listing(known)}", "give it such a value"
    return [problem("sys.console", wrong, got=name, fix=fix)]


def _trainer_problems(section: Any) -> list[str]:
    if not isinstance(section, dict):
        return [problem("trainer", "must be a mapping", got=section)]
    signature = signatures.read("pytorch_lightning.trainer.trainer.Trainer")
    assert signature is not None
    found = signature.problems("trainer", section) + _named_values(section, signature)
    epochs, key = section.get("max_epochs"), "trainer.max_epochs"
    if any(one.startswith(f"{key}:") for one in found):
        return found
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        fix = f"for example {key}=20" if epochs != -1 else f"give it an end, such as {key}=100 with cbs=early"
        found.append(problem(key, "must be a whole number >= 1", got=epochs, fix=fix))
    elif epochs >= 2**31:
        found.append(problem("trainer.max_epochs", "must be a whole number < 2147483648", got=epochs))
    return found


def _named_values(section: Mapping[str, Any], signature: signatures.Signature) -> list[str]:
    """Precisions and accelerators that Lightning has no such name for; it would say so only when a training begins."""
    parameter = signature.parameters.get("precision")
    of_source = signatures.choices(parameter.annotation, signature.module) if parameter and parameter.annotation else []
    known = {"precision": ["auto", *of_source] if of_source else [], "accelerator": _ACCELERATORS}
    found = []
    for name, options in known.items():
        given, key = section.get(name, "auto"), f"trainer.{name}"
        is_name = given is None if name == "precision" else False
        if not options or is_name or (not isinstance(given, bool) and str(given) in options):
            continue
        near = near_values.for_value(key, given, list(dict.fromkeys(options)))
        listed = listing(dict.fromkeys(options), most=16)
        fix = f"write {key}={near}" if near else f"for example {key}=auto"
        found.append(problem(key, f"must be one of {listed}", got=given, fix=fix))
    return found
