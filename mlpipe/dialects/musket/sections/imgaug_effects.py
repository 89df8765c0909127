"""Operations of imgaug that albumentations lacks: colour spaces, noise, pooling, weather, blends of two versions of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlpipe.dialects.musket.sections.imgaug_values import (
    BORDERS,
    Inner,
    Steps,
    WrongError,
    as_rgb,
    by_name,
    chance_of,
    children_of,
    fill_of,
    filled,
    is_number,
    one_each,
    one_step,
    probability,
    range_of,
    spaces_of,
    whether,
    whole_number,
    whole_range,
)
from mlpipe.errors import listing
from mlpipe.names import path_of

_OWN = "mlpipe.data.augment.pixel_changes"
_CHOICES = "mlpipe.data.augment.random_choices"
_GEOMETRY = "mlpipe.data.augment.geometry"
_STYLES = "mlpipe.data.augment.styles"
_NOISE = "the noise is of the same kind and sizes, its values are drawn in another way"
# Operations that differ from imgaug's, and the differences.
DIFFERING = {
    "RandAugment": "torchvision's augmentations, as many and as strong",
    **dict.fromkeys(("SimplexNoiseAlpha", "FrequencyNoiseAlpha", "Fog", "Clouds", "CloudLayer"), _NOISE),
    **dict.fromkeys(("BlendAlphaSimplexNoise", "BlendAlphaFrequencyNoise"), _NOISE),
    "WithHueAndSaturation": "hue ends at 0 and 255, where imgaug goes round",
    **dict.fromkeys(("Snowflakes", "SnowflakesLayer", "Rain", "RainLayer"), _NOISE),
    "Canny": "edges and ground have one colour each, the size of the Sobel filter is 3",
    "KMeansColorQuantization": "clusters begin with colours of the image",
}


def _own(name: str, **parameters: Any) -> Steps:
    return [{"_target_": f"{_OWN}.{name}", **parameters}]


def _change_space(params: Any) -> Steps:
    read = by_name(params, "to_colorspace", "from_colorspace", "alpha")
    if "to_colorspace" not in read:
        raise WrongError("to_colorspace is needed")
    (of,) = spaces_of(read.get("from_colorspace", "RGB"))
    alpha = range_of(read.get("alpha", 1.0))
    return _own("colour_space", to=spaces_of(read["to_colorspace"]), of=of, alpha=alpha)


# imgaug's colour spaces with a brightness channel, and its number.
_BRIGHTNESS = {"YCrCb": 0, "HSV": 2, "HLS": 1, "Lab": 0, "Luv": 0, "YUV": 0}


def _brightness_spaces(value: Any) -> list[str]:
    names = spaces_of(list(_BRIGHTNESS) if value is None else value)
    if not set(names) <= set(_BRIGHTNESS):
        raise WrongError(f"to_colorspace must be one of {listing(_BRIGHTNESS)}")
    return names


def _even_lightness(params: Any) -> Steps:
    if params is not None and not isinstance(params, Mapping):
        raise WrongError("it has no number")
    read = by_name(params, "from_colorspace", "to_colorspace")
    (of,), (space,) = (
        spaces_of(read.get("from_colorspace", "RGB")),
        _brightness_spaces(read.get("to_colorspace", "Lab")),
    )
    return _own("even_lightness", space=space, of=of)


def _clahe(params: Any) -> Steps:
    """Equalise the contrast of lightness in tiles; imgaug passes its tile size to OpenCV as the number of tiles."""
    read = by_name(
        params, "clip_limit", "tile_grid_size_px", "tile_grid_size_px_min", "from_colorspace", "to_colorspace"
    )
    (of,), (space,) = (
        spaces_of(read.get("from_colorspace", "RGB")),
        _brightness_spaces(read.get("to_colorspace", "Lab")),
    )
    clip = range_of(read.get("clip_limit", 40))
    return _own("even_lightness", space=space, of=of, clip=clip, tiles=_tiles(read))


def _tiles(read: Mapping[str, Any]) -> list[int]:
    least = whole_number(read.get("tile_grid_size_px_min", 3))
    return [max(least, count) for count in whole_range(read.get("tile_grid_size_px", 8))]


def _with_brightness(inner: Inner, params: Any) -> Steps:
    children, read = children_of(params, "to_colorspace", "from_colorspace")
    return _on_brightness(read, inner(children))


def _on_brightness(read: Mapping[str, Any], steps: Steps) -> Steps:
    """Apply steps to the brightness channel of one of the colour spaces in a file."""
    (of,) = spaces_of(read.get("from_colorspace", "RGB"))
    ways: list[Steps] = []
    for space in _brightness_spaces(read.get("to_colorspace")):
        part = {"_target_": f"{_CHOICES}.on_channels", "channels": [_BRIGHTNESS[space]], "pipeline": steps}
        ways.append([{"_target_": f"{_CHOICES}.in_colours", "space": space, "of": of, "pipeline": [part]}])
    return one_each(ways)


def _brightness(*keys: str) -> Callable[[Inner, Any], Steps]:
    """Multiply the brightness by a number, and add another one, as far as the operation has them."""
    usual: dict[str, Any] = {"mul": [0.7, 1.3], "add": [-30, 30]}
    order = ("random_order",) if len(keys) > 1 else ()

    def read(inner: Inner, params: Any) -> Steps:
        settings = by_name(params, *keys, "to_colorspace", "from_colorspace", *order)
        names = {"mul": "Multiply", "add": "Add"}
        children = [{names[key]: settings.get(key, usual[key])} for key in keys]
        if order:
            children = [{"Sequential": {"children": children, "random_order": settings.get("random_order", True)}}]
        return _on_brightness(settings, inner(children))

    return read


def _shuffled_channels(params: Any) -> Steps:
    read = by_name(params, "p", "channels")
    step = one_step("ChannelShuffle", p=probability({"p": read.get("p", 1.0)}))
    if read.get("channels") is None:
        return step
    return _with_channels(lambda _: step, {"channels": read["channels"], "children": None})


def _clahe_of_channels(params: Any) -> Steps:
    read = by_name(params, "clip_limit", "tile_grid_size_px", "tile_grid_size_px_min", "per_channel")
    clip = range_of(read.get("clip_limit", 40))
    return _own("even_tiles", clip=clip, tiles=_tiles(read), per_channel=chance_of(read.get("per_channel")))


def _posterize(params: Any) -> Steps:
    read = by_name(params, "nb_bits", "from_colorspace", "to_colorspace", "max_size", "interpolation")
    if read.get("max_size") is not None:
        raise WrongError("max_size must be null: colours are looked for in the image as it is")
    bits, of = whole_range(read.get("nb_bits", [1, 8])), read.get("from_colorspace", "RGB")
    step = one_step("Posterize", num_bits=bits)
    if read.get("to_colorspace") is None:
        return as_rgb(read, step)
    ways = [_with_space(lambda _: step, {"to_colorspace": space, "from_colorspace": of, "children": None})
            for space in spaces_of(read["to_colorspace"])]  # fmt: skip
    return one_each(ways)


def _total_dropout(params: Any) -> Steps:
    share = probability(params)
    black = _own("replaced_pixels", p=[1.0, 1.0], by="range", values=[0.0, 0.0])
    return [{"_target_": path_of("augmentations", "some_of"), "pipelines": [black], "p": share}]


def _dropped_channels(params: Any) -> Steps:
    read = by_name(params, "p", "nb_keep_channels")
    share, count = range_of(read.get("p", 0.1)), read.get("nb_keep_channels", 1)
    if type(count) is not int or count < 0:
        raise WrongError("nb_keep_channels must be a whole number")
    return _own("dropped_channels", p=share, kept=count)


def _with_space(inner: Inner, params: Any) -> Steps:
    children, read = children_of(params, "to_colorspace", "from_colorspace")
    if "to_colorspace" not in read:
        raise WrongError("to_colorspace is needed")
    (space,), (of,) = spaces_of(read["to_colorspace"]), spaces_of(read.get("from_colorspace", "RGB"))
    return [{"_target_": f"{_CHOICES}.in_colours", "space": space, "of": of, "pipeline": inner(children)}]


def _with_channels(inner: Inner, params: Any) -> Steps:
    children, read = children_of(params, "channels")
    setting = read.get("channels")
    if setting is None:
        return inner(children)
    channels = setting if isinstance(setting, list) else [setting]
    if not channels or not all(type(channel) is int and channel >= 0 for channel in channels):
        raise WrongError("channels must be numbers from 0")
    return [{"_target_": f"{_CHOICES}.on_channels", "channels": channels, "pipeline": inner(children)}]


def _with_hue(inner: Inner, params: Any) -> Steps:
    children, read = children_of(params, "from_colorspace")
    (of,) = spaces_of(read.get("from_colorspace", "RGB"))
    both = {"_target_": f"{_CHOICES}.on_channels", "channels": [0, 1], "pipeline": inner(children)}
    return [{"_target_": f"{_CHOICES}.in_colours", "space": "HSV_FULL", "of": of, "pipeline": [both]}]


def _times_hue(params: Any) -> Steps:
    read = by_name(params, "mul", "mul_hue", "mul_saturation", "per_channel", "from_colorspace")
    names = {"hue": "mul_hue", "saturation": "mul_saturation"}
    apart: dict[str, Any] = {name: range_of(read[key]) for name, key in names.items() if key in read}
    if apart and "mul" in read:
        raise WrongError("mul is for hue and saturation, keep it or mul_hue and mul_saturation")
    factors = apart or {"factor": range_of(read.get("mul", 1.0))}
    return as_rgb(read, _own("times_hue_saturation", **factors, per_channel=chance_of(read.get("per_channel"))))


def _one_of_both(name: str, key: str, default: list[float], step: str, *, less: bool = False) -> Callable[[Any], Steps]:
    """Change hue or saturation alone; with `less` the factor is 1 minus the value."""

    def read(params: Any) -> Steps:
        settings = by_name(params, key, "from_colorspace")
        low, high = range_of(settings.get(key, default))
        return as_rgb(settings, [{"_target_": step, name: [1 - high, 1 - low] if less else [low, high]}])

    return read


def _bilateral(params: Any) -> Steps:
    read = by_name(params, "d", "sigma_color", "sigma_space")
    wide = {name: range_of(read.get(name, [10, 250])) for name in ("sigma_color", "sigma_space")}
    return _own("bilateral_blur", d=range_of(read.get("d", 1)), **wide)


def _mean_shift(params: Any) -> Steps:
    read = by_name(params, "spatial_radius", "color_radius")
    spatial, colour = (range_of(read.get(name, [5.0, 40.0])) for name in ("spatial_radius", "color_radius"))
    return _own("mean_shift_blur", spatial=spatial, colour=colour)


def _convolve(params: Any) -> Steps:
    matrix = params.get("matrix") if isinstance(params, Mapping) else params
    if isinstance(params, Mapping):
        by_name(params, "matrix")
    if matrix is None:
        return []
    if not isinstance(matrix, list) or not all(isinstance(row, list) for row in matrix):
        raise WrongError("matrix must have rows of numbers")
    return _own("convolved", matrix=[[float(number) for number in row] for row in matrix])


def _laplace(params: Any) -> Steps:
    read = by_name(params, "scale", "loc", "per_channel")
    scale, loc = range_of(read.get("scale", 0)), range_of(read.get("loc", 0))
    return _own("added_noise", of="laplace", scale=scale, loc=loc, per_channel=chance_of(read.get("per_channel")))


def _poisson(params: Any) -> Steps:
    read = by_name(params, "lam", "per_channel")
    scale, chance = range_of(read.get("lam", 0)), chance_of(read.get("per_channel"))
    return _own("added_noise", of="poisson", scale=scale, per_channel=chance)


def _replaced(by: str, *, coarse: bool = False, each: bool = False) -> Callable[[Any], Steps]:
    """Make pixels, or coarse cells, nearly white or black; `each`: for each channel separately."""

    def read(params: Any) -> Steps:
        sizes = ("size_px", "size_percent", "min_size") if coarse else ()
        settings = by_name(params, "p", *sizes, *(() if each else ("per_channel",)))
        values: dict[str, Any] = {"p": range_of(settings.get("p", 0.02 if coarse else 0)), "by": by}
        if coarse and {"size_px", "size_percent"} <= set(settings):
            raise WrongError("size_percent and size_px say the same, keep one of them")
        if "size_px" in settings:
            values["cells"] = whole_range(settings["size_px"])
        elif coarse:
            values["size"] = range_of(settings.get("size_percent", 0.1))
        if "min_size" in settings:
            values["least"] = whole_number(settings["min_size"])
        return _own("replaced_pixels", **values, per_channel=1.0 if each else chance_of(settings.get("per_channel")))

    return read


def _replace_elementwise(params: Any) -> Steps:
    read = by_name(params, "mask", "replacement", "per_channel")
    if not {"mask", "replacement"} <= set(read):
        raise WrongError("mask and replacement are needed")
    values, chance = range_of(read["replacement"]), chance_of(read.get("per_channel"))
    return _own("replaced_pixels", p=range_of(read["mask"]), by="range", values=values, per_channel=chance)


def _pooling(of: str) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        settings = by_name(params, "kernel_size", "keep_size")
        if not whether(settings.get("keep_size", True)):
            raise WrongError("keep_size must be true: all images are resized behind it in any case")
        return _own("pooled", of=of, size=whole_range(settings.get("kernel_size", 2)))

    return read


def _quantization(by: str) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        settings = by_name(params, "n_colors", "from_colorspace", "to_colorspace", "max_size", "interpolation")
        usual = ["RGB", "Lab"] if by == "kmeans" else ["RGB"]
        to = spaces_of(settings.get("to_colorspace") or usual)
        most = settings.get("max_size", 128 if by == "kmeans" else None)
        count = whole_range(settings.get("n_colors", [2, 16]), 2)
        largest = None if most is None else whole_number(most)
        return as_rgb(settings, _own("fewer_colours", count=count, by=by, to=to, most=largest))

    return read


def _cutout(params: Any) -> Steps:
    read = by_name(params, "nb_iterations", "size", "squared", "cval", "fill_mode", "position", "fill_per_channel")
    if read.get("fill_mode", "constant") != "constant" or read.get("position", "uniform") != "uniform":
        raise WrongError("fill_mode must be constant and position uniform")
    return _own(
        "cut_out",
        count=whole_range(read.get("nb_iterations", 1), 0),
        size=range_of(read.get("size", 0.2)),
        squared=whether(read.get("squared", True)),
        fill=range_of(read.get("cval", 128)),
        per_channel=chance_of(read.get("fill_per_channel")),
    )


def _snowy(params: Any) -> Steps:
    read = by_name(params, "lightness_threshold", "lightness_multiplier", "from_colorspace")
    below, factor = (
        range_of(read.get("lightness_threshold", [100, 255])),
        range_of(read.get("lightness_multiplier", [1, 4])),
    )
    return as_rgb(read, _own("snowy_ground", below=below, factor=factor))


def _canny(params: Any) -> Steps:
    read = by_name(params, "alpha", "hysteresis_thresholds", "sobel_kernel_size", "colorizer")
    if "colorizer" in read:
        raise WrongError("colorizer must be null: a file cannot hold one")
    thresholds = read.get("hysteresis_thresholds", [[60, 140], [160, 240]])
    # Two numbers are the bounds of both thresholds; two ranges are one for each threshold.
    of_each = isinstance(thresholds, list) and len(thresholds) == 2 and not any(map(is_number, thresholds))
    low, high = thresholds if of_each else (thresholds, thresholds)
    return _own("outlines", alpha=range_of(read.get("alpha", [0.0, 1.0])), low=range_of(low), high=range_of(high))


# Parameters of imgaug's cloud layers that differ from the step's defaults.
_FOG: dict[str, Any] = {
    "brightness": [220.0, 255.0], "grain": [-2.0, -1.5], "unevenness": 2.0, "least": [0.7, 0.9], "more": [0.3, 0.3],
    "cells": [2, 8], "exponent": [-4.0, -2.0], "sparsity": [0.9, 0.9], "density": [0.4, 0.9],
}  # fmt: skip
_WISPS: dict[str, Any] = {
    "grain": [-2.0, -1.0], "more": [0.5, 1.0], "cells": [64, 128], "exponent": [-2.0, -1.0], "sparsity": [1.0, 1.4],
    "density": [0.8, 1.5],
}  # fmt: skip
_OF_LAYER = {
    "intensity_mean": "brightness", "intensity_freq_exponent": "grain", "intensity_coarse_scale": "unevenness",
    "alpha_min": "least", "alpha_multiplier": "more", "alpha_size_px_max": "cells", "alpha_freq_exponent": "exponent",
    "sparsity": "sparsity", "density_multiplier": "density",
}  # fmt: skip


def _without_parameters(params: Any) -> None:
    if params is not None and not isinstance(params, Mapping):
        raise WrongError("it has no parameters")
    by_name(params)


def _fog(params: Any) -> Steps:
    _without_parameters(params)
    return _own("clouds", **_FOG)


def _clouds(params: Any) -> Steps:
    _without_parameters(params)
    layers = [_own("clouds"), _own("clouds", **_WISPS)]
    return [{"_target_": path_of("augmentations", "some_of"), "pipelines": layers, "least": 1, "most": 2}]


def _cloud_layer(params: Any) -> Steps:
    read = by_name(params, *_OF_LAYER)
    if missing := set(_OF_LAYER) - set(read):
        raise WrongError(f"{listing(sorted(missing))} must be there")
    values: dict[str, Any] = {_OF_LAYER[key]: range_of(read[key]) for key in _OF_LAYER}
    return _own(
        "clouds", **{**values, "unevenness": values["unevenness"][1], "cells": whole_range(read["alpha_size_px_max"])}
    )


_OF_FLAKES = {
    "density": "density", "density_uniformity": "evenness", "flake_size": "size", "flake_size_uniformity": "alike",
    "angle": "angle", "speed": "speed", "blur_sigma_fraction": "blur", "blur_sigma_limits": "sigma",
}  # fmt: skip


def _snowflakes(params: Any) -> Steps:
    """Draw up to three layers."""
    read = by_name(params, *(key for key in _OF_FLAKES if not key.startswith("blur")))
    layer = _own(
        "snow_flakes", **{_OF_FLAKES[key]: range_of(value) for key, value in read.items() if key in _OF_FLAKES}
    )
    some = path_of("augmentations", "some_of")
    return [{"_target_": some, "pipelines": [layer] * 3, "least": 1, "most": 3}]


def _snowflakes_layer(params: Any) -> Steps:
    read = by_name(params, *_OF_FLAKES)
    if missing := set(_OF_FLAKES) - set(read) - {"blur_sigma_limits"}:
        raise WrongError(f"{listing(sorted(missing))} must be there")
    return _own("snow_flakes", **{_OF_FLAKES[key]: range_of(value) for key, value in read.items() if key in _OF_FLAKES})


_OF_RAIN = {
    **{name: name for name in ("density", "angle", "speed")}, "density_uniformity": "evenness", "drop_size": "size",
    "drop_size_uniformity": "alike", "blur_sigma_fraction": "blur", "blur_sigma_limits": "sigma",
}  # fmt: skip
# Parameters of imgaug's rain.
_RAIN: dict[str, Any] = {
    "density": [0.03, 0.14], "evenness": [0.8, 1.0], "size": [0.01, 0.02], "alike": [0.2, 0.5], "angle": [-15.0, 15.0],
    "speed": [0.04, 0.20], "blur": [0.001, 0.001], "grey": [110.0, 240.0],
}  # fmt: skip


def _rain(params: Any) -> Steps:
    """Draw up to three layers."""
    read = by_name(params, "nb_iterations", *(key for key in _OF_RAIN if not key.startswith("blur")))
    least, most = whole_range(read.pop("nb_iterations", [1, 3]))
    own = {_OF_RAIN[key]: range_of(value) for key, value in read.items() if key in _OF_RAIN}
    some = path_of("augmentations", "some_of")
    return [
        {"_target_": some, "pipelines": [_own("snow_flakes", **{**_RAIN, **own})] * most, "least": least, "most": most}
    ]


def _rain_layer(params: Any) -> Steps:
    read = by_name(params, *_OF_RAIN)
    if missing := set(_OF_RAIN) - set(read) - {"blur_sigma_limits"}:
        raise WrongError(f"{listing(sorted(missing))} must be there")
    values = {_OF_RAIN[key]: range_of(value) for key, value in read.items() if key in _OF_RAIN}
    return _own("snow_flakes", **{**values, "grey": _RAIN["grey"]})


def _cartoon(params: Any) -> Steps:
    names = {
        "blur_ksize": "blur", "segmentation_size": "segmentation", "saturation": "saturation", "edge_prevalence": "edges",
    }  # fmt: skip
    read = by_name(params, *names, "from_colorspace")
    values = {name: range_of(read[key]) for key, name in names.items() if key in read}
    return as_rgb(read, [{"_target_": f"{_STYLES}.cartoon", **values}])


def _temperature(params: Any) -> Steps:
    read = by_name(params, "kelvin", "from_colorspace")
    bounds = range_of(read.get("kelvin", [1000, 11000]))
    return as_rgb(read, [{"_target_": f"{_STYLES}.colour_temperature", "kelvin": bounds}])


def _uniform_voronoi(params: Any) -> Steps:
    read = by_name(params, "n_points", "p_replace", "max_size", "interpolation")
    points, replaced = whole_range(read.get("n_points", [50, 500])), range_of(read.get("p_replace", [0.5, 1.0]))
    return _own("cells_of_one_colour", points=points, replaced=replaced)


def _grid_voronoi(params: Any) -> Steps:
    read = by_name(params, "n_rows", "n_cols", "p_drop_points", "p_replace", "max_size", "interpolation")
    rows, columns = (whole_range(read.get(name, [10, 30])) for name in ("n_rows", "n_cols"))
    dropped, replaced = range_of(read.get("p_drop_points", [0.0, 0.5])), range_of(read.get("p_replace", [0.5, 1.0]))
    return _own("cells_of_one_colour", rows=rows, columns=columns, dropped=dropped, replaced=replaced)


def _relative_voronoi(params: Any) -> Steps:
    read = by_name(params, "n_rows_frac", "n_cols_frac", "p_drop_points", "p_replace", "max_size", "interpolation")
    rows, columns = (range_of(read.get(name, [0.05, 0.15])) for name in ("n_rows_frac", "n_cols_frac"))
    dropped, replaced = range_of(read.get("p_drop_points", [0.0, 0.5])), range_of(read.get("p_replace", [0.5, 1.0]))
    return _own("cells_of_one_colour", row_shares=rows, column_shares=columns, dropped=dropped, replaced=replaced)


def _moved(axis: str, percent: str, px: str) -> Callable[[Any, Callable[[Any], Steps]], Steps]:
    """Return an affine transform along one axis."""

    def read(params: Any, affine: Callable[[Any], Steps]) -> Steps:
        settings = by_name(params, "percent", "px", "order", "cval", "mode", "fit_output", "backend")
        if "percent" in settings and "px" in settings:
            raise WrongError("percent and px say the same, keep one of them")
        if "px" not in settings:
            settings.setdefault("percent", [-0.25, 0.25])
        key, name = ("percent", percent) if "percent" in settings else ("px", px)
        others = {parameter: value for parameter, value in settings.items() if parameter not in ("percent", "px")}
        return affine({name: {axis: settings[key]}, **others})

    return read


def _turned(axis: str | None, target: str, key: str, default: Any) -> Callable[[Any, Callable[[Any], Steps]], Steps]:
    def read(params: Any, affine: Callable[[Any], Steps]) -> Steps:
        settings = by_name(params, key, "order", "cval", "mode", "fit_output", "backend")
        value = settings.pop(key, default)
        return affine({target: value if axis is None else {axis: value}, **settings})

    return read


# Single parameters of `Affine`; each function receives the reader of `Affine`.
AFFINE: dict[str, Callable[[Any, Callable[[Any], Steps]], Steps]] = {
    "TranslateX": _moved("x", "translate_percent", "translate_px"),
    "TranslateY": _moved("y", "translate_percent", "translate_px"),
    "ScaleX": _turned("x", "scale", "scale", [0.5, 1.5]),
    "ScaleY": _turned("y", "scale", "scale", [0.5, 1.5]),
    "ShearX": _turned("x", "shear", "shear", [-30, 30]),
    "ShearY": _turned("y", "shear", "shear", [-30, 30]),
    "Rotate": _turned(None, "rotate", "rotate", [-30, 30]),
    "AffineCv2": lambda given, affine: affine(given),
}


def _blend(over: str, *keys: str, **usual: Any) -> Callable[[Inner, Any], Steps]:
    """Blend two versions of an image, with the parameter names of any version of imgaug."""

    def read(inner: Inner, params: Any) -> Steps:
        settings = by_name(params, *keys, *_VERSIONS, *_VERSIONS.values(), "per_channel")
        values: dict[str, Any] = {**usual}
        if over in ("image", "pixels"):
            values["alpha"] = range_of(settings.get("factor", usual.get("alpha", 0)))
        else:
            _noise(settings, values)
        chance = chance_of(settings.get("per_channel"))
        each = {"per_channel": chance} if chance else {}
        return [{"_target_": f"{_CHOICES}.blended", "over": over, **values, **_versions(inner, settings), **each}]

    return read


# Names of the two versions of an image until imgaug 0.3, and from 0.4.
_VERSIONS = {"first": "foreground", "second": "background"}


def _versions(inner: Inner, settings: Mapping[str, Any]) -> dict[str, Steps]:
    """Return the pipelines of the two versions of an image; a missing one is the image itself."""
    pipelines = {}
    for old, new in _VERSIONS.items():
        if old in settings and new in settings:
            raise WrongError(f"{old} and {new} say the same, keep one of them")
        value = settings.get(old, settings.get(new))
        if value is not None:
            pipelines[old] = inner(value)
    return pipelines


# Reads the value of a key.
Reading = Callable[[Any], Any]


def _masked(name: str, readers: Mapping[str, tuple[str, Reading]], **fixed: Any) -> Callable[[Inner, Any], Steps]:
    """Blend two versions of an image by a mask: for each key of imgaug, the key of the step and the reader of its value."""

    def read(inner: Inner, params: Any) -> Steps:
        settings = by_name(params, *readers, *_VERSIONS, *_VERSIONS.values())
        values = {step_key: reading(settings[key]) for key, (step_key, reading) in readers.items() if key in settings}
        if missing := [key for key in _COUNTS if key in readers and key not in settings]:
            raise WrongError(f"{listing(missing)} must be there")
        return [{"_target_": f"{_CHOICES}.{name}", **fixed, **values, **_versions(inner, settings)}]

    return read


def _space(value: Any) -> str:
    (space,) = spaces_of(value)
    return space


_GRADIENT: dict[str, tuple[str, Reading]] = {
    key: (name, range_of)
    for key, name in (("min_value", "low"), ("max_value", "high"), ("start_at", "start"), ("end_at", "end"))
}
_COUNTS: dict[str, tuple[str, Reading]] = {"nb_rows": ("rows", whole_range), "nb_cols": ("columns", whole_range)}
_ALPHA: dict[str, tuple[str, Reading]] = {"alpha": ("alpha", range_of)}
_HUES: dict[str, tuple[str, Reading]] = {
    "nb_bins": ("bins", whole_range),
    "smoothness": ("smoothness", range_of),
    **_ALPHA,
    "rotation_deg": ("rotation", range_of),
    "from_colorspace": ("of", _space),
}


def _noise(settings: Mapping[str, Any], values: dict[str, Any]) -> None:
    if "exponent" in settings:
        values["exponent"] = range_of(settings["exponent"])
    for key, name in (("size_px_max", "cells"), ("iterations", "iterations")):
        if key in settings:
            values[name] = whole_range(settings[key])
    if "aggregation_method" in settings:
        ways = settings["aggregation_method"]
        values["join"] = ways if isinstance(ways, list) else ["max", "min", "avg"] if ways == "ALL" else [ways]
        if not set(values["join"]) <= {"max", "min", "avg"}:
            raise WrongError("aggregation_method must be max, min or avg")
    if "sigmoid" in settings:
        values["sharp"] = chance_of(settings["sigmoid"])
    if "sigmoid_thresh" in settings:
        values["middle"] = range_of(settings["sigmoid_thresh"])
    if "upscale_method" in settings:
        ways = settings["upscale_method"]
        values["enlarged"] = list(_ENLARGED) if ways == "ALL" else ways if isinstance(ways, list) else [ways]
        if not values["enlarged"] or not set(values["enlarged"]) <= set(_ENLARGED):
            raise WrongError(f"upscale_method must be ALL or one of {listing(_ENLARGED)}")


_ENLARGED = ("nearest", "linear", "cubic")
_OF_NOISE = ("size_px_max", "iterations", "aggregation_method", "sigmoid", "sigmoid_thresh", "upscale_method")
_IMAGE, _PIXELS = _blend("image", "factor"), _blend("pixels", "factor")
_SIMPLEX = _blend("smooth", *_OF_NOISE)
_FREQUENCY = _blend(
    "spectrum", "exponent", *_OF_NOISE, cells=[4, 16], join=["avg", "max"], exponent=[-4.0, 4.0], sharp=0.5
)


def _in_polar(inner: Inner, params: Any) -> Steps:
    children, _ = children_of(params)
    return [{"_target_": f"{_CHOICES}.in_polar", "pipeline": inner(children)}]


def _jigsaw(params: Any) -> Steps:
    read = by_name(params, "nb_rows", "nb_cols", "max_steps", "allow_pad")
    rows, columns = (whole_range(read.get(name, [3, 10])) for name in ("nb_rows", "nb_cols"))
    values = {"rows": rows, "columns": columns, "steps": whole_range(read.get("max_steps", 1), 0)}
    padded = whether(read.get("allow_pad", True))
    return [{"_target_": f"{_GEOMETRY}.jigsaw", **values, **({} if padded else {"padded": False})}]


# Maximum magnitude of imgaug's RandAugment, and the image side that its crops refer to.
_MAGNITUDES, _SIDE = 30, 224


def _random_augmentations(params: Any) -> Steps:
    """Flip and crop, then apply a number of torchvision's augmentations with a random magnitude."""
    read = by_name(params, "n", "m", "cval")
    count, (low, high) = whole_range(read.get("n", 2), 0), whole_range(read.get("m", [6, 12]), 0)
    value = read.get("cval", 128)
    if high > _MAGNITUDES or not is_number(value):
        raise WrongError(f"m must be at most {_MAGNITUDES}, and cval a number")
    ways = [
        [
            *one_step("HorizontalFlip", p=0.5),
            *one_step("CropAndPad", percent=[-magnitude / _SIDE, 0.0], keep_size=True, sample_independently=True),
            {
                "_target_": "torchvision.transforms.v2.RandAugment",
                "num_ops": number,
                "magnitude": magnitude,
                "num_magnitude_bins": _MAGNITUDES + 1,
                "fill": value,
            },
        ]
        for magnitude in range(low, high + 1)
        for number in range(count[0], count[1] + 1)
    ]
    return one_each(ways)


def _fitted(way: str, to: str, *keys: str, centred: bool) -> Callable[[Any], Steps]:
    """Crop or pad sides to multiples, powers or a ratio."""

    def read(params: Any) -> Steps:
        of_padding = ("pad_mode", "pad_cval") if way == "pad" else ()
        settings = by_name(params, *keys, *(() if centred else ("position",)), *of_padding)
        if settings.get("pad_mode", "constant") != "constant":
            raise WrongError("pad_mode must be constant")
        position = str(settings.get("position", "center" if centred else "uniform"))
        if position not in ("uniform", "center"):
            raise WrongError("position must be uniform or center")
        low, high = range_of(settings.get("pad_cval", 0))
        if low != high:
            raise WrongError("pad_cval must be one number")
        numbers = {"width": 1.0} if not keys else {
            side: settings.get(key) for side, key in zip(("width", "height"), keys, strict=False)
        }  # fmt: skip
        if missing := [key for key in keys if settings.get(key) is None and to == "ratio"]:
            raise WrongError(f"{listing(missing)} must be there")
        if not all(is_number(number) for number in numbers.values() if number is not None):
            raise WrongError("numbers are needed")
        values = {side: float(number) for side, number in numbers.items() if number is not None}
        fill = {"fill": low} if low else {}
        return [
            {"_target_": f"{_GEOMETRY}.fitted", "way": way, "to": to, **values, "centred": position == "center", **fill}
        ]

    return read


def _fitting() -> dict[str, Callable[[Any], Steps]]:
    """Return imgaug's operations that crop or pad sides according to their own length."""
    rules: dict[str, tuple[str, ...]] = {
        "MultiplesOf": ("width_multiple", "height_multiple"),
        "PowersOf": ("width_base", "height_base"),
        "AspectRatio": ("aspect_ratio",),
        "Square": (),
    }
    goals = {"MultiplesOf": "multiples", "PowersOf": "powers"}
    return {
        f"{'Center' if centred else ''}{way}To{rule}": _fitted(
            way.lower(), goals.get(rule, "ratio"), *keys, centred=centred
        )
        for rule, keys in rules.items()
        for way in ("Crop", "Pad")
        for centred in (False, True)
    }


def _kept_in_size(inner: Inner, params: Any) -> Steps:
    children, read = children_of(params, "interpolation")
    if read.get("interpolation", "cubic") not in ("cubic", "NO_RESIZE"):
        raise WrongError("interpolation must be cubic: images are resized behind it in any case")
    return inner(children)


def _centred(name: str) -> Callable[[Any], Steps]:
    def read(params: Any) -> Steps:
        settings = by_name(params, "width", "height", *(("pad_mode", "pad_cval") if name == "PadIfNeeded" else ()))
        width, height = whole_number(settings["width"]), whole_number(settings["height"])
        if name == "PadIfNeeded":
            border, fill = BORDERS[str(settings.get("pad_mode", "constant"))], fill_of(settings.get("pad_cval", 0))
            sides = {"min_width": width, "min_height": height}
            return filled(name, fill, **sides, position="center", border_mode=border)
        return one_step(name, width=width, height=height, pad_if_needed=True)

    return read


def _solarize(params: Any) -> Steps:
    read = by_name(params, "p", "threshold")
    threshold = [bound / 255 for bound in range_of(read.get("threshold", 128))]
    return one_step("Solarize", threshold_range=threshold, p=probability({"p": read.get("p", 1.0)}))


_HUE, _TIMES = f"{_CHOICES}.hue_saturation", f"{_OWN}.times_hue_saturation"
OPERATIONS: dict[str, Callable[[Any], Steps]] = {
    "ChangeColorspace": _change_space,
    "ChannelShuffle": _shuffled_channels,
    "AllChannelsCLAHE": _clahe_of_channels,
    "CLAHE": _clahe,
    "HistogramEqualization": _even_lightness,
    "Jigsaw": _jigsaw,
    "RandAugment": _random_augmentations,
    **_fitting(),
    **dict.fromkeys(("Posterize", "UniformColorQuantizationToNBits"), _posterize),
    "TotalDropout": _total_dropout,
    "Dropout2d": _dropped_channels,
    "MultiplyHueAndSaturation": _times_hue,
    "MultiplyHue": _one_of_both("hue", "mul", [-1.0, 1.0], _TIMES),
    "MultiplySaturation": _one_of_both("saturation", "mul", [0.0, 3.0], _TIMES),
    "RemoveSaturation": _one_of_both("saturation", "mul", [1.0, 1.0], _TIMES, less=True),
    "AddToHue": _one_of_both("hue", "value", [-255.0, 255.0], _HUE),
    "AddToSaturation": _one_of_both("saturation", "value", [-75.0, 75.0], _HUE),
    "BilateralBlur": _bilateral,
    "MeanShiftBlur": _mean_shift,
    "Convolve": _convolve,
    "Canny": _canny,
    "AdditiveLaplaceNoise": _laplace,
    "AdditivePoissonNoise": _poisson,
    "ImpulseNoise": _replaced("salt_and_pepper", each=True),
    "SaltAndPepper": _replaced("salt_and_pepper"),
    "Salt": _replaced("salt"),
    "Pepper": _replaced("pepper"),
    "CoarseSaltAndPepper": _replaced("salt_and_pepper", coarse=True),
    "CoarseSalt": _replaced("salt", coarse=True),
    "CoarsePepper": _replaced("pepper", coarse=True),
    "ReplaceElementwise": _replace_elementwise,
    "AveragePooling": _pooling("average"),
    "MaxPooling": _pooling("max"),
    "MinPooling": _pooling("min"),
    "MedianPooling": _pooling("median"),
    "KMeansColorQuantization": _quantization("kmeans"),
    "UniformColorQuantization": _quantization("uniform"),
    "Cutout": _cutout,
    "Solarize": _solarize,
    "FastSnowyLandscape": _snowy,
    "Fog": _fog,
    "Clouds": _clouds,
    "CloudLayer": _cloud_layer,
    "Snowflakes": _snowflakes,
    "SnowflakesLayer": _snowflakes_layer,
    "Rain": _rain,
    "RainLayer": _rain_layer,
    "Cartoon": _cartoon,
    "ChangeColorTemperature": _temperature,
    "UniformVoronoi": _uniform_voronoi,
    "RegularGridVoronoi": _grid_voronoi,
    "RelativeRegularGridVoronoi": _relative_voronoi,
    "CenterCropToFixedSize": _centred("CenterCrop"),
    "CenterPadToFixedSize": _centred("PadIfNeeded"),
}
NESTING: dict[str, Callable[[Inner, Any], Steps]] = {
    **dict.fromkeys(("WithColorspace", "InColorspace"), _with_space),
    "WithChannels": _with_channels,
    "WithHueAndSaturation": _with_hue,
    "WithBrightnessChannels": _with_brightness,
    "MultiplyAndAddToBrightness": _brightness("mul", "add"),
    "MultiplyBrightness": _brightness("mul"),
    "AddToBrightness": _brightness("add"),
    "WithPolarWarping": _in_polar,
    "Alpha": _IMAGE,
    "AlphaElementwise": _PIXELS,
    "SimplexNoiseAlpha": _SIMPLEX,
    "FrequencyNoiseAlpha": _FREQUENCY,
    "BlendAlpha": _blend("image", "factor", alpha=[0.0, 1.0]),
    "BlendAlphaElementwise": _blend("pixels", "factor", alpha=[0.0, 1.0]),
    "BlendAlphaSimplexNoise": _SIMPLEX,
    "BlendAlphaFrequencyNoise": _FREQUENCY,
    "BlendAlphaHorizontalLinearGradient": _masked("blended_along", _GRADIENT),
    "BlendAlphaVerticalLinearGradient": _masked("blended_along", _GRADIENT, axis="y"),
    "BlendAlphaRegularGrid": _masked("blended_in_cells", {**_COUNTS, **_ALPHA}),
    "BlendAlphaCheckerboard": _masked("blended_in_cells", _COUNTS, checkered=True),
    "BlendAlphaSomeColors": _masked("blended_by_hue", _HUES),
    "KeepSizeByResize": _kept_in_size,
}
