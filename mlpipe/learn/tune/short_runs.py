"""Short trial trainings of a few steps: the trainer for them and what they find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback

from mlpipe.config.schema import Recipe
from mlpipe.learn.job import Watch
from mlpipe.learn.machine.hardware import Numerics

# Trials end after a number of steps; augmentations that stop in the last epochs must not stop in them.
_ENDLESS = 10**6


@dataclass(frozen=True)
class Tuned:
    """The result of tuning.

    Attributes:
        name: `lr_find` or `batch_size`, the name of its files.
        chosen: What changes the recipe (`applied`): `lr_found`; or `micro_batch` and `accumulate`.
        facts: What a person should know besides.
        table: What was measured, a row for each step or trial.
    """

    name: str
    chosen: dict[str, float]
    facts: dict[str, Any]
    table: list[dict[str, float]]


def short_trainer(recipe: Recipe, numerics: Numerics, steps: int, callback: Callback, accumulate: Any) -> pl.Trainer:
    """A trainer for some steps without validation.

    Args:
        recipe: Gives the device and the bound of gradients.
        numerics: Precision and layout.
        steps: How many steps of the optimizer.
        callback: Watches them.
        accumulate: Batches in a step.
    """
    names = ("accelerator", "gradient_clip_val", "gradient_clip_algorithm")
    options = {key: value for key, value in recipe.trainer.items() if key in names}
    return pl.Trainer(
        **options,
        devices=1,
        max_epochs=_ENDLESS,
        max_steps=steps,
        accumulate_grad_batches=int(accumulate or 1),
        limit_val_batches=0,
        precision=numerics.precision,
        plugins=[LightningEnvironment()],
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


class Asking(Callback):
    """Stops when asked to."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the wish to stop."""
        self._watch.stop_if_asked()
