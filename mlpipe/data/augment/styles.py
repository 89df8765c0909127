"""Images in another style: as a cartoon, or in a light of another colour temperature.

Names in brackets are those of imgaug 0.4, whose documentation the formulas follow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mlpipe.data.augment.pixel_changes import Range, as_bytes, as_type, check, converted, each, like, of_three
from mlpipe.data.augment.samples import Batch, Step

# The colour of a black body on a scale of 255 at temperatures in kelvin: M. Charity's table (sRGB, observer of 10 degrees)
# at the places between which lines keep within 1 of all of its rows.
_LIGHTS = np.array([
    (1000, 255, 56, 0), (1100, 255, 71, 0), (1300, 255, 93, 0), (1500, 255, 109, 0), (1900, 255, 131, 0),
    (2000, 255, 137, 18), (2100, 255, 142, 33), (2400, 255, 157, 63), (2700, 255, 169, 87), (3300, 255, 190, 126),
    (3900, 255, 206, 159), (4600, 255, 221, 190), (5300, 255, 233, 217), (6500, 255, 249, 253), (6700, 252, 247, 255),
    (7200, 240, 241, 255), (8300, 222, 230, 255), (9600, 207, 221, 255), (11700, 192, 212, 255), (14500, 180, 205, 255),
    (17800, 172, 199, 255), (23400, 164, 194, 255), (33600, 157, 189, 255), (40000, 155, 188, 255),
], np.float64)  # fmt: skip
_COLDEST, _HOTTEST = 1000, 40_000
# The longer side in pixels below which a cartoon has finer areas and edges of another filter.
_SMALL = 400


def colour_temperature(*, kelvin: Range = (1000, 11000)) -> Step:
    """Multiply the colours by those of a light of another temperature (ChangeColorTemperature).

    Args:
        kelvin: The range of the temperature in kelvin; 6600 is nearly white, less is redder, more is bluer.

    Raises:
        ConfigError: If the range is not valid.
    """
    check("colour_temperature.kelvin", kelvin, _COLDEST, _HOTTEST)
    return each(partial(_in_light, kelvin=kelvin))


def _in_light(image: Batch, seed: int, *, kelvin: Range) -> Batch:
    of_three("colour_temperature", image)
    temperature = float(np.random.default_rng([seed, 30]).uniform(*kelvin))
    light = [np.interp(temperature, _LIGHTS[:, 0], _LIGHTS[:, channel]) for channel in (1, 2, 3)]
    return as_type(image * (np.array(light) / 255), image)


def cartoon(
    *,
    blur: Range = (1, 5),
    segmentation: Range = (0.8, 1.2),
    saturation: Range = (1.5, 2.5),
    edges: Range = (0.9, 1.1),
) -> Step:
    """Draw images as cartoons: areas of one colour with dark outlines and strong colours (Cartoon).

    Args:
        blur: The range of the side of a median filter, which comes first; even numbers count as the next odd one.
        segmentation: The range of the factor of the size of areas; 0 leaves areas out.
        saturation: The range of the factor of the saturation.
        edges: The range of the factor of the number of outlines.

    Raises:
        ConfigError: If a range is not valid.
    """
    check("cartoon.blur", blur, 0, 99)
    check("cartoon.segmentation", segmentation, 0, 10)
    check("cartoon.saturation", saturation, 0)
    check("cartoon.edges", edges, 0.01)
    return each(partial(_as_cartoon, bounds=(blur, segmentation, saturation, edges)))


def _as_cartoon(image: Batch, seed: int, *, bounds: tuple[Range, ...]) -> Batch:
    import cv2

    of_three("cartoon", image)
    drawn = np.random.default_rng([seed, 31])
    blur, size, factor, prevalence = (float(drawn.uniform(*pair)) for pair in bounds)
    plane = as_bytes(image)
    if (side := max(round(blur), 1) | 1) > 1:
        plane = cv2.medianBlur(np.ascontiguousarray(plane), side)
    is_small = max(image.shape[:2]) < _SMALL
    radii = [int(radius * size) for radius in ((10, 20) if is_small else (15, 40))]
    if size > 0:
        plane = cv2.pyrMeanShiftFiltering(np.ascontiguousarray(plane), radii[0], radii[1])
    lines = _outlines_of_areas(plane, prevalence) if is_small else _outlines_of_changes(plane, prevalence)
    # Blocks full of lines, and lines of a few pixels, are no outlines.
    lines = lines & (_count(lines, 3) < 8)
    lines = lines & (_count(lines, 5) >= 3)
    outlined = np.where(lines[:, :, np.newaxis], np.uint8(0), plane)
    if abs(factor - 1) <= 0.01:
        return like(outlined, image)
    colours = converted(outlined, "RGB", "HSV")
    colours[..., 1] = np.clip(colours[..., 1] * factor, 0, 255).astype(np.uint8)
    return like(converted(colours, "HSV", "RGB"), image)


def _outlines_of_areas(plane: Batch, prevalence: float) -> Batch:
    """Return where a gradient crosses a threshold (Canny's), as booleans of shape (height, width)."""
    import cv2

    threshold = min(int(200 / prevalence), 254)
    lines: Batch = cv2.Canny(cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY), threshold, threshold) > 0
    return lines


def _outlines_of_changes(plane: Batch, prevalence: float) -> Batch:
    """Return where the second derivative is among the largest of the image, as booleans of shape (height, width)."""
    import cv2

    squares = cv2.Laplacian(cv2.cvtColor(plane, cv2.COLOR_RGB2GRAY) / 255, cv2.CV_64F) ** 2
    largest = np.percentile(squares, min(int(90 / prevalence), 99))
    if largest == 0:
        none: Batch = np.zeros(squares.shape, np.bool_)
        return none
    strength = np.rint(np.clip(squares / largest, 0, 1) * 255).astype(np.uint8)
    lines: Batch = cv2.medianBlur(strength, 3) > 100
    return lines


def _count(lines: Batch, side: int) -> Batch:
    """Return how many pixels of a square around each pixel are lines."""
    import cv2

    return np.asarray(np.rint(cv2.filter2D(lines.astype(np.float32), -1, np.ones((side, side), np.float32))))


FUNCTIONS: tuple[Callable[..., Step], ...] = (cartoon, colour_temperature)
