"""Training on all folds at once (`mode.refit`): its length, and the parts of a recipe that need no validation images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median_high

from mlpipe import files
from mlpipe.config import rules
from mlpipe.config.components import Component
from mlpipe.config.schema import Recipe, Stage
from mlpipe.errors import ProjectError, first_line, problem
from mlpipe.learn import exact_heads, monitoring, stages
from mlpipe.learn.monitoring import Direction

History = Sequence[Mapping[str, str]]


def epochs(recipe: Recipe, histories: Iterable[Path], *, keep_best: bool) -> tuple[int, ...]:
    """Return the number of epochs of each stage in a training on all folds: the median over the folds, for the kept weights.

    For an even number of folds it is the larger of the two middle values. The first stage has at least one epoch; a stage
    that did not improve most folds has none.

    Args:
        recipe: The recipe of the folds.
        histories: Their `metrics.csv` files.
        keep_best: Whether they kept the weights of their best epoch instead of the last one.

    Returns:
        Shape (stages,); empty for a recipe that takes no steps.

    Raises:
        ProjectError: When a history is missing or damaged.
    """
    if exact_heads.has_no_steps(recipe):
        return ()
    plan, watched = stages.of(recipe), (recipe.metrics.monitor, monitoring.monitor_direction(recipe))
    lasted = []
    for path in histories:
        try:
            lasted.append(_epochs_behind_weights(files.csv_rows(path), plan, *watched, keep_best=keep_best))
        except (OSError, ValueError, OverflowError) as error:
            fix = "train its fold again, or leave mode.refit out"
            raise ProjectError(problem(str(path), f"is damaged ({first_line(error)})", fix=fix)) from error
    return _one_after_another(plan, [median_high(counts) for counts in zip(*lasted, strict=True)])


def _one_after_another(plan: Sequence[Stage], lasting: Sequence[int]) -> tuple[int, ...]:
    """Return the epochs of the stages that lead to the last one with any epochs.

    With evenly divided folds, some may have kept a stage that does not precede the stage kept by others: no fold trained both.
    """
    counts, number = [0] * len(plan), max((place for place, count in enumerate(lasting) if count), default=-1)
    while number >= 0:
        counts[number], before = lasting[number], plan[number].start_from
        number = number - 1 if before is None or not lasting[number] else before
    return tuple(counts)


def recipe_of(recipe: Recipe, lasting: Sequence[int]) -> Recipe:
    """Return the recipe without the parts that need validation images: early stops, and weights and negatives of stages.

    Learning rates follow the whole schedule, as in the folds; the training ends after its number of epochs.

    Args:
        recipe: The recipe of the folds.
        lasting: The result of `epochs`; stages without epochs are left out.
    """
    kept_stages = [
        replace(
            stage,
            keep=False,
            start_from=None,
            val_negatives=None,
            callbacks=None if stage.callbacks is None else _without_early_stops(stage.callbacks),
        )
        for stage, count in zip(recipe.stages, lasting, strict=bool(recipe.stages))
        if count
    ]
    return replace(recipe, stages=tuple(kept_stages), callbacks=_without_early_stops(recipe.callbacks))


def _without_early_stops(callbacks: Mapping[str, Component]) -> dict[str, Component]:
    return {name: component for name, component in callbacks.items() if not rules.is_early_stop(component.target)}


def _epochs_behind_weights(
    history: History, plan: Sequence[Stage], monitor: str, direction: Direction, *, keep_best: bool
) -> list[int]:
    """Return the number of epochs of each stage that led to a fold's kept weights, with the comparisons of `Keeper`."""
    path, best, sign = [0] * len(plan), None, 1.0 if direction == "min" else -1.0
    best_path, kept_paths = path, dict[int, list[int]]()
    for number, stage in enumerate(plan):
        if stage.start_from is not None:
            path = kept_paths[stage.start_from]
        own, own_path = None, path
        for row in history:
            if int(float(row.get("stage") or 0)) != number:
                continue
            path = [*path[:number], path[number] + 1, *path[number + 1 :]]
            score = sign * float(row.get(monitor) or "nan")
            if best is None or best != best or score < best:
                best, best_path = score, path
            if own is None or own != own or score < own:
                own, own_path = score, path
        kept_paths[number] = own_path
        # The next stage starts from the weights kept so far.
        path = own_path if stage.keep else best_path if keep_best else path
    return best_path if keep_best else path
