"""Section `data`: training and test samples, and their batches."""

from __future__ import annotations

from mlpipe.dialects.rmldnn.sections.boxes import translate_boxes
from mlpipe.dialects.rmldnn.sections.images import translate_target_arrays, translate_target_images
from mlpipe.dialects.rmldnn.sections.masks import (
    check_moves,
    classes_and_values,
    note_masks,
    require_targets,
    translate_mask_images,
)
from mlpipe.dialects.rmldnn.sections.pde import refuse_generated_keys, translate_generated
from mlpipe.dialects.rmldnn.sections.slicing import translate_slices
from mlpipe.dialects.rmldnn.sections.transforms import refuse_moves, translate_transforms
from mlpipe.dialects.rmldnn.state import State

# Keys of features that this version does not have.
_LATER = {
    "hdf5_outfile": "assembling predictions of anything but slicers",
    "hdf5_layout": "assembling predictions of anything but slicers",
}


def translate_data(state: State) -> None:
    """Translate the task, its images, steps and batches."""
    # Equations and slicers have keys of their own and refuse others first; all else depends on the types of inputs and
    # targets. Masks are checked before target images: both are images, and only the loss or the network distinguishes
    # them (`state.is_of_masks`).
    data = state.section("data")
    inputs, targets = _types(state)
    if inputs == "pde":
        translate_generated(state, targets)
        _batches(state)
        return
    refuse_generated_keys(state)
    if "slicers" in data:
        translate_slices(state, inputs, targets)
        if state.trains:
            _batches(state)
        return
    for key, feature in _LATER.items():
        if key in data:
            state.missing(f"data.{key}", feature)
    if "hdf5_precision" in data and "test_output_path" not in data:
        state.say("data.hdf5_precision", "ignored", note="there is no test_output_path")
    if not ("input_path" in data or "test_input_path" in data):
        fix = "add input_path to train, test_input_path to evaluate"
        state.refuse("data", "there is nothing to train on and nothing to evaluate", fix=fix)
    if inputs == "images" and state.is_of_boxes:
        translate_boxes(state)
    elif inputs == "images" and state.is_of_masks and targets in ("images", None):
        translate_mask_images(state)
        check_moves(state)
    elif inputs == "images" and state.is_of_images and targets in ("images", None):
        translate_target_images(state)
    elif inputs == "images":
        _images(state, targets)
    elif inputs in ("numpy", "hdf5") and state.is_of_images and targets in ("numpy", "hdf5", None):
        translate_target_arrays(state)
    elif inputs in ("numpy", "hdf5"):
        _arrays(state, targets)
    elif inputs == "mnist":
        _mnist(state, targets)
    elif inputs is not None:
        state.missing("data.input_type", f"{inputs} as inputs", "use images, numpy, hdf5, mnist or pde")
    _batches(state)


def _batches(state: State) -> None:
    """Translate the batch sizes, and check the other keys for samples."""
    data = state.section("data")
    # rmldnn does not check for samples that are in both parts.
    state.set("task.allow_overlap", True)
    batch, test_batch = int(data.get("batch_size", 64)), int(data.get("test_batch_size", 64))
    state.set("sampling.batch_size", batch)
    state.set("sampling.eval_batch_size", test_batch)
    for key, place in (("batch_size", "batch_size"), ("test_batch_size", "eval_batch_size")):
        if key in data:
            note = "samples come in a new order in every epoch" if key == "batch_size" else ""
            state.say(f"data.{key}", "differs" if note else "same", f"sampling.{place}", note)
    if "preload" in data:
        state.say("data.preload", "ignored", note="samples are decoded once, into a cache in memory's reach")
    if data.get("target_is_mask") and state.is_of_images and state.network.end == "linear":
        note = "MSE of a linear end compares numbers: targets are images, whose pixels a resize or a rotation mixes"
        state.say("data.target_is_mask", "differs", "task", note)
    elif data.get("target_is_mask") and not state.is_of_masks:
        state.refuse("data.target_is_mask", "the targets are no masks", fix="leave it out, or use target_type images")


def _types(state: State) -> tuple[str | None, str | None]:
    """Return the types of inputs and targets in lower case."""
    data = state.section("data")
    both, inputs, targets = (
        data[key].lower() if key in data else None for key in ("type", "input_type", "target_type")
    )
    for key, own_type in (("input_type", inputs), ("target_type", targets)):
        if both is not None and own_type is not None and own_type != both:
            state.refuse(f"data.{key}", f"type says {both}", got=own_type, fix="leave one of the two out")
    inputs, targets = inputs or both, targets or both
    if inputs is None:
        state.refuse("data.input_type", "is needed", fix="add input_type and target_type, or type")
    if inputs == "labels":
        state.refuse("data.input_type", "labels are for targets", fix="use images or numpy")
        inputs = None
    for key in ("type", "input_type", "target_type"):
        if key in data and inputs in ("images", "numpy", "hdf5", "mnist", "pde"):
            state.say(f"data.{key}", "same", "task")
    return inputs, targets


def _images(state: State, targets: str | None) -> None:
    data = state.section("data")
    labelled = targets == "labels"
    if targets is not None and not labelled and (state.trains or state.has_targets):
        fix = "use target_type images, or labels with the images of each class in a folder of its own"
        state.missing("data.target_type", f"{targets} as targets of images", fix)
    elif targets is None and state.trains:
        state.refuse("data.target_type", "is needed to train", fix="add target_type: labels")
    state.options["task"] = "folders"
    grey = bool(data.get("input_grayscale", data.get("grayscale", False)))
    state.set("task.channels", 1 if grey else 3)
    state.set("task.bits", 8)
    state.set("task.strict", True)
    for key in ("grayscale", "input_grayscale"):
        if key in data:
            state.say(f"data.{key}", "same", "task.channels")
    _paths(state, train="task.train", test="task.test")
    if not labelled:
        state.set("task.labelled", False)
        _number_classes(state)
    if data.get("test_tag", data.get("testing_tag")) != data.get("testing_tag", data.get("test_tag")):
        fix = "keep one of the two, which mean the same"
        state.refuse("data.test_tag", f"testing_tag says {data['testing_tag']}", got=data["test_tag"], fix=fix)
    tags = {"training_tag": "train_tag", "testing_tag": "test_tag", "test_tag": "test_tag"}
    for key, place in tags.items():
        if key in data:
            state.same(f"data.{key}", f"task.{place}", data[key])
    translate_transforms(state, is_colour=not grey, white=255.0)


def _arrays(state: State, targets: str | None) -> None:
    """Translate NumPy and HDF5 files, with class numbers, folders or masks."""
    data = state.section("data")
    if targets not in ("labels", "numpy", "hdf5", None):
        state.missing("data.target_type", f"{targets} as targets of arrays", "use labels, numpy or hdf5")
    state.options["task"] = "samples"
    known = "none" if not (state.trains or state.has_targets) else "folders" if targets == "labels" else "files"
    known = "masks" if state.is_of_masks else "numbers" if state.is_of_numbers else known
    state.set("task.labels", known)
    if state.network.axes != 2:
        state.set("task.axes", state.network.axes)
        refuse_moves(state, state.network.axes, "samples")
    if known in ("files", "masks", "numbers"):
        for key, place in (("target_path", "train_targets"), ("test_target_path", "test_targets")):
            if key in data and (state.trains or key.startswith("test")):
                state.same(f"data.{key}", f"task.{place}", data[key])
    if known in ("files", "numbers") and state.trains and "target_path" not in data:
        state.refuse("data.target_path", "is needed to train", fix="name the file or folder of the targets")
    if known == "masks":
        require_targets(state)
        classes_and_values(state, 1.0)
        note_masks(state)
        check_moves(state)
    elif known == "numbers":
        state.set("task.classes", [f"output{number}" for number in range(state.network.units or 1)])
    elif known != "folders":
        _number_classes(state)
    _paths(state, train="task.train", test="task.test")
    translate_transforms(state, is_colour=False, white=1.0)


def _mnist(state: State, targets: str | None) -> None:
    if targets not in ("labels", "mnist", None):
        state.missing("data.target_type", f"{targets} as targets of mnist", "leave target_type out")
    state.options["task"] = "mnist"
    _number_classes(state)
    _paths(state, train="task.root", test="task.test_root")
    translate_transforms(state, is_colour=False, white=255.0)


def _paths(state: State, *, train: str, test: str) -> None:
    """Translate the folders that are used; a training set is left out if nothing is trained."""
    data = state.section("data")
    if "input_path" in data and state.trains:
        state.same("data.input_path", train, data["input_path"])
    elif "input_path" in data:
        state.say("data.input_path", "ignored", note="num_epochs is 0: nothing is trained")
    if "test_input_path" in data:
        state.same("data.test_input_path", test, data["test_input_path"])


def _number_classes(state: State) -> None:
    """Set the number of unnamed classes to the number of the network's outputs."""
    units = state.network.units
    if units is not None:
        state.set("task.classes", [str(number) for number in range(2 if units == 1 else units)])
