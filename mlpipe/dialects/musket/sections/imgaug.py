"""Augmentations that are named as in imgaug, as transforms of albumentations.

imgaug draws from a list of two numbers one of the two, but Musket's documents call it a range; a range is what it is here,
unless the file says `imgaug_lists: choice`.
Every operation of imgaug happens always unless it has a probability of its own, so `p` is 1 wherever imgaug has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlpipe.dialects.musket.state import State
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of

Steps = list[dict[str, Any]]
# Reads operations inside of one.
Inner = Callable[[Any], Steps]
_MOST_ALTERNATIVES = 64
# The least sigma of albumentations' elastic transform.
_SMOOTH = 1.0
# Where steps of mlpipe that came after 0.1.0 are.
_OWN = "mlpipe.data.augment.random_choices"
# What says nothing about an operation.
_NAMELESS = ("name", "random_state")
# cv2's numbers of interpolations, by the order of their polynomials; imgaug draws from these.
_ORDERS = {0: 0, 1: 1, 3: 2}
# cv2's numbers of border modes.
_BORDERS = {"constant": 0, "edge": 1, "symmetric": 2, "wrap": 3, "reflect": 4}
# cv2's numbers of interpolations, by their names.
_INTERPOLATIONS = {"nearest": 0, "linear": 1, "cubic": 2, "area": 3}
# Operations that are not quite imgaug's, and how they differ.
_DIFFERING = {
    "MotionBlur": "all pixels of the line count alike; direction says where it ends",
    **dict.fromkeys(("SaltAndPepper", "Salt", "Pepper"), "changed pixels are white or black, not nearly so"),
    "Rot90": "an image that is no square gets its sides the other way round",
    "HistogramEqualization": "what is equalized is Y of YCrCb, not L of Lab",
}
# Those whose `pad_mode: ALL` has ways of imgaug's own too, such as a mean.
_PADDING = ("CropAndPad", "Pad", "PadToFixedSize")


class _WrongError(Exception):
    """A problem with an operation's parameters."""


def pipeline(state: State, key: str, params: Any, place: str = "augmentations.cpu.pipeline") -> Steps:
    """The steps that a map (or list of maps) of operations means, in its order.

    Args:
        state: Notes what is wrong.
        key: Where it stands in the source.
        params: Operations to parameters.
        place: The native key that they go to.
    """
    maps = params if isinstance(params, list) else [params] if params else []
    steps: Steps = []
    for entry in maps:
        if not isinstance(entry, Mapping):
            state.refuse(key, "must be a map of operations", got=entry, fix="for example {Fliplr: 0.5}")
            continue
        for name, parameters in entry.items():
            steps += _operation(state, f"{key}.{name}", str(name), parameters, place)
    return steps


def _operation(state: State, key: str, name: str, parameters: Any, place: str) -> Steps:
    known = {one.lower(): one for one in (*_OPERATIONS, *_NESTING)}
    full = known.get(name.lower())
    if full is None:
        if name.lower() == "backgroundreplacer":
            wrong = "is not there" if state.is_of_masks else "needs masks, and classes have none"
            state.refuse(key, wrong, fix="leave it out")
            return []
        fix = did_you_mean(name, known.values(), otherwise=f"known: {listing(known.values(), most=50)}")
        state.refuse(key, "there is no such operation here", fix=fix)
        return []
    try:
        if full in _NESTING:
            return _NESTING[full](lambda inner: pipeline(state, key, inner, place), parameters)
        if state.source.get("imgaug_lists") == "choice":
            found = _one_each([_OPERATIONS[full](one) for one in _alternatives(parameters)])
        else:
            found = _OPERATIONS[full](parameters)
        note = _DIFFERING.get(full, "")
        if full in _PADDING and isinstance(parameters, Mapping) and parameters.get("pad_mode") == "ALL":
            note = f"of imgaug's ways to pad {listing(_BORDERS)} are drawn from"
        state.say(key, "differs" if note else "same", place, note)
        return found
    except (_WrongError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        state.refuse(key, f"cannot be read ({error})", got=parameters, fix="see docs/from_musket.md")
        return []


def _alternatives(params: Any) -> list[Any]:
    """Alternatives that imgaug draws from: parameters in which each list of numbers is one of them."""
    if isinstance(params, list) and all(isinstance(one, int | float) for one in params):
        return list(params)
    if not isinstance(params, Mapping):
        return [params]
    found: list[dict[str, Any]] = [{}]
    for key, value in params.items():
        found = [{**one, key: other} for one in found for other in _alternatives(value)]
        if len(found) > _MOST_ALTERNATIVES:
            raise _WrongError(f"there are more than {_MOST_ALTERNATIVES} ways to choose")
    return found


def _one_each(pipelines: list[Steps]) -> Steps:
    """One of several pipelines for each image; the only one as it is."""
    return (
        pipelines[0]
        if len(pipelines) == 1
        else [{"_target_": path_of("augmentations", "some_of"), "pipelines": pipelines}]
    )


def _sequential(inner: Inner, params: Any) -> Steps:
    return inner(_children(params)[0])


def _one_of(inner: Inner, params: Any) -> Steps:
    children, _ = _children(params)
    return _one_each([inner(child) for child in _apart(children)])


def _some_of(inner: Inner, params: Any) -> Steps:
    if isinstance(params, Mapping):
        children, options = _children(params, "n")
        count = options.get("n")
    else:
        count, children = params
    parts = [inner(child) for child in _apart(children)]
    # Without a number imgaug takes all of them, and so it does where the number is larger.
    given = [len(parts)] if count is None else list(count) if isinstance(count, list | tuple) else [count]
    if len(given) == 2 and given[1] is None:
        given[1] = len(parts)
    if len(given) not in (1, 2) or not all(type(one) is int and one >= 0 for one in given) or given[0] > given[-1]:
        raise _WrongError("a number of operations, or a list of two, is needed")
    least, most = given[0], given[-1]
    bounds = {"least": min(least, len(parts)), "most": min(most, len(parts))}
    return [{"_target_": path_of("augmentations", "some_of"), "pipelines": parts, **bounds}]


def _sometimes(inner: Inner, params: Any) -> Steps:
    if isinstance(params, Mapping):
        if unknown := set(map(str, params)) - {"p", "then_list", "then", "else_list", *_NAMELESS}:
            raise _WrongError(f"unknown {listing(sorted(unknown))}, known p, then_list and else_list")
        share, then = params.get("p", 0.5), params.get("then_list", params.get("then"))
        other = params.get("else_list")
    else:
        share, then, other = params if len(params) == 3 else (*params, None)
    if not _is_number(share) or not 0 <= share <= 1:
        raise _WrongError("a probability from 0 to 1 is needed")
    found: dict[str, Any] = {
        "_target_": path_of("augmentations", "some_of"),
        "pipelines": [inner(then)],
        "p": float(share),
    }
    return [{**found, "otherwise": inner(other)} if other is not None else found]


def _children(params: Any, *options: str) -> tuple[Any, Mapping[str, Any]]:
    """The operations inside of one, written as they are or as `children`, and what else it says."""
    key = next((key for key in ("children", "then_list") if isinstance(params, Mapping) and key in params), None)
    if key is None:
        return params, {}
    if unknown := set(map(str, params)) - {key, "random_order", *options, *_NAMELESS}:
        raise _WrongError(f"unknown {listing(sorted(unknown))}, known {listing(['children', *options])}")
    if _whether(params.get("random_order")):
        raise _WrongError("random_order is not there, operations are in the order of the file")
    return params[key], params


def _apart(children: Any) -> list[Any]:
    """Operations of which some are drawn, one by one."""
    return [{name: value} for name, value in children.items()] if isinstance(children, Mapping) else list(children)


def _step(name: str, *, p: float = 1.0, **parameters: Any) -> Steps:
    return [{"_target_": f"albumentations.{name}", **parameters, "p": p}]


def _named(params: Any, *order: str) -> dict[str, Any]:
    """Parameters by name; a bare value is the first one."""
    if isinstance(params, Mapping):
        unknown = set(map(str, params)) - set(order) - {*_NAMELESS, "deterministic"}
        if unknown:
            raise _WrongError(f"unknown {listing(sorted(unknown))}, known {listing(order)}")
        if params.get("deterministic"):
            raise _WrongError("deterministic would change all images alike, draws are of each image")
        return {str(key): value for key, value in params.items()}
    return {} if params is None else {order[0]: params}


def _range(value: Any) -> list[float]:
    """Two bounds from a number or a list of two."""
    ends = value if isinstance(value, list | tuple) and len(value) == 2 else [value, value]
    if not all(map(_is_number, ends)):
        raise _WrongError("a number or a list of two is needed")
    return [float(min(ends)), float(max(ends))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whether(value: Any) -> bool:
    """True or false; what imgaug takes for the chance of it is true where there is any."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if not _is_number(value) or not 0 <= value <= 1:
        raise _WrongError("true or false is needed")
    return bool(value > 0)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _WrongError("a whole number >= 1 is needed")
    return value


def _chance(params: Any) -> float:
    value = _named(params, "p").get("p", 1.0 if params is None else 0.0)
    if not _is_number(value) or not 0 <= value <= 1:
        raise _WrongError("a probability from 0 to 1 is needed")
    return float(value)


def _axes(value: Any) -> Any:
    """A range, or one for x and y each."""
    if isinstance(value, Mapping):
        return {str(axis): _range(item) for axis, item in value.items()}
    return _range(value)


def _pixels(value: Any) -> Any:
    found = _axes(value)
    if isinstance(found, dict):
        return {axis: [int(low), int(high)] for axis, (low, high) in found.items()}
    return [int(found[0]), int(found[1])]


def _affine(params: Any) -> Steps:
    keys = (
        *("scale", "translate_percent", "translate_px", "rotate", "shear", "order", "cval", "mode", "fit_output"),
        "backend",
    )
    read = _named(params, *keys)
    values: dict[str, Any] = {}
    if "scale" in read:
        values["scale"] = _axes(read["scale"])
        values["keep_ratio"] = not isinstance(read["scale"], Mapping)
    for key, reading in (("translate_percent", _axes), ("translate_px", _pixels)):
        if key in read:
            values[key] = reading(read[key])
    if "rotate" in read:
        values["rotate"] = _range(read["rotate"])
    if "shear" in read:
        shear = _axes(read["shear"])
        values["shear"] = {"x": [0.0, 0.0], "y": [0.0, 0.0]} | (shear if isinstance(shear, dict) else {"x": shear})
    if read.get("backend", "auto") not in ("auto", "cv2", "skimage"):
        raise _WrongError("backend must be auto, cv2 or skimage")
    if _whether(read.get("fit_output")):
        values["fit_output"] = True
    fill = _fill(read["cval"]) if "cval" in read else None
    ways = [
        {**({} if order is None else {"interpolation": order}), **({} if border is None else {"border_mode": border})}
        for order in (_orders(read["order"]) if "order" in read else [None])
        for border in (_borders("mode", read["mode"]) if "mode" in read else [None])
    ]
    return _one_each([_filled("Affine", fill, **values, **way) for way in ways])


def _borders(key: str, value: Any) -> list[int]:
    """OpenCV's number of each border mode that is drawn from."""
    modes = list(_BORDERS) if value == "ALL" else value if isinstance(value, list) else [value]
    if not modes or not all(str(one) in _BORDERS for one in modes):
        raise _WrongError(f"{key} must be ALL or one of {listing(_BORDERS)}")
    return [_BORDERS[str(one)] for one in modes]


def _orders(value: Any) -> list[int]:
    """OpenCV's number of each interpolation that is drawn from; a list of orders is none of a range."""
    orders = list(_ORDERS) if value == "ALL" else value if isinstance(value, list) else [value]
    if not orders or not all(type(one) is int and one in _ORDERS for one in orders):
        raise _WrongError(f"order must be ALL or one of {listing(_ORDERS)}")
    return [_ORDERS[one] for one in orders]


def _fill(value: Any) -> list[float]:
    """Between which bounds what comes from outside is drawn."""
    return [0.0, 255.0] if value == "ALL" else _range(value)


def _filled(name: str, fill: list[float] | None, **values: Any) -> Steps:
    """A transform that fills what comes from outside with a number that may be drawn."""
    return _step(name, **values) if fill is None else _drawn(name, {"fill": fill}, **values)


def _rotate90(params: Any) -> Steps:
    on = _whether(_named(params, "enabled").get("enabled", True))
    return _step("RandomRotate90") if on else []


def _quarter_turns(params: Any) -> Steps:
    """Turns by a number of quarters with the clock."""
    read = _named(params, "k", "keep_size")
    low, high = map(int, _range(read.get("k", 1)))
    names = ((), ("Transpose", "HorizontalFlip"), ("HorizontalFlip", "VerticalFlip"), ("Transpose", "VerticalFlip"))
    quarters = dict.fromkeys(number % 4 for number in range(low, high + 1))
    return _one_each([[step for name in names[number] for step in _step(name)] for number in quarters])


def _add(params: Any) -> Steps:
    read = _named(params, "value", "per_channel")
    low, high = (bound / 255 for bound in _range(read.get("value", 0)))
    each = _step(
        "AdditiveNoise", noise_type="uniform", spatial_mode="constant", noise_params={"ranges": [[low, high]] * 3}
    )
    shared = _step("RandomBrightnessContrast", brightness_limit=[low, high], contrast_limit=[0.0, 0.0])
    return _by_chance(read.get("per_channel"), each, shared)


def _multiply(params: Any, *, elementwise: bool) -> Steps:
    read = _named(params, "mul", "per_channel")
    multiplier = _range(read.get("mul", 1.0))
    each, shared = (
        _step("MultiplicativeNoise", multiplier=multiplier, per_channel=one, elementwise=elementwise)
        for one in (True, False)
    )
    return _by_chance(read.get("per_channel"), each, shared)


def _noise(params: Any) -> Steps:
    read = _named(params, "scale", "loc", "per_channel")
    scale = [bound / 255 for bound in _range(read.get("scale", 0))]
    mean: dict[str, Any] = {"mean_range": [bound / 255 for bound in _range(read["loc"])]} if "loc" in read else {}
    each, shared = (_step("GaussNoise", std_range=scale, **mean, per_channel=one) for one in (True, False))
    return _by_chance(read.get("per_channel"), each, shared)


def _blur(params: Any) -> Steps:
    sigma = _range(_named(params, "sigma").get("sigma", 0))
    return _step("GaussianBlur", blur_limit=0, sigma_limit=sigma)


def _window(name: str) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        low, high = _range(_named(params, "k").get("k", 3))
        odd = [max(3, int(low) | 1), max(3, int(high) | 1)]
        return _step(name, blur_limit=odd)

    return read


def _sharpen(params: Any) -> Steps:
    read = _named(params, "alpha", "lightness")
    return _step("Sharpen", alpha=_range(read.get("alpha", 0)), lightness=_range(read.get("lightness", 1)))


def _emboss(params: Any) -> Steps:
    read = _named(params, "alpha", "strength")
    return _step("Emboss", alpha=_range(read.get("alpha", 0)), strength=_range(read.get("strength", 1)))


def _drawn(name: str, ranges: Mapping[str, list[float]], **fixed: Any) -> Steps:
    """A transform that takes numbers where imgaug takes ranges."""
    same = {key: low for key, (low, high) in ranges.items() if low == high}
    others = {key: value for key, value in ranges.items() if key not in same}
    (made,) = _step(name, **same, **fixed)
    return (
        [{"_target_": path_of("augmentations", "with_drawn"), "transform": made, "ranges": others}]
        if others
        else [made]
    )


def _dropout(params: Any) -> Steps:
    read = _named(params, "p", "per_channel")
    share = {"dropout_prob": _range(read.get("p", 0))}
    each, shared = (_drawn("PixelDropout", share, per_channel=one) for one in (True, False))
    return _by_chance(read.get("per_channel"), each, shared)


def _coarse_dropout(params: Any) -> Steps:
    read = _named(params, "p", "size_percent", "size_px", "per_channel", "min_size")
    if {"size_percent", "size_px"} <= set(read):
        raise _WrongError("size_percent and size_px say the same, keep one of them")
    values: dict[str, Any] = {"p": _range(read.get("p", 0.02)), "size": _range(read.get("size_percent", 0.1))}
    if "size_px" in read:
        values["cells"] = [int(bound) for bound in _range(read["size_px"])]
    if "min_size" in read:
        values["least"] = _whole(read["min_size"])
    return [{"_target_": f"{_OWN}.dropped_cells", **values, "per_channel": _share(read.get("per_channel"))}]


def _invert(params: Any) -> Steps:
    read = _named(params, "p", "per_channel")
    p, each = _chance({"p": read.get("p", 1.0)}), _share(read.get("per_channel"))
    return [{"_target_": f"{_OWN}.inverted", "p": p, "per_channel": each}] if each else _step("InvertImg", p=p)


def _by_chance(share: Any, each: Steps, shared: Steps) -> Steps:
    """Steps of channels by themselves for a share of the images, which imgaug calls `per_channel`, and of all for the rest."""
    chance = _share(share)
    if chance in (0.0, 1.0):
        return each if chance else shared
    target = path_of("augmentations", "some_of")
    return [{"_target_": target, "pipelines": [each], "p": chance, "otherwise": shared}]


def _share(value: Any) -> float:
    """What imgaug takes for a chance: true or false, or a number."""
    return float(value) if _whether(value) else 0.0


def _superpixels(params: Any) -> Steps:
    read = _named(params, "p_replace", "n_segments", "max_size")
    low, high = _range(read.get("n_segments", 100))
    largest = read.get("max_size", 128)
    side = None if largest is None else _whole(largest)
    return _step(
        "Superpixels", p_replace=_range(read.get("p_replace", 0)), n_segments=[int(low), int(high)], max_size=side
    )


def _elastic(params: Any) -> Steps:
    read = _named(params, "alpha", "sigma")
    alpha, sigma = _range(read.get("alpha", 0)), _range(read.get("sigma", 0))
    if min(*alpha, *sigma) < 0:
        raise _WrongError("numbers >= 0 are needed")
    if sigma[0] < _SMOOTH:
        # albumentations smooths displacements over a pixel at least, which makes them smaller: alpha makes up for it.
        larger = _remaining(sum(sigma) / 2) / _remaining(_SMOOTH)
        alpha, sigma = [larger * bound for bound in alpha], [max(bound, _SMOOTH) for bound in sigma]
    return _drawn("ElasticTransform", {"alpha": alpha, "sigma": sigma}, noise_distribution="uniform")


def _remaining(sigma: float) -> float:
    """The share of the standard deviation of independent numbers in a plane that a Gaussian filter leaves."""
    weights = [math.exp(-((place / max(sigma, 1e-3)) ** 2) / 2) for place in range(-4, 5)]
    return sum(one**2 for one in weights) / sum(weights) ** 2


def _grayscale(params: Any) -> Steps:
    alpha = _range(_named(params, "alpha").get("alpha", 1))
    return _step("ToGray") if alpha == [1.0, 1.0] else [{"_target_": path_of("augmentations", "gray"), "alpha": alpha}]


def _edge_detect(params: Any) -> Steps:
    return [
        {
            "_target_": path_of("augmentations", "edges"),
            "alpha": _range(_named(params, "alpha").get("alpha", [0.0, 0.75])),
        }
    ]


def _directed_edges(params: Any) -> Steps:
    read = _named(params, "alpha", "direction")
    alpha, direction = _range(read.get("alpha", [0.0, 0.75])), _range(read.get("direction", [0.0, 1.0]))
    return [{"_target_": path_of("augmentations", "edges"), "alpha": alpha, "direction": direction}]


def _add_elementwise(params: Any) -> Steps:
    read = _named(params, "value", "per_channel")
    bounds = [bound / 255 for bound in _range(read.get("value", 0))]
    each, shared = (
        _step("AdditiveNoise", noise_type="uniform", spatial_mode=mode, noise_params={"ranges": [bounds] * count})
        for mode, count in (("per_pixel", 3), ("shared", 1))
    )
    return _by_chance(read.get("per_channel"), each, shared)


def _crop_and_pad(params: Any) -> Steps:
    return _sides(params, 1, "pad_mode", "pad_cval")


def _crop(params: Any) -> Steps:
    return _sides(params, -1)


def _sides(params: Any, sign: int, *of_padding: str) -> Steps:
    """Pixels, or shares of them, added to all sides, or to top, right, bottom and left; a crop is a negative amount."""
    read = _named(params, "px", "percent", *of_padding, "keep_size", "sample_independently")
    if {"px", "percent"} <= set(read):
        raise _WrongError("px and percent say the same, keep one of them")
    key = "percent" if "percent" in read else "px"
    given, number = read.get(key, 0), float if key == "percent" else int
    is_each = isinstance(given, list | tuple) and len(given) == 4
    amounts = [sorted(number(sign * bound) for bound in _range(one)) for one in (given if is_each else [given])]
    are_fixed = all(low == high for low, high in amounts)
    # albumentations leaves the upper bound of whole numbers out.
    drawn = [one[0] if are_fixed else [one[0], one[1] + (key == "px")] for one in amounts]
    values = {key: drawn if is_each else drawn[0], "keep_size": _whether(read.get("keep_size", True))}
    if not _whether(read.get("sample_independently", True)):
        values["sample_independently"] = False
    return _padded("CropAndPad", read, **values)


def _padded(name: str, read: Mapping[str, Any], **values: Any) -> Steps:
    """A transform with what `pad_mode` and `pad_cval` say of what is added."""
    fill = _fill(read["pad_cval"]) if "pad_cval" in read else None
    borders = _borders("pad_mode", read["pad_mode"]) if "pad_mode" in read else []
    ways = [{"border_mode": border} for border in borders] or [{}]
    return _one_each([_filled(name, fill, **values, **way) for way in ways])


def _pad_to_size(params: Any) -> Steps:
    read = _named(params, "width", "height", "pad_mode", "pad_cval", "position")
    return _padded(
        "PadIfNeeded",
        read,
        min_width=_whole(read["width"]),
        min_height=_whole(read["height"]),
        position={"uniform": "random", "center": "center"}[_position(read)],
    )


def _crop_to_size(params: Any) -> Steps:
    read = _named(params, "width", "height", "position")
    name = {"uniform": "RandomCrop", "center": "CenterCrop"}[_position(read)]
    return _step(name, width=_whole(read["width"]), height=_whole(read["height"]), pad_if_needed=True)


def _position(read: Mapping[str, Any]) -> str:
    given = str(read.get("position", "uniform"))
    if given not in ("uniform", "center"):
        raise _WrongError("position must be uniform or center")
    return given


def _perspective(params: Any) -> Steps:
    read = _named(params, "scale", "keep_size")
    return _step("Perspective", scale=_range(read.get("scale", 0)), keep_size=_whether(read.get("keep_size", True)))


def _piecewise(params: Any) -> Steps:
    read = _named(params, "scale", "nb_rows", "nb_cols")
    keys = [key for key in ("nb_rows", "nb_cols") if key in read]
    grid: dict[str, Any] = {key: [int(bound) for bound in _range(read[key])] for key in keys}
    return _step("PiecewiseAffine", scale=_range(read.get("scale", 0)), **grid)


def _contrast(params: Any) -> Steps:
    read = _named(params, "alpha", "per_channel")
    alpha, each = _range(read.get("alpha", 1.0)), _share(read.get("per_channel"))
    return [{"_target_": f"{_OWN}.linear_contrast", "alpha": alpha, "per_channel": each}]


def _hue(params: Any) -> Steps:
    read = _named(params, "value", "value_hue", "value_saturation", "per_channel")
    apart = {name: _range(read[f"value_{name}"]) for name in ("hue", "saturation") if f"value_{name}" in read}
    if apart and "value" in read:
        raise _WrongError("value is for hue and saturation, keep it or value_hue and value_saturation")
    bounds = apart or {"value": _range(read.get("value", 0))}
    return [{"_target_": f"{_OWN}.hue_saturation", **bounds, "per_channel": _share(read.get("per_channel"))}]


def _gamma(params: Any) -> Steps:
    read = _named(params, "gamma", "per_channel")
    bounds, each = _range(read.get("gamma", 1)), _share(read.get("per_channel"))
    if each:
        return [{"_target_": f"{_OWN}.gamma_contrast", "gamma": bounds, "per_channel": each}]
    return _step("RandomGamma", gamma_limit=[100 * bound for bound in bounds])


def _sigmoid(params: Any) -> Steps:
    read = _named(params, "gain", "cutoff", "per_channel")
    bounds = {"gain": _range(read.get("gain", 10)), "cutoff": _range(read.get("cutoff", 0.5))}
    return [{"_target_": f"{_OWN}.sigmoid_contrast", **bounds, "per_channel": _share(read.get("per_channel"))}]


def _logarithm(params: Any) -> Steps:
    read = _named(params, "gain", "per_channel")
    gain, each = _range(read.get("gain", 1)), _share(read.get("per_channel"))
    return [{"_target_": f"{_OWN}.log_contrast", "gain": gain, "per_channel": each}]


def _motion_blur(params: Any) -> Steps:
    read = _named(params, "k", "angle", "direction")
    low, high = _range(read.get("k", 5))
    odd = [max(3, int(low) | 1), max(3, int(high) | 1)]
    # imgaug's line stands upright at an angle of 0, that of albumentations lies.
    angle = [90 + bound for bound in _range(read.get("angle", [0, 360]))]
    direction = _range(read.get("direction", [-1.0, 1.0]))
    return _step("MotionBlur", blur_limit=odd, angle_range=angle, direction_range=direction, allow_shifted=False)


def _salt_and_pepper(share: float) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        amount = _range(_named(params, "p").get("p", 0))
        return _step("SaltAndPepper", amount=amount, salt_vs_pepper=[share, share])

    return read


def _jpeg(params: Any) -> Steps:
    low, high = _range(_named(params, "compression").get("compression", 50))
    if not 0 <= low <= high <= 100:
        raise _WrongError("compression must be from 0 to 100")
    return _step("ImageCompression", quality_range=[max(1, round(100 - high)), max(1, round(100 - low))])


def _clahe(params: Any) -> Steps:
    read = _named(params, "clip_limit", "tile_grid_size_px")
    side = _whole(read.get("tile_grid_size_px", 8))
    return _step("CLAHE", clip_limit=_range(read.get("clip_limit", 40)), tile_grid_size=[side, side])


def _equalize(*, by_channels: bool) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        if params is not None and not isinstance(params, Mapping):
            raise _WrongError("it has no parameters")
        _named(params)
        return _step("Equalize", by_channels=by_channels)

    return read


def _resize(params: Any) -> Steps:
    """Sides in pixels, or a share of both."""
    is_bare = isinstance(params, Mapping) and "size" not in params and {"height", "width"} & set(params)
    read = {"size": params} if is_bare else _named(params, "size", "interpolation")
    size, name = read["size"], str(read.get("interpolation", "cubic"))
    if name not in _INTERPOLATIONS:
        raise _WrongError(f"interpolation must be one of {listing(_INTERPOLATIONS)}")
    how = {"interpolation": _INTERPOLATIONS[name]}
    if isinstance(size, Mapping):
        if set(size) != {"height", "width"}:
            raise _WrongError("height and width are needed")
        return _step("Resize", height=_whole(size["height"]), width=_whole(size["width"]), **how)
    if type(size) is int:
        return _step("Resize", height=_whole(size), width=_whole(size), **how)
    bounds = _range(size)
    if (type(size) is not float and not all(type(one) is float for one in size)) or bounds[0] <= 0:
        raise _WrongError("a whole number, height and width, or a share above 0 is needed")
    return _step("RandomScale", scale_limit=[bound - 1 for bound in bounds], **how)


_OPERATIONS: dict[str, Callable[[Any], Steps]] = {
    "Fliplr": lambda given: _step("HorizontalFlip", p=_chance(given)),
    "Flipud": lambda given: _step("VerticalFlip", p=_chance(given)),
    "Affine": _affine,
    "Rotate90": _rotate90,
    "Rot90": _quarter_turns,
    "Add": _add,
    "AddElementwise": _add_elementwise,
    "CoarseDropout": _coarse_dropout,
    "EdgeDetect": _edge_detect,
    "DirectedEdgeDetect": _directed_edges,
    "PerspectiveTransform": _perspective,
    "ChannelShuffle": lambda given: _step("ChannelShuffle", p=_chance(given)),
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
    "SaltAndPepper": _salt_and_pepper(0.5),
    "Salt": _salt_and_pepper(1.0),
    "Pepper": _salt_and_pepper(0.0),
    "JpegCompression": _jpeg,
    "CLAHE": _clahe,
    "HistogramEqualization": _equalize(by_channels=False),
    "AllChannelsHistogramEqualization": _equalize(by_channels=True),
    "Resize": _resize,
    "Scale": _resize,
    "Noop": lambda given: [],
}
_NESTING: dict[str, Callable[[Inner, Any], Steps]] = {
    "Sequential": _sequential,
    "OneOf": _one_of,
    "SomeOf": _some_of,
    "Sometimes": _sometimes,
}
