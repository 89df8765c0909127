"""Preprocessing: a square of the wanted size, the same as Pillow's resize, for every type and number of channels."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL
import pytest
from PIL import Image

from mlpipe.config.components import Component
from mlpipe.data import preprocessing
from mlpipe.data.decoding import images
from mlpipe.errors import ConfigError


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [5, 40])
def test_resizes_as_pillow_does(channels: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    result = preprocessing.standard(channels, id="x", size=size)(pixels)
    assert result.shape == (size, size, channels) and result.dtype == np.uint8
    for channel in range(channels):
        alone = Image.fromarray(pixels[:, :, channel]).resize((size, size), Image.Resampling.BILINEAR)
        assert (result[:, :, channel] == np.asarray(alone)).all()


def test_shrinking_averages_over_all_pixels() -> None:
    stripes = np.tile(np.array([0, 255], np.uint8), 32)[None, :, None].repeat(64, axis=0)
    result = preprocessing.standard(1, id="x", size=4)(stripes)
    assert np.abs(result.astype(int) - 127).max() <= 4


def test_the_right_size_and_no_size_change_nothing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 7, 1), dtype=np.uint8)
    assert preprocessing.standard(1, id="x", size=7)(pixels) is pixels
    wide = pixels[:5]
    assert preprocessing.standard(1, id="x", size=None)(wide) is wide


@pytest.mark.parametrize("interpolation", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_every_filter_is_pillows(interpolation: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    steps = preprocessing.standard(3, id="x", size=8, interpolation=interpolation)  # type: ignore[arg-type]
    alone = Image.fromarray(pixels).resize((8, 8), Image.Resampling[interpolation.upper()])
    assert (steps(pixels) == np.asarray(alone)).all()


@pytest.mark.parametrize(("height", "width", "box"), [(20, 40, (10, 0, 30, 20)), (41, 20, (0, 10.5, 20, 30.5))])
def test_short_side_keeps_the_shape_and_the_middle(
    height: int, width: int, box: tuple[float, float, float, float]
) -> None:
    down, across = np.mgrid[0:height, 0:width]
    ramp = np.stack([5 * down, 5 * across, 0 * down], axis=2).astype(np.uint8)
    result = preprocessing.standard(3, id="x", size=10, resize="short_side")(ramp)
    wanted = np.asarray(Image.fromarray(ramp).resize((10, 10), Image.Resampling.BILINEAR, box=box))
    assert result.shape == (10, 10, 3)
    assert np.abs(result.astype(int) - wanted).max() <= 5


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (33, 34), (1, 60)])
def test_pad_holds_all_of_it_in_the_middle(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8)
    result = preprocessing.standard(3, id="x", size=12, resize="pad")(pixels)
    filled = result.any(axis=2)
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    inner = result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    sides = (max(round(12 * height / max(height, width)), 1), max(round(12 * width / max(height, width)), 1))
    assert inner.shape[:2] == sides
    assert abs(rows[0] - (11 - rows[-1])) <= 1 and abs(columns[0] - (11 - columns[-1])) <= 1
    wanted = Image.fromarray(pixels).resize((sides[1], sides[0]), Image.Resampling.BILINEAR)
    assert (inner == np.asarray(wanted)).all()


@pytest.mark.parametrize("resize", ["squash", "short_side", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (64, 64), (63, 65), (3, 2)])
def test_any_shape_becomes_the_square(resize: str, shape: tuple[int, int]) -> None:
    for dtype in (np.uint8, np.uint16, np.float32):
        for channels in (1, 3, 4, 7):
            steps = preprocessing.standard(channels, id="x", size=32, resize=resize)  # type: ignore[arg-type]
            result = steps(np.ones((*shape, channels), dtype))
            assert result.shape == (32, 32, channels) and result.dtype == dtype and result.max() == 1


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
@pytest.mark.parametrize("size", [5, 40])
def test_other_types_and_channels_agree_with_8_bit(channels: int, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, channels), dtype=np.uint8)
    steps = preprocessing.standard(channels, id="x", size=size)
    narrow = steps(pixels).astype(float)
    alone = [preprocessing.standard(1, id="x", size=size)(pixels[:, :, [band]]) for band in range(channels)]
    assert (narrow == np.concatenate(alone, axis=2)).all()
    # Pillow rounds 8 bit after each of the two directions.
    wide = steps(pixels.astype(np.uint16) * 257)
    assert wide.dtype == np.uint16 and np.abs(wide / 257 - narrow).max() <= 1.01
    floating = steps(pixels.astype(np.float32) / 255)
    assert floating.dtype == np.float32 and np.abs(floating * 255 - narrow).max() <= 1.01


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos"])
def test_16_bit_does_not_wrap_around_where_a_filter_overshoots(interpolation: str) -> None:
    edge = np.zeros((16, 16, 1), np.uint16)
    edge[:, 8:] = 65535
    steps = preprocessing.standard(1, id="x", size=40, interpolation=interpolation)  # type: ignore[arg-type]
    row = steps(edge)[20, :, 0].astype(int)
    assert (np.diff(row) >= -8000).all() and row[:15].max() < 8000 and row[25:].min() > 57000


def test_originals_are_kept_and_resized_afterwards() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    fixed = preprocessing.standard(3, id="x", size=16, resize="short_side")
    kept = preprocessing.standard(3, id="x", size=16, resize="short_side", keep="original")
    assert kept(pixels) is pixels and (kept.fixed(kept(pixels)) == fixed(pixels)).all()
    bounded = preprocessing.standard(3, id="x", size=16, keep="original", max_side=40)
    assert bounded(pixels).shape == (24, 40, 3) and bounded(pixels[:20, :40]).shape == (20, 40, 3)
    assert bounded.fixed(bounded(pixels)).shape == (16, 16, 3)
    assert preprocessing.standard(3, id="x", size=4, keep="original", max_side=5)(pixels[:1]).shape == (1, 5, 3)


def test_originals_need_a_size_for_batches() -> None:
    with pytest.raises(ConfigError, match=r"preprocessing\.size: is needed"):
        preprocessing.standard(3, id="x", size=None, keep="original")


def test_the_key_of_originals_does_not_hold_what_happens_after_the_cache() -> None:
    def key(**given: Any) -> dict[str, Any]:
        return preprocessing.standard(3, id="x", **{"size": 16, "keep": "original", **given}).key()

    assert key() == key(size=32) == key(resize="pad") == key(interpolation="box")
    assert len({str(key(max_side=side, interpolation=way)) for side in (None, 8, 9) for way in ("box", "lanczos")}) == 5
    assert key() != key(keep="fixed")


def test_the_key_holds_what_decides_the_result_and_not_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    key = preprocessing.standard(1, id="x", size=7).key()
    assert preprocessing.standard(1, id="y", size=7).key() == key
    assert preprocessing.standard(3, id="x", size=7).key() != key
    assert preprocessing.standard(1, id="x", size=8).key() != key
    assert preprocessing.standard(1, id="x", size=7, resize="pad").key() != key
    assert preprocessing.standard(1, id="x", size=7, interpolation="lanczos").key() != key
    for module, name in ((PIL, "__version__"), (cv2, "__version__"), (images, "RULES")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, "0.0")
            assert preprocessing.standard(1, id="x", size=7).key() != key
    monkeypatch.setattr(images, "version", lambda name: "0.0")
    assert preprocessing.standard(1, id="x", size=7).key() != key


@pytest.mark.parametrize(("resize", "size"), [("squash", 20), ("short_side", 20), ("pad", 20), ("squash", 33)])
def test_a_jpeg_may_be_decoded_at_a_reduced_size_before(resize: str, size: int) -> None:
    down, across = np.mgrid[0:320, 0:480]
    waves = [128 + 60 * np.sin(across / 19), 128 + 60 * np.cos(down / 17), 128 + 50 * np.sin((down + across) / 23)]
    stream = io.BytesIO()
    Image.fromarray(np.stack(waves, axis=2).astype(np.uint8)).save(stream, "JPEG", quality=90)
    steps = preprocessing.standard(3, id="x", size=size, resize=resize)  # type: ignore[arg-type]
    reduced = images.decode(stream.getvalue(), 3, least=steps.least)
    assert reduced.shape == ((40, 60, 3) if size == 20 else (80, 120, 3))
    difference = np.abs(steps(reduced).astype(int) - steps(images.decode(stream.getvalue(), 3)))
    assert difference.max() <= 4 and difference.mean() < 1


def test_what_a_jpeg_must_keep() -> None:
    assert preprocessing.standard(3, id="x", size=224).least == 448
    assert preprocessing.standard(3, id="x", size=None).least is None
    assert preprocessing.standard(3, id="x", size=224, interpolation="nearest").least is None
    assert preprocessing.standard(3, id="x", size=224, keep="original").least is None
    assert preprocessing.standard(3, id="x", size=224, keep="original", max_side=500).least == 1000


@pytest.mark.parametrize("resize", ["squash", "pad", "short_side"])
@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40), (32, 32), (20, 21)])
def test_maps_come_back_to_where_the_image_was(resize: str, height: int, width: int) -> None:
    wanted = preprocessing.standard(1, id="s", size=32, resize=resize)  # type: ignore[arg-type]
    ramp = np.add.outer(np.linspace(0, 100, height), np.linspace(0, 100, width)).astype(np.float32)[:, :, None]
    back, seen = wanted.restored(wanted.fixed(ramp), height, width)
    assert back.shape == (height, width, 1)
    assert seen.all() == (resize != "short_side" or height == width)
    inside = seen.copy()
    # A pixel or two at the edge are weighed with what lies outside.
    for axis in (0, 1):
        for step in (-2, -1, 1, 2):
            inside &= np.roll(seen, step, axis)
    inside[:2], inside[-2:], inside[:, :2], inside[:, -2:] = False, False, False, False
    assert np.abs(back - ramp)[inside].max() < 4


@pytest.mark.parametrize(("height", "width"), [(64, 128), (16, 40), (100, 37), (33, 32)])
def test_the_edge_of_a_crop_is_not_diluted_by_what_no_network_saw(height: int, width: int) -> None:
    wanted = preprocessing.standard(1, id="s", size=32, resize="short_side")
    back, seen = wanted.restored(np.full((32, 32, 2), 0.5, np.float32), height, width)
    # The mean of equal values is that value, however far the filter reaches.
    assert back[seen] == pytest.approx(0.5, abs=1e-6) and not seen.all()


def test_height_and_width_of_their_own() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    squashed = preprocessing.standard(3, id="x", size=[8, 16])
    assert (squashed(pixels) == np.asarray(Image.fromarray(pixels).resize((16, 8), Image.Resampling.BILINEAR))).all()
    assert preprocessing.standard(3, id="x", size=[40, 20], resize="short_side")(pixels).shape == (40, 20, 3)
    padded = preprocessing.standard(3, id="x", size=[10, 30], resize="pad")(pixels)
    assert padded.shape == (10, 30, 3) and not padded[:, :7].any() and padded[:, 8:22].any()
    square = preprocessing.standard(3, id="x", size=[8, 8])
    assert square.key() == preprocessing.standard(3, id="x", size=8).key() != squashed.key()
    with pytest.raises(ConfigError, match="must be height and width"):
        preprocessing.standard(3, id="x", size=[8])


def test_transforms_before_the_resize_are_the_same_each_time() -> None:
    def built(probability: float) -> preprocessing.Preprocessing:
        flip = Component("augmentations", "albumentations.HorizontalFlip", {"p": probability})
        return preprocessing.standard(3, id="x", size=10, before=[flip])

    drawn = np.random.default_rng(0)
    pictures = [drawn.integers(0, 256, (20, 30, 3), dtype=np.uint8) for _ in range(12)]
    plain = preprocessing.standard(3, id="x", size=10)
    assert all((built(1.0)(one) == plain(one[:, ::-1])).all() for one in pictures)
    # Half of them are turned, by what they show and not by chance.
    turned = [not (built(0.5)(one) == plain(one)).all() for one in pictures]
    again = pickle.loads(pickle.dumps(built(0.5)))
    assert turned == [not (again(one) == plain(one)).all() for one in pictures] and 0 < sum(turned) < 12
    assert built(0.5).key() != built(1.0).key() != plain.key()


def test_another_text_of_an_own_step_is_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file, keys = tmp_path / "own_cache_steps.py", []
    for number in (1, 2, 1):
        file.write_text(f"def shifted():\n    return lambda images, seeds: images + {number}\n", "utf-8")
        step = Component("augmentations", "own_cache_steps.shifted", {})
        keys.append(preprocessing.standard(3, id="x", size=10, before=[step]).key())
    assert keys[0] == keys[2] != keys[1]


def test_another_text_of_a_step_that_a_package_only_names_is_another_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package, keys = tmp_path / "own_named_steps", []
    package.mkdir()
    (package / "__init__.py").write_text("from own_named_steps.steps import shifted\n", "utf-8")
    for number in (1, 2, 1):
        text = f"def shifted():\n    return lambda images, seeds: images + {number}\n"
        (package / "steps.py").write_text(text, "utf-8")
        step = Component("augmentations", "own_named_steps.shifted", {})
        keys.append(preprocessing.standard(3, id="x", size=10, before=[step]).key())
    assert keys[0] == keys[2] != keys[1]


def test_another_text_of_a_file_that_a_step_uses_is_another_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the file of the step and the one that names it were looked at."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package, keys = tmp_path / "own_deep_steps", []
    package.mkdir()
    (package / "__init__.py").write_text("from own_deep_steps.steps import shifted\n", "utf-8")
    text = (
        "from own_deep_steps.amount import AMOUNT\ndef shifted():\n    return lambda images, seeds: images + AMOUNT\n"
    )
    (package / "steps.py").write_text(text, "utf-8")
    for number in (1, 2, 1):
        (package / "amount.py").write_text(f"AMOUNT = {number}\n", "utf-8")
        step = Component("augmentations", "own_deep_steps.shifted", {})
        keys.append(preprocessing.standard(3, id="x", size=10, before=[step]).key())
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize("library", ["albumentations", "torchvision", "torch", "scipy"])
def test_another_version_of_what_changes_images_before_the_cache_is_another_cache(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip = Component("augmentations", "albumentations.HorizontalFlip", {"p": 1.0})
    steps, plain = preprocessing.standard(3, id="x", size=10, before=[flip]), preprocessing.standard(3, id="x", size=10)
    before, plain_before = steps.key(), plain.key()
    version = preprocessing.version
    monkeypatch.setattr(preprocessing, "version", lambda name: "0.0" if name == library else version(name))
    # Images that no such step changes keep their cache.
    assert steps.key() != before and plain.key() == plain_before
