"""Translation of imgaug's augmentations to transforms of albumentations.

imgaug draws one of the two numbers in a list of two, but Musket's documentation calls such a list a range; here it is a range,
unless the file says `imgaug_lists: choice`.
imgaug always applies an operation that has no probability of its own, so `p` is 1 for these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlpipe.dialects.musket.sections import imgaug_effects
from mlpipe.dialects.musket.sections.imgaug_values import (
    BORDERS,
    NAMELESS,
    Inner,
    Steps,
    WrongError,
    as_rgb,
    axes_of,
    borders_of,
    by_chance,
    by_name,
    chance_of,
    children_of,
    fill_of,
    filled,
    is_number,
    one_each,
    one_step,
    pixels_of,
    probability,
    range_of,
    ways_of,
    whether,
    whole_number,
    with_ranges,
)
from mlpipe.dialects.musket.state import State
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of

_MOST_ALTERNATIVES = 64
# Minimum sigma of albumentations' elastic transform.
_SMOOTH = 1.0
# Module of mlpipe's steps that were added after 0.1.0.
_OWN = "mlpipe.data.augment.random_choices"
# cv2's numbers of interpolations by name.
_INTERPOLATIONS = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3}
# Operations that differ from imgaug's, and the differences.
_DIFFERING = {
    "MotionBlur": "all pixels of the line count alike; direction says where it ends",
    **imgaug_effects.DIFFERING,
    "Rot90": "an image that is no square gets its sides the other way round",
}
# Operations whose `pad_mode: ALL` includes modes that only imgaug has, such as a mean.
_PADDING = ("CropAndPad", "Pad", "PadToFixedSize")
# Names of some first parameters in Musket's own schema.
_FIRST = {
    **dict.fromkeys(("Fliplr", "Flipud", "HorizontalFlip", "VerticalFlip", "Invert"), ("probability", "p")),
    **dict.fromkeys(("Add", "AddElementwise"), ("range", "value")),
    **dict.fromkeys(("Multiply", "MultiplyElementwise"), ("range", "mul")),
    **dict.fromkeys(("Sequential", "OneOf"), ("value", "children")),
}
_CODE = "write it as a function of modules/ that preprocessing names"
# Operations of imgaug that a file cannot fully specify, or that need annotations other than classes and masks.
_NOT_OF_FILES = {
    **dict.fromkeys(("Lambda", "AssertLambda"), ("takes functions, which a file cannot hold", _CODE)),
    "AssertShape": ("only ends a training where images have other shapes", "leave it out"),
    "SaveDebugImageEveryNBatches": (
        "writes files while images are read",
        "mml info mode.subroutines=[sample_grid] shows them",
    ),
    "Voronoi": (
        "takes an object that draws points, which a file cannot hold",
        "use UniformVoronoi or RegularGridVoronoi",
    ),
    "BlendAlphaMask": ("takes an object that draws masks, which a file cannot hold", "use BlendAlphaElementwise"),
    **dict.fromkeys(
        ("BlendAlphaSegMapClassIds", "BlendAlphaBoundingBoxes"),
        ("blends by maps or boxes, not by images", "leave it out"),
    ),
}
# Operations that only change points and boxes, which Musket's images do not have.
_OF_POINTS = ("ClipCBAsToImagePlanes", "RemoveCBAsByOutOfImageFraction")


def pipeline(state: State, key: str, params: Any, place: str = "augmentations.cpu.pipeline") -> Steps:
    """Return the steps for a map (or list of maps) of operations, in order.

    Args:
        state: Collects problems.
        key: The key in the source.
        params: Parameters by operation.
        place: The native key of the steps.
    """
    maps = params if isinstance(params, list) else [params] if params else []
    steps: Steps = []
    for item in maps:
        # An operation without parameters may be a bare name.
        entry = {item: None} if isinstance(item, str) else item
        if not isinstance(entry, Mapping):
            state.refuse(key, "must be a map of operations", got=entry, fix="for example {Fliplr: 0.5}")
            continue
        for name, parameters in entry.items():
            steps += _operation(state, f"{key}.{name}", str(name), parameters, place)
    return steps


def _operation(state: State, key: str, name: str, parameters: Any, place: str) -> Steps:
    known = {operation.lower(): operation for operation in (*_OPERATIONS, *_NESTING)}
    full = known.get(name.lower())
    if refusal := next(
        (reason for operation, reason in _NOT_OF_FILES.items() if operation.lower() == name.lower()), None
    ):
        state.refuse(key, refusal[0], fix=refusal[1])
        return []
    if full is None:
        if name.lower() == "backgroundreplacer":
            wrong = "is not there" if state.is_of_masks else "needs masks, and classes have none"
            state.refuse(key, wrong, fix="leave it out")
            return []
        fix = did_you_mean(name, known.values(), otherwise=f"known: {listing(known.values(), most=50)}")
        state.refuse(key, "there is no such operation here", fix=fix)
        return []
    theirs, first = _FIRST.get(full, ("", ""))
    if isinstance(parameters, Mapping) and theirs in parameters and first not in parameters:
        parameters = {first if option == theirs else option: value for option, value in parameters.items()}
    try:
        if full in _NESTING:
            steps = _NESTING[full](lambda inner: pipeline(state, key, inner, place), parameters)
            if full in _DIFFERING:
                state.say(key, "differs", place, _DIFFERING[full])
            return steps
        if state.source.get("imgaug_lists") == "choice":
            steps = one_each([_OPERATIONS[full](alternative) for alternative in _alternatives(parameters)])
        else:
            steps = _OPERATIONS[full](parameters)
        note = _DIFFERING.get(full, "")
        if full in _PADDING and isinstance(parameters, Mapping) and parameters.get("pad_mode") == "ALL":
            note = f"of imgaug's ways to pad {listing(BORDERS)} are drawn from"
        state.say(key, "differs" if note else "same", place, note)
        return steps
    except (WrongError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        state.refuse(key, f"cannot be read ({error})", got=parameters, fix="see docs/from_musket.md")
        return []


def _alternatives(params: Any) -> list[Any]:
    """Return the alternatives that imgaug draws from: one copy of the parameters for each choice of a number from a list."""
    if isinstance(params, list) and all(isinstance(number, int | float) for number in params):
        return list(params)
    if not isinstance(params, Mapping):
        return [params]
    alternatives: list[dict[str, Any]] = [{}]
    for key, value in params.items():
        alternatives = [{**alternative, key: other} for alternative in alternatives for other in _alternatives(value)]
        if len(alternatives) > _MOST_ALTERNATIVES:
            raise WrongError(f"there are more than {_MOST_ALTERNATIVES} ways to choose")
    return alternatives


def _sequential(inner: Inner, params: Any) -> Steps:
    children, options = children_of(params, "random_order")
    if not whether(options.get("random_order")):
        return inner(children)
    parts = [inner(child) for child in _operation_list(children)]
    return [_several(parts, len(parts), len(parts), options)]


def _several(parts: list[Steps], least: int, most: int, options: Mapping[str, Any]) -> dict[str, Any]:
    shuffled = {"shuffled": True} if whether(options.get("random_order")) else {}
    target = path_of("augmentations", "some_of")
    return {"_target_": target, "pipelines": parts, "least": least, "most": most, **shuffled}


def _one_of(inner: Inner, params: Any) -> Steps:
    # The order of a single operation does not matter.
    children, _ = children_of(params, "random_order")
    return one_each([inner(child) for child in _operation_list(children)])


def _some_of(inner: Inner, params: Any) -> Steps:
    if isinstance(params, Mapping):
        children, options = children_of(params, "n", "random_order")
        count = options.get("n")
    else:
        (count, children), options = params, {}
    parts = [inner(child) for child in _operation_list(children)]
    # Without a number, or with one that is too large, imgaug applies all of them.
    counts = [len(parts)] if count is None else list(count) if isinstance(count, list | tuple) else [count]
    if len(counts) == 2 and counts[1] is None:
        counts[1] = len(parts)
    if (
        len(counts) not in (1, 2)
        or not all(type(number) is int and number >= 0 for number in counts)
        or counts[0] > counts[-1]
    ):
        raise WrongError("a number of operations, or a list of two, is needed")
    least, most = counts[0], counts[-1]
    return [_several(parts, min(least, len(parts)), min(most, len(parts)), options)]


def _sometimes(inner: Inner, params: Any) -> Steps:
    if isinstance(params, Mapping):
        if unknown := set(map(str, params)) - {"p", "then_list", "then", "else_list", *NAMELESS}:
            raise WrongError(f"unknown {listing(sorted(unknown))}, known p, then_list and else_list")
        share, then = params.get("p", 0.5), params.get("then_list", params.get("then"))
        other = params.get("else_list")
    else:
        share, then, other = params if len(params) == 3 else (*params, None)
    if not is_number(share) or not 0 <= share <= 1:
        raise WrongError("a probability from 0 to 1 is needed")
    step: dict[str, Any] = {
        "_target_": path_of("augmentations", "some_of"),
        "pipelines": [inner(then)],
        "p": float(share),
    }
    return [{**step, "otherwise": inner(other)} if other is not None else step]


def _operation_list(children: Any) -> list[Any]:
    """Return the operations to draw from, one by one."""
    return [{name: value} for name, value in children.items()] if isinstance(children, Mapping) else list(children)


def _affine(params: Any) -> Steps:
    keys = (
        *("scale", "translate_percent", "translate_px", "rotate", "shear", "order", "cval", "mode", "fit_output"),
        "backend",
    )
    read = by_name(params, *keys)
    values: dict[str, Any] = {}
    if "scale" in read:
        values["scale"] = axes_of(read["scale"])
        values["keep_ratio"] = not isinstance(read["scale"], Mapping)
    for key, reading in (("translate_percent", axes_of), ("translate_px", pixels_of)):
        if key in read:
            values[key] = reading(read[key])
    if "rotate" in read:
        # imgaug rotates clockwise, albumentations counterclockwise.
        values["rotate"] = [0.0 - bound for bound in reversed(range_of(read["rotate"]))]
    if "shear" in read:
        shear = axes_of(read["shear"])
        values["shear"] = {"x": [0.0, 0.0], "y": [0.0, 0.0]} | (shear if isinstance(shear, dict) else {"x": shear})
        # Along y the direction is reversed, as for rotations.
        values["shear"]["y"] = [0.0 - bound for bound in reversed(values["shear"]["y"])]
    if read.get("backend", "auto") not in ("auto", "cv2", "skimage"):
        raise WrongError("backend must be auto, cv2 or skimage")
    if whether(read.get("fit_output")):
        values["fit_output"] = True
    fill = fill_of(read["cval"]) if "cval" in read else None
    return one_each([filled("Affine", fill, **values, **way) for way in ways_of(read)])


def _part_of_affine(reading: Callable[[Any, Callable[[Any], Steps]], Steps], params: Any) -> Steps:
    return reading(params, _affine)


def _rotate90(params: Any) -> Steps:
    on = whether(by_name(params, "enabled").get("enabled", True))
    return one_step("RandomRotate90") if on else []


def _quarter_turns(params: Any) -> Steps:
    """Rotate clockwise by a number of quarter turns."""
    read = by_name(params, "k", "keep_size")
    turns = read.get("k", 1)
    low, high = (0, 3) if turns == "ALL" else map(int, range_of(turns))
    names = ((), ("Transpose", "HorizontalFlip"), ("HorizontalFlip", "VerticalFlip"), ("Transpose", "VerticalFlip"))
    quarters = dict.fromkeys(number % 4 for number in range(low, high + 1))
    return one_each([[step for name in names[number] for step in one_step(name)] for number in quarters])


def _add(params: Any) -> Steps:
    read = by_name(params, "value", "per_channel")
    low, high = (bound / 255 for bound in range_of(read.get("value", 0)))
    channel_steps = one_step(
        "AdditiveNoise", noise_type="uniform", spatial_mode="constant", noise_params={"ranges": [[low, high]] * 3}
    )
    shared = one_step("RandomBrightnessContrast", brightness_limit=[low, high], contrast_limit=[0.0, 0.0])
    return by_chance(read.get("per_channel"), channel_steps, shared)


def _multiply(params: Any, *, elementwise: bool) -> Steps:
    read = by_name(params, "mul", "per_channel")
    multiplier = range_of(read.get("mul", 1.0))
    channel_steps, shared = (
        one_step("MultiplicativeNoise", multiplier=multiplier, per_channel=per_channel, elementwise=elementwise)
        for per_channel in (True, False)
    )
    return by_chance(read.get("per_channel"), channel_steps, shared)


def _noise(params: Any) -> Steps:
    read = by_name(params, "scale", "loc", "per_channel")
    scale = [bound / 255 for bound in range_of(read.get("scale", 0))]
    mean: dict[str, Any] = {"mean_range": [bound / 255 for bound in range_of(read["loc"])]} if "loc" in read else {}
    channel_steps, shared = (
        one_step("GaussNoise", std_range=scale, **mean, per_channel=per_channel) for per_channel in (True, False)
    )
    return by_chance(read.get("per_channel"), channel_steps, shared)


def _blur(params: Any) -> Steps:
    sigma = range_of(by_name(params, "sigma").get("sigma", 0))
    return one_step("GaussianBlur", blur_limit=0, sigma_limit=sigma)


def _window(name: str) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        low, high = range_of(by_name(params, "k").get("k", 3))
        odd = [max(3, int(low) | 1), max(3, int(high) | 1)]
        return one_step(name, blur_limit=odd)

    return read


def _sharpen(params: Any) -> Steps:
    read = by_name(params, "alpha", "lightness")
    return one_step("Sharpen", alpha=range_of(read.get("alpha", 0)), lightness=range_of(read.get("lightness", 1)))


def _emboss(params: Any) -> Steps:
    read = by_name(params, "alpha", "strength")
    return one_step("Emboss", alpha=range_of(read.get("alpha", 0)), strength=range_of(read.get("strength", 1)))


def _dropout(params: Any) -> Steps:
    read = by_name(params, "p", "per_channel")
    share = {"dropout_prob": range_of(read.get("p", 0))}
    channel_steps, shared = (
        with_ranges("PixelDropout", share, per_channel=per_channel) for per_channel in (True, False)
    )
    return by_chance(read.get("per_channel"), channel_steps, shared)


def _coarse_dropout(params: Any) -> Steps:
    read = by_name(params, "p", "size_percent", "size_px", "per_channel", "min_size")
    if {"size_percent", "size_px"} <= set(read):
        raise WrongError("size_percent and size_px say the same, keep one of them")
    values: dict[str, Any] = {"p": range_of(read.get("p", 0.02)), "size": range_of(read.get("size_percent", 0.1))}
    if "size_px" in read:
        values["cells"] = [int(bound) for bound in range_of(read["size_px"])]
    if "min_size" in read:
        values["least"] = whole_number(read["min_size"])
    return [{"_target_": f"{_OWN}.dropped_cells", **values, "per_channel": chance_of(read.get("per_channel"))}]


def _invert(params: Any) -> Steps:
    read = by_name(params, "p", "per_channel", "min_value", "max_value", "threshold", "invert_above_threshold")
    if absent := [key for key in ("min_value", "max_value", "threshold") if key in read]:
        raise WrongError(f"{listing(absent)} must be null")
    p, per_channel = probability({"p": read.get("p", 1.0)}), chance_of(read.get("per_channel"))
    return (
        [{"_target_": f"{_OWN}.inverted", "p": p, "per_channel": per_channel}]
        if per_channel
        else one_step("InvertImg", p=p)
    )


def _superpixels(params: Any) -> Steps:
    read = by_name(params, "p_replace", "n_segments", "max_size", "interpolation")
    name = str(read.get("interpolation", "linear"))
    if name not in _INTERPOLATIONS:
        raise WrongError(f"interpolation must be one of {listing(_INTERPOLATIONS)}")
    how = {"interpolation": _INTERPOLATIONS[name]} if "interpolation" in read else {}
    low, high = range_of(read.get("n_segments", 100))
    largest = read.get("max_size", 128)
    side = None if largest is None else whole_number(largest)
    return one_step(
        "Superpixels",
        p_replace=range_of(read.get("p_replace", 0)),
        n_segments=[int(low), int(high)],
        max_size=side,
        **how,
    )


def _elastic(params: Any) -> Steps:
    read = by_name(params, "alpha", "sigma", "order", "cval", "mode")
    alpha, sigma = range_of(read.get("alpha", 0)), range_of(read.get("sigma", 0))
    if min(*alpha, *sigma) < 0:
        raise WrongError("numbers >= 0 are needed")
    if sigma[0] < _SMOOTH:
        # albumentations smooths displacements over at least a pixel, which makes them smaller: alpha compensates for it.
        larger = _remaining_noise_share(sum(sigma) / 2) / _remaining_noise_share(_SMOOTH)
        alpha, sigma = [larger * bound for bound in alpha], [max(bound, _SMOOTH) for bound in sigma]
    drawn = {"alpha": alpha, "sigma": sigma, **({"fill": fill_of(read["cval"])} if "cval" in read else {})}
    return one_each(
        [with_ranges("ElasticTransform", drawn, noise_distribution="uniform", **way) for way in ways_of(read)]
    )


def _remaining_noise_share(sigma: float) -> float:
    """Return the share of the standard deviation of white noise in a plane that remains after a Gaussian filter."""
    weights = [math.exp(-((place / max(sigma, 1e-3)) ** 2) / 2) for place in range(-4, 5)]
    return sum(weight**2 for weight in weights) / sum(weights) ** 2


def _grayscale(params: Any) -> Steps:
    read = by_name(params, "alpha", "from_colorspace")
    alpha = range_of(read.get("alpha", 1))
    part = [{"_target_": path_of("augmentations", "gray"), "alpha": alpha}]
    return as_rgb(read, one_step("ToGray") if alpha == [1.0, 1.0] else part)


def _edge_detect(params: Any) -> Steps:
    return [
        {
            "_target_": path_of("augmentations", "edges"),
            "alpha": range_of(by_name(params, "alpha").get("alpha", [0.0, 0.75])),
        }
    ]


def _directed_edges(params: Any) -> Steps:
    read = by_name(params, "alpha", "direction")
    alpha, direction = range_of(read.get("alpha", [0.0, 0.75])), range_of(read.get("direction", [0.0, 1.0]))
    return [{"_target_": path_of("augmentations", "edges"), "alpha": alpha, "direction": direction}]


def _add_elementwise(params: Any) -> Steps:
    read = by_name(params, "value", "per_channel")
    bounds = [bound / 255 for bound in range_of(read.get("value", 0))]
    channel_steps, shared = (
        one_step("AdditiveNoise", noise_type="uniform", spatial_mode=mode, noise_params={"ranges": [bounds] * count})
        for mode, count in (("per_pixel", 3), ("shared", 1))
    )
    return by_chance(read.get("per_channel"), channel_steps, shared)


def _crop_and_pad(params: Any) -> Steps:
    return _sides(params, 1, "pad_mode", "pad_cval")


def _crop(params: Any) -> Steps:
    return _sides(params, -1)


def _sides(params: Any, sign: int, *of_padding: str) -> Steps:
    """Add pixels, or shares of them, to all sides, or to top, right, bottom and left; negative amounts crop."""
    read = by_name(params, "px", "percent", *of_padding, "keep_size", "sample_independently")
    if {"px", "percent"} <= set(read):
        raise WrongError("px and percent say the same, keep one of them")
    key = "percent" if "percent" in read else "px"
    sides, number = read.get(key, 0), float if key == "percent" else int
    is_each = isinstance(sides, list | tuple) and len(sides) == 4
    amounts = [sorted(number(sign * bound) for bound in range_of(side)) for side in (sides if is_each else [sides])]
    are_fixed = all(low == high for low, high in amounts)
    # albumentations excludes the upper bound of integers.
    drawn = [amount[0] if are_fixed else [amount[0], amount[1] + (key == "px")] for amount in amounts]
    values = {key: drawn if is_each else drawn[0], "keep_size": whether(read.get("keep_size", True))}
    if not whether(read.get("sample_independently", True)):
        values["sample_independently"] = False
    return _padded("CropAndPad", read, **values)


def _padded(name: str, read: Mapping[str, Any], **values: Any) -> Steps:
    """Return a transform with the fill mode and value in `pad_mode` and `pad_cval`."""
    fill = fill_of(read["pad_cval"]) if "pad_cval" in read else None
    borders = borders_of("pad_mode", read["pad_mode"]) if "pad_mode" in read else []
    ways = [{"border_mode": border} for border in borders] or [{}]
    return one_each([filled(name, fill, **values, **way) for way in ways])


def _pad_to_size(params: Any) -> Steps:
    read = by_name(params, "width", "height", "pad_mode", "pad_cval", "position")
    return _padded(
        "PadIfNeeded",
        read,
        min_width=whole_number(read["width"]),
        min_height=whole_number(read["height"]),
        position={"uniform": "random", "center": "center"}[_position(read)],
    )


def _crop_to_size(params: Any) -> Steps:
    read = by_name(params, "width", "height", "position")
    name = {"uniform": "RandomCrop", "center": "CenterCrop"}[_position(read)]
    return one_step(name, width=whole_number(read["width"]), height=whole_number(read["height"]), pad_if_needed=True)


def _position(read: Mapping[str, Any]) -> str:
    position = str(read.get("position", "uniform"))
    if position not in ("uniform", "center"):
        raise WrongError("position must be uniform or center")
    return position


def _perspective(params: Any) -> Steps:
    read = by_name(params, "scale", "keep_size", "cval", "mode", "fit_output")
    values: dict[str, Any] = {
        "scale": range_of(read.get("scale", 0)),
        "keep_size": whether(read.get("keep_size", True)),
    }
    if whether(read.get("fit_output")):
        values["fit_output"] = True
    fill = fill_of(read["cval"]) if "cval" in read else None
    return one_each([filled("Perspective", fill, **values, **way) for way in ways_of(read)])


def _piecewise(params: Any) -> Steps:
    read = by_name(params, "scale", "nb_rows", "nb_cols", "order", "cval", "mode", "absolute_scale")
    keys = [key for key in ("nb_rows", "nb_cols") if key in read]
    values: dict[str, Any] = {key: [int(bound) for bound in range_of(read[key])] for key in keys}
    values["scale"] = range_of(read.get("scale", 0))
    if whether(read.get("absolute_scale")):
        values["absolute_scale"] = True
    fill = fill_of(read["cval"]) if "cval" in read else None
    return one_each([filled("PiecewiseAffine", fill, **values, **way) for way in ways_of(read)])


def _contrast(params: Any) -> Steps:
    read = by_name(params, "alpha", "per_channel")
    alpha, per_channel = range_of(read.get("alpha", 1.0)), chance_of(read.get("per_channel"))
    return [{"_target_": f"{_OWN}.linear_contrast", "alpha": alpha, "per_channel": per_channel}]


def _hue(params: Any) -> Steps:
    read = by_name(params, "value", "value_hue", "value_saturation", "per_channel", "from_colorspace")
    apart = {name: range_of(read[f"value_{name}"]) for name in ("hue", "saturation") if f"value_{name}" in read}
    if apart and "value" in read:
        raise WrongError("value is for hue and saturation, keep it or value_hue and value_saturation")
    bounds = apart or {"value": range_of(read.get("value", 0))}
    per_channel = chance_of(read.get("per_channel"))
    return as_rgb(read, [{"_target_": f"{_OWN}.hue_saturation", **bounds, "per_channel": per_channel}])


def _gamma(params: Any) -> Steps:
    read = by_name(params, "gamma", "per_channel")
    bounds, per_channel = range_of(read.get("gamma", 1)), chance_of(read.get("per_channel"))
    if per_channel:
        return [{"_target_": f"{_OWN}.gamma_contrast", "gamma": bounds, "per_channel": per_channel}]
    return one_step("RandomGamma", gamma_limit=[100 * bound for bound in bounds])


def _sigmoid(params: Any) -> Steps:
    read = by_name(params, "gain", "cutoff", "per_channel")
    bounds = {"gain": range_of(read.get("gain", 10)), "cutoff": range_of(read.get("cutoff", 0.5))}
    return [{"_target_": f"{_OWN}.sigmoid_contrast", **bounds, "per_channel": chance_of(read.get("per_channel"))}]


def _logarithm(params: Any) -> Steps:
    read = by_name(params, "gain", "per_channel")
    gain, per_channel = range_of(read.get("gain", 1)), chance_of(read.get("per_channel"))
    return [{"_target_": f"{_OWN}.log_contrast", "gain": gain, "per_channel": per_channel}]


def _motion_blur(params: Any) -> Steps:
    read = by_name(params, "k", "angle", "direction")
    low, high = range_of(read.get("k", 5))
    odd = [max(3, int(low) | 1), max(3, int(high) | 1)]
    angle, direction = _line_of(range_of(read.get("angle", [0, 360])), range_of(read.get("direction", [-1.0, 1.0])))
    return one_step("MotionBlur", blur_limit=odd, angle_range=angle, direction_range=direction, allow_shifted=False)


def _line_of(angle: list[float], direction: list[float]) -> tuple[list[float], list[float]]:
    """Return the angles from 0 to 360 of a motion's line, and the direction along it.

    imgaug's line is vertical at an angle of 0, that of albumentations horizontal. A half turn reverses the direction.
    """
    width = angle[1] - angle[0]
    if width >= 360:
        return [0.0, 360.0], direction
    for half in (False, True):
        first = (angle[0] + (270 if half else 90)) % 360
        if first + width <= 360:
            return [first, first + width], [-bound for bound in reversed(direction)] if half else direction
    raise WrongError("angles must span at most 180 degrees, or all of them")


def _jpeg(params: Any) -> Steps:
    low, high = range_of(by_name(params, "compression").get("compression", 50))
    if not 0 <= low <= high <= 100:
        raise WrongError("compression must be from 0 to 100")
    return one_step("ImageCompression", quality_range=[max(1, round(100 - high)), max(1, round(100 - low))])


def _equalize_channels(params: Any) -> Steps:
    if params is not None and not isinstance(params, Mapping):
        raise WrongError("it has no parameters")
    by_name(params)
    return one_step("Equalize", by_channels=True)


def _resize(params: Any) -> Steps:
    """Resize to sides in pixels, or by a factor for both."""
    is_bare = isinstance(params, Mapping) and "size" not in params and {"height", "width"} & set(params)
    read = {"size": params} if is_bare else by_name(params, "size", "interpolation")
    size, name = read["size"], str(read.get("interpolation", "cubic"))
    if name not in _INTERPOLATIONS:
        raise WrongError(f"interpolation must be one of {listing(_INTERPOLATIONS)}")
    how = {"interpolation": _INTERPOLATIONS[name]}
    if isinstance(size, Mapping):
        if set(size) != {"height", "width"}:
            raise WrongError("height and width are needed")
        return one_step("Resize", height=whole_number(size["height"]), width=whole_number(size["width"]), **how)
    if type(size) is int:
        return one_step("Resize", height=whole_number(size), width=whole_number(size), **how)
    bounds = range_of(size)
    if (type(size) is not float and not all(type(side) is float for side in size)) or bounds[0] <= 0:
        raise WrongError("a whole number, height and width, or a share above 0 is needed")
    return one_step("RandomScale", scale_limit=[bound - 1 for bound in bounds], **how)


_OPERATIONS: dict[str, Callable[[Any], Steps]] = {
    **dict.fromkeys(("Fliplr", "HorizontalFlip"), lambda given: one_step("HorizontalFlip", p=probability(given))),
    **dict.fromkeys(("Flipud", "VerticalFlip"), lambda given: one_step("VerticalFlip", p=probability(given))),
    "Affine": _affine,
    "Rotate90": _rotate90,
    "Rot90": _quarter_turns,
    "Add": _add,
    "AddElementwise": _add_elementwise,
    "CoarseDropout": _coarse_dropout,
    "EdgeDetect": _edge_detect,
    "DirectedEdgeDetect": _directed_edges,
    "PerspectiveTransform": _perspective,
    "Multiply": lambda given: _multiply(given, elementwise=False),
    "MultiplyElementwise": lambda given: _multiply(given, elementwise=True),
    "Invert": _invert,
    "AdditiveGaussianNoise": _noise,
    "Grayscale": _grayscale,
    "GaussianBlur": _blur,
    "AverageBlur": _window("Blur"),
    "MedianBlur": _window("MedianBlur"),
    "Sharpen": _sharpen,
    "Emboss": _emboss,
    "Dropout": _dropout,
    "PiecewiseAffine": _piecewise,
    "ElasticTransformation": _elastic,
    "CropAndPad": _crop_and_pad,
    "Pad": _crop_and_pad,
    "Crop": _crop,
    "PadToFixedSize": _pad_to_size,
    "CropToFixedSize": _crop_to_size,
    "ContrastNormalization": _contrast,
    "LinearContrast": _contrast,
    "Superpixels": _superpixels,
    "AddToHueAndSaturation": _hue,
    "GammaContrast": _gamma,
    "SigmoidContrast": _sigmoid,
    "LogContrast": _logarithm,
    "MotionBlur": _motion_blur,
    "JpegCompression": _jpeg,
    "AllChannelsHistogramEqualization": _equalize_channels,
    "Resize": _resize,
    "Scale": _resize,
    **dict.fromkeys(("Noop", "Identity", *_OF_POINTS), lambda given: []),
    **{name: partial(_part_of_affine, reading) for name, reading in imgaug_effects.AFFINE.items()},
    **imgaug_effects.OPERATIONS,
}
_NESTING: dict[str, Callable[[Inner, Any], Steps]] = {
    "Sequential": _sequential,
    "OneOf": _one_of,
    "SomeOf": _some_of,
    "Sometimes": _sometimes,
    **imgaug_effects.NESTING,
}
