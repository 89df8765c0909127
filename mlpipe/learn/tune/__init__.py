"""Find the learning rate, or how many images fit into memory at a time, before the first fold is trained.

What is found on the first fold is written to the run's folder, holds for all folds, and is read again when the run is
continued. Nothing of a trial is kept: every fold starts from the weights that it would have started from without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from mlpipe import files
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.errors import ConfigError, problem
from mlpipe.learn.build.optimizer import with_rate
from mlpipe.learn.tune.batch_search import MemoryTest
from mlpipe.learn.tune.rate_search import RangeTest, Suggest
from mlpipe.learn.tune.short_runs import Tuned


def none() -> None:
    """Train with what is given."""


def lr_find(
    *,
    start: Annotated[float, "> 0"] = 1e-7,
    end: Annotated[float, "> 0"] = 10.0,
    steps: Annotated[int, ">= 20"] = 100,
    smoothing: Annotated[float, ">= 0", "< 1"] = 0.98,
    stop_factor: Annotated[float, "> 1"] = 4.0,
    suggest: Suggest = "valley",
) -> RangeTest:
    """The learning rate by a range test (Smith 2017, "Cyclical learning rates"), smoothed and stopped as in fastai.

    Args:
        start: The first rate.
        end: The last one; larger.
        steps: How many steps of the optimizer.
        smoothing: Share of the running mean of the loss that is kept at each step.
        stop_factor: The test ends when the smoothed loss is so many times its minimum.
        suggest: `steepest`, where the smoothed loss falls fastest over the logarithm of the rate, or `valley`, in the middle
            of its longest fall.

    Raises:
        ConfigError: When the range is none.
    """
    if end <= start:
        raise ConfigError(problem("tune.end", f"must be larger than tune.start={start:g}", got=end))
    return RangeTest(start, end, steps, smoothing, stop_factor, suggest)


def batch_size(
    *, cap: Annotated[int, ">= 1"] | None = None, headroom: Annotated[float, ">= 0", "< 1"] = 0.1
) -> MemoryTest:
    """How many images fit into memory at a time, found by doubling until they do not; the batch is learned in such parts.

    Gradients of the parts add up to the batch's, so that `sampling.batch_size` stays the number of images in a step of the
    optimizer. Batch normalisation sees a part at a time.

    Args:
        cap: The most images that are tried; None: sampling.batch_size.
        headroom: The share of a GPU's memory that stays free.
    """
    return MemoryTest(cap, headroom)


def applied(recipe: Recipe, chosen: Mapping[str, float]) -> Recipe:
    """The recipe with what was found.

    Args:
        recipe: The recipe.
        chosen: `Tuned.chosen`; empty for none.
    """
    if "lr_found" in chosen:
        recipe = with_rate(recipe, chosen["lr_found"])
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
    """What `write` stored as chosen.

    Args:
        folder: The run's folder.
        name: `lr_find` or `batch_size`.
    """
    chosen: dict[str, float] = files.read_json(folder / f"{name}.json")["chosen"]
    return chosen
