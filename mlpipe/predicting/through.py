"""Run batches of samples through a model, halving the batch size whenever memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mlpipe.arch.classifier import RAW
from mlpipe.errors import Interrupted, TrainingError, counted
from mlpipe.learn import recovery
from mlpipe.learn.module import TARGET
from mlpipe.learn.tta import Views
from mlpipe.predicting.batches import Batch, joined
from mlpipe.predicting.model import Model
from mlpipe.runs.sinks import Predicted

log = logging.getLogger("mlpipe")


# From the outputs of the predicted head and the batch, both on the model's device, to what is kept.
Keep = Callable[[Tensor, Batch], Predicted]


def keep_outputs(outputs: Tensor, batch: Batch) -> Predicted:
    """Keep outputs as rows, or as maps if there is a value for every place of a sample, without targets.

    Args:
        outputs: Shape (n, outputs) or (n, outputs, *spatial).
        batch: The samples.
    """
    values = outputs.float().cpu().numpy()
    if values.ndim == 2:
        return Predicted(batch.ids, values)
    return Predicted(batch.ids, values[:, :0].reshape(len(values), 0), arrays=values)


def through(
    model: Model,
    batches: Iterable[Batch],
    *,
    head: str = TARGET,
    views: Views | None = None,
    keep: Keep = keep_outputs,
    most: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    where: str = "samples",
    with_targets: bool = False,
) -> Iterator[Predicted]:
    """Yield a model's predictions for samples, batch by batch.

    Args:
        model: The model.
        batches: The samples; a task, a folder and a volume are each an iterator of batches.
        head: The head of the model that is predicted.
        views: The augmented views of each sample; None: only the sample itself.
        keep: Selects what is kept of a batch.
        most: The largest batch size, which is halved each time memory runs out: batches
            are then joined and split again. None: batches are never split.
        stop: Called after every batch; returns whether to stop.
        where: What is predicted, for sentences.
        with_targets: Give the model the targets of batches too, so that batches have `raw`; only without `views`.

    Yields:
        What is kept of each batch, in the order of the samples.

    Raises:
        Interrupted: When `stop` says so.
        TrainingError: When memory runs out with a single sample, or with a batch that is not split.
    """
    waiting = _Waiting(iter(batches))
    while (batch := waiting.next()) is not None:
        results, call = list[Predicted](), partial(_predicted, model, batch, head, views, keep, with_targets)
        sentence = recovery.memory_shortage(partial(_append_result, results, call))
        if sentence:
            most = _smaller_size(most, sentence, len(batch), where)
            waiting.back(batch, most)
            continue
        if stop():
            raise Interrupted("stopped as asked")
        yield results[0]


def _append_result(results: list[Predicted], call: Callable[[], Predicted]) -> None:
    results.append(call())


def _predicted(model: Model, batch: Batch, head: str, views: Views | None, keep: Keep, with_targets: bool) -> Predicted:
    target = None if batch.target is None else batch.target.to(model.device, non_blocking=True)
    placed = replace(batch, inputs=batch.inputs.to(model.device, non_blocking=True), target=target)
    with torch.inference_mode(), model.computing():
        if with_targets:
            heads = model.outputs(placed.inputs, placed.target)
            outputs, placed = heads[head], replace(placed, raw=heads.get(head + RAW))
        elif views is None:
            outputs = model.outputs(placed.inputs)[head]
        else:
            outputs = views.predict(lambda inputs: model.outputs(inputs)[head], placed.inputs, model.kinds[head])
        return keep(outputs, placed)


def _smaller_size(most: int | None, sentence: str, size: int, where: str) -> int:
    """Return the next smaller batch size.

    Raises:
        TrainingError: When it cannot be smaller.
    """
    if most is None:
        fix = "use fewer at a time (mode.batch_size), or smaller ones"
        raise TrainingError(f"memory ran out with {size} {where} at a time; {fix}")
    if most == 1:
        fix = "use smaller images (preprocessing.size) or a smaller network"
        raise TrainingError(f"predicting {where}: memory ran out with one image at a time ({sentence}); {fix}")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    log.warning(f"predicting {where}: memory ran out; from here on {counted(most // 2, 'image')} at a time")
    return most // 2


@dataclass
class _Waiting:
    """Batches as they come, or joined and split to a size after one was put back."""

    batches: Iterator[Batch]
    _put_back_batch: Batch | None = None
    _size: int | None = None

    def next(self) -> Batch | None:
        """Return the next batch; None after the last one."""
        if self._size is None:
            return next(self.batches, None)
        parts = [] if self._put_back_batch is None else [self._put_back_batch]
        while sum(map(len, parts)) < self._size and (batch := next(self.batches, None)) is not None:
            parts.append(batch)
        self._put_back_batch = None
        if not parts:
            return None
        whole = joined(parts)
        if len(whole) > self._size:
            self._put_back_batch = whole[self._size :]
        return whole[: self._size]

    def back(self, batch: Batch, size: int) -> None:
        """Put a batch back; from then on batches have this size."""
        self._put_back_batch = batch if self._put_back_batch is None else joined([batch, self._put_back_batch])
        self._size = size
