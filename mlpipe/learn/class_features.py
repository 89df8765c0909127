"""Features for the comparison of drawn images: a small classifier is trained on the task's classes before the first epoch."""

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

# Steps, batch size and rate: a few CPU seconds on small images, and close to the best that such a network can do.
_STEPS, _BATCH, _RATE = 300, 64, 2e-3


def learn(recipe: Recipe, network: Gan, task: Task, rows: Rows, pack: Pack, seed: int) -> None:
    """Train the features of a network on the task's classes, if it compares images by them; otherwise do nothing.

    Random draws depend only on the seed and do not change the global random state.

    Args:
        recipe: Specifies whether a GPU may be used.
        network: Its features are changed in place.
        task: A task with a class for each image.
        rows: The training rows.
        pack: The images.
        seed: The seed of weights and batches.

    Raises:
        DataError: When fewer than two classes occur.
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
