"""Section `data` with `slicers`: learning from slices of an array, or a network applied to them, predictions joined."""

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
from mlpipe.dialects.rmldnn.state import Work

_LISTS = ("sizes", "padding", "padded_sizes", "strides")
_NOT_USED = ("batch_size", "preload", "grayscale", "input_grayscale", "target_grayscale")
_WORDS = {"hdf5_precision": "precision", "hdf5_layout": "layout"}
# What makes slices of another size, and what moves what predictions are of.
_RESIZING, _MOVING = ("resize", "center_crop", "jitter_crop"), ("rotate",)


def translate_slices(work: Work, inputs: str | None, targets: str | None) -> None:
    """Translate slices: the array, how it is cut, what is learned of it, and where predictions go.

    Args:
        work: The translation.
        inputs: The type of inputs.
        targets: The type of targets.
    """
    data = work.section("data")
    for key, kind in (("input_type", inputs), ("target_type", targets)):
        if kind is not None and kind not in ("numpy", "hdf5"):
            work.refuse(f"data.{key}", "slices are cut from numpy or hdf5", got=kind, fix="use one of them")
    if "test_output_path" in data:
        work.refuse("data.test_output_path", "is for samples in files of their own", fix="use hdf5_outfile")
    if (work.trains or work.has_targets) and not work.is_of_masks:
        fix = "use NLL, Dice, Jaccard, Focal or Lovasz with target_type hdf5 or numpy, or add target_is_mask: true"
        work.refuse("data.target_type", "slices are learned with a class for every place of the array", fix=fix)
    elif work.trains:
        _learned(work)
    else:
        _applied(work)
    for key in (*_WORDS, "hdf5_outfile"):
        if key in data and "hdf5_outfile" in data:
            section = "callbacks.volume" if work.trains else "mode"
            value = data[key] if key == "hdf5_outfile" else data[key].lower()
            work.same(f"data.{key}", f"{section}.{_WORDS.get(key, 'outfile')}", value)
        elif key in data:
            work.say(f"data.{key}", "ignored", note="there is no hdf5_outfile")


def _learned(work: Work) -> None:
    """A training on the slices of an array."""
    data = work.section("data")
    work.options["task"] = "slices"
    paths = {"input_path": "train", "target_path": "train_targets", "test_input_path": "test",
             "test_target_path": "test_targets"}  # fmt: skip
    for key, place in paths.items():
        if key in data:
            work.same(f"data.{key}", f"task.{place}", data[key])
    require_targets(work)
    work.same("data.slicers", "task.slices", [_native(one) for one in data["slicers"]])
    classes_and_values(work, 1.0)
    note_masks(work)
    check_moves(work)
    if "hdf5_outfile" in data:
        _joined(work)
    for place, name, _ in {one[0]: one for part in ("input", "target") for one in listed_of(work, part)}.values():
        if name in _RESIZING:
            fix = "leave it out: sizes say how large slices are"
            work.refuse(place, f"{name} changes the size of slices", fix=fix)
        elif name in _MOVING and "hdf5_outfile" in data:
            fix = "leave it out, or apply it to the arrays beforehand"
            work.refuse(place, f"{name} moves what predictions in hdf5_outfile are of", fix=fix)
    refuse_moves(work, sum(size > 1 for size in data["slicers"][0]["sizes"]), "slices")
    if not work.wrong:
        translate_transforms(work, is_colour=False, white=1.0)


def _joined(work: Work) -> None:
    """Demand what predictions of a training can be joined of."""
    if not work.evaluates:
        work.refuse("data.hdf5_outfile", "holds predictions of test slices", fix="add test_input_path")
    for number, one in enumerate(work.section("data")["slicers"]):
        strides = one.get("strides", one["sizes"])
        if len(strides) == len(one["sizes"]) and any(
            far > size for far, size in zip(strides, one["sizes"], strict=True)
        ):
            fix = "give no stride above its size, or leave hdf5_outfile out"
            work.refuse(f"data.slicers[{number}].strides", "leaves gaps", got=strides, fix=fix)


def _applied(work: Work) -> None:
    """A network that is applied, and compared where there are targets."""
    data = work.section("data")
    for key, fix in (("test_input_path", "name the array's file"), ("hdf5_outfile", "name the file of predictions")):
        if key not in data:
            work.refuse(f"data.{key}", "is needed with slicers", fix=fix)
    work.same("data.slicers", "mode.slices", [_native(one) for one in data["slicers"]])
    work.set("mode.batch_size", int(data.get("test_batch_size", 64)))
    for key, place in {"test_input_path": "source", "test_target_path": "targets"}.items():
        if key in data:
            work.same(f"data.{key}", f"mode.{place}", data[key])
    if work.has_targets:
        classes_and_values(work, 1.0, "mode")
        note_masks(work)
    _values(work)
    if "test_batch_size" in data:
        work.say("data.test_batch_size", "same", "mode.batch_size")
    for key in (*_NOT_USED, "input_path", "target_path"):
        if key in data:
            unused = "slices are read as they are, when they are needed" if key in _NOT_USED else "nothing is trained"
            work.say(f"data.{key}", "ignored", note=unused)


def _values(work: Work) -> None:
    """Transforms are for training, but for those that are not random; of these a change of values is what slices can have."""
    for place, name, value in listed_of(work, "input"):
        if name in RANDOM:
            work.say(place, "ignored", note="nothing is trained")
        elif name == "normalize":
            work.steps.append(normalize(value, 1.0))
            work.say(f"{place}.normalize", "same", "augmentations.cpu.pipeline")
        else:
            work.missing(place, f"{name} of slices", "apply it to the array beforehand")
    if "target_transforms" in work.section("data"):
        for place, name, _ in listed_of(work, "target"):
            if name not in (*RANDOM, "normalize"):
                work.missing(place, f"{name} of slices", "apply it to the array beforehand")
    if work.steps:
        work.options["augmentations"] = "none"
        work.set("augmentations.cpu.pipeline", work.steps)


def _native(slicer: Mapping[str, Any]) -> dict[str, Any]:
    """A slice set with whole numbers as such."""
    return {key: [int(one) for one in value] if key in _LISTS else value for key, value in slicer.items()}
