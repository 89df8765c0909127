"""Tuning before the first fold: the learning rate, or the number of images that fit into memory at once.

The result for the first fold is written to the run's folder, used for all folds, and read again when the run is resumed.
Trial trainings leave nothing behind: every fold starts from the same weights as without tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from mlpipe import files, stored
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.learn.build.optimizer import with_rate
from mlpipe.learn.tune.short_runs import Tuned


class _Stored(TypedDict):
    """The part of a stored result that is read again."""

    chosen: dict[str, float]


def none() -> None:
    """Train with the given values, without tuning."""


def applied(recipe: Recipe, chosen: Mapping[str, float]) -> Recipe:
    """Return the recipe with the tuned values; stages with a learning rate of their own keep it.

    Args:
        recipe: The recipe.
        chosen: `Tuned.chosen`; empty for no changes.
    """
    if "lr_found" in chosen:
        recipe_rate, rate = recipe.optimizer.params.get("lr"), chosen["lr_found"]
        # A stage whose option refers to the recipe's rate (`lr: ${optimizer.lr}`) follows it.
        following = tuple(replace(stage, lr=rate) if stage.lr == recipe_rate else stage for stage in recipe.stages)
        recipe = replace(with_rate(recipe, rate), stages=following)
    if "micro_batch" in chosen:
        sampling, before = recipe.sampling, recipe.trainer.get("accumulate_grad_batches") or 1
        params = {**sampling.params, "batch_size": int(chosen["micro_batch"])}
        trainer = {**recipe.trainer, "accumulate_grad_batches": int(before * chosen["accumulate"])}
        recipe = replace(recipe, sampling=Component(sampling.slot, sampling.target, params), trainer=trainer)
    return recipe


def write(tuned: Tuned, folder: Path) -> None:
    """Write the measurements, `NAME.csv`, then the results, `NAME.json`, into a folder."""
    files.write_text(folder / f"{tuned.name}.csv", files.csv_text(tuned.table))
    files.write_json(folder / f"{tuned.name}.json", {"chosen": tuned.chosen, **tuned.facts})


def read(folder: Path, name: str) -> dict[str, float]:
    """Return the choices stored by `write`.

    Args:
        folder: The run's folder.
        name: `lr_find` or `batch_size`.
    """
    return stored.read(folder / f"{name}.json", _Stored, "start the training anew")["chosen"]
