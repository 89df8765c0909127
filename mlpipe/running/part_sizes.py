"""Say how many samples each part of each fold has, and which classes a part lacks, before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mlpipe.data.splits import checks
from mlpipe.data.splits.methods import Split
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.running.steps import World

log = logging.getLogger("mlpipe")

_NAMES = {"train": "train", "val": "validation", "test": "test", "unlabelled": "unlabelled"}


def tell(world: World, task: Task, split: Split, views: Sequence[View]) -> None:
    """Log the parts of some folds, once in a run: several recipes of a preset have the same ones.

    Args:
        world: Its facts get the counts under `parts`.
        task: The task.
        split: Its split.
        views: The rows of the folds that will be trained.
    """
    counts = {name: [len(view.rows()[name]) for view in views] for name in _NAMES}
    facts = {"task": task.name, "folds": [view.fold for view in views], **counts}
    told = world.facts.setdefault("parts", [])
    if facts in told:
        return
    told.append(facts)
    log.info(f"{task.name}: {_sizes(views)}")
    for sentence in [*of_split(task, split), *checks.lacking(task, views)]:
        log.info(f"note on {task.name}: {sentence}")


def of_split(task: Task, split: Split) -> list[str]:
    """What a person should know of a split: a validation part that is pooled with training, groups in several folds."""
    torn = checks.torn_groups(task.samples, split)
    own = int((task.samples.in_part("val") & (split.fold >= 0)).sum())
    if split.is_given or not own:
        return torn
    return [*torn, f"the {own} images of its val part are pooled with those of train; split=given keeps them apart"]


def _sizes(views: Sequence[View]) -> str:
    """How many samples each part has: once where all folds have the same, else fold by fold."""
    told = []
    for name, word in _NAMES.items():
        found = [len(view.rows()[name]) for view in views]
        if name == "unlabelled" and not any(found):
            continue
        told.append(f"{word} {_numbers(found)}")
    which = f" in folds {', '.join(str(view.fold) for view in views)}" if len(views) > 1 else ""
    return ", ".join(told) + which


def _numbers(found: Sequence[int]) -> str:
    if len(set(found)) == 1:
        return str(found[0])
    return " / ".join(map(str, found)) if len(found) <= 10 else f"{min(found)} to {max(found)}"
