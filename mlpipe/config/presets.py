"""Presets (`preset=fast`): the configurations of their recipes and of post-processing, composed before the run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlpipe import names
from mlpipe.config import rules, signatures
from mlpipe.config.assemble import assemble
from mlpipe.config.components import Component
from mlpipe.config.compose import Facts, compose
from mlpipe.config.overrides import option_of
from mlpipe.config.schema import RunConfig
from mlpipe.errors import ConfigError, problem

# Keys that apply to every recipe, whatever it chooses.
_OF_ALL = ("loss.class_weights",)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_UNIT = r"s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:(?:ou)?rs?)?|d(?:ays?)?"
_TIME = re.compile(rf"(\d+(?:\.\d+)?)({_UNIT})(?![a-z])")


def with_recipes(config: RunConfig, texts: Sequence[str], facts: Facts) -> RunConfig:
    """Return the configuration with those of a preset's recipes and of post-processing added to its tree.

    Args:
        config: The checked configuration; without a preset, it is returned unchanged.
        texts: The overrides from which it was composed.
        facts: The required facts about tasks and networks.

    Raises:
        ConfigError: With a sentence for every problem of any of them.
    """
    preset, limit = config.tree["preset"], config.tree["time_limit"]
    if not preset["recipes"]:
        seconds_of(limit)
        trains = "train" in (config.tree["mode"].get("subroutines") or ())
        if limit is not None and not (config.mode in ("train", "tl", "distill") and trains):
            fix = "leave it out, or train: mml train, mml tl and a search (hpo=optuna) end within it"
            raise ConfigError(problem("time_limit", "is for what trains", got=limit, fix=fix))
        return config
    seconds_of(limit)
    overrides = [text for text in texts if option_of(text) not in ("preset", "time_limit")]
    preset = {**preset, "common": [*preset["common"], *_network_overrides(preset, config.tree["arch"])]}
    trees, problems = dict[str, Any](), list[str]()
    for name in preset["recipes"]:
        try:
            tree = compose(config.mode, recipe_overrides(preset, name, overrides), facts).tree
            if (more := _pretrained_overrides(preset, name, overrides)) and _is_fine_tuned(tree):
                own = {**preset["recipes"], name: [*preset["recipes"][name], *more]}
                tree = compose(config.mode, recipe_overrides({**preset, "recipes": own}, name, overrides), facts).tree
            trees[name] = _without_post(tree)
            problems += _subroutine_problems(tree)
        except ConfigError as error:
            problems += error.problems
    problems = [*_of_no_recipe(preset), *problems] or _spare_of_steps(preset, trees)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    of_post = [text for text in overrides if not text.lstrip("+").startswith("mode.")]
    of_post += [str(text) for text in preset.get("post") or ()]
    trees["post"] = compose("post", of_post, facts).tree
    return with_preset_scheduler(assemble({**config.tree, "preset": {**preset, "trees": trees}}))


def _of_no_recipe(preset: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every recipe name in the preset's keys that does not exist."""
    fix = f"the recipes are {', '.join(preset['recipes'])}"
    return [
        problem(f"preset.{key}", "names no recipe of the preset", got=name, fix=fix)
        for key in ("pretrained", "sizes", "spare")
        for name in preset.get(key) or ()
        if name not in preset["recipes"]
    ]


def _spare_of_steps(preset: Mapping[str, Any], trees: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every recipe for spare time that has steps, which would take all of it."""
    fix = "name recipes with an exact head, such as those with optimizer=linear"
    stepped = [name for name in preset.get("spare") or () if not rules.is_exact(trees[name])]
    return [
        problem("preset.spare", "is trained in steps, which take all the time", got=recipe_name, fix=fix)
        for recipe_name in stepped
    ]


def _subroutine_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return a sentence if a recipe produces nothing with which to choose and mix."""
    parts = tree["mode"]["subroutines"]
    if {"train", "predict"} <= set(parts):
        return []
    fix = "use [train,predict], or preset=none"
    return [problem("mode.subroutines", "a preset trains recipes and mixes what they predict", got=parts, fix=fix)]


def _without_post(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of a recipe without its own report, because the preset reports all recipes."""
    mode = tree["mode"]
    return {
        **tree,
        "mode": {**mode, "subroutines": [subroutine for subroutine in mode["subroutines"] if subroutine != "post"]},
    }


def _network_overrides(preset: Mapping[str, Any], arch: Mapping[str, Any]) -> list[str]:
    """Return the overrides for all recipes' networks, if the chosen network has such options."""
    signature, texts = signatures.read(str(arch["_target_"])), []
    for name, value in (preset.get("arch") or {}).items():
        parameter = None if signature is None else signature.parameters.get(name)
        if signature is None or parameter is None or parameter.annotation is None:
            continue
        if not signatures.mismatch(parameter.annotation, value, signature.module):
            texts.append(f"arch.{name}={value}")
    return texts


def _pretrained_overrides(preset: Mapping[str, Any], name: str, overrides: Sequence[str]) -> list[str]:
    """Return the further overrides of a recipe with pretrained weights; the command line takes precedence."""
    options = {option_of(text) for text in overrides}
    more = [str(text) for text in (preset.get("pretrained") or {}).get(name, ())]
    return [text for text in more if not {option_of(text), option_of(text).split(".")[0]} & options]


def _is_fine_tuned(tree: Mapping[str, Any]) -> bool:
    """Return whether a whole pretrained network is trained, which the first steps of a new head would damage."""
    arch, is_plain = (
        tree["arch"],
        all(names.name_of(str(tree[section]["_target_"])) == "none" for section in ("peft", "slicing")),
    )
    return is_plain and bool(arch.get("pretrained") or arch.get("weights")) and not arch.get("freeze")


def with_preset_scheduler(config: RunConfig) -> RunConfig:
    """Return the configuration with the scheduler of presets, if its tree contains a preset's recipes."""
    if not (config.tree.get("preset") or {}).get("trees"):
        return config
    return replace(config, scheduler=Component("mode", names.path_of("mode", "preset"), {}))


def recipe_overrides(preset: Mapping[str, Any], name: str, overrides: Sequence[str]) -> list[str]:
    """Return the overrides of one recipe: those common to the preset, the command line's, then its own.

    If the recipe chooses an option of a group, such as its optimizer, the command line's choice and keys for that group
    apply to the other recipes only; class weights apply to all.

    Args:
        preset: The preset's section.
        name: The recipe.
        overrides: The command line's overrides, without `preset` and `time_limit`.
    """
    options = {option_of(text) for text in overrides}
    own = [str(text) for text in preset["recipes"][name]]
    keys = {option_of(text) for text in own}
    common = [str(text) for text in preset["common"] if option_of(text) not in options]
    chosen = [key for key in map(option_of, overrides) if key in keys or key.split(".")[0] in keys]
    others = [text for text in overrides if (key := option_of(text)) not in chosen or key in _OF_ALL]
    return [*common, *others, *own]


def seconds_of(text: Any) -> float | None:
    """Return the seconds of a time such as `90`, `45s`, `30m`, `5min` or `1h30m`; None for None.

    Raises:
        ConfigError: When it is not a time.
    """
    if text is None:
        return None
    if isinstance(text, int | float) and not isinstance(text, bool) and text > 0:
        return float(text)
    plain = str(text).replace(" ", "").lower()
    parts = _TIME.findall(plain)
    if not parts or _TIME.sub("", plain):
        fix = "write a number of seconds, or for example 45s, 30m, 1h30m"
        raise ConfigError(problem("time_limit", "is no time", got=text, fix=fix))
    total = sum(float(number) * _UNITS[unit[0]] for number, unit in parts)
    if total <= 0:
        raise ConfigError(problem("time_limit", "must be longer than nothing", got=text))
    return total
