"""Sets of images that need no download: those in packages, and synthetic ones of several difficulties.

Each set is a function that returns images, uint8 of shape (height, width) or (height, width, 3), and their classes, shape (n,).
Synthetic images have a fixed seed, so that they are the same everywhere.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]
Set = tuple[list[Pixels], Classes]

# The folder of scikit-image's pictures, if it is installed in another environment.
PICTURES = "MML_PICTURES"


def elpv() -> Set:
    """Return photographs of solar cells, defective or not, without the uncertain ones (package `elpv-dataset`)."""
    from elpv_dataset.utils import load_dataset

    images, probabilities, _ = load_dataset()
    sure = np.isin(probabilities, (0, 1))
    return [np.asarray(image) for image in images[sure]], probabilities[sure].astype(np.int64)


def fashion_mini() -> Set:
    """Return the embedded Fashion-MNIST: training and test images together."""
    from mlpipe.data import sources

    task = sources.fashion_mini()
    read = sources.open(task).inputs(1)
    return [np.asarray(read(row)).squeeze() for row in range(len(task.samples))], task.samples.targets


def digits() -> Set:
    """Return scikit-learn's handwritten digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    return [(image.reshape(8, 8) * 15.9).astype(np.uint8) for image in images], targets


# Pictures of one material or of many similar objects: any piece shows which picture it is from.
_TEXTURES = ("brick", "grass", "gravel", "moon", "coins", "cell", "hubble_deep_field", "ihc", "page")


def textures(size: int = 40, most: int = 90) -> Set:
    """Return grey pieces of scikit-image's pictures, with equal mean and contrast; the class is the picture.

    Args:
        size: Height and width of a piece in pixels; pieces do not overlap.
        most: Maximum number of pieces of one picture.
    """
    from PIL import Image

    folder, draw = pictures(), np.random.default_rng(0)
    images, classes = [], []
    for number, name in enumerate(_TEXTURES):
        (file,) = folder.glob(f"{name}.*")
        picture = np.asarray(Image.open(file).convert("L"), np.float64)
        rows, columns = (length // size for length in picture.shape)
        pieces = [(row * size, column * size) for row in range(rows) for column in range(columns)]
        for at in draw.permutation(len(pieces))[:most]:
            top, left = pieces[at]
            piece = picture[top : top + size, left : left + size]
            flat = 128 + 40 * (piece - piece.mean()) / max(piece.std(), 1.0)
            images.append(np.clip(flat, 0, 255).astype(np.uint8))
            classes.append(number)
    return images, np.array(classes)


def pictures() -> Path:
    """Return the folder of scikit-image's pictures.

    Raises:
        ModuleNotFoundError: If scikit-image is not installed and MML_PICTURES is not set.
    """
    if os.environ.get(PICTURES):
        return Path(os.environ[PICTURES])
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("scikit-image is not installed")
    return Path(package.origin).parent / "data"


def made(images: int, classes: int, noise: float, size: int = 64) -> Set:
    """Return images of one shape at a random place, size and rotation, among lines, with noise.

    Args:
        images: Number of images, equally many of each class.
        classes: Number of shapes, at most eight.
        noise: Standard deviation of the noise, as a share of the contrast of the shape.
        size: Height and width in pixels.
    """
    draw = np.random.default_rng([images, classes, round(100 * noise)])
    targets = np.arange(images) % classes
    return [_picture(draw, int(target), noise, size) for target in targets], targets.astype(np.int64)


def _picture(draw: np.random.Generator, shape: int, noise: float, size: int) -> Pixels:
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) / (size / 2)
    x, y = x - draw.uniform(-0.4, 0.4), y - draw.uniform(-0.4, 0.4)
    turn, scale = draw.uniform(0, 2 * np.pi), draw.uniform(0.3, 0.55)
    u, v = (x * np.cos(turn) - y * np.sin(turn)) / scale, (x * np.sin(turn) + y * np.cos(turn)) / scale
    contrast = draw.uniform(50, 90) * draw.choice([-1, 1])
    picture = 128 + contrast * _inside(shape, u, v)
    for _ in range(3):
        angle, offset = draw.uniform(0, np.pi), draw.uniform(-0.8, 0.8)
        picture += 0.7 * abs(contrast) * (np.abs(x * np.cos(angle) + y * np.sin(angle) - offset) < 0.03)
    picture += draw.normal(0, noise * abs(contrast), (size, size))
    return np.clip(picture, 0, 255).astype(np.uint8)


def _inside(shape: int, u: npt.NDArray[np.float64], v: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return whether points are inside a shape of about unit size."""
    radius, angle, square = np.hypot(u, v), np.arctan2(v, u), np.maximum(abs(u), abs(v))
    return [
        radius < 0.9,
        (radius < 0.95) & (radius > 0.6),
        square < 0.8,
        (square < 0.85) & (square > 0.55),
        (v > -0.5) & (v + 1.73 * abs(u) < 1.0),
        (square < 0.9) & (np.minimum(abs(u), abs(v)) < 0.25),
        radius < 0.55 + 0.35 * np.cos(5 * angle),
        (square < 0.9) & (np.sin(10 * u) > 0),
    ][shape]


SETS: dict[str, Callable[[], Set]] = {
    "elpv": elpv,
    "fashion_mini": fashion_mini,
    "digits": digits,
    "textures": textures,
    "made_few": partial(made, 60, 4, 0.3),
    "made_easy": partial(made, 600, 8, 0.3),
    "made_noisy": partial(made, 600, 6, 1.2),
    "made_many": partial(made, 2000, 8, 0.9),
}


def missing(name: str) -> str:
    """Return why a set is not available; empty if it is."""
    needed = {"elpv": "elpv_dataset", "digits": "sklearn"}.get(name)
    if needed is not None and importlib.util.find_spec(needed) is None:
        return f"{needed} is not installed"
    if name == "textures":
        try:
            return "" if pictures().is_dir() else f"{pictures()} is no folder"
        except ModuleNotFoundError as error:
            return str(error)
    return ""


def written(name: str, seed: int, folder: Path) -> Classes:
    """Split a set 70 / 30, stratified, and write it as `learn/CLASS/N.png` and `new/N.png`.

    Args:
        name: A key of `SETS`.
        seed: The seed of the split.
        folder: The destination.

    Returns:
        The classes of the new images, in the order of their names.
    """
    from PIL import Image
    from sklearn.model_selection import train_test_split

    images, targets = SETS[name]()
    learned, new = train_test_split(np.arange(len(targets)), test_size=0.3, random_state=seed, stratify=targets)
    for rows, part in ((learned, "learn"), (np.sort(new), "new")):
        for row in rows.tolist():
            home = folder / part / (f"c{targets[row]:02d}" if part == "learn" else "")
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(home / f"{row:06d}.png")
    return targets[np.sort(new)]
