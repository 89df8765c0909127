"""Boxes around objects as targets (`--app=obj`): images with COCO JSON files, and the loss YOLOv3.

The documentation page names only the loss and a network; the format of boxes and the details of the loss are defined here.
"""

from __future__ import annotations

from mlpipe.dialects.rmldnn.sections.transforms import translate_transforms
from mlpipe.dialects.rmldnn.state import State


def translate_boxes(state: State) -> None:
    """Translate images and their boxes."""
    data = state.section("data")
    state.options["task"] = "boxes"
    needed = [("target_path", "train")] if state.trains else []
    needed += [("test_target_path", "evaluate")] if state.evaluates else []
    for key, purpose in needed:
        if key not in data:
            fix = "name a COCO JSON file; for images without boxes one whose list of annotations is empty"
            state.refuse(f"data.{key}", f"is needed to {purpose}", fix=fix)
    if "target_type" in data and str(data["target_type"]).lower() != "boxes":
        fix = "write boxes, and name COCO JSON files with target_path and test_target_path"
        state.refuse("data.target_type", "YOLOv3 is a loss of boxes", got=data["target_type"], fix=fix)
    _files(state)
    grey = bool(data.get("input_grayscale", data.get("grayscale", False)))
    state.set("task.channels", 1 if grey else 3)
    state.set("task.bits", 8)
    for key in ("grayscale", "input_grayscale"):
        if key in data:
            state.say(f"data.{key}", "same", "task.channels")
    translate_transforms(state, is_colour=not grey, white=255.0)
    note = "boxes move with their images; what is left of less than a fifth of one is no object any more"
    state.say("data", "differs", "augmentations.cpu.pipeline", note)
    if "test_output_path" in data:
        note = "(boxes, 6) for each image: x, y, width, height in pixels of what the network sees, score, class number"
        state.say("data.test_output_path", "differs", note=note)


def _files(state: State) -> None:
    """Translate the folder of images, and the box files for training and evaluation."""
    data = state.section("data")
    for key in ("input_path", "test_input_path"):
        place = "test_root" if key.startswith("test") and state.trains else "root"
        if key in data and _is_used(state, key):
            state.set(f"task.{place}", data[key])
            state.say(f"data.{key}", "same", f"task.{place}", "images have the names that the file of boxes says")
        elif key in data:
            state.say(f"data.{key}", "ignored", note="nothing is trained")
    note = "a COCO JSON file, which rmldnn's page does not say"
    for key, place in (("target_path", "file"), ("test_target_path", "test_file" if state.trains else "file")):
        if key in data and _is_used(state, key):
            state.set(f"task.{place}", data[key])
            state.say(f"data.{key}", "differs", f"task.{place}", note)
        elif key in data:
            state.say(f"data.{key}", "ignored", note="nothing is trained")


def _is_used(state: State, key: str) -> bool:
    return state.evaluates if key.startswith("test") else state.trains


def translate_box_loss(state: State, kind: str) -> None:
    """Translate YOLOv3, with the mean average precision as the accuracy."""
    if kind != "YOLOv3":
        state.refuse("loss.function", f"{kind} is no loss of boxes", got=kind, fix="use YOLOv3")
        return
    state.options["loss"] = "yolov3"
    state.set("metrics.train", ["map50"])
    state.say(
        "loss", "differs", "metrics.train", "the accuracy of boxes is their mean average precision at an overlap of .5"
    )
    note = (
        "box, objectness and class terms as in the paper (Redmon & Farhadi 2018), a mean over images; anchors are the paper's "
        "(arch.anchors), made for the size of the images, three for each cell of grids of 32, 16 and 8 pixels"
    )
    state.say("loss.function", "differs", "loss=yolov3", note)
