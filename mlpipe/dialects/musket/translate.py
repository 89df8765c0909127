"""Translation of a Musket experiment, key by key, to a native configuration with a report."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from mlpipe.config.recipe_file import as_text
from mlpipe.dialects import names
from mlpipe.dialects.musket import schema
from mlpipe.dialects.musket.reading import COMMON, Home, is_of_common, united, with_numbers
from mlpipe.dialects.musket.sections import callbacks, heads, hyperparameters, imgaug, losses, masks
from mlpipe.dialects.musket.sections.data import translate_data, translate_split
from mlpipe.dialects.musket.sections.stages import translate_stages
from mlpipe.dialects.musket.state import State
from mlpipe.dialects.translation import Translation
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of

# Keys that other functions, or the modes of Musket's scripts, handle.
_ELSEWHERE = (
    "activation", "callbacks", "classes", "dataset", "datasets", "experiment_result", "final_metrics", "folds_count",
    "freeze_encoder", "holdout", "imports", "loss", "lr", "metrics", "optimizer", "primary_metric",
    "primary_metric_mode", "random_state", "stages", "stratified", "testSplit", "testSplitSeed", "validationSplit",
    "num_seeds", "tasks", "declarations", "preprocessing", "extra_train_data", "dataset_augmenter",
    "manualResize", "bgr", "groupFunc", "pretrain_transform", "hyperparameters", "max_evals", "noTrain",
    "dumpPredictionsToCSV",
)  # fmt: skip
_IGNORED = {
    "verbose": "mml shows progress by itself",
    "gpus": "one device trains a fold; sys.fold_workers trains folds side by side",
    **dict.fromkeys(("add_to_train", "saveLast", "classifier", "classifier_lr"), "Musket never used it"),
    "needsSessionForPrediction": "there are no sessions",
    "separatePredictions": "predictions are kept for each record",
    "compressPredictionsAsInts": "predictions are kept as they are",
    "compressScale": "predictions are kept as they are",
    "showDataExamples": "mml info mode.subroutines=[sample_grid] shows images, examples/ what is predicted",
    "import_tasks": "tasks are found in the modules",
    "run_tasks": "mml task runs tasks",
    "rate": "of Musket's background replacer",
    "datasets_path": "data is in the project's data folder",
}


def translate(
    source: Mapping[str, Any], home: Home, *, lenient: bool = False, values: Mapping[str, Any] | None = None
) -> Translation:
    """Return the native configuration of a Musket experiment.

    Args:
        source: The content of its file.
        home: Its home.
        lenient: Allow unknown keys, and monitors that nothing computes.
        values: Values of its hyperparameters; others have the first value of their space, and are `needed`.

    Raises:
        ConfigError: With a sentence for every problem.
    """
    # The order matters: formulas need the values of hyperparameters, type checks need the values of formulas, and sections
    # need valid types. Values of wrong types are removed here, and problems that only follow from that are not reported.
    # Each section notes its problems and continues, so that all are reported at once.
    texts: list[str] = []
    common = home.common()
    configuration, values = with_numbers(united(source, common), found=texts), values or {}
    searched, wrong = hyperparameters.read(configuration)
    first = {f"given.{name}": parameter.first for name, parameter in searched.items() if name not in values}
    broken: list[str] = []
    settings = {name: values.get(name, parameter.first) for name, parameter in searched.items()}
    typed, ill_typed = schema.read(hyperparameters.filled(configuration, settings, broken))
    ill_typed = schema.together(broken, ill_typed)
    state = State(typed, home, lenient)
    state.wrong += wrong
    for key in texts:
        state.say(key, "lint", note="YAML reads it as a text, a number needs a point (1.0e-4); taken as the number")
    heads.check(state)
    for key, value in state.source.items():
        if key in _KEYS:
            _KEYS[key](state, key, value)
        elif key in _IGNORED:
            state.say(key, "ignored", note=_IGNORED[key])
        elif key not in _ELSEWHERE and _is_of_own_network(state, key):
            state.say(key, "same", f"arch.arguments.{key}", "the network's function is given it")
        elif key not in _ELSEWHERE and not _is_of_network(state, key):
            of_network = (
                ["backbone", *masks.decoder_keys(state)]
                if state.is_of_masks
                else sorted(_own_network_parameters(state)[0])
            )
            state.unknown(key, key, (*_KEYS, *_ELSEWHERE, *_IGNORED, *of_network))
    for key in ("architecture", "shape"):
        if key not in state.source:
            state.refuse(key, "is missing", fix=f"add {key}:")
    _optimizer(state)
    losses.translate_metrics(state)
    _callbacks_and_stages(state)
    losses.translate_losses(state)
    _own_metrics(state)
    translate_data(state)
    translate_split(state)
    if "bgr" in state.source:
        _bgr(state, "bgr", state.source["bgr"])
    _defaults(state)
    hyperparameters.translate(state, searched, values, configuration)
    wrong = [*ill_typed, *schema.without_consequences(state.wrong, ill_typed)]
    state.wrong = [
        f"{sentence} (in {COMMON})" if is_of_common(schema.key_of(sentence), source, common) else sentence
        for sentence in wrong
    ]
    state.require_none_wrong()
    needed = {key: as_text(value) for key, value in first.items()}
    return Translation("musket", state.whole(), tuple(state.lines), needed)


def _architecture(state: State, key: str, value: Any) -> None:
    name = str(value).lower()
    own = next((word for word in (str(value), name) if state.is_own(word)), None)
    if own is not None:
        _own_network(state, key, own)
        return
    if name in names.SEGMENTERS:
        masks.architecture(state, key, value)
        return
    if name == "deeplabv3":
        state.refuse(key, "is not there", got=value, fix="for masks use Unet, Linknet, PSPNet or FPN")
        return
    if name == "nasnetmobile":
        state.options["arch"] = "nasnetmobile"
        if state.source.get("weights") is not None:
            fix = "use weights: null, or NASNetLarge"
            state.refuse("weights", "there are no pretrained weights of NASNetMobile", fix=fix)
        state.say(key, "same", "arch", "Keras's network of timm's cells; pixels from -1 to 1")
        return
    if name not in names.BACKBONES:
        near = did_you_mean(str(value), state.own_names()) or did_you_mean(name, [*names.BACKBONES, *names.SEGMENTERS])
        fix = near or f"known: {listing(names.BACKBONES, most=30)}"
        state.refuse(key, "unknown architecture", got=value, fix=fix)
        return
    network, tag = _network_of_width(state, name) if name in names.WIDTHS else names.BACKBONES[name]
    wants = (state.source.get("weights") or state.source.get("encoder_weights")) is not None
    if wants and not tag:
        state.refuse("weights", f"there are none for {value}", fix="use weights: null")
    state.options["arch"] = "timm"
    state.set("arch.name", f"{network}.{tag}" if wants and tag else network)
    note = "timm's network; pixels are normalised as its weights were trained with"
    if name.startswith("vgg"):
        state.set("arch.pre_logits", False)
    state.say(key, "differs", "arch.name", note)


def _is_of_network(state: State, key: str) -> bool:
    """Return whether a key is an argument of Keras's network, which `_network_of_width` or `masks.architecture` handles."""
    if state.is_of_masks:
        return key in ("backbone", *masks.decoder_keys(state))
    return key in ("alpha", "depth_multiplier") and str(state.source.get("architecture")).lower() in names.WIDTHS


def _network_of_width(state: State, name: str) -> tuple[str, str]:
    """Return timm's network of the width in `alpha`, and the tag of its weights."""
    widths, alpha = names.WIDTHS[name], state.source.get("alpha", 1.0)
    if (depth := state.source.get("depth_multiplier", 1)) != 1:
        state.missing("depth_multiplier", f"another one than 1 ({depth})", "use alpha for a smaller network")
    elif "depth_multiplier" in state.source:
        state.say("depth_multiplier", "same", note="each channel gets one filter")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or alpha not in widths:
        state.refuse("alpha", "there is no such width", got=alpha, fix=f"use {' or '.join(map(str, widths))}")
        return names.BACKBONES[name]
    if "alpha" in state.source:
        state.say("alpha", "same", "arch.name")
    return widths[alpha]


def _own_network(state: State, key: str, name: str) -> None:
    """Translate a function of the project's modules; it receives all keys that have no other use, as Keras's networks did."""
    state.options["arch"] = "own"
    state.set("arch.name", name)
    for place, value in state.code().items():
        state.set(f"arch.{place}", value)
    extra = {argument: value for argument, value in state.source.items() if _is_of_own_network(state, argument)}
    if extra:
        state.set("arch.arguments", extra)
    state.say(key, "differs", "arch.name", "it returns a torch module that gives features; pooling and head follow")


def _is_of_own_network(state: State, key: str) -> bool:
    """Return whether a key is an argument of the project's own network: one of its parameters, or any if it takes any.

    A key that resembles a key of the file is a typo, unless the function has such a parameter.
    """
    known = (*_KEYS, *_ELSEWHERE, *_IGNORED)
    if key in known:
        return False
    names_of_it, takes_any = _own_network_parameters(state)
    return key in names_of_it or (takes_any and not difflib.get_close_matches(key, known, 1, 0.8))


def _own_network_parameters(state: State) -> tuple[frozenset[str], bool]:
    """Return the parameters of the project's function in `architecture`, and whether it takes others; empty if it is none."""
    name = str(state.source.get("architecture"))
    own = next((word for word in (name, name.lower()) if state.is_own(word)), None)
    return (frozenset(), False) if own is None else state.home.parameters(own) or (frozenset(), True)


def _weights(state: State, key: str, value: Any) -> None:
    if value not in (None, "imagenet"):
        fix = "use imagenet or null"
        state.refuse(key, "there are no such weights", got=value, fix=fix)
        return
    if value == "imagenet" or "pretrained" not in state.native.get("arch", {}):
        state.set("arch.pretrained", value == "imagenet")
    state.say(key, "same", "arch.pretrained")


def _pooling(state: State, key: str, value: Any) -> None:
    if value not in (None, "avg", "max"):
        state.refuse(key, "must be avg, max or null", got=value)
        return
    if value == "max" and not state.is_of_masks:
        state.set("arch.pool", "max")
    state.say(key, "same", "arch.pool")


def _shape(state: State, key: str, value: Any) -> None:
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(side, int) and side > 0 for side in value):
        state.refuse(key, "must be [height, width, channels]", got=value)
        return
    if key == "input_shape" and state.source.get("shape") not in (None, value):
        state.refuse(key, "shape is its other name and says another one", got=value, fix="keep one of them")
        return
    height, width, channels = value
    state.options.setdefault("preprocessing", "default")
    state.same(key, "preprocessing.size", height if height == width else [height, width])
    state.set("preprocessing.interpolation", "bicubic")
    state.same(key, "arch.in_chans", channels)


def _augmentation(state: State, key: str, value: Any) -> None:
    steps = imgaug.pipeline(state, key, value)
    if steps:
        # imgaug works on the original image, and the resize comes after.
        state.options["preprocessing"] = "original"
        state.set("preprocessing.max_side", None)
    state.set("augmentations.cpu.pipeline", steps)


def _transforms(state: State, key: str, value: Any) -> None:
    steps = imgaug.pipeline(state, key, value, place="preprocessing.before")
    if steps:
        state.options.setdefault("preprocessing", "default")
        state.set("preprocessing.before", steps)
        note = "what is random in them is drawn from an image's pixels, so that it is predicted alike each time"
        state.say(key, "differs", "preprocessing.before", note)


def _tta(state: State, key: str, value: Any) -> None:
    options = {"horizontal": "flips", "horizontal_and_vertical": "hv", "true": "d4"}
    option = options.get(str(value).lower())
    shape = state.source.get("shape") or state.source.get("input_shape")
    if option == "d4" and isinstance(shape, list) and len(shape) == 3 and shape[0] != shape[1]:
        state.options["tta"] = "hv"
        state.say(key, "differs", "tta", "an image that is no square has four views: the quarter turns are left out")
    elif option is not None:
        state.options["tta"] = option
        state.say(key, "same", "tta")
    elif value and state.is_own(value):
        state.options["tta"] = "own"
        for place, setting in {"function": value, **state.code()}.items():
            state.set(f"tta.{place}", setting)
        state.say(key, "same", "tta.function")
    elif value:
        fix = "use Horizontal, Horizontal_and_vertical, true or a function of the project's modules"
        state.refuse(key, "unknown test-time augmentation", got=value, fix=fix)


def _lists(state: State, key: str, value: Any) -> None:
    if value not in ("range", "choice"):
        state.refuse(key, "must be range or choice", got=value, fix="choice is what imgaug did")
        return
    note = "a list in an augmentation is one of its values" if value == "choice" else "a list of two numbers is a range"
    state.say(key, "same", "augmentations.cpu.pipeline", note)


def _bgr(state: State, key: str, value: Any) -> None:
    if value:
        place = state.native.setdefault("augmentations", {}).setdefault("cpu", {}).setdefault("pipeline", [])
        place.append({"_target_": path_of("augmentations", "convert_color"), "code": "RGB2BGR"})
        state.say(key, "same", "augmentations.cpu.pipeline", "in training and in prediction")


def _value_handler(place: str, note: str = "") -> Callable[[State, str, Any], None]:
    def handle(state: State, key: str, value: Any) -> None:
        state.say(key, "differs" if note else "same", state.set(place, value), note)

    return handle


def _gradient_bound(state: State, key: str, value: Any) -> None:
    # An unknown optimizer is a problem of its own.
    rule = names.OPTIMIZERS.get(str(state.source.get("optimizer")).lower(), names.OPTIMIZERS["sgd"])
    state.say(key, "same", state.set(f"optimizer.{rule.bounds[key]}", value))


def _batch(state: State, key: str, value: Any) -> None:
    note = "the last, smaller batch of an epoch is learned too"
    if "batch_size" not in state.native.get("sampling", {}):
        state.set("sampling.batch_size", value)
    else:
        note += "; it counts images, and Musket's counts cells"
    state.say(key, "differs", "sampling.batch_size", note)


def _crops(state: State, key: str, value: Any) -> None:
    if value in (None, 1):
        state.say(key, "ignored", note="there is one cell")
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < 2:
        state.refuse(key, "must be a whole number >= 1", got=value, fix="3 cuts an image into 9 cells")
        return
    state.options["slicing"] = "crops"
    state.set("slicing.cells", value)
    note = "folds, batches and augmentations are of whole images, a prediction is the mean over the cells"
    state.say(key, "differs", "slicing.cells", note)
    # Musket's batch size counts cells.
    state.set("sampling.batch_size", max(1, round(int(state.source.get("batch", 8)) / value**2)))


def _max_epoch_size(state: State, key: str, value: Any) -> None:
    if value is None:
        return
    state.options["sampling"] = "subset"
    state.set("sampling.sample_count", int(value) * int(state.source.get("batch", 8)))
    state.say(key, "differs", "sampling.sample_count", "epochs take turns through all images; short sets come again")


def _copy_weights(state: State, key: str, value: Any) -> None:
    channels = (state.source.get("shape") or [0, 0, 3])[-1]
    if state.is_of_masks and channels > 3:
        state.say(key, "differs", "arch.in_chans", "the first layer's weights are spread over all channels")
    elif channels == 3:
        state.say(key, "same", note="nothing to do for three channels")
    elif channels > 3:
        state.say(key, "same", "arch.extra_channels")
    else:
        state.say(key, "differs", "arch.in_chans", "timm's way of fitting the first layer to fewer channels is used")


def _optimizer(state: State) -> None:
    if state.source.get("noTrain"):
        state.options["optimizer"] = "none"
        state.say("noTrain", "same", "optimizer", "nothing is learned: the network as it starts is validated")
        for key in ("optimizer", "lr"):
            if key in state.source:
                state.say(key, "ignored", note="nothing is learned")
        return
    optimizer = state.source.get("optimizer")
    rule = names.OPTIMIZERS.get(str(optimizer).lower())
    if rule is None:
        fix = did_you_mean(str(optimizer), names.OPTIMIZERS, otherwise=f"known: {listing(names.OPTIMIZERS)}")
        state.refuse("optimizer", "is missing" if optimizer is None else "unknown optimizer", got=optimizer, fix=fix)
        return
    state.options["optimizer"] = rule.option
    for key, value in rule.keys.items():
        state.set(f"optimizer.{key}", value)
    state.say("optimizer", "same", "optimizer", "with Keras's own epsilon and momentum")
    rate = state.source.get("lr")
    state.set("optimizer.lr", rule.lr if rate is None else rate)
    state.say("lr", "same", "optimizer.lr", "missing, so Keras's default" if rate is None else "")


def _callbacks_and_stages(state: State) -> None:
    root = callbacks.translated(state, "callbacks", state.source.get("callbacks"))
    if root.callbacks:
        state.options["callbacks"] = list(root.callbacks)
        for name, node in root.callbacks.items():
            for key, value in node.items():
                if key != "_target_":
                    state.set(f"callbacks.{name}.{key}", value)
    state.options["lr_scheduler"] = "none"
    if root.lr_scheduler is not None:
        state.options["lr_scheduler"] = root.lr_scheduler["_target_"].rpartition(".")[2]
        for key, value in root.lr_scheduler.items():
            if key != "_target_":
                state.set(f"lr_scheduler.{key}", value)
    if root.logging is not None:
        state.options["logging"] = "tensorboard"
        for key, value in root.logging.items():
            state.set(f"logging.{key}", value)
    if root.lr is not None and not state.source.get("noTrain"):
        state.set("optimizer.lr", root.lr)
    if state.source.get("stages") or not state.source.get("noTrain"):
        translate_stages(state, root)


def _own_metrics(state: State) -> None:
    """Translate functions of the project's modules that are used as metrics, or monitored by a callback."""
    if state.own_metrics:
        state.options["metrics"] = "own"
        for place, value in {"functions": state.own_metrics, **state.code()}.items():
            state.set(f"metrics.{place}", value)
        if len(state.heads) > 1:
            metric_heads = [
                {"name": f"out{number}", "outputs": size, "activation": activation}
                for number, (activation, size) in enumerate(state.heads)
            ]
            state.set("metrics.heads", metric_heads)


def _tasks(state: State) -> None:
    """Check that `tasks` names functions of the modules, each with a map of its parameters."""
    tasks, home = state.source.get("tasks") or {}, state.home
    can_tell = state.is_whole and not home.makes_names() and not state.imports_elsewhere()
    entries = (
        [tasks] if isinstance(tasks, Mapping) else [{task: None} if isinstance(task, str) else task for task in tasks]
    )
    for entry in entries:
        for name, parameters in entry.items() if isinstance(entry, Mapping) else ():
            if not isinstance(parameters, Mapping | None):
                fix = "for example {predict_test: {data: test}}"
                state.refuse(f"tasks.{name}", "must be a map of the task's parameters", got=parameters, fix=fix)
            if can_tell and not state.is_own(name) and name not in home.assigned():
                known = state.own_names()
                fix = did_you_mean(str(name), known, otherwise=f"there are {listing(known, most=20)}")
                state.refuse(f"tasks.{name}", "no function of the project's modules has this name", fix=fix)
        if not isinstance(entry, Mapping):
            state.refuse("tasks", "must be names of tasks", got=entry, fix="for example {predict_test: {data: test}}")


def _defaults(state: State) -> None:
    """Set Musket's defaults for keys that the file leaves out."""
    state.options.setdefault("augmentations", "none")
    state.native.setdefault("arch", {}).setdefault("pretrained", False)
    if state.options.get("arch") == "timm" and state.native["arch"].get("in_chans", 3) > 3:
        state.set("arch.extra_channels", "copy_last" if state.source.get("copyWeights") else "zero")
    sampling = state.native.setdefault("sampling", {})
    if "batch_size" not in sampling:
        sampling["batch_size"] = 8
        state.say("batch", "same", "sampling.batch_size", "missing, so 8")
    sampling.setdefault("eval_batch_size", 32)
    state.set("mode.nested", False)
    state.set("logging.examples", 16)
    _tasks(state)
    for key, mode in (("num_seeds", "fit"), ("tasks", "task"), ("dumpPredictionsToCSV", "fit")):
        if key in state.source:
            is_of_masks = key == "dumpPredictionsToCSV" and state.is_of_masks
            note = "maps of masks are no tables; mml predict keeps them" if is_of_masks else f"mml {mode} sees to it"
            state.say(key, "ignored", note=note)
    if state.source.get("manualResize"):
        before = state.native.pop("preprocessing", {}).get("before")
        state.options["preprocessing"] = "none"
        if before:
            state.set("preprocessing.before", before)
        state.say("manualResize", "same", "preprocessing", "all images must have one size")
    if "declarations" in state.source:
        state.say("declarations", "same", note="those that preprocessing names are in its place")


_KEYS: dict[str, Callable[[State, str, Any], None]] = {
    "architecture": _architecture,
    "weights": _weights,
    "pooling": _pooling,
    "shape": _shape,
    "input_shape": _shape,
    "augmentation": _augmentation,
    "transforms": _transforms,
    "testTimeAugmentation": _tta,
    "maxEpochSize": _max_epoch_size,
    "crops": _crops,
    "copyWeights": _copy_weights,
    "dropout": _value_handler("arch.drop_rate"),
    "batch": _batch,
    "inference_batch": _value_handler("sampling.eval_batch_size"),
    "clipnorm": _gradient_bound,
    "clipvalue": _gradient_bound,
    "imgaug_lists": _lists,
    "encoder_weights": _weights,
}
