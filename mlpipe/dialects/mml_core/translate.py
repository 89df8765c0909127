"""Translation of a pipeline or blueprint of mml-core to a native configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpipe.dialects.translation import State, Translation
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of

NAME = "mml-core"
_TIMM = "mml.core.models.timm.TimmGenericModel"
_OF_ARCH = ("name", "pretrained", "drop_rate", "drop_path_rate")
# Optimizers: option -> the keys with the same meaning here.
_OPTIMIZERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Adam": ("adam", ("lr", "weight_decay", "betas", "eps")),
    "AdamW": ("adamw", ("lr", "weight_decay", "betas", "eps")),
    "SGD": ("sgd", ("lr", "weight_decay", "momentum", "nesterov")),
    "RMSprop": ("rmsprop", ("lr", "weight_decay", "alpha", "momentum", "centered", "eps")),
    "Adagrad": ("adagrad", ("lr", "weight_decay", "lr_decay", "eps")),
    "Adadelta": ("adadelta", ("lr", "weight_decay", "rho", "eps")),
    "Adamax": ("adamax", ("lr", "weight_decay", "betas", "eps")),
    "NAdam": ("nadam", ("lr", "weight_decay", "betas", "eps")),
}
# Optimizers that need a closure for each step, or sparse gradients.
_OTHERS = ("LBFGS", "SparseAdam")
# Schedules that consist of others, or of functions.
_OF_OTHERS = ("SequentialLR", "ChainedScheduler", "LambdaLR", "MultiplicativeLR")
# torch's defaults where mlpipe's differ.
_TORCH_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "sgd": {"lr": 1e-3, "weight_decay": 0.0, "momentum": 0.0, "nesterov": False},
    "adamw": {"lr": 1e-3, "weight_decay": 0.01},
}
_NEUTRAL: Mapping[str, Any] = {"dampening": 0, "amsgrad": False, "maximize": False, "foreach": None, "fused": None}
# Schedules: option -> torch's key and ours.
_SCHEDULES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "StepLR": ("step", {"step_size": "step_epochs", "gamma": "gamma"}),
    "MultiStepLR": ("multistep", {"milestones": "milestones", "gamma": "gamma"}),
    "ExponentialLR": ("exponential", {"gamma": "gamma"}),
    "CosineAnnealingLR": ("cosine", {}),
    "CosineAnnealingWarmRestarts": ("cosine_restart", {"T_0": "period_epochs", "T_mult": "period_factor"}),
    "OneCycleLR": (
        "one_cycle",
        {
            **{key: key for key in ("pct_start", "div_factor", "final_div_factor")},
            "anneal_strategy": "anneal",
        },
    ),
    "ReduceLROnPlateau": (
        "plateau",
        {key: key for key in ("factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr")},
    ),
}
# Keys of a schedule without effect at this value; None: at any value.
_SAYS_NOTHING: Mapping[str, Any] = {
    "last_epoch": -1, "verbose": None, "eps": 1e-8, "mode": "min", "epochs": None, "steps_per_epoch": None,
    "total_steps": None, "three_phase": False,
}  # fmt: skip
_TRAINER = (
    "max_epochs",
    "precision",
    "accelerator",
    "devices",
    "gradient_clip_val",
    "accumulate_grad_batches",
)
# Keys of `mml train` with the same meaning here.
_MODE = ("cv", "nested", "store_best", "store_parameters")
_LIBRARIES = {
    "albumentations": "albumentations",
    "torchvision": "torchvision.transforms.v2",
    "kornia": "kornia.augmentation",
}
_ROTATIONS = {"identity", "rot90", "rot270", "hflip"}


@dataclass
class _Source(State):
    """State during a translation.

    Attributes:
        max_epochs: Number of epochs of the file's trainer; None: not given.
    """

    max_epochs: int | None = None


def is_pipeline(source: Mapping[str, Any]) -> bool:
    """Return whether a file is from mml-core: a section names a class of that program or of Lightning 2."""
    sections = [source.get("arch"), source.get("trainer")]
    targets = [str(section.get("_target_", "")) for section in sections if isinstance(section, Mapping)]
    return any(target.startswith("mml.core.") or target == "lightning.Trainer" for target in targets)


def translate(source: Mapping[str, Any]) -> Translation:
    """Return the native configuration of a stored pipeline or blueprint.

    Args:
        source: The file's content: any of the sections in `mode.pipeline_keys`.

    Raises:
        ConfigError: With a sentence for everything without a native equivalent.
    """
    state = _Source()
    trainer = source.get("trainer")
    state.max_epochs = trainer.get("max_epochs") if isinstance(trainer, Mapping) else None
    for key in source:
        if key not in _SECTIONS:
            known = did_you_mean(str(key), _SECTIONS)
            state.refuse(str(key), "is no section of a pipeline", fix=known or f"there are {listing(_SECTIONS)}")
        elif not isinstance(source[key], Mapping):
            state.refuse(key, "must be a section", got=source[key])
    state.require_none_wrong()
    for key, read in _SECTIONS.items():
        if key in source:
            read(state, source[key])
    state.require_none_wrong()
    return Translation(NAME, state.whole(), tuple(state.lines))


def _arch(state: State, arch: Mapping[str, Any]) -> None:
    if arch.get("_target_") != _TIMM:
        state.missing("arch._target_", f"the network {arch.get('_target_')}", "its classifiers are timm's")
        return
    state.options["arch"] = "timm"
    for key in _OF_ARCH:
        if key in arch:
            state.same(f"arch.{key}", f"arch.{key}", arch[key])
    state.set("arch.in_chans", 3)
    state.say("arch", "same", "arch.in_chans=3", "grey images are given to three channels, as there")
    _note_rest(state, "arch", arch, ("_target_", *_OF_ARCH))


def _optimizer(state: State, optimizer: Mapping[str, Any]) -> None:
    name = _class_of(optimizer, "torch.optim.")
    if name.isalnum() and name not in (*_OPTIMIZERS, *_OTHERS):
        _as_in_torch(state, "optimizer", optimizer)
        return
    if name not in _OPTIMIZERS:
        fix = f"there are {listing(_OPTIMIZERS)}"
        state.refuse("optimizer._target_", "has no counterpart here", got=optimizer.get("_target_"), fix=fix)
        return
    option, keys = _OPTIMIZERS[name]
    if not all(optimizer.get(key, neutral) == neutral for key, neutral in _NEUTRAL.items()):
        _as_in_torch(state, "optimizer", optimizer)
        return
    state.options["optimizer"] = option
    for key, value in _TORCH_DEFAULTS.get(option, {}).items():
        if key not in optimizer:
            state.set(f"optimizer.{key}", value)
    for key in keys:
        if key in optimizer:
            state.same(f"optimizer.{key}", f"optimizer.{key}", optimizer[key])
    _note_rest(state, "optimizer", optimizer, ("_target_", "_convert_", *keys, *_NEUTRAL))


def _as_in_torch(state: State, group: str, section: Mapping[str, Any]) -> None:
    """Translate a torch class by its own name with all its parameters."""
    state.options[group] = "none"
    for key, value in section.items():
        if key != "_convert_":
            state.set(f"{group}.{key}", value)
    state.say(group, "same", f"{group}._target_", "torch's own class")


def _schedule(state: _Source, schedule: Mapping[str, Any]) -> None:
    if schedule.get("_target_") is None:
        state.options["lr_scheduler"] = "none"
        state.say("lr_scheduler", "same", "lr_scheduler=none")
        return
    name = _class_of(schedule, "torch.optim.lr_scheduler.")
    rate = state.native.get("optimizer", {}).get("lr")
    if name in _OF_OTHERS or not name:
        wrong = "takes what a file cannot hold" if name else "has no counterpart here"
        fix = f"there are {listing(_SCHEDULES)}"
        state.refuse("lr_scheduler._target_", wrong, got=schedule.get("_target_"), fix=fix)
        return
    is_native = name in _SCHEDULES and all(
        value is None or schedule.get(key, value) == value for key, value in _SAYS_NOTHING.items()
    )
    epochs, way = state.max_epochs, schedule.get("T_max")
    # A half cosine of another length than the training, or a final rate without an initial rate.
    if not is_native or (way is not None and epochs not in (None, way)) or (schedule.get("eta_min") and not rate):
        _as_in_torch(state, "lr_scheduler", {key: value for key, value in schedule.items() if key != "verbose"})
        return
    option, keys = _SCHEDULES[name]
    state.options["lr_scheduler"] = option
    if option in ("cosine", "cosine_restart"):
        # mml-core steps the schedule after every epoch, mlpipe after every batch.
        state.set("lr_scheduler.interval", "epoch")
        state.set("lr_scheduler.warmup_epochs", 0.0)
    if schedule.get("eta_min"):
        state.same("lr_scheduler.eta_min", "lr_scheduler.min_ratio", float(schedule["eta_min"]) / float(rate or 1.0))
    if option == "one_cycle":
        note = "mml-core cannot build it; here it steps by batch, and max_lr is optimizer.lr"
        state.say("lr_scheduler", "differs", "lr_scheduler=one_cycle", note)
        if schedule.get("max_lr") is not None:
            state.set("optimizer.lr", schedule["max_lr"])
    else:
        state.say("lr_scheduler", "same", f"lr_scheduler={option}")
    for theirs, ours in keys.items():
        if theirs in schedule:
            state.same(f"lr_scheduler.{theirs}", f"lr_scheduler.{ours}", schedule[theirs])
    _note_rest(state, "lr_scheduler", schedule, ("_target_", "T_max", "eta_min", "max_lr", *_SAYS_NOTHING, *keys))


_FOCAL = ("torchvision.ops.sigmoid_focal_loss", "torchvision.ops.focal_loss.sigmoid_focal_loss")


def _loss(state: State, loss: Mapping[str, Any]) -> None:
    """Translate the loss of each kind of task; torch's plain losses of classes and labels become `auto`."""
    plain = {"cls": "torch.nn.CrossEntropyLoss", "mlcls": "torch.nn.BCEWithLogitsLoss"}
    state.options["loss"] = "auto"
    for key, target in plain.items():
        if key not in loss:
            continue
        section = loss[key] if isinstance(loss[key], Mapping) else {}
        if key == "mlcls" and section.get("_target_") in _FOCAL:
            _focal_loss(state, section)
        elif section.get("_target_") != target:
            state.missing(f"loss.{key}", f"the loss {section.get('_target_')}", "choose one of conf/loss by loss=NAME")
        elif key == "cls" and section.get("label_smoothing"):
            state.same("loss.cls.label_smoothing", "loss.label_smoothing", section["label_smoothing"])
        else:
            state.say(f"loss.{key}", "same", "loss=auto")
    for key, note in (("reg", "numbers are learned by loss=auto; loss=huber is there"), ("seg", "it is for masks")):
        if key in loss:
            state.say(f"loss.{key}", "ignored", note=note)
    if loss.get("class_weights") is not None:
        state.same("loss.class_weights", "loss.class_weights", loss["class_weights"])
    if "auto_activate_weighing" in loss:
        note = "classes are weighed by loss.class_weights=balanced only"
        state.say("loss.auto_activate_weighing", "ignored", note=note)
    _note_rest(state, "loss", loss, (*plain, "reg", "seg", "class_weights", "auto_activate_weighing"))


def _focal_loss(state: State, section: Mapping[str, Any]) -> None:
    """Translate torchvision's focal loss of labels, a function whose negative `alpha` means equal weights."""
    if section.get("reduction", "none") != "mean" or not section.get("_partial_"):
        fix = "add _partial_: true and reduction: mean"
        state.refuse("loss.mlcls", "gives no number for a batch, and a training needs one", got=dict(section), fix=fix)
        return
    state.options["loss"] = "focal"
    alpha = section.get("alpha", 0.25)
    state.set("loss.alpha", None if isinstance(alpha, int | float) and alpha < 0 else alpha)
    state.set("loss.gamma", section.get("gamma", 2.0))
    note = "of a task of labels; for a task of classes add loss=auto to the command"
    state.say("loss.mlcls", "differs", "loss=focal", note)
    _note_rest(state, "loss.mlcls", section, ("_target_", "_partial_", "alpha", "gamma", "reduction"))


def _preprocessing(state: State, preprocessing: Mapping[str, Any]) -> None:
    """Translate the size of stored images; a later crop may make the network's input smaller."""
    steps = [step for step in preprocessing.get("pipeline") or [] if isinstance(step, Mapping)]
    sizes = [size for step in steps if (size := _size(step)) is not None]
    state.options["preprocessing"] = "default"
    if not sizes:
        state.say("preprocessing.pipeline", "differs", "preprocessing.size", "names no size: the task's is used")
        return
    state.set("preprocessing.size", sizes[-1])
    shape = "short_side" if any(step.get("name") == "SmallestMaxSize" for step in steps) else "squash"
    state.set("preprocessing.resize", shape)
    state.say("preprocessing.pipeline", "differs", "preprocessing.size", f"images are resized once, resize={shape}")


def _augmentations(state: State, augmentations: Mapping[str, Any]) -> None:
    state.options["augmentations"] = "none"
    normalization = augmentations.get("normalization")
    if normalization is None:
        state.same("augmentations.normalization", "augmentations.normalization", "unit")
    else:
        note = "mean and deviation of the network, which are ImageNet's for most"
        state.set("augmentations.normalization", "model")
        state.say("augmentations.normalization", "same", "augmentations.normalization=model", note)
    for theirs, ours in (("cpu", "cpu"), ("gpu", "device")):
        section = augmentations.get(theirs) or {}
        steps = section.get("pipeline") or []
        library = _LIBRARIES.get(str(section.get("backend")))
        if steps and library is None:
            state.missing(f"augmentations.{theirs}.backend", f"the library {section.get('backend')}")
            continue
        transforms = [_step(state, f"augmentations.{theirs}", step, str(library)) for step in steps]
        transforms = [step for step in transforms if step is not None]
        state.set(f"augmentations.{ours}.pipeline", transforms)
    _note_rest(state, "augmentations", augmentations, ("normalization", "cpu", "gpu"))


def _step(state: State, where: str, step: Mapping[str, Any], library: str) -> dict[str, Any] | None:
    """Return one augmentation; a crop to a fixed size becomes a crop of the padded image to the stored size."""
    name = str(step.get("name"))
    parameters = {key: value for key, value in step.items() if key != "name"}
    size = _size(step)
    if name == "RandomResizedCrop" and size is not None and step.get("p", 1.0) == 1.0 and _is_square(step):
        state.set("preprocessing.size", size)
        state.say(f"{where}: {name}", "differs", path_of("augmentations", "random_resized_crop"), "of the stored image")
        shape = {key: list(step[key]) for key in ("scale", "ratio") if isinstance(step.get(key), Sequence)}
        return {"_target_": path_of("augmentations", "random_resized_crop"), "size": size, **shape}
    if name == "RandomCrop" and size is not None:
        stored = state.native.get("preprocessing", {}).get("size", size)
        state.set("preprocessing.size", min(size, stored))
        crop = path_of("augmentations", "random_crop")
        state.say(f"{where}: {name}", "differs", crop, "cut from the padded image")
        return {"_target_": crop, "padding": 0.1}
    if name == "Resize" and size is not None:
        state.set("preprocessing.size", size)
        state.say(f"{where}: {name}", "differs", "preprocessing.size", "images are resized once, into the cache")
        return None
    if name in ("RandAugment", "ImageNetAA") and library == "albumentations":
        state.say(f"{where}: {name}", "differs", "torchvision's RandAugment", "mml-core has one of its own")
        magnitude = {"num_ops": int(step.get("number", 2)), "magnitude": int(step.get("magnitude", 9))}
        return {"_target_": "torchvision.transforms.v2.RandAugment", **magnitude}
    if library == "albumentations":
        parameters = _renamed_parameters(name, parameters)
    state.say(f"{where}: {name}", "same", f"{library}.{name}")
    return {"_target_": f"{library}.{name}", **parameters}


def _is_square(step: Mapping[str, Any]) -> bool:
    size = step.get("size")
    is_pair = isinstance(size, Sequence) and not isinstance(size, str)
    sides = size if is_pair else [step.get("height", size), step.get("width", size)]
    return len(set(sides or ())) == 1


# Ranges of albumentations 2 that version 1 gave by an upper bound, or a lower and an upper one.
_RANGES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "CoarseDropout": {
        "num_holes_range": ("min_holes", "max_holes"),
        "hole_height_range": ("min_height", "max_height"),
        "hole_width_range": ("min_width", "max_width"),
    },
    "ImageCompression": {"quality_range": ("quality_lower", "quality_upper")},
    "Downscale": {"scale_range": ("scale_min", "scale_max")},
}


def _renamed_parameters(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Rename parameters of albumentations 1 to their names in version 2."""
    renamed = dict(parameters)
    for ours, (lower, upper) in _RANGES.get(name, {}).items():
        if upper in renamed:
            most = renamed.pop(upper)
            least = renamed.pop(lower, None)
            renamed[ours] = [most if least is None else least, most]
    if name == "CoarseDropout" and "fill_value" in renamed:
        renamed["fill"] = renamed.pop("fill_value")
    if name == "GaussNoise" and "var_limit" in renamed:
        limit = renamed.pop("var_limit")
        ends = limit if isinstance(limit, Sequence) else [0, limit]
        # Standard deviations as shares of the maximum value; version 1 had variances of 8-bit values.
        renamed["std_range"] = [math.sqrt(float(end)) / 255 for end in ends]
        if "mean" in renamed:
            renamed["mean_range"] = [float(renamed.pop("mean")) / 255] * 2
    return renamed


def _size(step: Mapping[str, Any]) -> int | None:
    """Return the side of the square image that a step produces, if it does."""
    if step.get("name") not in ("Resize", "RandomCrop", "CenterCrop", "RandomResizedCrop"):
        return None
    size = step.get("size")
    is_pair = isinstance(size, Sequence) and not isinstance(size, str)
    sides = list(size or ()) if is_pair else [step.get("height"), step.get("width")]
    whole = [side for side in sides if isinstance(side, int) and not isinstance(side, bool)]
    return min(whole) if whole else None


def _sampling(state: State, sampling: Mapping[str, Any]) -> None:
    count, is_balanced = sampling.get("sample_num") or 0, bool(sampling.get("balanced"))
    state.options["sampling"] = "balanced" if is_balanced else "subset" if count else "full"
    state.say("sampling", "same", f"sampling={state.options['sampling']}")
    if count:
        state.same("sampling.sample_num", "sampling.sample_count", int(count))
    if "batch_size" in sampling:
        state.same("sampling.batch_size", "sampling.batch_size", sampling["batch_size"])
    if sampling.get("drop_last"):
        state.say("sampling.drop_last", "ignored", note="the last batch of an epoch is always used")
    for key in ("enable_caching", "cache_max_size"):
        if key in sampling:
            state.say(f"sampling.{key}", "ignored", note="images are always cached, decoded")
    known_keys = ("sample_num", "balanced", "batch_size", "drop_last", "enable_caching", "cache_max_size")
    _note_rest(state, "sampling", sampling, known_keys)


def _trainer(state: State, trainer: Mapping[str, Any]) -> None:
    for key in _TRAINER:
        if key == "precision" and str(trainer.get(key)).startswith("16"):
            note = "half precision where the hardware has it: bfloat16 on a GPU, else 32 bit"
            state.set("trainer.precision", "auto")
            state.say("trainer.precision", "differs", "trainer.precision=auto", note)
        elif trainer.get(key) is not None:
            state.same(f"trainer.{key}", f"trainer.{key}", trainer[key])
    _note_rest(state, "trainer", trainer, ("_target_", *_TRAINER))


def _callbacks(state: State, callbacks: Mapping[str, Any]) -> None:
    """Translate early stopping and averaged weights; mixup and cutmix are callbacks there and augmentations here."""
    chosen = []
    for name, section in callbacks.items():
        section = section if isinstance(section, Mapping) else {}
        kind = str(section.get("_target_", "")).rpartition(".")[2]
        if kind == "EarlyStopping":
            chosen.append("early")
            state.same(f"cbs.{name}.patience", "cbs.early.patience", section.get("patience", 3))
            if "min_delta" in section:
                state.same(f"cbs.{name}.min_delta", "cbs.early.min_delta", section["min_delta"])
        elif kind == "StochasticWeightAveraging":
            chosen.append("swa")
            state.say(f"cbs.{name}", "differs", "callbacks=swa", "the rate of the averaged epochs is cbs.swa.swa_lrs")
        elif kind in ("MixUpCallback", "CutMixCallback"):
            step = {"MixUpCallback": "mixup", "CutMixCallback": "cutmix"}[kind]
            steps = state.native.setdefault("augmentations", {}).setdefault("device", {}).setdefault("pipeline", [])
            steps.append({"_target_": path_of("device_augmentations", step), "alpha": section.get("alpha", 0.4)})
            state.say(f"cbs.{name}", "same", "augmentations.device.pipeline")
            if section.get("label_smoothing"):
                state.same(f"cbs.{name}.label_smoothing", "loss.label_smoothing", section["label_smoothing"])
            _note_rest(state, f"cbs.{name}", section, ("_target_", "alpha", "label_smoothing"))
        else:
            state.say(f"cbs.{name}", "ignored", note="what it watches is in metrics.csv and in the report")
    state.options["callbacks"] = chosen if len(chosen) > 1 else chosen[0] if chosen else "none"


def _tta(state: State, tta: Mapping[str, Any]) -> None:
    """Translate views; random crops become the fixed crops available here."""
    variations = tta.get("variations") or {}
    if not isinstance(variations, Mapping):
        state.refuse("tta.variations", "must be a section", got=variations)
        return
    views = {name: _view(steps) for name, steps in variations.items()}
    if not views:
        state.options["tta"] = "none"
    elif set(views) == _ROTATIONS:
        state.options["tta"] = "rotate"
    elif _CROP in views.values() and set(views.values()) <= {_CROP, "identity"}:
        state.options["tta"] = "crop"
        state.say(
            "tta.variations", "differs", "tta=crop", "four corners and the middle, where mml-core crops at random"
        )
        return
    elif None not in views.values() and _CROP not in views.values():
        state.options["tta"] = "views"
        state.set("tta.views", list(dict.fromkeys(views.values())))
    else:
        unknown = [name for name, view in views.items() if view is None or view == _CROP]
        state.missing(f"tta.variations.{unknown[0]}", "a view of your own", "choose one of conf/tta by tta=NAME")
        return
    state.say("tta", "same", f"tta={state.options['tta']}")


_CROP = "crop"
# Transforms that are a view if they are always applied.
_VIEWS = {
    **dict.fromkeys(("RandomHorizontalFlip", "HorizontalFlip"), "horizontal"),
    **dict.fromkeys(("RandomVerticalFlip", "VerticalFlip"), "vertical"),
    "RandomResizedCrop": _CROP,
}


def _view(steps: Any) -> str | None:
    """Return the view for the transforms of a variation; None if there is none here."""
    acting = [
        step
        for step in steps or ()
        if isinstance(step, Mapping) and step.get("p", 1.0) != 0 and step.get("name") is not None
    ]
    if not acting:
        return "identity"
    if len(acting) > 1:
        return None
    (step,) = acting
    angle = step.get("degrees")
    if step["name"] == "RandomRotation" and isinstance(angle, Sequence) and len(set(angle)) == 1:
        quarter = float(angle[0]) % 360
        return {0.0: "identity", 90.0: "rot90", 180.0: "rot180", 270.0: "rot270"}.get(quarter)
    always = step["name"] == "RandomResizedCrop" or step.get("p") == 1
    return _VIEWS.get(str(step["name"])) if always else None


def _tune(state: State, tune: Mapping[str, Any]) -> None:
    option = "batch_size" if tune.get("bs") else "lr_find" if tune.get("lr") else "none"
    state.options["tune"] = option
    if tune.get("lr") and tune.get("bs"):
        state.say("tune.lr", "ignored", note="one search at a time: tune=lr_find on the command line")
    state.say("tune", "same", f"tune={option}")


def _mode(state: State, mode: Mapping[str, Any]) -> None:
    for key in _MODE:
        if mode.get(key, True) is True:
            state.say(f"mode.{key}", "same", f"mode.{key}")
        else:
            state.same(f"mode.{key}", f"mode.{key}", mode[key])
    if mode.get("multitask"):
        state.say("mode.multitask", "ignored", note="say it on the command line, with task_list and mode.co_tasks")


def _class_of(section: Mapping[str, Any], package: str) -> str:
    target = str(section.get("_target_", ""))
    return target.removeprefix(package) if target.startswith(package) else ""


def _note_rest(state: State, where: str, section: Mapping[str, Any], known_keys: Sequence[str]) -> None:
    for key in section:
        if key not in known_keys:
            state.say(f"{where}.{key}", "ignored", note="it has no counterpart")


_SECTIONS: Mapping[str, Callable[[_Source, Mapping[str, Any]], None]] = {
    "arch": _arch,
    "optimizer": _optimizer,
    "lr_scheduler": _schedule,
    "loss": _loss,
    "preprocessing": _preprocessing,
    "augmentations": _augmentations,
    "sampling": _sampling,
    "trainer": _trainer,
    "cbs": _callbacks,
    "tta": _tta,
    "tune": _tune,
    "mode": _mode,
}
