"""Images as targets: auto-encoders, inpainting, arrays of numbers; and the losses between images."""

from __future__ import annotations

from mlpipe.dialects.rmldnn import schema
from mlpipe.dialects.rmldnn.sections.drawn import translate_wasserstein
from mlpipe.dialects.rmldnn.sections.masks import check_moves, require_targets
from mlpipe.dialects.rmldnn.sections.pde import translate_burgers
from mlpipe.dialects.rmldnn.sections.transforms import listed_of, makes_grey, refuse_moves, translate_transforms
from mlpipe.dialects.rmldnn.state import State

_PATHS = (
    ("input_path", "train"), ("target_path", "train_targets"), ("test_input_path", "test"),
    ("test_target_path", "test_targets"),
)  # fmt: skip
# Possible numbers of channels of image files.
_CHANNELS = (1, 3, 4)


def translate_target_images(state: State) -> None:
    """Translate images with images as targets."""
    data = state.section("data")
    state.options["task"] = "image_folders"
    is_grey = bool(data.get("input_grayscale", data.get("grayscale", False)))
    # A mask that is compared as numbers has one value per pixel, whatever the colours of its file.
    grey_target = bool(data.get("target_grayscale", data.get("grayscale")) or data.get("target_is_mask"))
    made_grey = any(makes_grey(transform) for transform in listed_of(state, "target"))
    _paths(state, may_be_own=is_grey == grey_target and not made_grey)
    for key, value in {"pairing": "order", "strict": True, "bits": 8}.items():
        state.set(f"task.{key}", value)
    state.set("task.channels", 1 if is_grey else 3)
    # Targets that a transform converts to grey are read as grey, which is equivalent and known in advance.
    target = 1 if grey_target or made_grey else 3
    if not _has_any_targets(state):
        state.set("task.labelled", False)
        units = state.network.units
        if units is not None and state.network.maps and units not in _CHANNELS:
            fix = "give target_type and test_target_path, or end it in 1 or 3 maps"
            state.refuse("layers", f"the network gives {units} maps, images have 1 or 3", fix=fix)
        target = units if units is not None and state.network.maps else target
    state.set("task.target_channels", target)
    for key in ("grayscale", "input_grayscale", "target_grayscale"):
        if key in data:
            state.say(f"data.{key}", "same", "task.target_channels" if key == "target_grayscale" else "task.channels")
    translate_transforms(state, is_colour=not is_grey, white=255.0, target_colour=target == 3)
    check_moves(state, sizes=True)


def translate_target_arrays(state: State) -> None:
    """Translate NumPy and HDF5 files with arrays as targets."""
    state.options["task"] = "samples"
    state.set("task.labels", "images")
    # Initial values are rows of an image, also for a network that takes rows without a height.
    is_row = str(state.section("loss").get("function", "")).lower().startswith("burgers")
    if state.network.axes != 2 and not is_row:
        state.set("task.axes", state.network.axes)
        refuse_moves(state, state.network.axes, "samples")
    _paths(state, may_be_own=True)
    if not _has_any_targets(state):
        state.set("task.labelled", False)
        state.set("task.classes", [f"channel {number}" for number in range(state.network.units or 1)])
    translate_transforms(state, is_colour=False, white=1.0, target_colour=False)
    check_moves(state, sizes=True)


def _has_any_targets(state: State) -> bool:
    """Return whether samples have targets."""
    return state.trains or state.has_targets


def _paths(state: State, *, may_be_own: bool) -> None:
    """Translate the folders; targets are left out if the inputs are the targets, too."""
    data = state.section("data")
    names = [name for _, name, _ in listed_of(state, "input")]
    used = [(key, place) for key, place in _PATHS if state.trains or key.startswith("test")]
    pairs = [("input_path", "target_path")] * state.trains + [("test_input_path", "test_target_path")] * state.evaluates
    makes_own = "random_patches" in names and all(not data.get(target) for _, target in pairs)
    are_own = (
        _has_any_targets(state) and may_be_own and all(data.get(target) == data.get(source) for source, target in pairs)
    )
    if state.solves or state.draws:
        # The loss uses the network's input: the diffusivity of the equation, or the real images of a generator.
        makes_own = are_own = True
    if not makes_own:
        require_targets(state)
    for key, place in used:
        if key in data and are_own and "target" in key:
            state.say(f"data.{key}", "same", "task", "each sample is its own target")
        elif key in data:
            state.same(f"data.{key}", f"task.{place}", data[key])
    for key, _ in _PATHS:
        if key in data and key not in [used_key for used_key, _ in used]:
            state.say(f"data.{key}", "ignored", note="nothing is trained")


def translate_image_loss(state: State) -> None:
    """Translate MSE or BCE between images, with the signal-to-noise ratio as the accuracy."""
    loss = state.section("loss")
    kind, end = schema.named(str(loss["function"]), schema.LOSSES), state.network.end
    if kind == "Burgers_pde":
        translate_burgers(state)
        return
    if state.solves:
        _poisson(state, kind)
        return
    if state.draws:
        translate_wasserstein(state)
        return
    state.set("metrics.train", ["psnr"])
    if "source" in loss:
        state.say("loss.source", "ignored", note="the network's end says it")
    state.say(
        "loss", "differs", "metrics.train", "images have no accuracy: in its place stands their PSNR, in decibels"
    )
    if kind == "mse":
        state.options["loss"] = "mse"
        state.say("loss.function", "same", "loss=mse", "of the network's outputs as they are")
    elif kind == "bce" and end not in ("sigmoid", "softmax"):
        wrong = f"BCE takes values from 0 to 1, the network ends in {end}"
        state.refuse("loss.function", wrong, fix="end the network in sigmoid, or use MSE")
    elif kind == "bce":
        state.options["loss"] = "bce"
        state.say("loss.function", "same", "loss=bce", "between values, of which targets may be any from 0 to 1")
    else:
        fix = "use MSE or BCE, or add target_is_mask where targets are masks"
        state.refuse("loss.function", f"{kind} compares classes, targets are images", fix=fix)


def _poisson(state: State, kind: str) -> None:
    """Translate the energy of a solution, with the network's input as the diffusivity."""
    axes, own = (3 if kind == "Poisson3D_pde" else 2), state.network.axes
    if own != axes:
        fix = f"use Poisson{own}D_pde" if own in (2, 3) else f"use a network of {axes} axes"
        state.refuse("loss.function", f"{kind} is for {axes} axes, the network has {own}", fix=fix)
    state.options["loss"] = "poisson"
    state.set("metrics.train", [])
    where = "square" if axes == 2 else "cube"
    note = f"the plain integral over the unit {where}, by two Gauss points along each axis; only the input is used, no target"
    state.say("loss.function", "differs", "loss=poisson", note)
