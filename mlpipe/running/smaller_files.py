"""Compare an exported file of lower precision with the original: bytes, milliseconds, and the loss on held-out images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpipe.data.decoding.images import Pixels
from mlpipe.errors import MlpipeError, counted, problem
from mlpipe.post import comparison, metrics
from mlpipe.post import kind as post_kind
from mlpipe.post.ensembling.member_rows import Rows
from mlpipe.running import tasks
from mlpipe.running.predictor import Predictor
from mlpipe.runs import predictions

# The number of timed calls for one image, and of warm-up calls that are not counted.
_TIMED, _WARM = 30, 5
Integers = npt.NDArray[np.int64]


class Images(NamedTuple):
    """Some images of a task.

    Attributes:
        rows: Their rows in the task.
        raw: Their pixels.
        given: The input of a file for them.
    """

    rows: list[int]
    raw: list[Pixels]
    given: list[Pixels]


class Judging(NamedTuple):
    """The images on which a file is judged: their rows, and a description."""

    rows: Integers
    words: str


@dataclass(frozen=True)
class Judged:
    """The comparison of a file with the one it was made from.

    Attributes:
        measure: The headline measure.
        lost: The loss of the measure; negative: it improved.
        low: The lower end of its 95 % interval; None: there is no interval.
        high: The upper end.
        images: The number of images measured on.
        bytes: The file's size.
        bytes_before: The size of the original file.
        milliseconds: The median time of one image.
        milliseconds_before: The same for the original file.
        sentence: All of it in a sentence.
    """

    measure: str
    lost: float
    low: float | None
    high: float | None
    images: int
    bytes: int
    bytes_before: int
    milliseconds: float
    milliseconds_before: float
    sentence: str


def spread(rows: Integers, count: int) -> Integers:
    """Return a number of rows, evenly spaced, or all of them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int))] if len(rows) else rows


def rows_of(predictor: Predictor, judged: int, others: int) -> tuple[Judging, Integers]:
    """Return labelled images to judge a file on, unseen by all folds if possible, and others for its calibration.

    Args:
        predictor: The models.
        judged: The maximum number of images to judge on.
        others: The maximum number of other images.

    Raises:
        MlpipeError: When no image has a target.
    """
    samples = predictor.pivot.samples
    record = predictor.stored.records[0]
    path = predictor.stored.project.predictions_file(record.pivot, record.id)
    held = {samples.ids[row] for row in np.flatnonzero(samples.in_part("test"))}
    if path.is_file():
        held |= set(predictions.load(path, record.pivot, "test").sample_ids)
    is_held = np.array([name in held for name in samples.ids])
    test, learned = (np.flatnonzero(samples.labelled & mask) for mask in (is_held, ~is_held))
    if not len(test) + len(learned):
        raise MlpipeError(problem(f"task {predictor.pivot.name}", "has no labelled images to measure a loss on"))
    words = "images that it learned from, for want of test images"
    if len(test):
        words = "test images"
    return Judging(spread(test if len(test) else learned, judged), words), spread(np.flatnonzero(~is_held), others)


def applied(path: Path) -> Callable[[Sequence[Pixels]], list[npt.NDArray[Any]]]:
    """Return an ONNX file's values for images, one by one."""
    session = _session(path)
    return lambda images: [_run(session, ["values"], image)[0][0] for image in images]


def compare_files(before: Path, after: Path, images: Images, predictor: Predictor) -> Judged:
    """Compare two files on the same labelled images, by the paired test of the headline measure.

    Args:
        before: The original file.
        after: The file made from it.
        images: The images.
        predictor: The models.
    """
    kind = predictor.kind
    sessions = [_session(path) for path in (before, after)]
    of = _place_sums if predictor.is_dense else _of_found if predictor.has_places else _file_rows
    rows = [of(session, images, predictor) for session in sessions]
    first = comparison.paired(rows[0], rows[1], kind, None, 0)[0]
    measure = post_kind.of(kind).HEADLINE
    sign = 1 if metrics.direction(measure) == "max" else -1
    lost, ends = sign * first.difference, [None if end is None else sign * end for end in (first.low, first.high)]
    low, high = ends if sign == 1 else ends[::-1]
    # The calls alternate, so that other load on the machine affects both files equally.
    times = np.array([[_milliseconds(session, images.given[0]) for session in sessions] for _ in range(_TIMED)])
    slow, fast = np.median(times[_WARM:], axis=0).tolist()
    sizes = [path.stat().st_size for path in (before, after)]
    within = "" if low is None or high is None else f" (95 % {low:.4f} to {high:.4f})"
    sentence = (
        f"{sizes[0] / 1e6:.1f} to {sizes[1] / 1e6:.1f} MB, {slow:.2f} to {fast:.2f} ms for an image, "
        f"{lost:.4f}{within} of {measure} lost on {counted(len(images.rows), 'image')}"
    )
    return Judged(measure, lost, low, high, len(images.rows), sizes[1], sizes[0], fast, slow, sentence)


def _file_rows(session: Any, images: Images, predictor: Predictor) -> Rows:
    """Return a file's outputs for images that have one row each."""
    samples = predictor.pivot.samples
    logits = np.concatenate([_run(session, ["logits"], image)[0] for image in images.given]).astype(np.float64)
    return Rows([samples.ids[row] for row in images.rows], samples.targets[images.rows], logits, logits)


def _place_sums(session: Any, images: Images, predictor: Predictor) -> Rows:
    """Return sums over the pixels of each image, at the size that the first network sees, where its mask is known."""
    import torch

    from mlpipe.predicting.batches import Batch, TaskBatches

    config = predictor.config(predictor.stored.records[0].id)
    pack = tasks.pack_of(config, predictor.pivot)
    batches = TaskBatches(config.recipe, predictor.pivot, pack, np.array(images.rows), 0)
    outputs, targets, ids = [], [], list[str]()
    for batch in batches:
        assert batch.target is not None
        inputs = batch.inputs.movedim(1, -1).numpy().astype(predictor.pivot.dtype)
        for place, pixels in enumerate(inputs):
            values = torch.from_numpy(_run(session, ["values"], pixels)[0]).movedim(-1, 1)
            sample = Batch([batch.ids[place]], batch.inputs[[place]], batch.target[[place]])
            # The kind treats log-probabilities like logits.
            sums = predictor.part.kept(values.clamp(min=1e-12).log(), sample, None)
            assert sums.targets is not None
            outputs.append(sums.outputs)
            targets.append(sums.targets)
            ids += batch.ids[place : place + 1]
    logits = np.concatenate(outputs).astype(np.float64)
    return Rows(ids, np.concatenate(targets), logits, logits)


def _of_found(session: Any, images: Images, predictor: Predictor) -> Rows:
    """Return the boxes that a file finds in images, in image pixels, as are the true boxes."""
    import torch

    from mlpipe.predicting.batches import TaskBatches

    config, pivot = predictor.config(predictor.stored.records[0].id), predictor.pivot
    pack = tasks.pack_of(config, pivot)
    batches = TaskBatches(config.recipe, pivot, pack, np.array(images.rows), 0, predictor.part.places(pivot, pack))
    inputs, outputs, targets, ids = iter(images.given), [], [], list[str]()
    for batch in batches:
        values = [torch.from_numpy(_run(session, ["values"], next(inputs))[0]) for _ in batch.ids]
        # The file's values are already in image pixels; true boxes are in pixels of the network's input.
        own = replace(batch, inputs=batch.inputs[:0], target=None, places=None)
        outputs.append(predictor.part.kept(torch.cat(values), own, None).outputs)
        true = predictor.part.kept(torch.zeros_like(torch.cat(values)), batch, None).targets
        assert true is not None
        targets.append(true)
        ids += batch.ids
    detections = np.concatenate(outputs).astype(np.float64)
    return Rows(ids, np.concatenate(targets), detections, detections)


def _session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _run(session: Any, names: list[str], image: Pixels) -> list[npt.NDArray[Any]]:
    outputs: list[npt.NDArray[Any]] = session.run(names, {"pixels": np.ascontiguousarray(image[np.newaxis])})
    return outputs


def _milliseconds(session: Any, image: Pixels) -> float:
    start = time.perf_counter()
    _run(session, ["values"], image)
    return 1000 * (time.perf_counter() - start)
