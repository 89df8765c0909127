"""Section `data` with `slicers`: a network applied to slices of one array, its predictions joined in one HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn.work import Work

_LISTS = ("sizes", "padding", "padded_sizes", "strides")
_NOT_USED = (
    "batch_size",
    "preload",
    "grayscale",
    "input_grayscale",
    "target_grayscale",
    "target_is_mask",
    "target_path",
)


def translate_slices(work: Work, inputs: str | None) -> None:
    """What is cut, how, and where predictions go.

    Args:
        work: The translation.
        inputs: The type of inputs.
    """
    data = work.section("data")
    if work.trains:
        fix = "leave input_path out to apply a trained network, or save each slice in a file of its own to learn from them"
        work.missing("data.slicers", "learning from slices of one array", fix)
        return
    if inputs is not None and inputs not in ("numpy", "hdf5"):
        work.refuse("data.input_type", "slices are cut from numpy or hdf5", got=inputs, fix="use one of them")
    for key, fix in (("test_input_path", "name the array's file"), ("hdf5_outfile", "name the file of predictions")):
        if key not in data:
            work.refuse(f"data.{key}", "is needed with slicers", fix=fix)
    if work.has_targets:
        key = "test_target_path" if "test_target_path" in data else "target_type"
        fix = "leave it out, and compare the file of predictions with the targets"
        work.missing(f"data.{key}", "a loss over slices", fix)
    if "test_output_path" in data:
        work.refuse("data.test_output_path", "is for samples in files of their own", fix="use hdf5_outfile")
    _transforms(work)
    work.same("data.slicers", "mode.slices", [_native(one) for one in data["slicers"]])
    work.set("mode.batch_size", int(data.get("test_batch_size", 64)))
    places = {"test_input_path": "source", "hdf5_outfile": "outfile"}
    words = {"hdf5_precision": "precision", "hdf5_layout": "layout"}
    for key, place in {**places, **words}.items():
        if key in data:
            value = data[key] if key in places else data[key].lower()
            work.same(f"data.{key}", f"mode.{place}", value)
    if "test_batch_size" in data:
        work.say("data.test_batch_size", "same", "mode.batch_size")
    for key in _NOT_USED:
        if key in data:
            work.say(f"data.{key}", "ignored", note="slices are read as they are, when they are needed")


def _native(slicer: Mapping[str, Any]) -> dict[str, Any]:
    """A slice set with whole numbers as such."""
    return {key: [int(one) for one in value] if key in _LISTS else value for key, value in slicer.items()}


def _transforms(work: Work) -> None:
    """Transforms are for training, but for those that are not random."""
    data = work.section("data")
    for key in ("transforms", "input_transforms", "target_transforms"):
        names = [next(iter(one)) for one in data.get(key, [])]
        fixed = [name for name in names if not name.startswith("random_") and name != "jitter_crop"]
        if fixed and key != "target_transforms":
            fix = "apply it to the array beforehand"
            work.missing(f"data.{key}", f"{fixed[0]} of slices", fix)
        elif names:
            work.say(f"data.{key}", "ignored", note="nothing is trained")
