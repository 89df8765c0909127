"""The metadata of an exported file, with which it is applied without the project: classes, pixels, decisions, card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import mlpipe
from mlpipe import files, kinds
from mlpipe.data.decoding import images
from mlpipe.data.decoding.value_rules import Decoding
from mlpipe.data.sources.listings.array_layout import Form
from mlpipe.data.sources.targets import mask_files
from mlpipe.errors import MlpipeError
from mlpipe.kinds import Kind
from mlpipe.predicting import onnx_files, tables
from mlpipe.running import model_card
from mlpipe.running.predictor import Predictor

# The numbers of channels that `mlpipe.predicting.onnx_runner` reads.
_PROGRAM_CHANNELS = (1, 3)


def model_facts(predictor: Predictor, any_size: bool, shape: tuple[int, ...], precision: str) -> dict[str, Any]:
    """Return the facts of stored models as plain data.

    Args:
        predictor: The models.
        any_size: Whether the file accepts images of any size.
        shape: The spatial shape of its input otherwise.
        precision: The precision of its networks: `float32`, `fp16` or `int8`.
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
        **_decisions(ensemble.decide if ensemble is not None else {}, pivot.classes, its),
        "endings": sorted(images.EXTENSIONS),
        "computed": files.COMPUTED.pattern,
    }


def without_program(predictor: Predictor, any_size: bool) -> str:
    """Explain why `mlpipe.predicting.onnx_runner` would read images differently from mlpipe; empty if it would not.

    The runner has only Pillow, and reads 8-bit images.

    Args:
        predictor: The models.
        any_size: Whether the file accepts images of any size.
    """
    from mlpipe.predicting import resizing

    first = predictor.preprocessing(predictor.stored.records[0].id)
    if predictor.has_arrays:
        return "it reads images, and the samples are arrays"
    if predictor.pivot.dtype != "uint8":
        return f"it reads images of 8 bit, and the task's are {predictor.pivot.dtype}"
    if first.channels not in _PROGRAM_CHANNELS:
        return f"it reads images of 1 or 3 channels, and the task's have {first.channels}"
    if Decoding.of(_stored_source(predictor)).value_range is not None:
        return "it does not know values that become pixels by a range (task.value_range)"
    if not any_size and first.sides is not None and first.interpolation == resizing.LINEAR:
        return f"it resizes with Pillow, which has no preprocessing.interpolation={first.interpolation}"
    return ""


def least_scores(predictor: Predictor) -> npt.NDArray[np.float64]:
    """Return the minimum score of each class at which a box is kept."""
    decide = predictor.stored.ensemble.decide if predictor.stored.ensemble is not None else {}
    return np.array(_cuts(decide, predictor.pivot.classes))


def _cuts(decide: Mapping[str, Any], classes: tuple[str, ...]) -> list[float]:
    """Return the threshold of each class or label."""
    cuts = decide.get("thresholds", {}).get("cuts", {})
    return [0.5 if cuts.get(name) is None else cuts[name] for name in classes]


def _decisions(decide: Mapping[str, Any], classes: tuple[str, ...], its: Kind) -> dict[str, Any]:
    """Return the columns of decisions in the table of `mlpipe.predicting.onnx_runner`.

    `numbers` are columns with the index of a value and the offset added to it; `choices` are columns with the class
    whose column of a matrix gives the largest product with the values; `lists` are columns with the classes whose
    values reach their thresholds.
    """
    sets, cuts = decide.get("sets", {}), _cuts(decide, classes)
    costs, prevalence = decide.get("costs", {}).get("table"), decide.get("thresholds", {}).get("prevalence", [])
    choices, lists = dict[str, Any](), dict[str, list[float]]()
    if its.has_classes and not its.is_dense:
        if costs is not None:
            choices["decision"] = (-np.array(costs, np.float64)).tolist()
        elif prevalence or "positive" in decide.get("thresholds", {}):
            above = np.maximum(np.maximum(cuts, np.array(prevalence or 0.0) / 2), 1e-12)
            choices["decision"] = np.diag(1 / above).tolist()
        if sets.get("score") == "lac":
            lists["set"] = [0.0 if cut is None else 1.0 - cut for cut in sets["cuts"]]
    elif its.has_probabilities and not its.columns and not its.is_dense:
        # Strictly above the threshold.
        lists["labels"] = np.nextafter(cuts, np.inf).tolist()
    return {
        "numbers": _numbers(decide, classes, its),
        "cuts": cuts,
        "costs": costs,
        "choices": choices,
        "lists": lists,
    }


def _numbers(decide: Mapping[str, Any], classes: tuple[str, ...], its: Kind) -> list[tuple[str, int, float]]:
    if its.columns or (its.is_dense and not its.has_probabilities):
        return []
    if its.has_probabilities:
        form = "share({})" if its.is_dense else "p({})"
        return [(form.format(name), place, 0.0) for place, name in enumerate(classes)]
    columns = list[tuple[str, int, float]]()
    for place, (name, (column, low, high)) in enumerate(zip(classes, tables.number_columns(classes), strict=True)):
        columns.append((column, place, 0.0))
        if (half := decide.get("halfwidths", {}).get(name)) is not None:
            columns += [(low, place, -half), (high, place, half)]
    return columns


def _prior(predictor: Predictor) -> list[float] | None:
    """Return the prevalence for which probabilities of classes are meant; None if unknown or if there are no classes."""
    its = kinds.of(predictor.kind)
    if its.is_dense or not its.has_classes:
        return None
    try:
        return [float(share) for share in predictor.new_rows().base()]
    except MlpipeError:
        return None


def _mask_values(source: Mapping[str, Any], classes: int) -> list[int]:
    """Return the value of each class in masks; its number if the task has no mask files."""
    return list(mask_files.stored_values(source["masks"]).numbers) if "masks" in source else list(range(classes))


def _stored_source(predictor: Predictor) -> Mapping[str, Any]:
    pivot = predictor.pivot
    return (pivot.bases or (pivot,))[0].source


def source_of(predictor: Predictor) -> dict[str, Any]:
    """Return the description of samples, in the form of a task's source.

    Args:
        predictor: The models.
    """
    stored = _stored_source(predictor)
    if predictor.has_arrays:
        form = Form.of(stored)
        return {"type": "samples", "layout": form.layout, "axes": form.axes}
    kept = {"decoding": stored["decoding"]} if stored.get("decoding") else {}
    if predictor.pivot.dtype == "float32" and "range" in stored:
        # Black and white of arrays of numbers.
        kept["range"] = list(stored["range"] or (0.0, 1.0))
    return {"type": "folder", "root": "", **kept}
