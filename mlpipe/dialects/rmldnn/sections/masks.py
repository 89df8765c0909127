"""Masks as targets: a class for each pixel, transformed with its image, and the losses between maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn import schema
from mlpipe.dialects.rmldnn.sections.transforms import COLOURS, listed_of, translate_transforms
from mlpipe.dialects.rmldnn.state import State
from mlpipe.errors import counted

# rmldnn's default eps of overlap losses.
_EPS = 1e-7
# Maximum distance of a value from an integer to count as that integer: std 0.00392 is 1/255 to three digits only.
_NEAR = 0.15
# Advice to convert the pixels of a mask to numbers from 0 to 255.
_WHOLE = 'add {"normalize": {"std": 0.00392}} to the transforms of targets'


def translate_mask_images(state: State) -> None:
    """Translate images with images as masks."""
    data = state.section("data")
    state.options["task"] = "mask_folders"
    for key, place in (
        ("input_path", "train"), ("target_path", "train_masks"), ("test_input_path", "test"),
        ("test_target_path", "test_masks"),
    ):  # fmt: skip
        if key in data and (state.trains or key.startswith("test")):
            state.same(f"data.{key}", f"task.{place}", data[key])
        elif key in data:
            state.say(f"data.{key}", "ignored", note="nothing is trained")
    require_targets(state)
    for key, value in {"pairing": "order", "strict": True, "bits": 8}.items():
        state.set(f"task.{key}", value)
    grey = bool(data.get("input_grayscale", data.get("grayscale", False)))
    state.set("task.channels", 1 if grey else 3)
    for key in ("grayscale", "input_grayscale", "target_grayscale"):
        if key in data:
            note = "a mask has one number for each pixel in any case" if key == "target_grayscale" else ""
            state.say(f"data.{key}", "same", "" if note else "task.channels", note)
    classes_and_values(state, 255.0)
    translate_transforms(state, is_colour=not grey, white=255.0)
    note_masks(state)


def require_targets(state: State) -> None:
    """Refuse a training without masks, and outputs of a training that need masks for comparison."""
    data = state.section("data")
    if state.trains and "target_path" not in data:
        state.refuse("data.target_path", "is needed to train", fix="name the folder of the masks")
    if state.trains and state.evaluates and not state.has_targets:
        fix = "add it, or predict these images in a configuration of their own, without input_path"
        state.refuse("data.test_target_path", "is needed beside a training", fix=fix)


def note_masks(state: State) -> None:
    """Note in the report how masks are handled."""
    data = state.section("data")
    if "target_is_mask" in data:
        state.say("data.target_is_mask", "same", "task")
    elif state.has_targets or state.trains:
        note = "the loss is of classes: targets are masks, whose pixels are never mixed"
        state.say("data.target_is_mask", "differs", "task", note)
    moved = [
        name
        for name in ("rotate", "random_rotate")
        if any(name == transform for _, transform, _ in listed_of(state, "input"))
    ]
    if moved:
        note = "pixels that come from outside of the image count nowhere"
        state.say(f"data.transforms.{moved[0]}", "differs", note=note)


def classes_and_values(state: State, white: float, section: str = "task") -> None:
    """Set the number of classes to the network's number of maps (two for a single map), and the mask value of each class.

    Args:
        state: The state of the translation.
        white: Divisor of the masks' pixels before normalisation.
        section: Section of these keys: `task`, or `mode`, where the network determines the number of classes.
    """
    units = state.network.units
    if units is None or not state.network.maps:
        fix = "end the network in a convolution with a filter for each class, or one and a sigmoid"
        state.refuse("layers", "targets are masks, and the network gives no maps", fix=fix)
        return
    count = 2 if units == 1 else units
    if section == "task":
        names = ["background", "foreground"] if units == 1 else [str(number) for number in range(count)]
        state.set("task.classes", names)
    if not state.trains and not state.has_targets:
        return
    values = [_value_of(state, number, white) for number in range(count)]
    if None in values:
        wrong = f"no value of a pixel becomes the class {values.index(None)} of {count}"
        state.refuse("data.target_transforms", wrong, fix=_WHOLE)
        return
    state.set(f"{section}.values", values)
    for place, name, _ in listed_of(state, "target"):
        if name == "normalize" and place.startswith("data.target_transforms"):
            state.say(f"{place}.normalize", "same", f"{section}.values", "it tells the class of each value of a pixel")
    ignored = state.section("loss").get("ignore_index")
    if ignored is not None and not 0 <= ignored < count:
        value = _value_of(state, int(ignored), white)
        if value is None:
            state.say("loss.ignore_index", "ignored", note="no pixel can be of this class")
        else:
            state.say("loss.ignore_index", "same", state.set(f"{section}.ignore_index", value))


def _value_of(state: State, number: int, white: float) -> int | None:
    """Return the pixel whose normalised value is a class number; None if there is none."""
    candidates = []
    for pixel in range(256):
        value = pixel / white
        for _, name, options in listed_of(state, "target"):
            if name == "normalize":
                value = (value - float(options.get("mean", 0))) / float(options.get("std", 1))
        candidates.append((abs(value - number), pixel))
    distance, pixel = min(candidates)
    return pixel if distance <= _NEAR else None


def check_moves(state: State, *, sizes: bool = False) -> None:
    """Require that inputs and targets, if any, have the same geometric transforms, because both go through one list.

    Args:
        state: The state of the translation.
        sizes: Whether a resize may give targets another size.
    """
    if not (state.trains or state.has_targets):
        return
    moves = [
        [(name, None if sizes and name == "resize" else options) for _, name, options in listed_of(state, part)
         if name not in COLOURS]
        for part in ("input", "target")
    ]  # fmt: skip
    if moves[0] != moves[1]:
        fix = "list the same ones in both, in the same order"
        wrong = "resizes, crops, flips or turns targets in another way than input_transforms does inputs"
        state.refuse("data.target_transforms", wrong, fix=fix)


def translate_mask_loss(state: State) -> None:
    """Translate the loss between maps and masks, with Dice as the accuracy."""
    loss = state.section("loss")
    kind, end, units = schema.named(str(loss["function"]), schema.LOSSES), state.network.end, state.network.units
    state.set("metrics.train", ["foreground_dice" if units == 1 else "dice"])
    state.say("loss", "same", "metrics.train", "the accuracy of masks is their Dice, over the pixels of all images")
    # The hinge needs a logit: a linear output is one, a sigmoid is inverted.
    is_logit = kind == "Lovasz" and units == 1 and end == "linear"
    if not is_logit and (end == "linear" or (units == 1 and end != "sigmoid")):
        fix = "end it in softmax or log_softmax, with a single map in sigmoid"
        wrong = f"{kind} takes probabilities, the network ends in {end}" + (" with one map" if units == 1 else "")
        state.refuse("loss.function", wrong, fix=fix)
    elif end == "sigmoid" and units != 1:
        wrong = f"ends in a sigmoid for each of {units} classes, of which a pixel has one"
        state.refuse("layers", wrong, fix="end it in a softmax, or leave target_is_mask out where masks overlap")
    elif kind in ("Dice", "Jaccard"):
        _overlap(state, kind.lower(), loss)
    elif kind == "Lovasz":
        state.options["loss"] = "lovasz"
        state.set("loss.hinge", units == 1)
        state.say("loss.function", "same", "loss=lovasz", "the Lovász hinge" if units == 1 else "over the softmax")
    elif kind == "Focal":
        _focal(state, loss)
    elif kind == "nll" and units != 1:
        _nll(state, loss)
    elif kind == "mse" and units == 1:
        state.options["loss"] = "pixel_mse"
        state.say("loss.function", "same", "loss=pixel_mse", "between the sigmoid and the mask as 0 and 1")
    elif kind == "bce" and units == 1:
        state.options["loss"] = "ce"
        state.say("loss.function", "same", "loss=ce", "of a single sigmoid it is the binary cross-entropy")
    elif kind in ("bce", "mse"):
        state.options["loss"] = "elementwise"
        state.set("loss.of", "squared_error" if kind == "mse" else "bce")
        note = "of each map's probability and the mask as its 0 and 1, the mean over maps and pixels"
        state.say("loss.function", "same", "loss=elementwise", note)
    else:
        fix = "use BCE or MSE for one, NLL for several" if kind == "nll" else "use Dice, BCE or NLL"
        maps = counted(units or 0, "map")
        state.refuse("loss.function", f"{kind.upper()} does not compare {maps} with one mask", fix=fix)
        return
    _source(state, str(loss.get("source", "")).lower(), kind)


def _source(state: State, source: str, kind: str) -> None:
    """Check the loss's `source` against the network's final activation; sigmoid and softmax both mean probabilities."""
    end = state.network.end
    if source and kind not in ("bce", "mse") and (source == "log_softmax") != (end == "log_softmax"):
        state.refuse("loss.source", f"the network ends in {end}", got=source, fix=f"write {end}")
    elif source:
        state.say("loss.source", "ignored" if kind in ("bce", "mse") else "same", note="the network's end says it")
    elif end == "log_softmax" and kind in ("Dice", "Jaccard", "Focal", "Lovasz"):
        state.say(
            "loss.source", "differs", note="softmax is rmldnn's default; the network's log_softmax is taken as it is"
        )


def _overlap(state: State, option: str, params: Mapping[str, Any]) -> None:
    eps = float(params.get("eps", _EPS))
    if eps == _EPS:
        # For such a small eps, adding it and using it as the minimum denominator are equivalent.
        state.options["loss"] = option
        state.set("loss.over", "all")
    else:
        state.options["loss"] = "overlap"
        state.set("loss.of", option)
        state.say("loss.eps", "same", "loss.eps", "added to the denominator")
    state.set("loss.eps", eps)
    weight = [float(value) for value in params.get("weight", [])]
    if state.network.units == 1:
        # The single map is the second class; the first has no map of its own.
        state.set("loss.class_weights", [0.0, 1.0])
        if weight:
            state.say("loss.weight", "ignored", note="of one class")
    elif weight and len(weight) != state.network.units:
        wrong = f"the network has {state.network.units} maps"
        state.refuse("loss.weight", wrong, got=weight, fix=f"give {state.network.units} numbers")
    elif weight:
        state.set("loss.class_weights", weight)
        state.say("loss.weight", "same", "loss.class_weights", "of each class in the mean")
    state.say(
        "loss.function", "same", f"loss={state.options['loss']}", "over the pixels of a batch, the mean over classes"
    )


def _focal(state: State, params: Mapping[str, Any]) -> None:
    state.options["loss"] = "focal"
    state.set("loss.gamma", float(params.get("gamma", 2.0)))
    state.say("loss.function", "same", "loss=focal", "" if "gamma" in params else "gamma is 2, as in the paper")
    translate_focal_parameters(state, params, of_classes=state.network.units != 1)


def translate_focal_parameters(state: State, params: Mapping[str, Any], *, of_classes: bool) -> None:
    """Translate Focal's gamma, and its weights, which the file calls `weight` or `alpha`.

    Args:
        state: The state of the translation.
        params: The parameters of the loss.
        of_classes: Whether outputs are class probabilities that sum to 1; else each is a sigmoid.
    """
    if "gamma" in params:
        state.say("loss.gamma", "same", "loss.gamma")
    key = "weight" if "weight" in params else "alpha"
    weight = params.get(key)
    if isinstance(weight, list) and of_classes:
        state.set("loss.class_weights", [float(value) for value in weight])
        state.say(f"loss.{key}", "differs", "loss.class_weights", "the mean is divided by the weights")
    elif isinstance(weight, list):
        state.missing(f"loss.{key}", "a weight for each output that is a sigmoid")
    elif weight is not None:
        state.missing(f"loss.{key}", "one weight for all classes", "give one for each class, or leave it out")


def _nll(state: State, params: Mapping[str, Any]) -> None:
    is_log, units = state.network.end == "log_softmax", state.network.units
    state.options["loss"] = "nll" if is_log else "ce"
    note = "" if is_log else f"NLL wants log-probabilities: the logarithm of the {state.network.end} is taken here"
    state.say("loss.function", "same" if is_log else "differs", f"loss={state.options['loss']}", note)
    weights, ignored = [float(value) for value in params.get("weight", [])], params.get("ignore_index")
    if weights and len(weights) != units:
        state.refuse("loss.weight", f"the network has {units} maps", got=weights, fix=f"give {units} numbers")
        return
    if ignored is not None and 0 <= ignored < (units or 0):
        weights = weights or [1.0] * (units or 0)
        weights[int(ignored)] = 0.0
        state.say("loss.ignore_index", "same", "loss.class_weights")
    if weights:
        state.set("loss.class_weights", weights)
        if "weight" in params:
            state.say("loss.weight", "same", "loss.class_weights")
