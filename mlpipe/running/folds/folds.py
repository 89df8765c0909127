"""The context of all folds: the task, its split and its cached images, and the rows that each fold trains on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mlpipe.config.assemble import assemble
from mlpipe.config.environment import cores
from mlpipe.config.schema import RunConfig
from mlpipe.data.cache.packs import Pack
from mlpipe.data.splits import checks, variants
from mlpipe.data.splits.methods import Split
from mlpipe.data.splits.variants import View
from mlpipe.data.task import Task
from mlpipe.errors import counted, listing, problem
from mlpipe.running import tasks
from mlpipe.running.steps import RunContext

log = logging.getLogger("mlpipe")

_NAMES = {"train": "train", "val": "validation", "test": "test", "unlabelled": "unlabelled"}


@dataclass
class Folds:
    """The context that training, predicting and testing have in common.

    Attributes:
        config: The run's configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        split: Its split.
        nested: Each fold is set aside as test data and the rest split anew.
        decoding: The configuration whose preprocessing the images have: the run's own, or a stored record's.
    """

    config: RunConfig
    context: RunContext
    task: Task
    split: Split
    nested: bool
    decoding: RunConfig
    _packs: dict[str, Pack] = field(default_factory=dict)

    def pack(self, of: Task) -> Pack:
        """The images of the pivot or of a task beside it, decoded when they are missing."""
        if of.name not in self._packs:
            most = max(tasks.unreadable_allowed(config, of) for config in (self.decoding, self.config))
            self._packs[of.name] = tasks.pack_of(self.decoding, of, self.context, max_unreadable=most)
        return self._packs[of.name]

    def view(self, fold: int, *, nested: bool | None = None) -> View:
        """The rows of a fold that can be read.

        Args:
            fold: The fold, or `variants.REFIT`.
            nested: Set the fold aside; None: as the run does.
        """
        unreadable = self.pack(self.task).unreadable_mask(self.task)
        if fold == variants.REFIT:
            return variants.whole(self.task, self.split).without(unreadable)
        make = variants.nested if (self.nested if nested is None else nested) else variants.plain
        return make(self.task, self.split, fold).without(unreadable)

    def checked(self, fold: int) -> View:
        """The rows that a fold is trained with.

        Raises:
            DataError: When unreadable images left a class without any.
        """
        view = self.view(fold)
        split, own = self.split.of_fold(fold) if fold != variants.REFIT else (self.split, fold)
        is_judged = fold != variants.REFIT and (self.nested or bool((split.fold == own).any()))
        is_lenient = checks.is_lenient(self.split, self.task.samples)
        variants.check(self.task, view, is_judged=is_judged, is_lenient=is_lenient)
        return view


def unknown_folds(choice: Sequence[int], folds: Sequence[int]) -> list[str]:
    """A sentence for each fold that was asked for and is not there."""
    strange = [fold for fold in choice if fold not in folds]
    fix = f"the folds are {listing(folds)}"
    return [problem("mode.folds", "there is no such fold", got=fold, fix=fix) for fold in strange]


def tell_sizes(context: RunContext, task: Task, split: Split, views: Sequence[View]) -> None:
    """Log the parts of some folds, once in a run: several recipes of a preset have the same ones.

    Args:
        context: Its facts get the counts under `parts`.
        task: The task.
        split: Its split.
        views: The rows of the folds that will be trained.
    """
    counts = {name: [len(view.rows()[name]) for view in views] for name in _NAMES}
    facts = {"task": task.name, "folds": [view.fold for view in views], **counts}
    entries = context.facts.setdefault("parts", [])
    if facts in entries:
        return
    entries.append(facts)
    log.info(f"{task.name}: {_sizes(views)}")
    for sentence in [*split_notes(task, split), *checks.lacking(task, views)]:
        log.info(f"note on {task.name}: {sentence}")


def with_possible_nesting(config: RunConfig, split: Split) -> RunConfig:
    """The configuration with `mode.nested=false` where the split has no folds to set aside and nobody asked for that.

    Args:
        config: The checked configuration; one that was stored with a run stays as it is.
        split: The split of its task.
    """
    mode, keys = config.tree["mode"], config.given
    if not mode.get("nested") or split.can_nest or keys is None or "mode.nested" in keys:
        return config
    if mode.get("strict_validation"):
        # A score of images that chose nothing was asked for.
        return config
    log.info("one part validates, so that no fold is set aside for tests (mode.nested=false)")
    return replace(assemble({**config.tree, "mode": {**mode, "nested": False}}), given=keys)


def split_notes(task: Task, split: Split) -> list[str]:
    """Notes on a split for a person: a validation part that is pooled with training, groups in several folds."""
    torn = checks.torn_groups(task.samples, split)
    own = int((task.samples.in_part("val") & (split.fold >= 0)).sum())
    if split.is_given or not own:
        return torn
    pooled = counted(own, "image of its val part is", "images of its val part are")
    return [*torn, f"the {pooled} pooled with those of train; split=given validates on them alone"]


def _sizes(views: Sequence[View]) -> str:
    """How many samples each part has: once where all folds have the same, else fold by fold."""
    phrases = []
    for name, word in _NAMES.items():
        counts = [len(view.rows()[name]) for view in views]
        if name == "unlabelled" and not any(counts):
            continue
        phrases.append(f"{word} {_range_text(counts)}")
    which = f" in folds {', '.join(str(view.fold) for view in views)}" if len(views) > 1 else ""
    return ", ".join(phrases) + which


def _range_text(counts: Sequence[int]) -> str:
    if len(set(counts)) == 1:
        return str(counts[0])
    is_even = max(counts) - min(counts) <= 1
    return f"{min(counts)} to {max(counts)}" if is_even or len(counts) > 10 else " / ".join(map(str, counts))


def num_workers(config: RunConfig) -> int:
    """`sys.num_workers`; `auto`: loader processes where a GPU would wait for them, none otherwise."""
    setting = config.sys.num_workers
    if setting != "auto":
        return int(setting)
    import torch

    return min(8, max(1, cores() - 1)) if torch.cuda.is_available() else 0
