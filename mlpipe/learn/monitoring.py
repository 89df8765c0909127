"""Metrics that are computed after every epoch and at the end, and the one that schedules and stops depend on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mlpipe import kinds
from mlpipe.config.schema import AUTO, Recipe
from mlpipe.data.task import Task
from mlpipe.learn.losses import by_output
from mlpipe.learn.own_parts import own_classes
from mlpipe.post import kind as post_kind
from mlpipe.post import metrics

Direction = Literal["min", "max"]


def val_metrics(recipe: Recipe, task: Task) -> list[str]:
    """Return the metrics of every epoch, including monitored and watched ones."""
    return metrics_of_epochs(recipe, kinds.decide(task.kind, recipe.loss))


def metrics_of_epochs(recipe: Recipe, kind: str) -> list[str]:
    """Return the metrics of every epoch for a kind of task."""
    names = post_kind.of(kind).TRAIN if recipe.metrics.train == AUTO else list(recipe.metrics.train)
    by_itself = {"val/loss", *(f"val/{name}" for name in outputs_metrics(recipe))}
    monitors = dict.fromkeys([recipe.metrics.monitor, *(name for _, name in watched_metrics(recipe))])
    more = [name.removeprefix("val/") for name in monitors if name.startswith("val/") and name not in by_itself]
    return [*names, *(name for name in more if name not in names)]


def outputs_metrics(recipe: Recipe) -> list[str]:
    """Return the metrics of a loss of several outputs: `OUTPUT_loss`, `OUTPUT_METRIC`, and means over all outputs."""
    parts = recipe.loss.params.get("parts")
    listed = parts if isinstance(parts, list) else []
    return [
        *(f"{part['name']}_{name}" for part in listed for name in ("loss", *own_classes.names(part.get("metrics")))),
        *by_output.shared([own_classes.names(part.get("metrics")) for part in listed]),
    ]


def final_metrics(recipe: Recipe, task: Task) -> list[str]:
    """Return the metrics of a finished record."""
    kind = kinds.decide(task.kind, recipe.loss)
    return post_kind.of(kind).FINAL if recipe.metrics.final == AUTO else list(recipe.metrics.final)


def monitor_direction(recipe: Recipe) -> Direction:
    """Return whether lower or higher values of the monitor are better."""
    direction = recipe.metrics.direction
    if direction == "auto":
        return metrics.direction(recipe.metrics.monitor)
    return direction


def direction_of(watch: str | None, given: Direction | None, otherwise: Direction) -> Direction:
    """Return whether lower or higher values of the watched metric are better.

    Args:
        watch: A metric watched instead of the monitor, such as `val/accuracy`; None: the monitor.
        given: The direction given in the configuration, if any.
        otherwise: The monitor's direction; also used for the user's own functions.
    """
    if given is not None or watch is None:
        return given or otherwise
    return metrics.direction(watch) if has_direction(watch) else otherwise


def has_direction(name: str) -> bool:
    """Return whether a metric is one of this program, or `OUTPUT_METRIC` of one, so that it is known which values are better.

    Args:
        name: The metric, such as `val/accuracy`.
    """
    plain = name.rpartition("/")[2]
    known = {"loss", *metrics.names_of_all_kinds()}
    return any(f"_{plain}".endswith(f"_{metric}") for metric in known) or metrics.is_of_loss(plain)


def watched_metrics(recipe: Recipe) -> list[tuple[str, str]]:
    """Return each key that names a metric to watch instead of metrics.monitor, with the metric; including keys of stages."""
    watches = []
    for stage, (schedule, callbacks) in _stage_sections(recipe):
        for key, params in (
            ("lr_scheduler", schedule.params if schedule is not None else {}),
            ("lr_scheduler.plateau", schedule.params.get("plateau") if schedule is not None else {}),
            *((f"callbacks.{name}", callback.params) for name, callback in (callbacks or {}).items()),
        ):
            watch = params.get("watch") if isinstance(params, Mapping) else None
            if isinstance(watch, str):
                watches.append((f"{stage}{key}.watch", watch))
    return watches


def _stage_sections(recipe: Recipe) -> Iterator[tuple[str, tuple[Any, Any]]]:
    yield "", (recipe.lr_scheduler, recipe.callbacks)
    for number, stage in enumerate(recipe.stages):
        yield f"stages.list[{number}].", (stage.lr_scheduler, stage.callbacks)
