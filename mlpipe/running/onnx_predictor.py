"""Predict samples with an exported ONNX file like the models it was made from, without PyTorch."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds, limits
from mlpipe.data import task
from mlpipe.data.decoding.images import MOST_PIXELS, Pixels, UnreadableImageError
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.listings.array_layout import Form
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, ProjectError, first_line, is_out_of_memory, not_installed, problem
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import move_prior
from mlpipe.post.rows import shares
from mlpipe.predicting import onnx_files
from mlpipe.predicting.in_hand import Cells, Shown
from mlpipe.running import model_card
from mlpipe.running.predictor import Sample

# The maximum number of samples of one shape per call, and of their bytes: activations need about a hundred times as
# much.
_AT_ONCE, _BYTES_AT_ONCE = 32, 8 << 20
# ONNX Runtime's own log, which shows names of the file, is suppressed; errors are raised as well.
_SILENT = 4
# Upper bounds of a sample's channels, and of the pixels of an image's side.
_MOST_CHANNELS, _LONGEST_SIDE = 4096, 65_536
Array = npt.NDArray[Any]


class OnnxPredictor:
    """Predict samples with a file that `mml export` wrote.

    Attributes:
        facts: The metadata of the file.
        kind: What is predicted.
        task: The name of the task that it was trained on.
        pivot: A task that describes such samples, but has none.
        has_arrays: Whether samples are arrays instead of images.

    Args:
        path: The file.
        key: The name of the file's key, for messages.

    Raises:
        ConfigError: When the package that runs it is not installed.
        ProjectError: When it is not such a file, was changed, or is of a newer version.
    """

    def __init__(self, path: Path, key: str = "where") -> None:
        if find_spec("onnxruntime") is None:
            raise ConfigError(not_installed(key, "onnx"))
        self._path, content = path, onnx_files.read(path)
        onnx_files.require_bounded(content, path)
        import onnxruntime

        self._bytes = len(content)
        try:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = _SILENT
            with limits.memory(self._bytes):
                self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            known = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:
            raise self._refusal(error, "cannot be opened") from error
        self.facts = onnx_files.checked(known.get(onnx_files.METADATA, ""), path)
        self.kind, self.task = str(self.facts["kind"]), str(self.facts["task"])
        its = self.facts
        try:
            _require_sound(its)
            self.pivot: Task = task.make(
                self.task,
                its["classes"],
                [],
                channels=its["channels"],
                kind=self.kind,
                dtype=its["dtype"],
                source=its["source"],
            )
            self.has_arrays = its["source"]["type"] == "samples"
            self._columns = tuple(its["columns"])
            model_card.checked(its["card"])
            # Imported here, not with the first sample.
            Decoding.of(its["source"])
            if self.has_arrays:
                Form.of(its["source"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            wrong = f"says of itself what no model is ({first_line(error)})"
            raise ProjectError(problem(str(path), wrong, fix="give a file that mml export wrote")) from error
        sides = tuple(its["size"]) if len(its["size"]) == 2 else None
        self._preprocessing = Preprocessing(
            "file", its["channels"], sides, its["resize"], interpolation=its["interpolation"], fill=its["fill"]
        )

    def predict(
        self,
        samples: Sequence[Sample],
        deploy_prior: str | list[float] | None = None,
        *,
        alpha: float | None = None,
        only_values: bool = False,
    ) -> tuple[dict[int, str], Shown]:
        """Return calibrated and decided predictions, see `mlpipe.running.predictor.Predictor.predict`.

        At another prevalence, there are no sets and no decisions by thresholds, because these need data of the project.
        """
        if alpha is not None:
            wrong = "needs held-out predictions, which an ONNX file does not hold"
            raise ConfigError(problem("alpha", wrong, got=alpha, fix="leave it out, or load a bundle"))
        unreadable, by_shape = dict[int, str](), defaultdict[tuple[int, ...], list[tuple[int, Pixels]]](list)
        outputs = dict[int, tuple[Array, Array | None]]()
        for place, sample in enumerate(samples):
            try:
                pixels = self._input_pixels(sample)
            except UnreadableImageError as error:
                unreadable[place] = str(error)
                continue
            waiting = by_shape[pixels.shape]
            waiting.append((place, pixels))
            if len(waiting) == _AT_ONCE or len(waiting) * pixels.nbytes >= _BYTES_AT_ONCE:
                outputs |= self._values_by_place(waiting)
                waiting.clear()
        for waiting in by_shape.values():
            outputs |= self._values_by_place(waiting)
        values = [outputs[place][0] for place in sorted(outputs)]
        logits = [row for _, row in (outputs[place] for place in sorted(outputs)) if row is not None]
        rows = np.stack(logits) if logits else None
        if deploy_prior is not None and values:
            rows = self._moved_rows(rows, deploy_prior)
            values = list(np.exp(rows))
        cells = [] if only_values else [self._cells(value, deploy_prior is not None) for value in values]
        return unreadable, Shown(cells, values, rows)

    def card(self) -> Mapping[str, Any]:
        """Return facts for people and for programs that apply the model."""
        card: Mapping[str, Any] = self.facts["card"]
        return card

    def _input_pixels(self, sample: Sample) -> Pixels:
        pixels = sample(self.facts["channels"], self.facts["least"])
        # Positions in a sample would refer to the size to which it is resized.
        is_resized = not (self.has_arrays or self._columns or self.facts["is_dense"])
        if not self.facts["any_size"] and is_resized:
            pixels = self._preprocessing(pixels)
        if not self.facts["any_size"] and list(pixels.shape[:-1]) != self.facts["size"]:
            size = " x ".join(map(str, self.facts["size"]))
            wrong = f"has {' x '.join(map(str, pixels.shape[:-1]))} values, the file takes {size}"
            raise UnreadableImageError(wrong)
        return np.ascontiguousarray(pixels, self.facts["dtype"])

    def _values_by_place(self, waiting: Sequence[tuple[int, Pixels]]) -> dict[int, tuple[Array, Array | None]]:
        if not waiting:
            return {}
        try:
            results = self._checked_values(self._file_outputs(np.stack([pixels for _, pixels in waiting])), waiting)
        except Exception as error:
            raise self._refusal(error, "does not take what it says it takes") from error
        values, logits = results
        return {
            place: (value, None if row is None else np.asarray(row, np.float64))
            for (place, _), value, row in zip(waiting, values, logits, strict=True)
        }

    def _checked_values(
        self, results: Sequence[Any], waiting: Sequence[tuple[int, Pixels]]
    ) -> tuple[Sequence[Array], Sequence[Array | None]]:
        """Return values and logits of samples, after checking their number and width against the file's classes.

        Raises:
            ValueError: When they do not match.
        """
        values, places = np.asarray(results[0], np.float64), waiting[0][1].shape[:-1] if self.facts["is_dense"] else ()
        if self._columns:
            return self._boxes(values, waiting), [None] * len(waiting)
        shape = (len(waiting), *places, len(self.facts["classes"]))
        if values.shape != shape:
            raise ValueError(f"gives {list(values.shape)} where its classes are {list(shape)}")
        if len(results) < 2:
            return list(values), [None] * len(waiting)
        logits = np.asarray(results[1], np.float64)
        if logits.shape != shape:
            raise ValueError(f"gives {list(logits.shape)} where its classes are {list(shape)}")
        return list(values), list(logits)

    def _boxes(self, values: Array, waiting: Sequence[tuple[int, Pixels]]) -> list[Array]:
        """Return the boxes of samples, shape (k, 6) each, after checking that they lie inside.

        Raises:
            ValueError: When they are not boxes, or have classes that the file does not have.
        """
        if values.ndim != 3 or len(values) != len(waiting) or values.shape[2] != len(self._columns):
            raise ValueError(f"gives {list(values.shape)} where boxes of {len(waiting)} samples are expected")
        boxes = []
        for rows, (_, pixels) in zip(values, waiting, strict=True):
            own = rows[rows[:, 4] > 0]
            if not np.isin(own[:, 5], np.arange(len(self.facts["classes"]))).all():
                raise ValueError("gives boxes of classes that it does not have")
            own[:, :4] = np.clip(own[:, :4], 0, np.tile(pixels.shape[1::-1], 2))
            boxes.append(own[(own[:, 2:4] > own[:, :2]).all(axis=1)])
        return boxes

    def _refusal(self, error: Exception, wrong: str) -> Exception:
        """Translate an error of the file."""
        if is_out_of_memory(error):
            return error
        text, fix = str(error), "export it again"
        if "allocat" in text.lower() and "memory" in text.lower():
            wrong, fix = "needs far more memory than its size and its samples let expect", "give smaller samples"
        elif "terminate flag" in text:
            wrong, fix = f"computes for more than {limits.SECONDS} seconds for each sample", "give smaller samples"
        return ProjectError(problem(str(self._path), f"{wrong} ({first_line(error)})", fix=fix))

    def _file_outputs(self, pixels: Array) -> list[Any]:
        """Run the file on samples, within limits of memory and time."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = _SILENT
        end = threading.Timer(limits.SECONDS * len(pixels), setattr, (options, "terminate", True))
        end.daemon = True
        end.start()
        try:
            with limits.memory(self._bytes + pixels.nbytes):
                return list(self._session.run(None, {"pixels": pixels}, options))
        finally:
            end.cancel()

    def _cells(self, values: Array, is_moved: bool) -> list[Cells]:
        from mlpipe.predicting import onnx_runner

        choices = self.facts["choices"] if self.facts["costs"] is not None else {}
        gone: dict[str, Any] = {"lists": {}, "choices": choices} if is_moved else {}
        return onnx_runner.cells_of(values, {**self.facts, **gone})

    def _moved_rows(self, rows: Array | None, prior: str | list[float]) -> Array:
        """Return log-probabilities at another prevalence."""
        base = self.facts["prior"]
        if base is None or rows is None:
            wrong = "is for classes whose prevalence the file knows, which this one does not"
            raise ConfigError(problem("deploy_prior", wrong, fix="leave it out"))
        if isinstance(prior, str):
            wrong = "needs held-out predictions, which an ONNX file does not hold"
            raise ConfigError(
                problem("deploy_prior", wrong, got=prior, fix="give a number for each class, or load a bundle")
            )
        new_shares = shares(prior, len(base), key="deploy_prior")
        return np.asarray(move_prior(log_softmax(rows), base, new_shares))


def _require_sound(facts: Mapping[str, Any]) -> None:
    """Refuse facts that have the right types but describe no possible model.

    Raises:
        ValueError: With the reason.
    """
    classes, prior, costs = facts["classes"], facts["prior"], facts["costs"]
    if facts["kind"] not in kinds.names():
        raise ValueError(f"its kind is {facts['kind']!r}")
    if facts["columns"] != list(kinds.of(facts["kind"]).columns):
        raise ValueError(f"its columns are {facts['columns']!r:.100}")
    if not classes or len(set(classes)) < len(classes):
        raise ValueError(f"its classes are {classes!r:.100}")
    if not 1 <= facts["channels"] <= _MOST_CHANNELS:
        raise ValueError(f"its channels are {facts['channels']!r:.40}")
    if not all(1 <= side <= _LONGEST_SIDE for side in facts["size"]) or math.prod(facts["size"]) > MOST_PIXELS:
        raise ValueError(f"its size is {facts['size']!r:.40}")
    least = facts["least"]
    if least is not None and not all(
        0 <= length <= _LONGEST_SIDE for length in (least if isinstance(least, list) else [least])
    ):
        raise ValueError(f"its shortest side is {least!r:.40}")
    if prior is not None and (len(prior) != len(classes) or not all(0 < share <= 1 for share in prior)):
        raise ValueError("its prevalence is none of its classes")
    count = len(classes)
    if costs is not None and [len(row) for row in costs] != [count] * count:
        raise ValueError("its costs are none of its classes")
    tables = [[len(row) for row in table] for table in facts["choices"].values()]
    bounds = [len(facts["cuts"]), *map(len, facts["lists"].values())]
    if any(lengths != [count] * count for lengths in tables) or any(bound != count for bound in bounds):
        raise ValueError("its decisions are of other classes")
    if not all(0 <= place < count for _, place, _ in facts["numbers"]):
        raise ValueError("its columns are of other classes")
