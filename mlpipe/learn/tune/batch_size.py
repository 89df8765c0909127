"""The largest batch that fits into memory, and the recipe's batch split into equal parts that fit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

import pytorch_lightning as pl
import torch

from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe
from mlpipe.data.loading.loaders import FoldData
from mlpipe.errors import ConfigError, TrainingError, counted, problem
from mlpipe.learn.build import fold, loaders
from mlpipe.learn.build.optimizer import build_optimizer
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.learn.machine.hardware import Numerics
from mlpipe.learn.machine.quiet import quiet
from mlpipe.learn.recovery import is_out_of_memory
from mlpipe.learn.tune.short_runs import Asking, Tuned, short_trainer
from mlpipe.names import path_of


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


@dataclass(frozen=True)
class MemoryTest:
    """A search for the most images that fit into memory at a time.

    Attributes:
        cap: The most that are tried; None: the recipe's batch size.
        headroom: The share of a GPU's memory that stays free.
    """

    cap: int | None
    headroom: float

    def find(self, job: FoldJob, watch: Watch) -> Tuned:
        """Train two steps with ever more images at a time, and split the recipe's batch into equal parts that fit.

        Raises:
            ConfigError: When no part of more than one image divides the batch.
            TrainingError: When not even two images fit.
            Interrupted: When asked to stop.
        """
        batch = loaders.batch_size(job.recipe)
        most = min(self.cap or batch, batch, len(job.view.train))
        # Memory does not depend on the rate, and a schedule may look at validation images, of which none are looked at.
        module, own_data, numerics = fold.first_stage(
            job, watch, lambda network: (build_optimizer(job.recipe, network), {})
        )
        pack = fold.inputs_of(job, module.network, watch)
        table: list[dict[str, float]] = []

        def fits(size: int) -> bool:
            sampling = Component("sampling", path_of("sampling", "full"), {"batch_size": size})
            recipe = replace(job.recipe, sampling=sampling)
            data = loaders.fold_data(recipe, job.task, job.view, pack, 0)
            module.learn_batches(data.batch_sizes)
            good = self._fits(recipe, numerics, module, data, watch)
            table.append({"images": size, "fits": float(good)})
            watch.log(f"{counted(size, 'image')} at a time: {'fits' if good else 'does not fit'} into memory")
            return good

        fitting = largest_that_fits(fits, most)
        # No batch has more images than an epoch, which may have some of them several times.
        largest = max(size for sizes in own_data.batch_sizes(0) for size in sizes)
        micro = batch if fitting >= largest else part_of_batch(batch, fitting)
        chosen_sizes: dict[str, float] = {"micro_batch": micro, "accumulate": batch // micro}
        return Tuned("batch_size", chosen_sizes, {"batch_size": batch, "largest_that_fits": fitting}, table)

    def _fits(
        self, recipe: Recipe, numerics: Numerics, module: pl.LightningModule, data: FoldData, watch: Watch
    ) -> bool:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        try:
            with quiet():
                short_trainer(recipe, numerics, 2, Asking(watch), 1).fit(module, datamodule=data)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # The traceback holds the batch's tensors.
            error.__traceback__ = None
            return False
        finally:
            module.zero_grad(set_to_none=True)
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if not torch.cuda.is_available() or recipe.trainer.get("accelerator") == "cpu":
            return True
        _, total = torch.cuda.mem_get_info()
        return torch.cuda.max_memory_reserved() <= (1 - self.headroom) * total


def largest_that_fits(fits: Callable[[int], bool], most: int) -> int:
    """The largest of 2, 4, 8, ... and `most` that fits; tries them in this order and ends at the first that does not.

    Raises:
        TrainingError: When the first does not fit.
    """
    size, largest = min(2, most), 0
    while fits(size):
        largest = size
        if size == most:
            return largest
        size = min(2 * size, most)
    if largest == 0:
        wrong = f"not even {counted(size, 'image fits', 'images fit')} into memory"
        raise TrainingError(problem("tune=batch_size", wrong, fix="choose a smaller arch or preprocessing.size"))
    return largest


def part_of_batch(batch: int, fitting: int) -> int:
    """The largest part of at most `fitting` images that divides a batch.

    Raises:
        ConfigError: When that is a single image, of which batch normalisation cannot learn.
    """
    part = max(size for size in range(1, min(fitting, batch) + 1) if batch % size == 0)
    if part == 1 and batch > 1:
        fit = counted(fitting, "image fits", "images fit")
        wrong = f"{fit} into memory, and {batch} cannot be split into equal parts of 2 to {fitting}"
        raise ConfigError(problem("sampling.batch_size", wrong, got=batch, fix="use a power of two"))
    return part
