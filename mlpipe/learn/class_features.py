"""Features by which drawn images are compared: a small classifier learns the task's classes before the first epoch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mlpipe.arch.gan import ClassFeatures, Gan
from mlpipe.config.schema import Recipe
from mlpipe.data.cache.packs import Pack
from mlpipe.data.sampling import Rows
from mlpipe.data.task import Task
from mlpipe.errors import DataError, problem

# Steps and images in a step: on small images a few seconds of a CPU, and most of what such a network can learn.
_STEPS, _BATCH, _RATE = 300, 64, 2e-3


def learn(recipe: Recipe, network: Gan, task: Task, rows: Rows, pack: Pack, seed: int) -> None:
    """Teach the features of a network the task's classes, where it is to compare images by them; nothing for others.

    What is drawn at random depends on the seed alone, and leaves the global random numbers as they are.

    Args:
        recipe: Says whether a GPU may be used.
        network: Its features change in place.
        task: Has a class for each image.
        rows: The training rows.
        pack: The images.
        seed: What weights and batches are drawn from.

    Raises:
        DataError: When fewer than two classes are known there.
    """
    if not isinstance(network.features, ClassFeatures):
        return
    targets = np.asarray(task.samples.learned[rows], np.int64)
    known = np.asarray(rows)[targets >= 0]
    targets = targets[targets >= 0]
    if len(np.unique(targets)) < 2:
        fix = "use arch.features=pixels"
        raise DataError(
            problem("arch.features", "classes need images of two of them", got=len(np.unique(targets)), fix=fix)
        )
    device = "cuda" if torch.cuda.is_available() and recipe.trainer.get("accelerator") != "cpu" else "cpu"
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        learner = ClassFeatures(network.shape[0], len(task.classes), network.peak).to(device)
        optimizer = torch.optim.Adam(learner.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
        draws = np.random.default_rng(seed)
        for _ in range(_STEPS):
            batch = draws.integers(len(known), size=_BATCH)
            order = np.argsort(known[batch])
            images = torch.from_numpy(np.ascontiguousarray(pack.take(known[batch][order]))).to(device)
            loss = nn.functional.cross_entropy(
                learner.logits(images.movedim(-1, 1).float()), torch.from_numpy(targets[batch][order]).to(device)
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    network.features.load_state_dict(learner.to("cpu").state_dict())
