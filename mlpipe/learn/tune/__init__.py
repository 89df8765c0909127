"""Tuning before the first fold: the learning rate, or the number of images that fit into memory at a time.

What is found on the first fold is written to the run's folder, holds for all folds, and is read again when the run is
continued. Nothing of a trial is kept: every fold starts from the weights that it would have started from without it.
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
    """What is read again of a file of choices."""

    chosen: dict[str, float]


def none() -> None:
    """Train with what is given."""


def applied(recipe: Recipe, chosen: Mapping[str, float]) -> Recipe:
    """The recipe with what was found; stages with a rate of their own keep it.

    Args:
        recipe: The recipe.
        chosen: `Tuned.chosen`; empty for none.
    """
    if "lr_found" in chosen:
        recipe_rate, rate = recipe.optimizer.params.get("lr"), chosen["lr_found"]
        # A stage names the recipe's rate where its option refers to it (`lr: ${optimizer.lr}`): it follows.
        following = tuple(replace(stage, lr=rate) if stage.lr == recipe_rate else stage for stage in recipe.stages)
        recipe = replace(with_rate(recipe, rate), stages=following)
    if "micro_batch" in chosen:
        sampling, before = recipe.sampling, recipe.trainer.get("accumulate_grad_batches") or 1
        params = {**sampling.params, "batch_size": int(chosen["micro_batch"])}
        trainer = {**recipe.trainer, "accumulate_grad_batches": int(before * chosen["accumulate"])}
        recipe = replace(recipe, sampling=Component(sampling.slot, sampling.target, params), trainer=trainer)
    return recipe


def write(tuned: Tuned, folder: Path) -> None:
    """Write `NAME.csv`, what was measured, then `NAME.json`, what was found, into a folder."""
    files.write_text(folder / f"{tuned.name}.csv", files.csv_text(tuned.table))
    files.write_json(folder / f"{tuned.name}.json", {"chosen": tuned.chosen, **tuned.facts})


def read(folder: Path, name: str) -> dict[str, float]:
    """The choices that `write` stored.

    Args:
        folder: The run's folder.
        name: `lr_find` or `batch_size`.
    """
    return stored.read(folder / f"{name}.json", _Stored, "start the training anew")["chosen"]
