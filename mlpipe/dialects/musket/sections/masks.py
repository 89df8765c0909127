"""Networks, losses and metrics for masks, by their Musket names."""

from __future__ import annotations

from typing import Any

from mlpipe.dialects import names
from mlpipe.dialects.musket.state import State
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of

# Default backbone of segmentation_models.
_BACKBONE = "vgg16"
# Encoders that halve images unevenly, and the decoders that support them.
_UNEVEN: dict[str, tuple[str, ...]] = {
    "inceptionv3": (),
    "inceptionresnetv2": (),
    "xception": ("unet", "pspnet"),
    "nasnetlarge": ("unet", "pspnet", "fpn"),
}
# Losses -> the term of loss=composite.
LOSSES: dict[str, str] = {
    **dict.fromkeys(("binary_crossentropy", "log_loss"), "ce"),
    **dict.fromkeys(("categorical_crossentropy", "sparse_categorical_crossentropy"), "ce"),
    **dict.fromkeys(("dice_loss", "dice"), "dice"),
    **dict.fromkeys(("jaccard_loss", "jaccard", "iou_loss", "iou"), "jaccard"),
    "lovasz_loss": "lovasz",
    "focal_loss": "focal",
}
# Decoder by its option of arch -> its keys in Musket, with the only supported value, which is Musket's default.
_DECODERS: dict[str, dict[str, Any]] = {
    "unet": {
        "decoder_block_type": "upsampling", "decoder_filters": [256, 128, 64, 32, 16], "n_upsample_blocks": 5,
        "upsample_rates": [2, 2, 2, 2, 2], "use_batchnorm": True,
    },
    "fpn": {
        "pyramid_block_filters": 256, "segmentation_block_filters": 128, "upsample_rates": [2, 2, 2], "last_upsample": 4,
        "interpolation": "bilinear", "use_batchnorm": True,
    },
    "linknet": {
        "n_upsample_blocks": 5, "upsample_layer": "upsampling", "upsample_kernel_size": [3, 3], "use_batchnorm": True,
    },
    "pspnet": {
        "downsample_factor": 8, "psp_conv_filters": 512, "psp_pooling_type": "avg", "use_batchnorm": True,
        "final_interpolation": "bilinear",
    },
}  # fmt: skip
_OVER = "of the pixels of a batch together, the mean over all classes that they have, the background included"
_NOTES = {
    "dice": f"1 - the soft Dice {_OVER}; Musket's has a value for each pixel",
    "jaccard": f"1 - the soft intersection over union {_OVER}; Musket's is smoothed with 100",
    "lovasz": f"of the softmax's errors {_OVER}; Musket's is a hinge of each image",
    "focal": "the cross-entropy times (1 - p) squared (Lin et al. 2017), the mean over pixels",
}
_NATIVE = ("dice", "iou", "pixel_accuracy", "foreground_dice", "foreground_iou", "image_dice")
# Means over images, which Musket computes at the end: its name -> ours without the selected classes.
_AT_THRESHOLDS = "with_custom_treshold_"
_OF_IMAGES = {
    f"{measure}_{way}true_negative_is_{word}": f"image_{measure}_empty_{word}"
    for measure in ("dice", "iou", "map10")
    for way in ("", _AT_THRESHOLDS)
    for word in ("zero", "one", "skip")
}
_ACCURACIES = ("binary_accuracy", "categorical_accuracy", "accuracy", "acc")
_IOU = ("iou", "iou_coef", "iot", "jaccard")
# Keys without meaning for masks, or not supported, and what to do.
_NOT_OF_MASKS = {
    "transforms": ("changes images only, before their resize", "use augmentation, which moves masks too"),
    "crops": ("cells of images are for classes", "use a smaller shape, or random crops in augmentation"),
    "dropout": ("is for networks of classes", "leave it out"),
    "pooling": ("is for networks of classes", "leave it out"),
}


def check(state: State) -> None:
    """Check that `classes` and `activation` are valid for masks, and that no key without meaning for masks is used."""
    classes, activation = state.source.get("classes"), state.source.get("activation")
    if isinstance(classes, list) or isinstance(activation, list):
        fix = "give one number of classes and one activation"
        state.refuse("classes", "masks have one head", got=classes, fix=fix)
    elif state.activation == "sigmoid" and isinstance(classes, int) and classes > 1:
        wrong = f"a sigmoid over {classes} classes means masks that overlap, which are not learned here"
        state.refuse("activation", wrong, fix="use softmax, and count the background as a class")
    elif state.activation not in ("sigmoid", "softmax"):
        fix = "use sigmoid with one class, softmax with several"
        state.refuse("activation", "gives no probabilities of masks", got=activation, fix=fix)
    elif classes == 1:
        note = "background and foreground have a logit each, whose softmax is the sigmoid of their difference"
        state.say("classes", "differs", "task.outputs", note)
    else:
        state.say("classes", "same", "task.outputs")
    state.say("activation", "same", "task.kind")
    for key, (wrong, fix) in _NOT_OF_MASKS.items():
        if state.source.get(key) not in (None, 1):
            state.refuse(key, f"{wrong}, and masks are learned here", got=state.source[key], fix=fix)
    if state.is_own(state.source.get("testTimeAugmentation")):
        fix = "use Horizontal, Horizontal_and_vertical or true"
        state.refuse("testTimeAugmentation", "what a function does to an image cannot be undone on its mask", fix=fix)


def architecture(state: State, key: str, value: Any) -> None:
    """Translate a decoder with one of Musket's backbones.

    Args:
        state: The state of the translation.
        key: The key in the source.
        value: The decoder, a name in `names.SEGMENTERS` in any case.
    """
    state.options["arch"] = names.SEGMENTERS[str(value).lower()]
    note = "the decoder of segmentation-models-pytorch on timm's network; pixels are normalised as its weights need it"
    state.say(key, "differs", "arch", note)
    backbone = state.source.get("backbone")
    name = _BACKBONE if backbone is None else str(backbone).lower()
    if name not in names.BACKBONES:
        fix = did_you_mean(name, names.BACKBONES, otherwise=f"known: {listing(names.BACKBONES, most=30)}")
        state.refuse("backbone", "unknown backbone", got=backbone, fix=fix)
        return
    decoder = state.options["arch"]
    if decoder not in _UNEVEN.get(name, (decoder,)):
        wrong = f"gives features whose sizes do not fit {value}"
        state.refuse("backbone", wrong, got=backbone, fix="use another one, for example resnet34")
        return
    _decoder(state)
    network, tag = names.BACKBONES[name]
    wants = _wants_weights(state)
    if wants and not tag:
        state.refuse("encoder_weights", f"there are none for {backbone}", fix="use encoder_weights: null")
    state.set("arch.encoder", f"{network}.{tag}" if wants and tag else network)
    state.set("arch.pretrained", wants)
    state.say(
        "backbone", "differs", "arch.encoder", f"missing, so {_BACKBONE}" if backbone is None else "timm's network"
    )


def decoder_keys(state: State) -> tuple[str, ...]:
    """Return the keys of the file that are parameters of its decoder."""
    option = names.SEGMENTERS.get(str(state.source.get("architecture")).lower(), "")
    return tuple(_DECODERS.get(option, {}))


def _decoder(state: State) -> None:
    """Check the parameters of the decoder, which must have Musket's default values."""
    for key, usual in _DECODERS[state.options["arch"]].items():
        if key in state.source and state.source[key] != usual:
            state.refuse(key, "this decoder has another one", got=state.source[key], fix=f"leave it out: it is {usual}")
        elif key in state.source:
            state.say(key, "same", "arch")


def _wants_weights(state: State) -> bool:
    """Return whether the encoder starts from ImageNet weights, which is the default of segmentation_models."""
    weights = [state.source[key] for key in ("encoder_weights", "weights") if key in state.source]
    if not weights:
        state.say("encoder_weights", "same", "arch.pretrained", "missing, so imagenet")
    return any(value is not None for value in weights) or not weights


def native_term(state: State, key: str, word: str) -> str | None:
    """Return the term of `loss=composite` for a loss of masks; note a problem if there is none.

    Args:
        state: The state of the translation.
        key: The key in the source.
        word: Musket's name.
    """
    term = LOSSES.get(word.lower())
    if term is None:
        is_known = state.is_own(word) or word.lower() in names.LOSSES
        fix = did_you_mean(word, LOSSES, otherwise=f"for masks there are {listing(LOSSES, most=20)}")
        state.refuse(key, "is no loss of masks here" if is_known else "unknown loss", got=word, fix=fix)
        return None
    is_categorical = "categorical" in word.lower()
    if is_categorical and state.activation == "sigmoid":
        wrong = f"{word} needs probabilities of another activation than sigmoid"
        state.refuse(key, wrong, fix="use binary_crossentropy")
        return None
    note = _NOTES.get(term, "")
    if term == "ce" and not is_categorical and state.activation == "softmax":
        note = f"{word} of a softmax is the cross-entropy of each pixel's class here, not a question for each class"
    if note and not any((line.key, line.note) == (key, note) for line in state.lines):
        state.say(key, "differs", "loss", note)
    return term


def component(expression: str) -> dict[str, Any]:
    """Return the native loss of an expression; a single term is a loss of its own.

    Args:
        expression: Terms of `loss=composite`.
    """
    if expression in ("ce", "focal", "dice", "jaccard", "lovasz"):
        return {"_target_": path_of("loss", expression)}
    return {"_target_": path_of("loss", "composite"), "expression": expression}


def metrics(state: State) -> dict[str, str]:
    """Return native metrics by Musket's names; with one class overlaps are those of the foreground."""
    of_foreground = "foreground_" if state.activation == "sigmoid" else ""
    return {
        **{name: name for name in _NATIVE},
        **dict.fromkeys(_ACCURACIES, "pixel_accuracy"),
        **dict.fromkeys(("dice", "dice_coef"), f"{of_foreground}dice"),
        **dict.fromkeys(_IOU, f"{of_foreground}iou"),
        **{name: f"{of_foreground}{native}" for name, native in _OF_IMAGES.items()},
    }


def metric(state: State, key: str, name: str) -> str | None:
    """Return the native name of a metric; note a problem if there is none.

    Args:
        state: The state of the translation.
        key: The key in the source.
        name: Musket's name, without `val_` and `_holdout`.
    """
    table = metrics(state)
    native = table.get(name.lower())
    if native is None:
        fix = did_you_mean(name, table, otherwise=f"for masks there are {listing(table, most=20)}")
        is_known = state.is_own(name) or any(name.lower() in other_table for other_table in names.METRICS.values())
        state.refuse(key, "is no metric of masks here" if is_known else "unknown metric", got=name, fix=fix)
    elif _AT_THRESHOLDS in name.lower():
        note = "of the class of each pixel, at a threshold of 0.5; Musket takes the best of a hundred thresholds"
        state.say(key, "differs", "metrics", note)
    elif name.lower() in _IOU:
        note = "intersection over union of predicted and true pixels; Musket's iou is another, soft overlap"
        if not any(line.note == note for line in state.lines):
            state.say(key, "differs", "metrics", note)
    return native
