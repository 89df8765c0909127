"""What an exported file says of itself, so that it can be applied without the project: classes, pixels, decisions, card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import mlpipe
from mlpipe import kinds
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.sources.listings.array_layout import Form
from mlpipe.data.sources.targets import mask_files
from mlpipe.errors import MlpipeError
from mlpipe.predicting import onnx_files
from mlpipe.running import model_card
from mlpipe.running.predictor import Predictor


def of_model(predictor: Predictor, any_size: bool, shape: tuple[int, ...], precision: str) -> dict[str, Any]:
    """The facts of stored models, as plain data.

    Args:
        predictor: The models.
        any_size: Whether the file takes images of any size.
        shape: The spatial shape of what it is given otherwise.
        precision: What its networks compute with: `float32`, `fp16` or `int8`.
    """
    stored, pivot, its = predictor.stored, predictor.pivot, kinds.of(predictor.kind)
    before = [predictor.preprocessing(record.id) for record in stored.records]
    first = before[0]
    ensemble = stored.ensemble
    return {
        "format": onnx_files.FORMAT,
        "version": mlpipe.__version__,
        "task": stored.task,
        "kind": predictor.kind,
        "classes": list(pivot.classes),
        "is_dense": its.is_dense,
        "has_probabilities": its.has_probabilities,
        "one_is_true": its.has_classes,
        "columns": list(its.columns),
        "mask_values": _mask_values(_stored_source(predictor), len(pivot.classes)),
        "source": source_of(predictor),
        "background": Decoding.of(_stored_source(predictor)).background,
        "channels": first.channels,
        "dtype": pivot.dtype,
        "size": list(first.sides) if first.sides else list(shape),
        "resize": first.resize,
        "interpolation": first.interpolation,
        "fill": first.fill,
        "least": first.least if predictor.sees_alike and not predictor.has_places else None,
        "any_size": any_size,
        "precision": precision,
        "models": {record.id: record.weights for record in stored.records},
        "ensemble": ensemble.id if ensemble is not None else None,
        "prior": _prior(predictor),
        "card": model_card.facts(predictor),
        **_decisions(ensemble.decide if ensemble is not None else {}, pivot.classes),
    }


def least_scores(predictor: Predictor) -> npt.NDArray[np.float64]:
    """The score of each class that keeps a box."""
    decide = predictor.stored.ensemble.decide if predictor.stored.ensemble is not None else {}
    cuts = _decisions(decide, predictor.pivot.classes)["cuts"]
    return np.array([cuts.get(name, 0.5) for name in predictor.pivot.classes])


def _decisions(decide: Mapping[str, Any], classes: tuple[str, ...]) -> dict[str, Any]:
    sets, thresholds = decide.get("sets", {}), decide.get("thresholds", {})
    cuts = {name: cut for name, cut in thresholds.get("cuts", {}).items() if cut is not None}
    least = thresholds.get("prevalence", [])
    above = [max(cuts.get(name, 0.5), share / 2) for name, share in zip(classes, least, strict=False)]
    is_plain = sets.get("score") == "lac"
    above_cuts = [1.0 - cut if cut is not None else 0.0 for cut in sets["cuts"]] if is_plain else []
    return {
        "cuts": cuts,
        "costs": decide.get("costs", {}).get("table"),
        "decide_above": above,
        "set_above": dict(zip(classes, above_cuts, strict=True)) if is_plain else {},
        "halfwidths": {name: half for name, half in decide.get("halfwidths", {}).items() if half is not None},
    }


def _prior(predictor: Predictor) -> list[float] | None:
    """The prevalence that probabilities of classes are meant for; None: it is not known, or there are no classes."""
    its = kinds.of(predictor.kind)
    if its.is_dense or not its.has_classes:
        return None
    try:
        return [float(share) for share in predictor.new_rows().base()]
    except MlpipeError:
        return None


def _mask_values(source: Mapping[str, Any], classes: int) -> list[int]:
    """The value of each class in masks; its number where the task has no files of masks."""
    return list(mask_files.stored_values(source["masks"]).numbers) if "masks" in source else list(range(classes))


def _stored_source(predictor: Predictor) -> Mapping[str, Any]:
    pivot = predictor.pivot
    return (pivot.bases or (pivot,))[0].source


def source_of(predictor: Predictor) -> dict[str, Any]:
    """What samples have to be like, as the source of a task says it.

    Args:
        predictor: The models.
    """
    stored = _stored_source(predictor)
    if predictor.has_arrays:
        form = Form.of(stored)
        return {"type": "samples", "layout": form.layout, "axes": form.axes}
    return {"type": "folder", "root": "", **({"decoding": stored["decoding"]} if stored.get("decoding") else {})}
