"""The context of all folds: the task, its split, its cached images, and the rows of each fold."""

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
    """The context shared by training, predicting and testing.

    Attributes:
        config: The run's configuration.
        context: The project, the display and the request to stop.
        task: The pivot.
        split: Its split.
        nested: Whether each fold is set aside as test data and the rest split again.
        decoding: The configuration with the preprocessing of the images: the run's own, or a stored record's.
    """

    config: RunConfig
    context: RunContext
    task: Task
    split: Split
    nested: bool
    decoding: RunConfig
    _packs: dict[str, Pack] = field(default_factory=dict)

    def pack(self, of: Task) -> Pack:
        """Return the images of the pivot or of another task, decoded if necessary."""
        if of.name not in self._packs:
            most = max(tasks.unreadable_allowed(config, of) for config in (self.decoding, self.config))
            self._packs[of.name] = tasks.pack_of(self.decoding, of, self.context, max_unreadable=most)
        return self._packs[of.name]

    def view(self, fold: int, *, nested: bool | None = None) -> View:
        """Return the readable rows of a fold.

        Args:
            fold: The fold, or `variants.REFIT`.
            nested: Set the fold aside; None: as in the run.
        """
        unreadable = self.pack(self.task).unreadable_mask(self.task)
        if fold == variants.REFIT:
            return variants.whole(self.task, self.split).without(unreadable)
        make = variants.nested if (self.nested if nested is None else nested) else variants.plain
        return make(self.task, self.split, fold).without(unreadable)

    def checked(self, fold: int) -> View:
        """Return the rows of a fold for training.

        Raises:
            DataError: When unreadable images leave a class without any image.
        """
        view = self.view(fold)
        split, own = self.split.of_fold(fold) if fold != variants.REFIT else (self.split, fold)
        is_judged = fold != variants.REFIT and (self.nested or bool((split.fold == own).any()))
        is_lenient = checks.is_lenient(self.split, self.task.samples)
        variants.check(self.task, view, is_judged=is_judged, is_lenient=is_lenient)
        return view


def unknown_folds(choice: Sequence[int], folds: Sequence[int]) -> list[str]:
    """Return a sentence for each requested fold that does not exist."""
    strange = [fold for fold in choice if fold not in folds]
    fix = f"the folds are {listing(folds)}"
    return [problem("mode.folds", "there is no such fold", got=fold, fix=fix) for fold in strange]


def tell_sizes(context: RunContext, task: Task, split: Split, views: Sequence[View]) -> None:
    """Log the sizes of some folds, once per run: several recipes of a preset have the same sizes.

    Args:
        context: Its facts receive the counts under `parts`.
        task: The task.
        split: Its split.
        views: The rows of the folds to train.
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
    """Return the configuration with `mode.nested=false` if nesting is impossible and was not requested.

    Args:
        config: The checked configuration; one that was stored with a run is returned unchanged.
        split: The split of its task.
    """
    mode, keys = config.tree["mode"], config.given
    if not mode.get("nested") or split.can_nest or keys is None or "mode.nested" in keys:
        return config
    if mode.get("strict_validation"):
        # The command requests a score of images that chose nothing.
        return config
    log.info("one part validates, so that no fold is set aside for tests (mode.nested=false)")
    return replace(assemble({**config.tree, "mode": {**mode, "nested": False}}), given=keys)


def split_notes(task: Task, split: Split) -> list[str]:
    """Return notes on a split for people: a validation part pooled with training, groups in several folds."""
    torn = checks.torn_groups(task.samples, split)
    own = int((task.samples.in_part("val") & (split.fold >= 0)).sum())
    if split.is_given or not own:
        return torn
    pooled = counted(own, "image of its val part is", "images of its val part are")
    return [*torn, f"the {pooled} pooled with those of train; split=given validates on them alone"]


def _sizes(views: Sequence[View]) -> str:
    """Describe how many samples each part has: once if all folds have the same sizes, else fold by fold."""
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
    """Return `sys.num_workers`; for `auto`, loader processes if a GPU would wait for them, none otherwise."""
    setting = config.sys.num_workers
    if setting != "auto":
        return int(setting)
    import torch

    return min(8, max(1, cores() - 1)) if torch.cuda.is_available() else 0
