"""An exported ONNX file that predicts samples at hand as the models do that it was made of, without PyTorch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe import kinds
from mlpipe.data import task
from mlpipe.data.decoding.images import Pixels, UnreadableImageError
from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.task import Task
from mlpipe.errors import ConfigError, ProjectError, first_line, is_out_of_memory, not_installed, problem
from mlpipe.post.measures.class_metrics import log_softmax
from mlpipe.post.prior import move_prior
from mlpipe.post.rows import shares
from mlpipe.predicting import onnx_files
from mlpipe.predicting.in_hand import Cells, Shown
from mlpipe.running.predictor import Sample

# Samples of one shape that are given to the file at a time.
_AT_ONCE = 32
Array = npt.NDArray[Any]


class OnnxPredictor:
    """Predicts samples with a file that `mml export` wrote.

    Attributes:
        facts: What the file says of itself.
        kind: What is predicted.
        task: The name of the task that it was trained on.
        pivot: A task of such samples, without any.
        has_arrays: Whether samples are arrays and no images.

    Args:
        path: The file.
        key: What names it, for sentences.

    Raises:
        ConfigError: When the package that applies it is not installed.
        ProjectError: When it is no such file, was changed, or is of a newer version.
    """

    def __init__(self, path: Path, key: str = "where") -> None:
        if find_spec("onnxruntime") is None:
            raise ConfigError(not_installed(key, "onnx"))
        self._path, content = path, onnx_files.read(path)
        import onnxruntime

        try:
            self._session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            known = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:
            raise ProjectError(problem(str(path), f"cannot be opened ({first_line(error)})")) from error
        self.facts = onnx_files.checked(known.get(onnx_files.METADATA, ""), path)
        self.kind, self.task = str(self.facts["kind"]), str(self.facts["task"])
        its = self.facts
        try:
            if self.kind not in kinds.names():
                raise ValueError(f"its kind is {self.kind!r}")
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
        except (ValueError, KeyError, TypeError) as error:
            wrong = f"says of itself what no model is ({first_line(error)})"
            raise ProjectError(problem(str(path), wrong, fix="give a file that mml export wrote")) from error
        sides = tuple(its["size"]) if len(its["size"]) == 2 else None
        self._before = Preprocessing(
            "file", its["channels"], sides, its["resize"], interpolation=its["interpolation"], fill=its["fill"]
        )

    def predict(
        self, samples: Sequence[Sample], deploy_prior: str | list[float] | None = None, *, only_values: bool = False
    ) -> tuple[dict[int, str], Shown]:
        """Calibrated and decided predictions, see `mlpipe.running.predictor.Predictor.predict`.

        At another prevalence there are neither sets nor decisions by thresholds: what made them is in the project.
        """
        unreadable, by_shape = dict[int, str](), defaultdict[tuple[int, ...], list[tuple[int, Pixels]]](list)
        found = dict[int, tuple[Array, Array | None]]()
        for place, sample in enumerate(samples):
            try:
                pixels = self._seen(sample)
            except UnreadableImageError as error:
                unreadable[place] = str(error)
                continue
            waiting = by_shape[pixels.shape]
            waiting.append((place, pixels))
            if len(waiting) == _AT_ONCE:
                found |= self._applied(waiting)
                waiting.clear()
        for waiting in by_shape.values():
            found |= self._applied(waiting)
        values = [found[place][0] for place in sorted(found)]
        logits = [row for _, row in (found[place] for place in sorted(found)) if row is not None]
        rows = np.stack(logits) if logits else None
        if deploy_prior is not None and values:
            rows = self._moved(rows, deploy_prior)
            values = list(np.exp(rows))
        cells = [] if only_values else [[self._cells(one, deploy_prior is not None)] for one in values]
        return unreadable, Shown(cells, values, rows)

    def card(self) -> Mapping[str, Any]:
        """Facts for people and for programs that apply the model."""
        card: Mapping[str, Any] = self.facts["card"]
        return card

    def _seen(self, sample: Sample) -> Pixels:
        pixels = sample(self.facts["channels"], self.facts["least"])
        if not self.facts["any_size"] and not self.has_arrays:
            pixels = self._before(pixels)
        if not self.facts["any_size"] and list(pixels.shape[:-1]) != self.facts["size"]:
            size = " x ".join(map(str, self.facts["size"]))
            wrong = f"has {' x '.join(map(str, pixels.shape[:-1]))} values, the file takes {size}"
            raise UnreadableImageError(wrong)
        return np.ascontiguousarray(pixels, self.facts["dtype"])

    def _applied(self, waiting: Sequence[tuple[int, Pixels]]) -> dict[int, tuple[Array, Array | None]]:
        if not waiting:
            return {}
        try:
            given = self._session.run(None, {"pixels": np.stack([pixels for _, pixels in waiting])})
        except Exception as error:
            if is_out_of_memory(error):
                raise
            wrong = f"does not take what it says it takes ({first_line(error)})"
            raise ProjectError(problem(str(self._path), wrong, fix="export it again")) from error
        values, logits = np.asarray(given[0], np.float64), given[1] if len(given) > 1 else [None] * len(waiting)
        return {
            place: (value, None if row is None else np.asarray(row, np.float64))
            for (place, _), value, row in zip(waiting, values, logits, strict=True)
        }

    def _cells(self, values: Array, is_moved: bool) -> Cells:
        from mlpipe.predicting import onnx_runner

        gone: dict[str, Any] = {"set_above": {}, "decide_above": []} if is_moved else {}
        return onnx_runner.cells_of(values, {**self.facts, **gone})

    def _moved(self, rows: Array | None, asked: str | list[float]) -> Array:
        """Log-probabilities at another prevalence."""
        base = self.facts["prior"]
        if base is None or rows is None:
            wrong = "is for classes whose prevalence the file knows, which this one does not"
            raise ConfigError(problem("deploy_prior", wrong, fix="leave it out"))
        if isinstance(asked, str):
            wrong = "needs held-out predictions, which an ONNX file does not hold"
            raise ConfigError(
                problem("deploy_prior", wrong, got=asked, fix="give a number for each class, or load a bundle")
            )
        there = shares(asked, len(base), key="deploy_prior")
        return np.asarray(move_prior(log_softmax(rows), base, there))
