"""Section `data`: training and test samples, and their batches."""

from __future__ import annotations

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
from mlpipe.dialects.rmldnn.state import Work

# Keys that belong to what this version has not.
_LATER = {
    "hdf5_outfile": "assembling predictions of anything but slicers",
    "hdf5_precision": "half precision of outputs",
    "hdf5_layout": "assembling predictions of anything but slicers",
}


def translate_data(work: Work) -> None:
    """The task, its images, their steps and batches."""
    # Equations and slicers have keys of their own and refuse the others' first; the rest differs in what inputs are times what
    # targets are. Masks are asked for before target images: both are images, and only the loss or the network tells
    # them apart (`work.is_of_masks`).
    data = work.section("data")
    inputs, targets = _types(work)
    if inputs == "pde":
        translate_generated(work, targets)
        _batches(work)
        return
    refuse_generated_keys(work)
    if "slicers" in data:
        translate_slices(work, inputs, targets)
        if work.trains:
            _batches(work)
        return
    for key, what in _LATER.items():
        if key in data and not (key == "hdf5_precision" and data[key].lower() == "single"):
            work.missing(f"data.{key}", what)
    if not ("input_path" in data or "test_input_path" in data):
        fix = "add input_path to train, test_input_path to evaluate"
        work.refuse("data", "there is nothing to train on and nothing to evaluate", fix=fix)
    if inputs == "images" and work.is_of_masks and targets in ("images", None):
        translate_mask_images(work)
        check_moves(work)
    elif inputs == "images" and work.is_of_images and targets in ("images", None):
        translate_target_images(work)
    elif inputs == "images":
        _images(work, targets)
    elif inputs in ("numpy", "hdf5") and work.is_of_images and targets in ("numpy", "hdf5", None):
        translate_target_arrays(work)
    elif inputs in ("numpy", "hdf5"):
        _arrays(work, targets)
    elif inputs == "mnist":
        _mnist(work, targets)
    elif inputs is not None:
        work.missing("data.input_type", f"{inputs} as inputs", "use images, numpy, hdf5, mnist or pde")
    _batches(work)


def _batches(work: Work) -> None:
    """Translate the batch sizes, and check the other keys about samples."""
    data = work.section("data")
    # rmldnn looks for no samples that are in both parts.
    work.set("task.allow_overlap", True)
    batch, test_batch = int(data.get("batch_size", 64)), int(data.get("test_batch_size", 64))
    work.set("sampling.batch_size", batch)
    work.set("sampling.eval_batch_size", test_batch)
    for key, place in (("batch_size", "batch_size"), ("test_batch_size", "eval_batch_size")):
        if key in data:
            note = "samples come in a new order in every epoch" if key == "batch_size" else ""
            work.say(f"data.{key}", "differs" if note else "same", f"sampling.{place}", note)
    if "preload" in data:
        work.say("data.preload", "ignored", note="samples are decoded once, into a cache in memory's reach")
    if data.get("target_is_mask") and not work.is_of_masks:
        work.refuse("data.target_is_mask", "the targets are no masks", fix="leave it out, or use target_type images")


def _types(work: Work) -> tuple[str | None, str | None]:
    """The types of inputs and targets in lower case."""
    data = work.section("data")
    both, inputs, targets = (
        data[key].lower() if key in data else None for key in ("type", "input_type", "target_type")
    )
    for key, one in (("input_type", inputs), ("target_type", targets)):
        if both is not None and one is not None and one != both:
            work.refuse(f"data.{key}", f"type says {both}", got=one, fix="leave one of the two out")
    inputs, targets = inputs or both, targets or both
    if inputs is None:
        work.refuse("data.input_type", "is needed", fix="add input_type and target_type, or type")
    if inputs == "labels":
        work.refuse("data.input_type", "labels are for targets", fix="use images or numpy")
        inputs = None
    for key in ("type", "input_type", "target_type"):
        if key in data and inputs in ("images", "numpy", "hdf5", "mnist", "pde"):
            work.say(f"data.{key}", "same", "task")
    return inputs, targets


def _images(work: Work, targets: str | None) -> None:
    data = work.section("data")
    labelled = targets == "labels"
    if targets is not None and not labelled and (work.trains or work.has_targets):
        fix = "use target_type images, or labels with the images of each class in a folder of its own"
        work.missing("data.target_type", f"{targets} as targets of images", fix)
    elif targets is None and work.trains:
        work.refuse("data.target_type", "is needed to train", fix="add target_type: labels")
    work.options["task"] = "folders"
    grey = bool(data.get("input_grayscale", data.get("grayscale", False)))
    work.set("task.channels", 1 if grey else 3)
    work.set("task.bits", 8)
    work.set("task.strict", True)
    for key in ("grayscale", "input_grayscale"):
        if key in data:
            work.say(f"data.{key}", "same", "task.channels")
    _paths(work, train="task.train", test="task.test")
    if not labelled:
        work.set("task.labelled", False)
        _number_classes(work)
    tags = {"training_tag": "train_tag", "testing_tag": "test_tag", "test_tag": "test_tag"}
    for key, place in tags.items():
        if key in data:
            work.same(f"data.{key}", f"task.{place}", data[key])
    translate_transforms(work, is_colour=not grey, white=255.0)


def _arrays(work: Work, targets: str | None) -> None:
    """NumPy and HDF5 files, with class numbers, folders or masks."""
    data = work.section("data")
    if targets not in ("labels", "numpy", "hdf5", None):
        work.missing("data.target_type", f"{targets} as targets of arrays", "use labels, numpy or hdf5")
    work.options["task"] = "samples"
    known = "none" if not (work.trains or work.has_targets) else "folders" if targets == "labels" else "files"
    known = "masks" if work.is_of_masks else known
    work.set("task.labels", known)
    if work.network.axes != 2:
        work.set("task.axes", work.network.axes)
        refuse_moves(work, work.network.axes, "samples")
    if known in ("files", "masks"):
        for key, place in (("target_path", "train_targets"), ("test_target_path", "test_targets")):
            if key in data and (work.trains or key.startswith("test")):
                work.same(f"data.{key}", f"task.{place}", data[key])
    if known == "files" and work.trains and "target_path" not in data:
        work.refuse("data.target_path", "is needed to train", fix="name the class numbers' file or folder")
    if known == "masks":
        require_targets(work)
        classes_and_values(work, 1.0)
        note_masks(work)
        check_moves(work)
    elif known != "folders":
        _number_classes(work)
    _paths(work, train="task.train", test="task.test")
    translate_transforms(work, is_colour=False, white=1.0)


def _mnist(work: Work, targets: str | None) -> None:
    if targets not in ("labels", "mnist", None):
        work.missing("data.target_type", f"{targets} as targets of mnist", "leave target_type out")
    work.options["task"] = "mnist"
    _number_classes(work)
    _paths(work, train="task.root", test="task.test_root")
    translate_transforms(work, is_colour=False, white=255.0)


def _paths(work: Work, *, train: str, test: str) -> None:
    """The folders of what is used; a training set that nothing learns from is left out."""
    data = work.section("data")
    if "input_path" in data and work.trains:
        work.same("data.input_path", train, data["input_path"])
    elif "input_path" in data:
        work.say("data.input_path", "ignored", note="num_epochs is 0: nothing is trained")
    if "test_input_path" in data:
        work.same("data.test_input_path", test, data["test_input_path"])


def _number_classes(work: Work) -> None:
    """Classes that have no names are as many as the network's outputs."""
    units = work.network.units
    if units is not None:
        work.set("task.classes", [str(number) for number in range(2 if units == 1 else units)])
