"""Section `data` with `slicers`: training on slices of an array, or prediction of slices that are joined again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn.sections.masks import check_moves, classes_and_values, note_masks, require_targets
from mlpipe.dialects.rmldnn.sections.transforms import (
    RANDOM,
    listed_of,
    normalize,
    refuse_moves,
    translate_transforms,
)
from mlpipe.dialects.rmldnn.state import State

_LISTS = ("sizes", "padding", "padded_sizes", "strides")
_NOT_USED = ("batch_size", "preload", "grayscale", "input_grayscale", "target_grayscale")
_WORDS = {"hdf5_precision": "precision", "hdf5_layout": "layout"}
# Transforms that change the size of slices, and transforms that move their content.
_RESIZING, _MOVING = ("resize", "center_crop", "jitter_crop"), ("rotate",)


def translate_slices(state: State, inputs: str | None, targets: str | None) -> None:
    """Translate slices: the array, the slicing, the training, and the output of predictions.

    Args:
        state: The state of the translation.
        inputs: The type of inputs.
        targets: The type of targets.
    """
    data = state.section("data")
    for key, kind in (("input_type", inputs), ("target_type", targets)):
        if kind is not None and kind not in ("numpy", "hdf5"):
            state.refuse(f"data.{key}", "slices are cut from numpy or hdf5", got=kind, fix="use one of them")
    if "test_output_path" in data:
        state.refuse("data.test_output_path", "is for samples in files of their own", fix="use hdf5_outfile")
    if (state.trains or state.has_targets) and not state.is_of_masks:
        fix = "add target_is_mask: true with target_type hdf5 or numpy, or use NLL, Dice, Jaccard, Focal or Lovasz"
        state.refuse("data.target_type", "slices are learned with a class for every place of the array", fix=fix)
    elif state.trains:
        _translate_training(state)
    else:
        _translate_prediction(state)
    for key in (*_WORDS, "hdf5_outfile"):
        if key in data and "hdf5_outfile" in data:
            section = "callbacks.volume" if state.trains else "mode"
            value = data[key] if key == "hdf5_outfile" else data[key].lower()
            state.same(f"data.{key}", f"{section}.{_WORDS.get(key, 'outfile')}", value)
        elif key in data:
            state.say(f"data.{key}", "ignored", note="there is no hdf5_outfile")


def _translate_training(state: State) -> None:
    """Translate a training on the slices of an array."""
    data = state.section("data")
    state.options["task"] = "slices"
    paths = {"input_path": "train", "target_path": "train_targets", "test_input_path": "test",
             "test_target_path": "test_targets"}  # fmt: skip
    for key, place in paths.items():
        if key in data:
            state.same(f"data.{key}", f"task.{place}", data[key])
    require_targets(state)
    state.same("data.slicers", "task.slices", [_native_slice_set(slicer) for slicer in data["slicers"]])
    classes_and_values(state, 1.0)
    note_masks(state)
    check_moves(state)
    if "hdf5_outfile" in data:
        _require_joinable(state)
    for place, name, _ in {
        transform[0]: transform for part in ("input", "target") for transform in listed_of(state, part)
    }.values():
        if name in _RESIZING:
            fix = "leave it out: sizes say how large slices are"
            state.refuse(place, f"{name} changes the size of slices", fix=fix)
        elif name in _MOVING and "hdf5_outfile" in data:
            fix = "leave it out, or apply it to the arrays beforehand"
            state.refuse(place, f"{name} moves what predictions in hdf5_outfile are of", fix=fix)
    refuse_moves(state, sum(size > 1 for size in data["slicers"][0]["sizes"]), "slices")
    if not state.wrong:
        translate_transforms(state, is_colour=False, white=1.0)


def _require_joinable(state: State) -> None:
    """Require settings with which the predictions of a training can be joined."""
    if not state.evaluates:
        state.refuse("data.hdf5_outfile", "holds predictions of test slices", fix="add test_input_path")
    for number, slicer in enumerate(state.section("data")["slicers"]):
        strides = slicer.get("strides", slicer["sizes"])
        if len(strides) == len(slicer["sizes"]) and any(
            far > size for far, size in zip(strides, slicer["sizes"], strict=True)
        ):
            fix = "give no stride above its size, or leave hdf5_outfile out"
            state.refuse(f"data.slicers[{number}].strides", "leaves gaps", got=strides, fix=fix)


def _translate_prediction(state: State) -> None:
    """Translate the application of a network, with a comparison if there are targets."""
    data = state.section("data")
    for key, fix in (("test_input_path", "name the array's file"), ("hdf5_outfile", "name the file of predictions")):
        if key not in data:
            state.refuse(f"data.{key}", "is needed with slicers", fix=fix)
    state.same("data.slicers", "mode.slices", [_native_slice_set(slicer) for slicer in data["slicers"]])
    state.set("mode.batch_size", int(data.get("test_batch_size", 64)))
    for key, place in {"test_input_path": "source", "test_target_path": "targets"}.items():
        if key in data:
            state.same(f"data.{key}", f"mode.{place}", data[key])
    if state.has_targets:
        classes_and_values(state, 1.0, "mode")
        note_masks(state)
    _translate_transforms(state)
    if "test_batch_size" in data:
        state.say("data.test_batch_size", "same", "mode.batch_size")
    for key in (*_NOT_USED, "input_path", "target_path"):
        if key in data:
            unused = "slices are read as they are, when they are needed" if key in _NOT_USED else "nothing is trained"
            state.say(f"data.{key}", "ignored", note=unused)


def _translate_transforms(state: State) -> None:
    """Translate transforms: random ones apply in training only; of the others slices support changes of values."""
    for place, name, value in listed_of(state, "input"):
        if name in RANDOM:
            state.say(place, "ignored", note="nothing is trained")
        elif name == "normalize":
            state.steps.append(normalize(value, 1.0))
            state.say(f"{place}.normalize", "same", "augmentations.cpu.pipeline")
        else:
            state.missing(place, f"{name} of slices", "apply it to the array beforehand")
    if "target_transforms" in state.section("data"):
        for place, name, _ in listed_of(state, "target"):
            if name not in (*RANDOM, "normalize"):
                state.missing(place, f"{name} of slices", "apply it to the array beforehand")
    if state.steps:
        state.options["augmentations"] = "none"
        state.set("augmentations.cpu.pipeline", state.steps)


def _native_slice_set(slicer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a slice set with integral numbers converted to integers."""
    return {key: [int(number) for number in value] if key in _LISTS else value for key, value in slicer.items()}
