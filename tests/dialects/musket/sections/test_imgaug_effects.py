"""Operations of imgaug that albumentations has not: each can be built, changes images, and says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mlpipe.data.augment import boxed, libraries, paired, random_choices, samples
from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.musket.sections import imgaug
from mlpipe.dialects.musket.state import State
from mlpipe.errors import DataError

IMAGES = np.random.default_rng(0).integers(60, 180, (3, 32, 36, 3), dtype=np.uint8)
SEEDS = np.array([1, 2, 3], np.uint64)
CHILD = {"Add": [30, 40]}


def steps(given: Any) -> list[dict[str, Any]]:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    found = imgaug.pipeline(state, "augmentation", given)
    assert not state.wrong, state.wrong
    return found


def built(given: Any) -> list[Any]:
    return [libraries.adapt(random_choices.made(step)[1]) for step in steps(given)]


CHANGING = [
    {"ChangeColorspace": "HSV"},
    {"ChangeColorspace": {"from_colorspace": "BGR", "to_colorspace": ["Lab", "GRAY"], "alpha": [0.5, 1.0]}},
    {"WithColorspace": {"to_colorspace": "HSV", "from_colorspace": "RGB", "children": {"WithChannels": {
        "channels": 0, "children": CHILD}}}},
    {"WithChannels": {"channels": [0, 2], "children": [CHILD]}},
    {"WithHueAndSaturation": [CHILD]},
    {"MultiplyHueAndSaturation": [0.4, 0.6]},
    {"MultiplyHueAndSaturation": {"mul_hue": [0.5, 0.6], "mul_saturation": 0.5}},
    {"MultiplyHue": [0.4, 0.5]},
    {"MultiplySaturation": 0.3},
    {"RemoveSaturation": [0.5, 0.8]},
    {"AddToHue": [40, 60]},
    {"InColorspace": {"to_colorspace": "HSV", "children": [CHILD]}},
    {"RelativeRegularGridVoronoi": {"n_rows_frac": [0.1, 0.2], "n_cols_frac": 0.1}},
    {"AddToSaturation": {"value": [-50, -30]}},
    {"BilateralBlur": {"d": [4, 6], "sigma_color": [100, 200]}},
    {"MeanShiftBlur": {"spatial_radius": [5, 8]}},
    {"Convolve": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]},
    {"Convolve": {"matrix": [[1, 0, -1]]}},
    {"Canny": {"alpha": [0.3, 0.5], "hysteresis_thresholds": [[50, 100], [150, 200]]}},
    {"AdditiveLaplaceNoise": {"scale": [10, 12], "per_channel": 0.5}},
    {"AdditivePoissonNoise": [10, 20]},
    {"ImpulseNoise": 0.1},
    {"SaltAndPepper": {"p": [0.1, 0.2], "per_channel": True}},
    {"Salt": 0.2},
    {"Pepper": {"p": 0.2}},
    {"CoarseSaltAndPepper": {"p": 0.3, "size_percent": [0.1, 0.3]}},
    {"CoarseSalt": {"p": 0.4, "size_px": [4, 8], "min_size": 2}},
    {"CoarsePepper": {"p": 0.4, "size_px": 8}},
    {"ReplaceElementwise": {"mask": 0.2, "replacement": [0, 50]}},
    {"AveragePooling": 3},
    {"MaxPooling": {"kernel_size": [2, 4]}},
    {"MinPooling": [2, 3]},
    {"MedianPooling": {"kernel_size": 3, "keep_size": True}},
    {"KMeansColorQuantization": {"n_colors": [2, 4]}},
    {"UniformColorQuantization": {"n_colors": 3}},
    {"Cutout": {"nb_iterations": [1, 3], "size": 0.3, "squared": False, "cval": 255}},
    {"Solarize": {"threshold": [60, 100]}},
    {"FastSnowyLandscape": {"lightness_threshold": 140, "lightness_multiplier": [1.5, 2.0]}},
    "Fog",
    {"Clouds": None},
    {"CloudLayer": {
        "intensity_mean": [196, 255], "intensity_freq_exponent": -2.0, "intensity_coarse_scale": 10, "alpha_min": 0.2,
        "alpha_multiplier": 0.5, "alpha_size_px_max": [4, 16], "alpha_freq_exponent": [-3.0, -2.0], "sparsity": 1.0,
        "density_multiplier": 1.0}},
    {"Alpha": {"factor": [0.4, 0.6], "first": {"Add": 60}, "second": {"Invert": 1.0}}},
    {"Alpha": {"factor": 0.5, "first": [{"Affine": {"rotate": 45}}]}},
    {"AlphaElementwise": {"factor": [0.0, 1.0], "first": CHILD, "per_channel": 0.5}},
    {"BlendAlpha": {"factor": 0.5, "foreground": CHILD}},
    {"SimplexNoiseAlpha": {"first": {"Add": 60}}},
    {"SimplexNoiseAlpha": {"first": {"Add": 60}, "size_px_max": [4, 8], "iterations": 2, "aggregation_method": "avg"}},
    {"FrequencyNoiseAlpha": {"exponent": [-4, 0], "first": {"Add": 60}, "second": {"Add": -30}, "sigmoid": False}},
    {"BlendAlphaHorizontalLinearGradient": {"foreground": {"Add": 60}, "min_value": 0.2, "start_at": [0.0, 0.1]}},
    {"BlendAlphaVerticalLinearGradient": {"foreground": {"Add": 60}, "background": {"Add": -30}, "end_at": 0.9}},
    {"BlendAlphaRegularGrid": {"nb_rows": [4, 6], "nb_cols": 3, "foreground": {"Add": 60}, "background": {"Add": -30}}},
    {"BlendAlphaRegularGrid": {"nb_rows": 2, "nb_cols": 2, "alpha": [0.4, 0.6], "foreground": {"Add": 60}}},
    {"BlendAlphaCheckerboard": {"nb_rows": 2, "nb_cols": [1, 4], "foreground": CHILD}},
    {"BlendAlphaSomeColors": {"foreground": {"Add": 60}, "nb_bins": [10, 15], "alpha": [0.1, 1.0], "rotation_deg": [0, 90]}},
    {"BlendAlphaSomeColors": {"foreground": CHILD, "background": {"Add": -30}, "smoothness": 0.0, "from_colorspace": "BGR"}},
    {"Cartoon": {"blur_ksize": 3, "segmentation_size": 1.0, "saturation": 2.0, "edge_prevalence": 1.0}},
    {"Cartoon": None},
    {"ChangeColorTemperature": [2000, 4000]},
    {"ChangeColorTemperature": {"kelvin": 9000, "from_colorspace": "BGR"}},
    {"RainLayer": {
        "density": 0.1, "density_uniformity": 0.9, "drop_size": 0.3, "drop_size_uniformity": 0.5, "angle": [-15, 15],
        "speed": 0.1, "blur_sigma_fraction": 0.001}},
    {"Snowflakes": {"flake_size": [0.3, 0.5], "speed": [0.01, 0.03]}},
    {"SnowflakesLayer": {
        "density": 0.075, "density_uniformity": 0.9, "flake_size": 0.5, "flake_size_uniformity": 0.6, "angle": [-20, 20],
        "speed": 0.02, "blur_sigma_fraction": 0.001}},
    {"CLAHE": {"clip_limit": [2, 4], "tile_grid_size_px": [3, 5]}},
    {"HistogramEqualization": None},
    {"AllChannelsCLAHE": {"clip_limit": [1, 4], "tile_grid_size_px": [3, 5], "per_channel": 0.5}},
    {"HistogramEqualization": {"to_colorspace": "HSV", "from_colorspace": "RGB"}},
    {"CLAHE": {"clip_limit": 2, "from_colorspace": "RGB", "to_colorspace": "HLS", "tile_grid_size_px_min": 2}},
    {"WithChannels": {"channels": [0, 2], "children": [{"CLAHE": {"clip_limit": 3}}]}},
    {"WithChannels": {"channels": [0, 1], "children": ["HistogramEqualization"]}},
    {"Grayscale": {"alpha": 1.0, "from_colorspace": "RGB"}},
    {"Grayscale": {"alpha": [0.5, 0.9], "from_colorspace": "BGR"}},
    {"AddToHueAndSaturation": {"value": [30, 50], "from_colorspace": "RGB", "value_hue": None}},
    {"MultiplySaturation": {"mul": 0.4, "from_colorspace": "HSV"}},
    {"WithBrightnessChannels": [CHILD]},
    {"WithBrightnessChannels": {"children": CHILD, "to_colorspace": ["HSV", "Lab"], "from_colorspace": "BGR"}},
    {"MultiplyAndAddToBrightness": {"mul": [0.5, 0.6], "add": [-30, -20], "random_order": False}},
    {"MultiplyBrightness": [1.3, 1.5]},
    {"AddToBrightness": {"add": 30, "to_colorspace": "YUV"}},
    {"WithPolarWarping": [{"CropAndPad": {"percent": [-0.1, -0.05]}}]},
    {"Jigsaw": {"nb_rows": 4, "nb_cols": [2, 4], "max_steps": [2, 3]}},
    {"RandAugment": {"n": 2, "m": [6, 7], "cval": 0}},
    {"FrequencyNoiseAlpha": {"first": {"Add": 60}, "upscale_method": "linear", "sigmoid_thresh": [-5, 5]}},
    {"PiecewiseAffine": {"scale": 0.1, "mode": "edge", "order": 1, "cval": 0, "polygon_recoverer": None}},
    {"CenterPadToFixedSize": {"width": 36, "height": 32, "pad_cval": 9, "pad_mode": "constant"}, "Add": {"range": [20, 30]}},
    {"Fliplr": {"probability": 1.0}},
    {"UniformColorQuantizationToNBits": {"nb_bits": [2, 3], "to_colorspace": "HSV", "from_colorspace": "RGB"}},
    {"Posterize": [2, 3]},
    {"TotalDropout": 1.0},
    {"Dropout2d": {"p": 1.0, "nb_keep_channels": 1}},
    {"ElasticTransformation": {"alpha": 20, "sigma": 2, "mode": "nearest", "order": 1, "cval": 0}},
    {"PerspectiveTransform": {"scale": 0.2, "cval": [0, 255], "mode": "constant"}},
    {"Superpixels": {"p_replace": 1.0, "n_segments": 20, "interpolation": "linear"}},
    {"Rain": {"nb_iterations": 2, "drop_size": [0.1, 0.2]}},
    {"UniformVoronoi": [20, 40]},
    {"RegularGridVoronoi": {"n_rows": 5, "n_cols": [4, 8], "p_drop_points": 0.2, "p_replace": 1.0}},
    {"TranslateX": {"percent": [0.1, 0.2]}},
    {"TranslateY": {"px": [3, 5]}},
    {"ScaleX": [0.5, 0.7]},
    {"ShearY": {"shear": 20, "mode": "reflect"}},
    {"Rotate": [20, 30]},
    {"Rotate": {"rotate": [20, 30], "order": [0, 1], "cval": [0, 255]}},
    {"HorizontalFlip": 1.0},
    {"VerticalFlip": {"p": 1.0}},
    {"KeepSizeByResize": {"children": [{"Affine": {"rotate": 10}}]}},
    {"Sequential": {"random_order": True, "children": [{"Fliplr": 1.0}, CHILD]}},
    {"SomeOf": {"n": [1, None], "random_order": True, "children": [{"Fliplr": 1.0}, CHILD]}},
]  # fmt: skip


@pytest.mark.parametrize("given", CHANGING, ids=str)
def test_every_operation_changes_each_image_by_itself(given: Any) -> None:
    made = built([given] if isinstance(given, str) else given)
    after = samples.apply(made, IMAGES, SEEDS)
    assert np.asarray(after).shape == IMAGES.shape and after.dtype == np.uint8
    assert all((one != other).any() for one, other in zip(after, IMAGES, strict=True))
    alone = samples.apply(made, IMAGES[1:2], SEEDS[1:2])
    assert (alone[0] == after[1]).all()
    if "cval" not in str(given):
        shares = samples.apply(made, IMAGES.astype(np.float32) / 255, SEEDS)
        assert shares[0].dtype == np.float32 and 0 <= shares[0].min() <= shares[0].max() <= 1


@pytest.mark.parametrize(
    "given",
    [
        {"ChangeColorspace": {"to_colorspace": "HVS"}},
        {"ChangeColorspace": None},
        {"WithColorspace": {"children": CHILD}},
        {"WithChannels": {"channels": "red", "children": CHILD}},
        {"MultiplyHueAndSaturation": {"mul": 0.5, "mul_hue": 0.4}},
        {"CoarseSalt": {"p": 0.1, "size_px": 3, "size_percent": 0.1}},
        {"ReplaceElementwise": 0.5},
        {"AveragePooling": {"kernel_size": 2, "keep_size": False}},
        {"Cutout": {"fill_mode": "gaussian"}},
        {"Convolve": [1, 2, 3]},
        {"TranslateX": {"percent": 0.1, "px": 3}},
        {"Alpha": {"factor": 0.5, "first": CHILD, "foreground": CHILD}},
        {"SimplexNoiseAlpha": {"first": CHILD, "aggregation_method": "median"}},
        {"CloudLayer": {"sparsity": 1.0}},
        {"BlendAlphaRegularGrid": {"nb_rows": 3, "foreground": CHILD}},
        {"BlendAlphaCheckerboard": {"nb_rows": 3, "nb_cols": 3, "alpha": 0.5, "foreground": CHILD}},
        {"BlendAlphaSomeColors": {"first": CHILD, "foreground": CHILD}},
        {"ChangeColorTemperature": {"kelvin": "warm"}},
        {"RainLayer": {"density": 0.1}},
        {"Fog": 3},
        {"ImpulseNoise": {"p": 0.1, "per_channel": True}},
    ],
    ids=str,
)
def test_nothing_that_is_said_is_dropped(given: dict[str, Any]) -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", given)
    assert len(state.wrong) == 1 and "cannot be read" in state.wrong[0]


def test_what_is_not_quite_imgaugs_is_said() -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", ["Fog", {"SimplexNoiseAlpha": {"first": CHILD}}])
    assert [(line.key, line.fate) for line in state.lines if line.fate == "differs"] == [
        ("augmentation.Fog", "differs"),
        ("augmentation.SimplexNoiseAlpha", "differs"),
    ]


def test_channels_of_another_colour_space() -> None:
    """imgaug's own example: hue is raised and goes round, as OpenCV's of whole numbers."""
    inner = {"WithChannels": {"channels": 0, "children": {"Add": 50}}}
    (step,) = built({"WithColorspace": {"to_colorspace": "HSV", "children": inner}})
    plane = cv2.cvtColor(IMAGES[0], cv2.COLOR_RGB2HSV)
    plane[..., 0] = (plane[..., 0].astype(int) + 50) % 180
    assert (step(IMAGES[:1], SEEDS[:1])[0] == cv2.cvtColor(plane, cv2.COLOR_HSV2RGB)).all()


def test_an_order_that_is_drawn() -> None:
    """Brighter and inverted is not inverted and brighter."""
    (step,) = built({"Sequential": {"random_order": True, "children": [{"Add": 50}, {"Invert": 1.0}]}})
    values = step(np.full((40, 2, 2, 3), 100, np.uint8), np.arange(40, dtype=np.uint64))[:, 0, 0, 0]
    assert set(values.tolist()) == {255 - 150, 255 - 100 + 50} and 8 < (values == 105).sum() < 32


def test_a_name_is_an_operation_without_parameters() -> None:
    assert steps({"OneOf": ["Fog", "HistogramEqualization"]})[0]["pipelines"][1] == steps({"HistogramEqualization": {}})


@pytest.mark.parametrize(
    ("given", "moves"),
    [
        ({"Alpha": {"factor": 0.5, "first": {"Affine": {"rotate": 10}}}}, True),
        ({"Alpha": {"factor": 0.5, "first": {"OneOf": [{"Add": 3}, {"Fliplr": 1.0}]}}}, True),
        ({"WithChannels": {"channels": 0, "children": {"ElasticTransformation": {"alpha": [1, 9], "sigma": 3}}}}, True),
        ({"Alpha": {"factor": 0.5, "first": {"OneOf": [{"Add": 3}, {"Dropout": [0.1, 0.2]}, "Fog"]}}}, False),
        ({"BlendAlphaCheckerboard": {"nb_rows": 2, "nb_cols": 2, "first": {"Fliplr": 1.0}}}, True),
        ({"BlendAlphaSomeColors": {"foreground": [{"ChangeColorTemperature": 3000}, "Cartoon"]}}, False),
    ],
    ids=str,
)
def test_masks_stay_with_images_that_are_blended(given: dict[str, Any], moves: bool) -> None:
    (node,) = steps(given)
    target, transform = random_choices.made(node)
    if moves:
        with pytest.raises(DataError, match="moves parts of images, and not their masks"):
            paired.adapt(target, transform)
        return
    masks = np.ones((3, 32, 36, 1), np.uint8)
    changed, same = paired.apply([paired.adapt(target, transform)], IMAGES, masks, SEEDS)
    assert (np.asarray(changed) != IMAGES).any() and (np.asarray(same) == masks).all()


@pytest.mark.parametrize(
    ("thresholds", "low", "high"),
    [
        ([100, 200], [100, 200], [100, 200]),
        (120, [120, 120], [120, 120]),
        ([[50, 100], [150, 200]], [50, 100], [150, 200]),
    ],
)
def test_two_thresholds_of_edges_are_bounds_of_both(thresholds: Any, low: list[float], high: list[float]) -> None:
    (step,) = steps({"Canny": {"hysteresis_thresholds": thresholds}})
    assert (step["low"], step["high"]) == (low, high)


@pytest.mark.parametrize("share", [[0.2, 0.8], 1.5])
def test_a_share_of_solarized_images_that_is_none_is_refused(share: Any) -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", {"Solarize": {"p": share}})
    assert "a probability from 0 to 1 is needed" in str(state.wrong)


@pytest.mark.parametrize(
    "name", ["Lambda", "AssertLambda", "AssertShape", "Voronoi", "BlendAlphaMask", "blendalphasegmapclassids"]
)
def test_what_a_file_cannot_hold_is_refused_with_the_reason(name: str) -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", {name: {}})
    (sentence,) = state.wrong
    assert sentence.startswith(f"augmentation.{name}: ") and "there is no such operation" not in sentence


def test_points_and_boxes_that_images_have_not_change_nothing() -> None:
    assert steps({"ClipCBAsToImagePlanes": None, "RemoveCBAsByOutOfImageFraction": None}) == []


@pytest.mark.parametrize(
    ("name", "params", "size"),
    [
        ("CropToSquare", None, (32, 32)),
        ("CenterCropToSquare", {}, (32, 32)),
        ("PadToSquare", {"position": "center"}, (36, 36)),
        ("CropToMultiplesOf", {"width_multiple": 10, "height_multiple": 6}, (30, 30)),
        ("CenterPadToMultiplesOf", {"width_multiple": 10, "height_multiple": None}, (32, 40)),
        ("CropToPowersOf", {"width_base": 3, "height_base": 2}, (32, 27)),
        ("CenterPadToPowersOf", {"width_base": 2, "height_base": 3, "pad_cval": 7}, (81, 64)),
        ("CropToAspectRatio", {"aspect_ratio": 2.0}, (18, 36)),
        ("PadToAspectRatio", {"aspect_ratio": 0.5}, (72, 36)),
    ],
)
def test_sides_that_are_cut_or_padded_to_what_they_are(name: str, params: Any, size: tuple[int, int]) -> None:
    """Examples of imgaug's documentation for images of 32 x 36 pixels, by its rules."""
    (step,) = built({name: params})
    for shape in (IMAGES, IMAGES[:, :, :, :1]):
        assert np.asarray(step(shape, SEEDS)).shape == (3, *size, shape.shape[3])


def test_a_pad_in_the_middle_has_its_value_around_the_image() -> None:
    (step,) = built({"CenterPadToSquare": {"pad_cval": 9}})
    padded = np.asarray(step(IMAGES[:, :, :20], SEEDS))
    assert padded.shape == (3, 32, 32, 3) and (padded[:, :, 6:26] == IMAGES[:, :, :20]).all()
    assert (padded[:, :, :6] == 9).all() and (padded[:, :, 26:] == 9).all()


@pytest.mark.parametrize("given", [{"Jigsaw": {"nb_rows": 3, "nb_cols": 5}}, {"PadToSquare": {"pad_cval": 9}}], ids=str)
def test_masks_move_with_cells_and_margins(given: dict[str, Any]) -> None:
    """A pixel's mask is that of the image where it came from; a margin does not count."""
    (node,) = steps(given)
    images = np.arange(1, 1 + 32 * 36).reshape(1, 32, 36, 1).repeat(3, 0) % 200 + 1
    masks = (images % 7).astype(np.uint8)
    changed, moved = paired.apply([paired.adapt(*random_choices.made(node))], images.astype(np.uint8), masks, SEEDS)
    for image, mask in zip(changed, moved, strict=True):
        # No value of the image is 0, and none is that of the margin where the mask says that it counts.
        margin = mask == 255
        assert (image[margin] == (9 if "PadToSquare" in given else 0)).all() and margin.any()
        assert (mask[~margin] == image[~margin] % 7).all()


def test_boxes_are_refused_where_cells_are_exchanged() -> None:
    (node,) = steps({"Jigsaw": {}})
    with pytest.raises(DataError, match="does not say what happens to boxes"):
        boxed.adapt(*random_choices.made(node))


def test_of_two_channels_each_has_a_histogram_of_its_own() -> None:
    """imgaug's way for images that have no colours: each channel is one of its own."""
    (step,) = built({"WithChannels": {"channels": [0, 2], "children": ["HistogramEqualization"]}})
    changed = np.asarray(step(IMAGES[:1], SEEDS[:1]))[0]
    for channel in (0, 2):
        assert (changed[..., channel] == cv2.equalizeHist(np.ascontiguousarray(IMAGES[0][..., channel]))).all()
    assert (changed[..., 1] == IMAGES[0][..., 1]).all()
