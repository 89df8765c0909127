"""Random changes of training images together with the bounding boxes of their objects.

A box is x0, y0, x1, y1 in pixels, measured from the image's upper left corner, followed by any further columns. A rotated
box becomes the axis-aligned box around it. After every step boxes are clipped to the image, and boxes of which too little is
left are dropped, see `clipped`. Changes of colours, blur and erased rectangles do not affect boxes.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.data.augment import geometry, samples
from mlpipe.data.augment import libraries as transforms
from mlpipe.data.augment.paired import (
    COLOURING,
    RESIZE,
    Alternating,
    Always,
    Chosen,
    refuse_moving_inside,
    through,
)
from mlpipe.data.augment.random_choices import Choice
from mlpipe.data.augment.samples import PIPELINE, AlternatingFlip, Images, Seeds, once, uniform
from mlpipe.errors import DataError, problem
from mlpipe.names import name_of

# For each image, an array of shape (boxes, 4 or more).
BoxList = list[npt.NDArray[np.float64]]
# Maps images, a `BoxList` and seeds to changed images and boxes.
BoxStep = Callable[[Any, Any, Seeds], tuple[Any, Any]]
# Height and width of images, shape (n, 2).
Sides = npt.NDArray[np.float64]
# Affine maps of points, shape (n, 2, 3): x' and y' as sums of x, y and 1.
Moves = npt.NDArray[np.float64]

# The smallest share of a box's area that must remain in the image, and its smallest side in pixels.
LEAST_SHARE, LEAST_SIDE = 0.2, 1.0


def adapt(target: str, transform: Any) -> BoxStep:
    """Return a step for images and their boxes.

    Args:
        target: The name in the configuration.
        transform: The object of that name: a step of mlpipe, or an albumentations or torchvision v2 transform that moves
            boxes.

    Raises:
        DataError: For transforms that normalise, that are for targets, or that do not say what happens to boxes.
    """
    if isinstance(transform, Choice):
        return Chosen(transform.adapted(adapt), list)
    name = type(transform).__name__
    is_torchvision = any(base.__module__.startswith("torchvision.transforms.v2") for base in type(transform).__mro__)
    if "albumentations" in transforms.origins(transform):
        transforms.refuse_normalising(transform, PIPELINE)
        _refuse_unmoved(transform)
        # The library warns if it gets boxes for transforms that only recolour.
        moves = "bboxes" in transform.available_keys
        seeded = _with_boxes(transform) if moves else transforms.Seeded(transform)
        return _PerImage(name, partial(_by_albumentations, seeded, moves))
    if is_torchvision:
        transforms.refuse_normalising(transform, PIPELINE)
        return _PerImage(name, partial(_by_torchvision, transform))
    own = name_of(target)
    refuse_moving_inside(target, transform, "boxes")
    if own not in (*_MOVES, *COLOURING):
        fix = "use a transform of albumentations or of torchvision.transforms.v2, which move boxes too"
        raise DataError(problem(PIPELINE, "does not say what happens to boxes", got=target, fix=fix))
    transforms.refuse_targets(transform)
    step = _Own(transform, _MOVES.get(own), _parameters(transform))
    if isinstance(transform, AlternatingFlip):
        return Alternating(step)
    return Always(step) if isinstance(transform, geometry.Always) else step


def apply(steps: Sequence[BoxStep], images: Images, boxes: BoxList, seeds: Seeds) -> tuple[Images, BoxList]:
    """Run the steps of a pipeline on images and their boxes, each step with its own seeds, as in `samples.apply`.

    Args:
        steps: Results of `adapt`.
        images: A batch (n, height, width, channels), or a list of images of several sizes.
        boxes: The boxes of each image, which are clipped to it first.
        seeds: One for each image, shape (n,).
    """
    boxes = all_clipped(boxes, images)
    return through(steps, images, boxes, seeds)


def all_clipped(boxes: BoxList, images: Images) -> BoxList:
    """Clip the boxes of each image to it, see `clipped`."""
    return [clipped(rows, *image.shape[:2]) for rows, image in zip(boxes, images, strict=True)]


def clipped(boxes: npt.NDArray[np.float64], height: float, width: float) -> npt.NDArray[np.float64]:
    """Clip boxes to their image; drop boxes with less than a fifth of their area, or less than a whole pixel, left.

    Args:
        boxes: Shape (boxes, 4 or more).
        height: The image's height.
        width: Its width.

    Returns:
        The remaining boxes, in their order.
    """
    inside = boxes.copy()
    inside[:, 0:4:2] = np.clip(boxes[:, 0:4:2], 0, width)
    inside[:, 1:4:2] = np.clip(boxes[:, 1:4:2], 0, height)
    sides, whole = inside[:, 2:4] - inside[:, :2], boxes[:, 2:4] - boxes[:, :2]
    # A small tolerance for rounding errors.
    is_left = (sides.min(axis=1, initial=np.inf) >= LEAST_SIDE - 1e-6) & (
        sides.prod(axis=1) >= LEAST_SHARE * whole.prod(axis=1) - 1e-6
    )
    return np.asarray(inside[is_left])


def moved(boxes: npt.NDArray[np.float64], moves: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the axis-aligned boxes around boxes whose corners were moved.

    Args:
        boxes: Shape (boxes, 4 or more).
        moves: The affine map of points, shape (2, 3).
    """
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]] @ moves[:, :2].T + moves[:, 2]
    return np.concatenate([corners.min(axis=1), corners.max(axis=1), boxes[:, 4:]], axis=1)


@dataclass(frozen=True)
class _Own:
    """A step of mlpipe.

    Attributes:
        step: The step.
        moves: The affine maps of points, as a function of sides, seeds and the parameters; None: points stay.
        parameters: The step's parameters.
    """

    step: Any
    moves: Callable[..., Moves] | None
    parameters: Mapping[str, Any]

    def __call__(self, images: Images, boxes: BoxList, seeds: Seeds) -> tuple[Images, BoxList]:
        """Return the changed images and their boxes."""
        sides = np.array([image.shape[:2] for image in images], np.float64).reshape(-1, 2)
        changed = once(self.step, images, seeds)
        if self.moves is None:
            return changed, boxes
        triples = zip(changed, boxes, self.moves(sides, seeds, **self.parameters), strict=True)
        return changed, [clipped(moved(own, how), *image.shape[:2]) for image, own, how in triples]


def _parameters(transform: Any) -> dict[str, Any]:
    """Return the parameters of a step of mlpipe."""
    step = transform.change if isinstance(transform, geometry.Always) else transform
    if isinstance(step, partial) and step.args and isinstance(step.args[0], partial):
        step = step.args[0]
    return dict(step.keywords) if isinstance(step, partial) else {}


def _identity_moves(sides: Sides) -> Moves:
    return np.tile(np.eye(2, 3), (len(sides), 1, 1))


def _shift_moves(sides: Sides, down: Any, across: Any) -> Moves:
    moves = _identity_moves(sides)
    moves[:, 0, 2], moves[:, 1, 2] = across, down
    return moves


def _window_moves(sides: Sides, window: Any, size: Any) -> Moves:
    """Return the maps for a window (top, left, height, width) of each image, shape (n, 4), resized to (height, width)."""
    top, left, height, width = np.asarray(window, np.float64).T
    moves = _identity_moves(sides)
    moves[:, 0, 0], moves[:, 1, 1] = size[1] / width, size[0] / height
    moves[:, 0, 2], moves[:, 1, 2] = -left * moves[:, 0, 0], -top * moves[:, 1, 1]
    return moves


def _mirror_moves(sides: Sides, chosen: npt.NDArray[np.bool_], axis: int) -> Moves:
    """Return the maps for mirroring the chosen images along y (0) or x (1)."""
    moves, coordinate = _identity_moves(sides), 1 - axis
    moves[chosen, coordinate, coordinate] = -1
    moves[chosen, coordinate, 2] = sides[chosen, axis]
    return moves


def _flip_moves(sides: Sides, seeds: Seeds, axis: int, p: float) -> Moves:
    """Return the maps for random flips along one axis of a batch, counted from the image axis."""
    return _mirror_moves(sides, uniform(seeds, 0) < p, axis - 1)


def _alternating_flip_moves(sides: Sides, seeds: Seeds) -> Moves:
    return _mirror_moves(sides, (seeds & np.uint64(1)).astype(bool), 1)


def _random_flip_moves(sides: Sides, seeds: Seeds, p: float, axes: list[int] | None) -> Moves:
    moves = _identity_moves(sides)
    for axis in (0, 1) if axes is None else axes:
        own = _mirror_moves(sides, uniform(seeds, axis) < p, axis)
        moves[:, 1 - axis] = own[:, 1 - axis]
    return moves


def _quarter_turn_moves(sides: Sides, seeds: Seeds) -> Moves:
    """Return the maps for counter-clockwise rotations by 0, 90, 180 or 270 degrees."""
    turns, moves = (uniform(seeds, 0) * 4).astype(int), _identity_moves(sides)
    height, width = sides.T
    zeros, ones = np.zeros(len(sides)), np.ones(len(sides))
    by_turns = {
        1: [[zeros, ones, zeros], [-ones, zeros, width]],
        2: [[-ones, zeros, width], [zeros, -ones, height]],
        3: [[zeros, -ones, height], [ones, zeros, zeros]],
    }
    for number, rows in by_turns.items():
        moves[turns == number] = np.moveaxis(np.array(rows), -1, 0)[turns == number]
    return moves


def _random_crop_moves(sides: Sides, seeds: Seeds, padding: float) -> Moves:
    offsets = []
    for (height, width), seed in zip(sides.astype(int).tolist(), np.split(seeds, len(seeds)), strict=True):
        down, right, tops, lefts = samples.offsets(height, width, seed, padding)
        offsets.append((down - tops[0], right - lefts[0]))
    shifts = np.array(offsets, np.float64).reshape(-1, 2)
    return _shift_moves(sides, shifts[:, 0], shifts[:, 1])


def _resized_crop_moves(
    sides: Sides, seeds: Seeds, size: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Moves:
    return _window_moves(sides, samples.windows(sides, seeds, scale, ratio), (size, size))


def _resize_moves(sides: Sides, seeds: Seeds, size: tuple[int, int]) -> Moves:
    return _window_moves(sides, np.concatenate([np.zeros_like(sides), sides], axis=1), size[::-1])


def _center_crop_moves(sides: Sides, seeds: Seeds, size: tuple[int, int]) -> Moves:
    return _shift_moves(sides, -((sides[:, 0] - size[1]) // 2), -((sides[:, 1] - size[0]) // 2))


def _trim_moves(sides: Sides, seeds: Seeds, most: float) -> Moves:
    pairs = zip(sides.astype(int).tolist(), _draws(seeds, 4), strict=True)
    trims = [geometry.trims(height, width, draws, most) for (height, width), draws in pairs]
    cut = np.array(trims, np.float64).reshape(-1, 4)
    return _shift_moves(sides, -cut[:, 0], -cut[:, 2])


def _zoom_moves(sides: Sides, seeds: Seeds, most: float) -> Moves:
    pairs = zip(sides.astype(int).tolist(), uniform(seeds, 0), strict=True)
    cut = np.array([[geometry.share_off(draw, most, side) for side in own] for own, draw in pairs]).reshape(-1, 2)
    return _window_moves(sides, np.concatenate([cut, sides - 2 * cut], axis=1), sides.T)


def _rotate_moves(sides: Sides, seeds: Seeds, degrees: float) -> Moves:
    return _rotation_moves(sides, np.full(len(sides), degrees))


def _random_rotate_moves(sides: Sides, seeds: Seeds, degrees: float) -> Moves:
    return _rotation_moves(sides, (2 * uniform(seeds, 0) - 1) * degrees)


def _rotation_moves(sides: Sides, degrees: npt.NDArray[np.float64]) -> Moves:
    pairs = zip(sides.astype(int).tolist(), degrees.tolist(), strict=True)
    turns = [geometry.rotation(height, width, angle) for (height, width), angle in pairs]
    moves = np.array(turns).reshape(-1, 2, 3)
    # The matrices are in coordinates of pixel centres.
    moves[:, :, 2] += 0.5 - 0.5 * moves[:, :, :2].sum(axis=2)
    return moves


def _draws(seeds: Seeds, count: int) -> npt.NDArray[np.float64]:
    return np.stack([uniform(seeds, number) for number in range(count)], axis=1)


_MOVES: Mapping[str, Callable[..., Moves]] = {
    "random_crop": _random_crop_moves,
    "random_resized_crop": _resized_crop_moves,
    "horizontal_flip": _flip_moves,
    "vertical_flip": _flip_moves,
    "alternating_flip": _alternating_flip_moves,
    "random_flips": _random_flip_moves,
    "rotate90": _quarter_turn_moves,
    RESIZE: _resize_moves,
    "center_crop": _center_crop_moves,
    "jitter_crop": _trim_moves,
    "random_zoom": _zoom_moves,
    "rotate": _rotate_moves,
    "random_rotate": _random_rotate_moves,
}


@dataclass(frozen=True)
class _PerImage:
    """A transform of another library that changes one image and its boxes at a time.

    Attributes:
        name: The name of the transform's class, for error messages.
        change: A function of an image, its boxes with an index in the last column, and a seed.
    """

    name: str
    change: Callable[[Any, Any, int], tuple[Any, Any]]

    def __call__(self, images: Images, boxes: BoxList, seeds: Seeds) -> tuple[Images, BoxList]:
        """Return the changed images and their boxes."""
        with transforms.global_draws_kept():
            both = [self._one(*triple) for triple in zip(images, boxes, seeds.tolist(), strict=True)]
        changed = [image for image, _ in both]
        same = len({image.shape for image in changed}) == 1
        return np.stack(changed) if same else changed, [own for _, own in both]

    def _one(self, image: Any, boxes: npt.NDArray[np.float64], seed: int) -> tuple[Any, npt.NDArray[np.float64]]:
        numbered = np.concatenate([boxes[:, :4], np.arange(len(boxes))[:, np.newaxis]], axis=1)
        try:
            # Copies, because some transforms modify their input in place, and the cache is shared.
            after, left = self.change(np.array(image, order="C"), numbered, seed)
        except _unfit_errors() as error:
            raise transforms.unfit_images_error(self.name, PIPELINE, image, error) from error
        after = transforms.checked(self.name, image, after)
        new_boxes = np.asarray(left, np.float64).reshape(-1, 5)
        rows = np.concatenate([new_boxes[:, :4], boxes[new_boxes[:, 4].astype(int), 4:]], axis=1)
        return after, clipped(rows, *after.shape[:2])


def _unfit_errors() -> tuple[type[Exception], ...]:
    import cv2

    return (*transforms.UNFIT, cv2.error)


def _refuse_unmoved(transform: Any) -> None:
    """Refuse an albumentations transform, or one inside it, that moves pixels but not boxes."""
    from albumentations import BaseCompose, DualTransform, RandomGridShuffle

    if isinstance(transform, BaseCompose):
        for part in transform.transforms:
            _refuse_unmoved(part)
    elif isinstance(transform, RandomGridShuffle):
        raise DataError(problem(PIPELINE, "tears objects apart", got=type(transform).__name__, fix="leave it out"))
    elif isinstance(transform, DualTransform) and "bboxes" not in transform.available_keys:
        fix = "use one that moves boxes, or leave it out"
        raise DataError(problem(PIPELINE, "does not move boxes", got=type(transform).__name__, fix=fix))


def _with_boxes(transform: Any) -> transforms.Seeded:
    """Return an albumentations transform that takes boxes and drops them by the rule of `clipped`."""
    import albumentations

    rule = albumentations.BboxParams(
        format="pascal_voc",
        label_fields=["numbers"],
        min_visibility=LEAST_SHARE,
        min_width=LEAST_SIDE,
        min_height=LEAST_SIDE,
        clip=True,
    )
    return transforms.Seeded(albumentations.Compose([transform], bbox_params=rule))


def _by_albumentations(seeded: transforms.Seeded, moves: bool, image: Any, boxes: Any, seed: int) -> tuple[Any, Any]:
    if not moves:
        return seeded(seed, image=image)["image"], boxes
    both = seeded(seed, image=image, bboxes=boxes[:, :4], numbers=boxes[:, 4])
    return both["image"], np.column_stack([np.asarray(both["bboxes"]).reshape(-1, 4), both["numbers"]])


def _by_torchvision(transform: Any, image: Any, boxes: Any, seed: int) -> tuple[Any, Any]:
    import torch
    from torchvision import tv_tensors
    from torchvision.transforms.v2.functional import convert_bounding_box_format

    torch.default_generator.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    # Without clamping, so that it stays known how much of a box lies outside.
    wrapped = tv_tensors.BoundingBoxes(
        torch.from_numpy(boxes[:, :4].copy()),
        format=tv_tensors.BoundingBoxFormat.XYXY,
        canvas_size=image.shape[:2],
        clamping_mode=None,
    )
    with warnings.catch_warnings():
        # An erasing is meant to leave boxes unchanged, so its warning is ignored.
        warnings.filterwarnings("ignore", message=".*passing through inputs")
        moved_image, moved_boxes = transform(tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1))), wrapped)
    if len(moved_boxes) != len(boxes):
        raise ValueError("it drops boxes, and mlpipe has a rule of its own for that")
    # A step may return boxes in another format.
    corners = convert_bounding_box_format(moved_boxes, new_format=tv_tensors.BoundingBoxFormat.XYXY)
    pixels = moved_image.permute(1, 2, 0).numpy()
    return pixels, np.column_stack([corners.numpy(), boxes[:, 4]])
