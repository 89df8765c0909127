"""Operations of imgaug as transforms of albumentations: each can be built and changes an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import albumentations
import numpy as np
import pytest
from scipy import ndimage

from mlpipe.data.augment import libraries, random_choices, samples
from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.musket.sections import imgaug
from mlpipe.dialects.musket.state import State


def steps(given: Any) -> list[dict[str, Any]]:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    found = imgaug.pipeline(state, "augmentation", given)
    assert not state.wrong, state.wrong
    return found


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "given",
    [
        {"Fliplr": 1.0},
        {"flipud": {"p": 1.0}},
        {"MotionBlur": {"k": [3, 7], "angle": [-45, 45]}},
        {"JpegCompression": {"compression": [70, 99]}},
        {"AllChannelsHistogramEqualization": {}},
        {"Resize": {"height": 20, "width": 30}},
        {"Resize": {"size": [0.5, 0.7], "interpolation": "linear"}},
        {"Scale": 0.5},
        {"Affine": {"rotate": [10, 16]}},
        {"Affine": {"translate_px": {"x": [10, 50], "y": [10, 50]}}},
        {"Affine": {"scale": [0.5, 0.6], "mode": "reflect", "cval": 3}},
        {"Affine": {"scale": {"x": [0.5, 0.6], "y": 0.5}, "translate_percent": {"x": [0.1, 0.2]}, "shear": [9, 16]}},
        {"Add": [20, 40]},
        {"Add": {"value": [20, 40], "per_channel": True}},
        {"AdditiveGaussianNoise": {"scale": 3, "loc": [40, 50], "per_channel": 1.0}},
        {"Affine": {"rotate": [10, 16], "order": 0, "backend": "cv2"}},
        {"Affine": {"shear": {"x": [8, 9], "y": 4}}},
        {"Pad": {"px": [1, 2, [3, 6], 4], "pad_mode": "edge", "sample_independently": False}},
        {"CropAndPad": {"percent": [[0, 0.1], 0.1, 0.2, 0], "pad_mode": "constant", "pad_cval": 128}},
        {"Crop": {"px": [0, 4, 0, 0], "keep_size": False}},
        {"PerspectiveTransform": {"scale": 0.2, "keep_size": True}},
        {"PadToFixedSize": {"width": 50, "height": 50, "position": "center", "pad_mode": "reflect"}},
        {"CropToFixedSize": {"width": 16, "height": 16, "position": "center"}},
        {"Multiply": [0.5, 0.7]},
        {"MultiplyElementwise": {"mul": [0.5, 0.7], "per_channel": 1}},
        {"Invert": 1.0},
        {"AdditiveGaussianNoise": {"scale": [20, 40]}},
        {"Grayscale": 1.0},
        {"GaussianBlur": [2, 3]},
        {"AverageBlur": {"k": [3, 7]}},
        {"MedianBlur": 3},
        {"Sharpen": {"alpha": [0.5, 1.0], "lightness": [0.5, 0.8]}},
        {"Emboss": {"alpha": [0.5, 1.0], "strength": [1.0, 2.0]}},
        {"Dropout": 0.3},
        {"ElasticTransformation": {"alpha": 50, "sigma": 5}},
        {"CropAndPad": {"percent": [-0.2, -0.1]}},
        {"Pad": 5},
        {"Crop": {"percent": 0.2}},
        {"GammaContrast": [0.5, 0.6]},
        {"CropToFixedSize": {"width": 16, "height": 16}},
        {"PadToFixedSize": {"width": 50, "height": 50}},
        {"Superpixels": {"p_replace": [0.5, 1.0], "n_segments": [20, 60]}},
    ],
)
def test_every_operation_can_be_built_and_changes_an_image(given: dict[str, Any]) -> None:
    image = np.random.default_rng(0).integers(60, 180, (32, 32, 3), dtype=np.uint8)
    for step in steps(given):
        transform = getattr(albumentations, step.pop("_target_").partition(".")[2])(**step)
        transform.set_random_seed(1)
        after = transform(image=image)["image"]
        assert after.shape != image.shape or (after != image).any()


@pytest.mark.parametrize("sigma", [0, 0.25, 0.6, 1, 3])
def test_elastic_displacements_are_as_large_as_those_of_imgaug(sigma: float) -> None:
    (step,) = steps({"ElasticTransformation": {"alpha": 5, "sigma": sigma}})
    transform = albumentations.ElasticTransform(**{key: value for key, value in step.items() if key != "_target_"})
    transform.set_random_seed(1)
    found = transform.get_params_dependent_on_data({"shape": (500, 500)}, {})["map_x"] - np.arange(500)
    # imgaug smooths numbers drawn evenly from -1 to 1.
    drawn = np.random.default_rng(0).uniform(-1, 1, (500, 500))
    expected = 5 * ndimage.gaussian_filter(drawn, sigma) if sigma else 5 * drawn
    assert found.std() == pytest.approx(expected.std(), rel=0.07)


def test_operations_without_a_probability_always_happen() -> None:
    assert steps({"Affine": {"rotate": [-16, 16]}})[0]["p"] == 1.0
    assert steps({"Fliplr": 0.5})[0]["p"] == 0.5
    assert steps({"Rotate90": False}) == []


def test_a_list_is_a_range_in_any_order() -> None:
    assert steps({"Affine": {"rotate": [16, -16]}})[0]["rotate"] == [-16.0, 16.0]


def test_the_order_of_the_file_is_kept() -> None:
    given = [{"Flipud": 0.5}, {"Fliplr": 0.5}]
    assert [step["_target_"] for step in steps(given)] == [
        "albumentations.VerticalFlip",
        "albumentations.HorizontalFlip",
    ]


def built(node: dict[str, Any]) -> Any:
    return libraries.adapt(random_choices.made(node)[1])


NESTED = [
    {"SigmoidContrast": {"gain": [3, 10], "cutoff": [0.4, 0.6], "per_channel": 0.5}},
    {"LogContrast": [0.6, 0.8]},
    {"AddToHueAndSaturation": [30, 40]},
    {"AddToHueAndSaturation": {"value": [30, 40], "per_channel": 0.5}},
    {"AddToHueAndSaturation": {"value_hue": 40, "value_saturation": [20, 30]}},
    {"GammaContrast": {"gamma": [0.5, 0.6], "per_channel": True}},
    {"Add": {"value": [20, 40], "per_channel": 0.5}},
    {"Multiply": {"mul": [0.5, 0.7], "per_channel": 0.5}},
    {"Affine": {"rotate": [10, 16], "cval": [0, 255]}},
    {"Affine": {"rotate": [10, 16], "cval": "ALL", "order": [0, 1], "mode": "constant"}},
    {"Pad": {"px": 5, "pad_mode": ["edge", "reflect"], "pad_cval": [0, 255]}},
    {"OneOf": {"children": [{"Fliplr": 1.0}, {"Flipud": 1.0}], "name": "flips"}},
    {"Sequential": {"children": [{"Fliplr": 1.0}], "random_order": False}},
    {"Sequential": {"Fliplr": 1.0, "Add": [20, 40]}},
    {"OneOf": {"Fliplr": 1.0, "Flipud": 1.0}},
    {"OneOf": [{"Fliplr": 1.0}, {"Add": [20, 40]}]},
    {"SomeOf": {"n": [1, 2], "children": [{"Fliplr": 1.0}, {"Flipud": 1.0}]}},
    {"Sometimes": {"p": 1.0, "then_list": {"Flipud": 1.0}}},
    {"Dropout": [0.2, 0.4]},
    {"CoarseDropout": {"p": [0.1, 0.2], "size_percent": 0.02}},
    {"CoarseDropout": {"p": 0.5, "size_px": [2, 4], "per_channel": 0.5, "min_size": 2}},
    {"Invert": {"p": 1.0, "per_channel": True}},
    {"ContrastNormalization": [0.5, 0.6]},
    {"LinearContrast": {"alpha": [0.5, 0.6], "per_channel": 0.5}},
    {"Affine": {"rotate": [10, 16], "mode": "ALL"}},
    {"Affine": {"rotate": [10, 16], "mode": ["edge", "reflect"]}},
    {"Sometimes": [0.5, {"Fliplr": 1.0}, {"Flipud": 1.0}]},
    {"Sometimes": {"p": 0.0, "then_list": {"Fliplr": 0.0}, "else_list": {"Flipud": 1.0}}},
    {"ElasticTransformation": {"alpha": [40, 60], "sigma": [4, 5]}},
    {"EdgeDetect": [0.5, 1.0]},
    {"DirectedEdgeDetect": {"alpha": [0.5, 1.0], "direction": [0.0, 1.0]}},
    {"Grayscale": [0.4, 0.6]},
    {"AddElementwise": [20, 40]},
    {"AddElementwise": {"value": [20, 40], "per_channel": 1}},
    {"PerspectiveTransform": [0.1, 0.15]},
    {"ChannelShuffle": 1.0},
]


@pytest.mark.parametrize("given", NESTED)
def test_nested_operations_and_drawn_parameters_are_steps_of_each_image(given: dict[str, Any]) -> None:
    images = np.random.default_rng(0).integers(60, 180, (3, 32, 32, 3), dtype=np.uint8)
    made = [built(step) for step in steps(given)]
    seeds = np.array([1, 2, 3], np.uint64)
    after = samples.apply(made, images, seeds)
    assert after.shape == images.shape and after.dtype == np.uint8
    assert all((one != other).any() for one, other in zip(after, images, strict=True))
    alone = samples.apply(made, images[1:2], seeds[1:2])
    assert (alone[0] == after[1]).all()


def test_a_list_is_a_choice_where_the_file_says_so() -> None:
    state = State({"imgaug_lists": "choice"}, Home.of(Path("/none/config.yaml")), False)
    (found,) = imgaug.pipeline(state, "augmentation", {"Affine": {"rotate": [-16, 16], "shear": [-3, 3]}})
    drawn_from = [
        (one["rotate"], one["shear"]["x"]) for pipeline in found["pipelines"] for one in pipeline
    ]  # fmt: skip
    assert sorted(drawn_from) == [
        ([rotate, rotate], [shear, shear]) for rotate in (-16.0, 16.0) for shear in (-3.0, 3.0)
    ]
    assert imgaug.pipeline(state, "augmentation", {"Fliplr": 0.5}) == steps({"Fliplr": 0.5})


def test_an_operation_on_masks_says_so() -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", {"BackgroundReplacer": {"path": "x"}})
    assert state.wrong == ["augmentation.BackgroundReplacer: needs masks, and classes have none; leave it out"]


@pytest.mark.parametrize("given", [None, {}, 1.0, {"per_channel": False}, {"p": 1.0, "per_channel": 0}])
def test_an_inversion_happens_always_unless_it_says_how_often(given: Any) -> None:
    assert steps({"Invert": given}) == [{"_target_": "albumentations.InvertImg", "p": 1.0}]


@pytest.mark.parametrize(
    "given",
    [
        {"Invert": {"p": 1.0, "per_channel": True, "max_value": 9}},
        {"Sometimes": [0.5, {"Fliplr": 1.0}, {"Flipud": 1.0}, {"Add": 9}]},
        {"LinearContrast": {"alpha": 0.5, "gain": 2}},
        {"Fliplr": {"p": 0.5, "deterministic": True}},
        {"Affine": {"rotate": 3, "order": 2}},
        {"Affine": {"rotate": 3, "backend": "torch"}},
        {"AddToHueAndSaturation": {"value": 3, "value_hue": 4}},
        {"Pad": {"px": 3, "percent": 0.1}},
        {"Resize": {"height": 20, "width": "keep-aspect-ratio"}},
        {"Resize": [20, 30]},
        {"Resize": {"size": 20, "interpolation": "lanczos"}},
        {"JpegCompression": 120},
        {"HistogramEqualization": {"to_colorspace": "CIE"}},
        {"ElasticTransformation": {"alpha": 3, "sigma": 1, "polygons": "auto"}},
        {"CLAHE": {"to_colorspace": "GRAY"}},
        {"Posterize": {"nb_bits": 3, "max_size": 9}},
        {"Jigsaw": {"nb_rows": 0}},
        {"CropToAspectRatio": {"position": "center"}},
        {"CenterPadToSquare": {"position": "uniform"}},
        {"PadToSquare": {"pad_mode": "edge"}},
        {"RandAugment": {"m": 31}},
        {"MultiplyBrightness": {"mul": 2, "add": 3}},
        {"HistogramEqualization": 0.5},
        {"Pad": {"px": 3, "pad_mode": "maximum"}},
        {"Crop": {"px": 3, "pad_mode": "edge"}},
        {"PadToFixedSize": {"width": 9, "height": 9, "position": "left-top"}},
        {"Sometimes": {"p": 0.5, "then_list": {"Fliplr": 1.0}, "els_list": {"Flipud": 1.0}}},
    ],
)
def test_nothing_that_is_said_is_dropped(given: dict[str, Any]) -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", given)
    assert len(state.wrong) == 1 and "cannot be read" in state.wrong[0]


@pytest.mark.parametrize(
    ("count", "least", "most"),
    [
        ({}, 2, 2),
        ({"n": None}, 2, 2),
        ({"n": 1}, 1, 1),
        ({"n": 3}, 2, 2),
        ({"n": [0, None]}, 0, 2),
        ({"n": [1, 5]}, 1, 2),
    ],
)
def test_some_of_are_as_many_as_imgaug_takes(count: dict[str, Any], least: int, most: int) -> None:
    """Without a number all of them; never more than there are."""
    (found,) = steps({"SomeOf": {"children": [{"Fliplr": 1.0}, {"Flipud": 1.0}], **count}})
    assert (found["least"], found["most"]) == (least, most)
    built(found)


@pytest.mark.parametrize("count", [-1, 0.5, True, [2, 1], [1, 2, 3], "two"])
def test_a_number_of_operations_that_is_none_is_said(count: Any) -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(state, "augmentation", {"SomeOf": {"n": count, "children": [{"Fliplr": 1.0}, {"Flipud": 1.0}]}})
    assert len(state.wrong) == 1 and "a number of operations, or a list of two" in state.wrong[0]


def test_ways_to_pad_that_are_left_out_are_said() -> None:
    state = State({}, Home.of(Path("/none/config.yaml")), False)
    imgaug.pipeline(
        state, "augmentation", {"Pad": {"px": 3, "pad_mode": "ALL"}, "Affine": {"rotate": 3, "mode": "ALL"}}
    )
    assert [line.fate for line in state.lines] == ["differs", "same"]


@pytest.mark.parametrize(("angle", "wanted"), [(0, (5, 1)), (90, (1, 5)), (180, (5, 1))])
def test_a_motion_at_no_angle_is_upright(angle: int, wanted: tuple[int, int]) -> None:
    (step,) = map(built, steps({"MotionBlur": {"k": 5, "angle": angle, "direction": 0.0}}))
    image = np.zeros((1, 15, 15, 3), np.uint8)
    image[0, 7, 7] = 250
    rows, columns = np.asarray(step(image, np.array([1], np.uint64)))[0, ..., 0].nonzero()
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == wanted


@pytest.mark.parametrize(
    ("angle", "angles", "direction"),
    [
        (None, [0, 360], [-1, 1]),
        ([-45, 45], [45, 135], [-1, 1]),
        ([-100, -95], [350, 355], [-1, 1]),
        ([180, 300], [90, 210], [-1, 1]),
        (300, [30, 30], [-1, 1]),
        ([0, 720], [0, 360], [-1, 1]),
    ],
)
def test_a_motion_at_any_angle_can_be_made(angle: Any, angles: list[float], direction: list[float]) -> None:
    """albumentations takes angles from 0 to 360."""
    (step,) = steps({"MotionBlur": {"k": 5} if angle is None else {"k": 5, "angle": angle}})
    assert (step["angle_range"], step["direction_range"]) == (angles, direction)
    built(step)


def test_a_motion_turned_by_a_half_goes_the_other_way() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 15, 15, 3), dtype=np.uint8)
    seed = np.array([1], np.uint64)
    first, second = (
        np.asarray(built(steps({"MotionBlur": {"k": 5, **one}})[0])(image, seed))
        for one in ({"angle": [250, 280], "direction": [0.5, 0.5]}, {"angle": [70, 100], "direction": [-0.5, -0.5]})
    )
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("given", [{"Affine": {"rotate": 90}}, {"Rotate": [90, 90]}])
def test_images_are_rotated_with_the_clock(given: dict[str, Any]) -> None:
    """As scikit-image's AffineTransform, which imgaug takes, has it."""
    image = np.zeros((1, 15, 15, 3), np.uint8)
    image[0, 2, 7] = 250
    (step,) = map(built, steps(given))
    turned = np.asarray(step(image, np.array([1], np.uint64)))[0, ..., 0]
    assert np.argwhere(turned > 100).tolist() == [[7, 12]]


@pytest.mark.parametrize(("given", "place"), [({"ShearX": 45}, (2, 7)), ({"ShearY": 45}, (7, 12))])
def test_images_are_sheared_with_the_clock(given: dict[str, Any], place: tuple[int, int]) -> None:
    """The top goes right, the right side down: imgaug shears along y what scikit-image shears between two quarter turns."""
    image = np.zeros((1, 15, 15, 3), np.uint8)
    image[0, place[0], place[1]] = 250
    (step,) = map(built, steps(given))
    row, column = np.argwhere(np.asarray(step(image, np.array([1], np.uint64)))[0, ..., 0] > 100)[0]
    assert (row, column) == ((2, 12) if place == (2, 7) else (12, 12))


@pytest.mark.parametrize("number", range(5))
def test_quarters_are_turned_with_the_clock(number: int) -> None:
    made = [built(step) for step in steps({"Rot90": number})]
    images = np.random.default_rng(0).integers(0, 255, (1, 4, 4, 3), dtype=np.uint8)
    turned = samples.apply(made, images, np.array([1], np.uint64))
    assert (np.asarray(turned)[0] == np.rot90(images[0], -number)).all()


def test_quarters_may_be_drawn() -> None:
    made = [built(step) for step in steps({"Rot90": [1, 3]})]
    image = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    turned = samples.apply(made, np.stack([image] * 40), np.arange(40, dtype=np.uint64))
    seen = {next(number for number in range(4) if (one == np.rot90(image, -number)).all()) for one in turned}
    assert seen == {1, 2, 3}


@pytest.mark.parametrize(
    ("given", "shape"),
    [({"height": 20, "width": 30}, (20, 30)), (24, (24, 24)), (0.5, (8, 16)), ({"size": [2.0, 2.0]}, (32, 64))],
)
def test_sides_that_are_asked_for(given: Any, shape: tuple[int, int]) -> None:
    (step,) = map(built, steps({"Resize": given}))
    assert np.asarray(step(np.zeros((1, 16, 32, 3), np.uint8), np.array([1], np.uint64))).shape[1:3] == shape


def test_contrast_is_about_the_middle_grey() -> None:
    """127 + alpha * (v - 127), as imgaug documents it: no picture becomes darker or brighter as a whole."""
    image = np.array([[[0, 27, 127], [128, 227, 255]]], np.uint8)[None]
    for name in ("LinearContrast", "ContrastNormalization"):
        (step,) = map(built, steps({name: 0.5}))
        assert step(image, np.array([1], np.uint64)).tolist() == [[[[64, 77, 127], [128, 177, 191]]]]


def test_a_share_of_the_images_has_channels_by_themselves() -> None:
    (step,) = map(built, steps({"Add": {"value": [-60, 60], "per_channel": 0.3}}))
    images = np.full((300, 4, 4, 3), 120, np.uint8)
    changed = np.asarray(step(images, np.arange(300, dtype=np.uint64))).astype(int)
    apart = (changed[..., 0] != changed[..., 1]).any(axis=(1, 2))
    assert apart.mean() == pytest.approx(0.3, abs=0.08)


def test_whole_numbers_of_pixels_are_drawn_up_to_their_bound() -> None:
    (step,) = steps({"Pad": {"px": [0, 2], "keep_size": False}})
    transform = albumentations.CropAndPad(**{key: value for key, value in step.items() if key != "_target_"})
    transform.set_random_seed(0)
    heights = {transform(image=np.zeros((8, 8, 3), np.uint8))["image"].shape[0] - 8 for _ in range(200)}
    assert heights == {0, 1, 2, 3, 4}


def test_noise_may_be_off_the_middle_and_what_comes_from_outside_drawn() -> None:
    (noise,) = map(built, steps({"AdditiveGaussianNoise": {"scale": 0, "loc": 51}}))
    seeds = np.arange(40, dtype=np.uint64)
    assert (noise(np.full((2, 4, 4, 3), 100, np.uint8), seeds[:2]) == 151).all()
    (shift,) = map(built, steps({"Affine": {"translate_px": {"x": 3, "y": 0}, "cval": [0, 255]}}))
    changed = np.asarray(shift(np.full((40, 8, 8, 3), 100, np.uint8), seeds))
    corners = changed[:, 0, 0, 0]
    assert (
        (changed[:, :, 3:] == 100).all() and len(np.unique(corners)) > 25 and corners.min() < 40 and corners.max() > 215
    )


def test_a_grid_that_is_bent_has_as_many_points_as_the_file_says() -> None:
    (step,) = steps({"PiecewiseAffine": {"scale": 0.05, "nb_rows": 3, "nb_cols": [3, 5]}})
    assert (step["nb_rows"], step["nb_cols"]) == ([3, 3], [3, 5])
