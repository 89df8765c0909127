"""The transforms of section `data`, in order, as native geometric and colour steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn.state import State
from mlpipe.names import path_of

# Random transforms, which apply in training only.
RANDOM = (
    "jitter_crop", "random_horizontal_flip", "random_vertical_flip", "random_zoom", "random_rotate",
)  # fmt: skip
# A transform: its key, name and value.
Listed = tuple[str, str, Any]
# Transforms that change values only.
COLOURS = ("convert_color", "normalize")
# The native step of each transform, and the native name of its number.
_STEPS: dict[str, tuple[str, str]] = {
    "resize": ("resize", "size"),
    "center_crop": ("center_crop", "size"),
    "jitter_crop": ("jitter_crop", "most"),
    "random_horizontal_flip": ("horizontal_flip", "p"),
    "random_vertical_flip": ("vertical_flip", "p"),
    "random_zoom": ("random_zoom", "most"),
    "rotate": ("rotate", "degrees"),
    "random_rotate": ("random_rotate", "degrees"),
    "convert_color": ("convert_color", "code"),
}


def translate_transforms(state: State, *, is_colour: bool, white: float, target_colour: bool | None = None) -> None:
    """Translate preprocessing and steps of the inputs, and of targets that are images.

    Args:
        state: The state of the translation.
        is_colour: Whether the inputs are colour images, which rmldnn reads as BGR.
        white: The inputs' value of white: 255 for images.
        target_colour: Whether targets are colour images; None: not images.
    """
    data = state.section("data")
    key = "input_transforms" if "input_transforms" in data else "transforms"
    for section in ("input_transforms", "target_transforms"):
        if section in data and "transforms" in data:
            state.refuse(f"data.{section}", "stands beside transforms", fix="keep one of the two")
    if data.get("target_transforms") and not state.is_of_masks and target_colour is None:
        fix = "leave it out; it is for targets that are images"
        state.refuse("data.target_transforms", "the targets are no images", fix=fix)
    if target_colour is None:
        listed = [(*transform, "") for transform in _blue_first(state, listed_of(state, "input"), is_colour, "")]
    else:
        inputs = _blue_first(state, listed_of(state, "input"), is_colour, "images")
        own = [transform for transform in listed_of(state, "target") if not makes_grey(transform)]
        listed = _joint_transforms(inputs, _blue_first(state, own, target_colour, "targets"))
        for place, _, _ in own:
            if place not in [said[0] for said in (*listed, *((line.key,) for line in state.lines))]:
                state.say(place, "same", "augmentations.cpu.pipeline", "the same as of the inputs")
    sizes = [name for _, name, _, _ in listed if name in ("resize", "center_crop")]
    ragged = "jitter_crop" in [name for _, name, _, _ in listed[_last_position(listed, ("resize", "center_crop")) :]]
    if ragged:
        state.refuse(f"data.{key}", "jitter_crop leaves images of several sizes", fix="put a resize behind it")
    _preprocess(state, listed, bool(sizes))
    for place, name, value, on in listed:
        _step(state, place, name, value, white, on)
    state.options["augmentations"] = "none"
    if state.steps:
        state.set("augmentations.cpu.pipeline", state.steps)


def refuse_moves(state: State, axes: int, noun: str) -> None:
    """Refuse resizes, crops, flips and rotations of images for samples with other axes.

    Args:
        state: The state of the translation.
        axes: Number of spatial axes.
        noun: Noun for the samples in the error message: slices or samples.
    """
    if axes == 2:
        return
    for place, name in {
        place: name for part in ("input", "target") for place, name, _ in listed_of(state, part)
    }.items():
        if name not in COLOURS:
            fix = f"leave it out; normalize is for {noun} of any axes"
            state.refuse(place, f"{name} is for {noun} of two axes, these have {axes}", fix=fix)


def _blue_first(state: State, listed: list[Listed], is_colour: bool, on: str) -> list[Listed]:
    """Return the transforms of colour images in rmldnn's channel order, BGR; `on` names the images in notes."""
    codes = [value for _, name, value in listed if name == "convert_color"]
    if is_colour and codes != ["BGR2RGB"]:
        state.steps.append(
            {"_target_": path_of("augmentations", "convert_color"), "code": "RGB2BGR", **({"on": on} if on else {})}
        )
        words = "colours of targets go in" if on == "targets" else "colours go in"
        state.say("data", "same", "augmentations.cpu.pipeline", f"{words} as blue, green, red, as rmldnn reads them")
    elif is_colour:
        place = next(place for place, name, _ in listed if name == "convert_color")
        state.say(place, "same", note="images are read in this order")
        return [transform for transform in listed if transform[1] != "convert_color"]
    return listed


def _joint_transforms(inputs: list[Listed], targets: list[Listed]) -> list[tuple[str, str, Any, str]]:
    """Return one list for both: common geometric transforms, and colour changes with the images that they apply to."""
    transforms: list[tuple[str, str, Any, str]] = []
    own, others = _colours_by_move(inputs), _colours_by_move(targets)
    for place, (move, colours) in enumerate(own):
        for_targets = others[place][1] if place < len(others) else []
        transforms += [(*colour, "both" if colour in for_targets else "images") for colour in colours]
        transforms += [(*colour, "targets") for colour in for_targets if colour not in colours]
        other = others[place][0] if place < len(others) else None
        if move is not None and other is not None and move[1] == other[1] == "resize" and move[2] != other[2]:
            transforms += [(*move, "images"), (*other, "targets")]
        elif move is not None:
            transforms.append((*move, ""))
    return transforms


def _colours_by_move(listed: list[Listed]) -> list[tuple[Listed | None, list[Listed]]]:
    """Return each geometric transform with the colour changes before it; the last entry, None, has those after the last one."""
    groups, colours = list[tuple[Listed | None, list[Listed]]](), list[Listed]()
    for transform in listed:
        if transform[1] in COLOURS:
            colours.append(transform)
        else:
            groups.append((transform, colours))
            colours = []
    return [*groups, (None, colours)]


def listed_of(state: State, part: str) -> list[tuple[str, str, Any]]:
    """Return key, name and value of each transform of `input` or `target`."""
    data = state.section("data")
    is_split = "input_transforms" in data or "target_transforms" in data
    key = f"{part}_transforms" if is_split else "transforms"
    return [(f"data.{key}[{number}]", *_name_and_value(item)) for number, item in enumerate(data.get(key) or [])]


def makes_grey(listed: Listed) -> bool:
    """Return whether a transform converts a colour image to grey."""
    return listed[1] == "convert_color" and str(listed[2]).upper().endswith("2GRAY")


def _name_and_value(item: Mapping[str, Any]) -> tuple[str, Any]:
    ((name, value),) = item.items()
    return name, value


def _last_position(listed: list[tuple[str, str, Any, str]], names: tuple[str, ...]) -> int:
    """Return the position of the last of some transforms; -1 if there is none, so that all transforms come after it."""
    places = [place for place, (_, name, _, _) in enumerate(listed) if name in names]
    return places[-1] if places else 0


def _preprocess(state: State, listed: list[tuple[str, str, Any, str]], resizes: bool) -> None:
    """Set the cached size: that of an initial resize, or the original size if a resize comes later."""
    if not resizes:
        state.options["preprocessing"] = "none"
        return
    place, name, value, on = listed[0]
    if name == "resize" and value[0] == value[1] and not on:
        state.options["preprocessing"] = "default"
        state.set("preprocessing.size", value[0])
        state.set("preprocessing.interpolation", "linear")
        state.say(place, "same", "preprocessing.size", "done once, into the cache")
        del listed[0]
        return
    state.options["preprocessing"] = "original"
    state.set("preprocessing.max_side", None)
    # rmldnn gives the width first.
    state.set("preprocessing.size", _size(listed)[::-1])


def _size(listed: list[tuple[str, str, Any, str]]) -> list[int]:
    return next(
        value for _, name, value, on in reversed(listed) if name in ("resize", "center_crop") and on != "targets"
    )


def _step(state: State, place: str, name: str, value: Any, white: float, on: str) -> None:
    if name == "random_patches":
        _patches(state, place, value)
        return
    if name in ("resize", "center_crop") and len(value) != 2:
        state.refuse(place, "takes width and height", got=value, fix="for example [64, 64]")
        return
    if name in ("jitter_crop", "random_zoom") and value >= 1:
        state.refuse(place, "must be smaller than 1", got=value, fix="for example 0.1")
        return
    if name in ("random_horizontal_flip", "random_vertical_flip") and value > 1:
        state.refuse(place, "is a probability", got=value, fix="give a number from 0 to 1")
        return
    if name == "normalize":
        state.steps.append({**normalize(value, white), **({"on": on} if on else {})})
    else:
        step, key = _STEPS[name]
        state.steps.append({"_target_": path_of("augmentations", step), key: value, **({"on": on} if on else {})})
    note = ""
    if name in RANDOM:
        state.random.append(name)
        note = "in training only"
    elif name in ("resize", "center_crop"):
        note = "[width, height]"
    state.say(f"{place}.{name}", "same", "augmentations.cpu.pipeline", note)


def normalize(value: Mapping[str, Any], white: float) -> dict[str, Any]:
    """Return the native step for `normalize`.

    Args:
        value: Its mean and std.
        white: The inputs' value of white.
    """
    mean, std = float(value.get("mean", 0)), float(value.get("std", 1))
    return {"_target_": path_of("augmentations", "normalize"), "mean": mean, "std": std, "white": white}


def _patches(state: State, place: str, value: Mapping[str, Any]) -> None:
    if not state.is_of_images:
        fix = "use target_type images, with target_path as input_path"
        state.refuse(place, "makes targets that are images, and the targets are none", got="random_patches", fix=fix)
        return
    state.steps.append({"_target_": path_of("augmentations", "random_patches"), **value})
    state.random.append("random_patches")
    note = "in evaluation, too, where targets are: always the same ones of an image"
    state.say(f"{place}.random_patches", "differs", "augmentations.cpu.pipeline", note)
