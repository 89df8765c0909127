"""Refuse options that need height and width for samples with other axes, before anything is cached or built."""

from __future__ import annotations

from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data import task as tasks
from mlpipe.data.task import Task
from mlpipe.errors import listing, problem

# Steps that accept samples with any axes.
_STEPS = ("random_flips", "normalize")
_NOTHING = "leave it out"


def problems(recipe: Recipe, of: Task) -> list[str]:
    """Return a sentence for everything in a recipe that supports only images; none for a task of images.

    Args:
        recipe: How to learn.
        of: The task.
    """
    axes = tasks.axes_of(of)
    if axes == 2:
        return []
    has = f"samples of {of.name} have {axes} ax{'is' if axes == 1 else 'es'}"
    return [
        *_network_problems(recipe.arch, has, axes),
        *_preprocessing_problems(recipe.preprocessing, has),
        *_step_problems(recipe, has),
        *view_problems(recipe.tta, of),
        *_section_problems(recipe.slicing, "slicing", "cuts images into cells", has),
    ]


def view_problems(tta: Component, of: Task) -> list[str]:
    """Return a sentence if the test-time views support only images.

    Args:
        tta: The section of the recipe, or of a prediction.
        of: The task.
    """
    axes = tasks.axes_of(of)
    if axes == 2 or tta.name == "stored":
        return []
    return _section_problems(
        tta, "tta", "makes views of images", f"samples of {of.name} have {axes} ax{'is' if axes == 1 else 'es'}"
    )


def _section_problems(section: Component, key: str, does: str, has: str) -> list[str]:
    return [] if section.is_none else [problem(key, f"{does}, {has}", fix=f"use {key}=none")]


def _network_problems(arch: Component, has: str, axes: int) -> list[str]:
    if arch.name == "keras_json" or arch.is_users:
        return []
    fix = f"use arch=keras_json arch.file=net.json with a network of {axes} ax{'is' if axes == 1 else 'es'}"
    name = arch.params.get("name") or arch.target.rpartition(".")[2]
    return [problem("arch", f"takes images, {has}", got=name, fix=fix)]


def _preprocessing_problems(preprocessing: Component, has: str) -> list[str]:
    params = preprocessing.params
    if params.get("size") is not None:
        wrong = f"resizes images, {has}"
        return [problem("preprocessing.size", wrong, got=params["size"], fix="use preprocessing=none")]
    if params.get("before"):
        return [problem("preprocessing.before", f"changes images, {has}", fix=_NOTHING)]
    return []


def _step_problems(recipe: Recipe, has: str) -> list[str]:
    odd = [step.target.rpartition(".")[2] for step in recipe.augmentations.cpu if step.name not in _STEPS]
    problems = []
    if odd:
        fix = "use augmentations=axis_flips or augmentations=none"
        problems.append(problem("augmentations.cpu.pipeline", f"changes images, {has}", got=listing(odd), fix=fix))
    if recipe.augmentations.device:
        steps = listing(step.target.rpartition(".")[2] for step in recipe.augmentations.device)
        problems.append(problem("augmentations.device.pipeline", f"changes images, {has}", got=steps, fix=_NOTHING))
    return problems
