"""Parameter values of imgaug's operations in a file, and native steps made from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlpipe.errors import listing
from mlpipe.names import path_of

Steps = list[dict[str, Any]]
# Reads nested operations.
Inner = Callable[[Any], Steps]
# Parameters without effect on images and masks.
NAMELESS = ("name", "random_state", "seed", "polygon_recoverer")
# Parameters of imgaug that may be null, which is the same as absent.
_MAY_BE_NULL = frozenset({
    "value", "value_hue", "value_saturation", "mul", "mul_hue", "mul_saturation", "translate_percent", "translate_px", "px",
    "percent", "size_px", "size_percent", "min_value", "max_value", "threshold", "upscale_method", "sigmoid_thresh",
    "colorizer",
})  # fmt: skip
# imgaug's colour spaces by name in lower case.
_SPACES = {name.lower(): name for name in ("RGB", "BGR", "GRAY", "HSV", "HLS", "Lab", "Luv", "YCrCb", "YUV", "CIE")}
# cv2's numbers of interpolations by polynomial order; imgaug draws from these.
ORDERS = {0: 0, 1: 1, 3: 2}
# cv2's numbers of border modes.
BORDERS = {"constant": 0, "edge": 1, "symmetric": 2, "wrap": 3, "reflect": 4}
# OpenCV's and SciPy's names for `edge`, which some operations accept.
_ALSO = {"nearest": "edge", "replicate": "edge"}


class WrongError(Exception):
    """A problem with an operation's parameters."""


def one_each(pipelines: list[Steps]) -> Steps:
    """Apply one of several pipelines to each image; return a single pipeline unchanged."""
    return (
        pipelines[0]
        if len(pipelines) == 1
        else [{"_target_": path_of("augmentations", "some_of"), "pipelines": pipelines}]
    )


def one_step(name: str, *, p: float = 1.0, **parameters: Any) -> Steps:
    """Return a transform of albumentations with its parameters and probability."""
    return [{"_target_": f"albumentations.{name}", **parameters, "p": p}]


def by_name(params: Any, *order: str) -> dict[str, Any]:
    """Return parameters by name; a bare value is the first one."""
    if isinstance(params, Mapping):
        unknown = set(map(str, params)) - set(order) - {*NAMELESS, "deterministic"}
        if unknown:
            raise WrongError(f"unknown {listing(sorted(unknown))}, known {listing(order)}")
        if params.get("deterministic"):
            raise WrongError("deterministic would change all images alike, draws are of each image")
        return {str(key): value for key, value in params.items() if value is not None or key not in _MAY_BE_NULL}
    return {} if params is None else {order[0]: params}


def spaces_of(value: Any) -> list[str]:
    """Return the colour spaces for a name, or a list of names."""
    names = value if isinstance(value, list) else [value]
    spaces = [_SPACES.get(str(space_name).lower()) for space_name in names]
    if not spaces or None in spaces:
        raise WrongError(f"a colour space is one of {listing(_SPACES.values())}")
    return [str(space) for space in spaces]


def as_rgb(read: Mapping[str, Any], steps: Steps) -> Steps:
    """Apply steps in RGB to images that are in the colour space `from_colorspace`, if given."""
    (space,) = spaces_of(read.get("from_colorspace", "RGB"))
    if space == "RGB":
        return steps
    return [
        {
            "_target_": "mlpipe.data.augment.random_choices.in_colours",
            "space": "RGB",
            "of": space,
            "pipeline": steps,
        }
    ]


def range_of(value: Any) -> list[float]:
    """Return two bounds from a number or a list of two."""
    ends = value if isinstance(value, list | tuple) and len(value) == 2 else [value, value]
    if not all(map(is_number, ends)):
        raise WrongError("a number or a list of two is needed")
    return [float(min(ends)), float(max(ends))]


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def whether(value: Any) -> bool:
    """Return true or false; a value that imgaug uses as a probability is true if it is positive."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if not is_number(value) or not 0 <= value <= 1:
        raise WrongError("true or false is needed")
    return bool(value > 0)


def whole_number(value: Any) -> int:
    """Return an integer of at least 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WrongError("a whole number >= 1 is needed")
    return value


def whole_range(value: Any, least: int = 1) -> list[int]:
    """Return two integers from one or a list of two."""
    low, high = range_of(value)
    if low != int(low) or high != int(high) or low < least:
        raise WrongError(f"a whole number >= {least} or a list of two is needed")
    return [int(low), int(high)]


def probability(params: Any) -> float:
    """Return the only parameter of an operation, which is its probability."""
    value = by_name(params, "p").get("p", 1.0 if params is None else 0.0)
    if not is_number(value) or not 0 <= value <= 1:
        raise WrongError("a probability from 0 to 1 is needed")
    return float(value)


def axes_of(value: Any) -> Any:
    """Return a range, or one each for x and y."""
    if isinstance(value, Mapping):
        return {str(axis): range_of(item) for axis, item in value.items()}
    return range_of(value)


def pixels_of(value: Any) -> Any:
    """Return a range of integers, or one each for x and y."""
    bounds = axes_of(value)
    if isinstance(bounds, dict):
        return {axis: [int(low), int(high)] for axis, (low, high) in bounds.items()}
    return [int(bounds[0]), int(bounds[1])]


def borders_of(key: str, value: Any) -> list[int]:
    """Return OpenCV's numbers of the border modes to draw from."""
    modes = list(BORDERS) if value == "ALL" else value if isinstance(value, list) else [value]
    modes = [_ALSO.get(str(mode), mode) for mode in modes]
    if not modes or not all(str(mode) in BORDERS for mode in modes):
        raise WrongError(f"{key} must be ALL or one of {listing(BORDERS)}")
    return [BORDERS[str(mode)] for mode in modes]


def orders_of(value: Any) -> list[int]:
    """Return OpenCV's numbers of the interpolations to draw from; a list of orders is not a range."""
    orders = list(ORDERS) if value == "ALL" else value if isinstance(value, list) else [value]
    if not orders or not all(type(order) is int and order in ORDERS for order in orders):
        raise WrongError(f"order must be ALL or one of {listing(ORDERS)}")
    return [ORDERS[order] for order in orders]


def ways_of(read: Mapping[str, Any]) -> list[dict[str, int]]:
    """Return all combinations of the interpolations in `order` and the border modes in `mode`; missing keys are left out."""
    return [
        {**({} if order is None else {"interpolation": order}), **({} if border is None else {"border_mode": border})}
        for order in (orders_of(read["order"]) if "order" in read else [None])
        for border in (borders_of("mode", read["mode"]) if "mode" in read else [None])
    ]


def fill_of(value: Any) -> list[float]:
    """Return the bounds of the fill value outside the image."""
    return [0.0, 255.0] if value == "ALL" else range_of(value)


def filled(name: str, fill: list[float] | None, **values: Any) -> Steps:
    """Return a transform that fills the outside of the image with a number, which may be random."""
    return one_step(name, **values) if fill is None else with_ranges(name, {"fill": fill}, **values)


def with_ranges(name: str, ranges: Mapping[str, list[float]], **fixed: Any) -> Steps:
    """Return a transform that takes numbers where imgaug takes ranges."""
    same = {key: low for key, (low, high) in ranges.items() if low == high}
    others = {key: value for key, value in ranges.items() if key not in same}
    (transform,) = one_step(name, **same, **fixed)
    return (
        [{"_target_": path_of("augmentations", "with_drawn"), "transform": transform, "ranges": others}]
        if others
        else [transform]
    )


def by_chance(share: Any, channel_steps: Steps, shared: Steps) -> Steps:
    """Apply steps per channel to a share of the images, imgaug's `per_channel`, and steps for all channels to the rest."""
    chance = chance_of(share)
    if chance in (0.0, 1.0):
        return channel_steps if chance else shared
    target = path_of("augmentations", "some_of")
    return [{"_target_": target, "pipelines": [channel_steps], "p": chance, "otherwise": shared}]


def chance_of(value: Any) -> float:
    """Return a probability from true, false, or a number."""
    return float(value) if whether(value) else 0.0


def children_of(params: Any, *options: str) -> tuple[Any, Mapping[str, Any]]:
    """Return the nested operations, given directly or as `children`, and the other parameters."""
    key = next((key for key in ("children", "then_list") if isinstance(params, Mapping) and key in params), None)
    if key is None:
        return params, {}
    if unknown := set(map(str, params)) - {key, *options, *NAMELESS}:
        raise WrongError(f"unknown {listing(sorted(unknown))}, known {listing(['children', *options])}")
    return params[key], params
