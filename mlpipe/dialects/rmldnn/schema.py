"""rmldnn's schema: the keys and values in its documentation page; every problem is listed at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rules import Block, Chosen, Rule, flag, many, mapping, maybe, number, text, whole, word
from mlpipe.errors import problem

TYPES = ("mnist", "images", "labels", "numpy", "hdf5", "pde", "boxes")
_POSITIVE, _SHARE, _BELOW_1 = number(above=0), number(least=0), number(least=0, below=1)
_SGD: dict[str, Rule] = {
    "momentum": _SHARE, "weight_decay": _SHARE, "dampening": _SHARE, "nesterov": flag,
}  # fmt: skip
_ADAM: dict[str, Rule] = {
    "beta1": _BELOW_1, "beta2": _BELOW_1, "weight_decay": _SHARE, "eps": _POSITIVE, "amsgrad": flag,
}  # fmt: skip
# Keys of each optimizer, in addition to type, learning_rate and lr_scheduler.
OPTIMIZERS: dict[str, dict[str, Rule]] = {
    "SGD": _SGD,
    "Adagrad": {"lr_decay": _SHARE, "weight_decay": _SHARE},
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "RMSprop": {
        "momentum": _SHARE, "alpha": _BELOW_1, "eps": _POSITIVE, "centered": flag, "weight_decay": _SHARE,
    },
    "LARS": {**_SGD, "eta": _POSITIVE},
    "LAMB": _ADAM,
    "Hessian": {
        "max_iterations": whole(1), "max_func_eval": whole(1), "absolute_tolerance": _SHARE,
        "relative_tolerance": _SHARE,
    },
}  # fmt: skip
SCHEDULES: dict[str, Block] = {
    name: Block({"type": text, **required}, {"verbose": flag, **optional})
    for name, required, optional in (
        ("Step", {"step_size": whole(1)}, {"gamma": _POSITIVE}),
        ("MultiStep", {"milestones": many(whole(1), least=1)}, {"gamma": _POSITIVE}),
        ("Exponential", {"gamma": _POSITIVE}, {}),
        ("Warmup", {"num_epochs": whole(1), "start_factor": number(above=0, most=1)}, {}),
    )
}


def _weights(key: str, value: Any) -> list[str]:
    """Accept a weight for each class, at least one of which is not 0."""
    sentences = many(_SHARE, least=1)(key, value)
    if not sentences and not any(value):
        fix = "give one of them a number > 0"
        sentences.append(problem(key, "no class has a weight", got=value, fix=fix))
    return sentences


def _alpha(key: str, value: Any) -> list[str]:
    """Accept one weight for all classes, or a list of them as for `weight`."""
    return _weights(key, value) if isinstance(value, list) else maybe(_SHARE)(key, value)


_SOURCE: dict[str, Rule] = {"source": word("sigmoid", "softmax", "log_softmax")}
_OVERLAP: dict[str, Rule] = {**_SOURCE, "eps": _POSITIVE, "weight": _weights}
LOSSES: dict[str, dict[str, Rule]] = {
    "nll": {**_SOURCE, "weight": _weights, "ignore_index": whole(-100)},
    "bce": _SOURCE,
    "mse": _SOURCE,
    "Dice": _OVERLAP,
    "Jaccard": _OVERLAP,
    "Focal": {**_SOURCE, "gamma": _SHARE, "alpha": _alpha, "weight": _weights},
    "Lovasz": _SOURCE,
    "Wasserstein": {},
    "YOLOv3": {},
    "Burgers_pde": {"diffusion_coeff": _SHARE, "boundary_factor": _SHARE},
    "Poisson2D_pde": {},
    "Poisson3D_pde": {},
}
_PIXELS = many(whole(1), least=2)
# Parameters of each transform.
TRANSFORMS: dict[str, Rule] = {
    "resize": _PIXELS,
    "center_crop": _PIXELS,
    "jitter_crop": _SHARE,
    "random_horizontal_flip": _SHARE,
    "random_vertical_flip": _SHARE,
    "random_zoom": _SHARE,
    "rotate": number(),
    "random_rotate": _SHARE,
    "convert_color": text,
    "normalize": Block({}, {"mean": number(), "std": _POSITIVE}),
    "random_patches": Block({"number": whole(1), "size": whole(1)}, {}),
}


def transforms(key: str, value: Any) -> list[str]:
    """Accept a list of mappings with one transform each."""
    if not isinstance(value, list):
        return [problem(key, "must be a list", got=value, fix='write it as [{"resize": [64, 64]}, ...]')]
    sentences = []
    for index, item in enumerate(value):
        place = f"{key}[{index}]"
        if not isinstance(item, Mapping) or len(item) != 1:
            sentences.append(problem(place, "must be one transform", got=item, fix='for example {"rotate": 90}'))
        else:
            sentences += Block({}, TRANSFORMS)(place, item)
    return sentences


_SLICER = Block(
    {"sizes": many(whole(1), least=1)},
    {
        "name": text,
        "padding": many(whole(0), least=1),
        **dict.fromkeys(("padded_sizes", "strides"), many(whole(1), least=1)),
        **dict.fromkeys(("discard_remainders", "transpose"), flag),
    },
)
_DATA = Block(
    {},
    {
        **{key: word(*TYPES) for key in ("type", "input_type", "target_type")},
        **dict.fromkeys(("input_path", "target_path", "test_input_path", "test_target_path"), text),
        **dict.fromkeys(("test_output_path", "hdf5_outfile", "training_tag", "testing_tag", "test_tag"), text),
        **dict.fromkeys(("batch_size", "test_batch_size"), whole(1)),
        **dict.fromkeys(("preload", "target_is_mask", "grayscale", "input_grayscale", "target_grayscale"), flag),
        **dict.fromkeys(("transforms", "input_transforms", "target_transforms"), transforms),
        "slicers": many(_SLICER, least=1),
        "hdf5_precision": word("single", "half"),
        "hdf5_layout": word("channels_last", "channels_first"),
        **dict.fromkeys(("num_examples", "num_test_examples", "domain_size"), whole(1)),
        "bc_frequency": many(number(), least=2),
        "bc_type": word("random_uniform", "fixed_uniform"),
    },
)
_CHECKPOINTS = Block({}, {"save": text, "interval": whole(1), "load": text})


def _block_of_type(kinds: Mapping[str, Mapping[str, Rule]], key: str, common: Mapping[str, Rule]) -> Rule:
    """Accept a block whose other keys depend on one of them."""

    def block(value: Any) -> Block:
        kind = named(str(value.get(key)), kinds) if isinstance(value, Mapping) else ""
        return Block({key: word(*kinds)}, {**common, **kinds.get(kind, {})}, is_open=kind not in kinds)

    return Chosen(block)


def named(value: str, options: Mapping[str, Any]) -> str:
    """Return the option that a string means in any case; the string itself if there is none."""
    return next((option for option in options if option.lower() == value.lower()), value)


def _layers(key: str, value: Any) -> list[str]:
    """Accept a file, the layers themselves, or a whole network of Keras."""
    if isinstance(value, str | Mapping) or (
        isinstance(value, list) and any(isinstance(item, str | list) for item in value)
    ):
        # Lists of files, or of lists, are several networks, which the loss must support.
        return []
    return many(mapping, least=1)(key, value)


def _schedule(value: Any) -> Block:
    kind = named(str(value.get("type")), SCHEDULES) if isinstance(value, Mapping) else ""
    return SCHEDULES.get(kind) or Block({"type": word(*SCHEDULES)}, {}, is_open=True)


ROOT = Block(
    {
        "neural_network": Block(
            {"layers": _layers, "data": _DATA},
            {
                "outfile": text,
                "num_epochs": whole(0),
                "debug": flag,
                "debug_interval": whole(1),
                "checkpoints": _CHECKPOINTS,
                "optimizer": _block_of_type(
                    OPTIMIZERS, "type", {"learning_rate": _POSITIVE, "lr_scheduler": Chosen(_schedule)}
                ),
                "loss": _block_of_type(LOSSES, "function", {}),
            },
        )
    },
    {},
)


def problems(source: Mapping[str, Any], *, lenient: bool) -> tuple[list[str], list[str]]:
    """Return a sentence for every problem of a file, and the sentences for unknown keys that are allowed.

    Args:
        source: The content of the file.
        lenient: Allow unknown keys.
    """
    sentences = ROOT("", source)
    if not lenient:
        return sentences, []
    passed = ROOT.strangers("", source)
    return [sentence for sentence in sentences if sentence not in passed], passed
