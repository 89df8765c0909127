"""Maps in one file: what NumPy reads, what is replaced, and damage that is named."""

from __future__ import annotations

import base64
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from mlpipe.errors import ProjectError
from mlpipe.runs import maps


def chances(seed: int, classes: int = 3) -> np.ndarray:
    values = np.random.default_rng(seed).random((classes, 6, 5))
    return values / values.sum(axis=0)


def test_numpy_reads_them(tmp_path: Path) -> None:
    path, given = tmp_path / "a.npz", chances(0)
    with maps.writer(path) as sink:
        sink.add("t", "val", "sub/x.png", maps.quantised(given), np.ones((6, 5), np.uint8))
        sink.add("t", "unlabelled", "y.png", maps.quantised(given), None)
    with np.load(path, allow_pickle=False) as stored:
        assert sorted(stored.files) == ["t/unlabelled/y.png", "t/val/sub/x.png", "t/val/sub/x.png/true"]
        assert np.abs(stored["t/val/sub/x.png"] / 255 - given).max() <= 1.01 / 255
    with maps.Maps(path) as found:
        assert found.true("t", "val", "sub/x.png") is not None
        assert found.true("t", "unlabelled", "y.png") is None
        assert found.has("t", "unlabelled", "y.png")


def test_class_numbers_as_text() -> None:
    given = np.random.default_rng(0).integers(0, 4, (3, 6, 5)).astype(np.uint8)
    plain = json.loads(json.dumps(maps.as_text(given)))
    assert np.array_equal(maps.of_text(plain), given)


def test_rows_are_replaced_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for split, seed in (("val", 0), ("test", 1), ("val", 2)):
        with maps.writer(path, {("t", split)}) as sink:
            sink.add("t", split, f"{seed}", maps.quantised(chances(seed)), None)
    with maps.Maps(path) as found:
        assert [found.has("t", split, name) for split, name in (("val", "0"), ("test", "1"), ("val", "2"))] == [
            False,
            True,
            True,
        ]
        assert np.array_equal(found.chances("t", "test", "1"), maps.quantised(chances(1)))


def test_nothing_appears_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(RuntimeError), maps.writer(path) as sink:
        sink.add("t", "val", "0", maps.quantised(chances(0)), None)
        raise RuntimeError
    assert not path.exists()


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_the_arg_max_is_kept(classes: int) -> None:
    rng = np.random.default_rng(classes)
    # Nearly even, so that 255ths cannot tell many of them apart.
    given = 1 + rng.random((classes, 64, 64)) * 0.02
    given /= given.sum(axis=0)
    assert np.array_equal(maps.quantised(given).argmax(axis=0), given.argmax(axis=0))


def test_the_mean_is_of_probabilities() -> None:
    parts = [maps.quantised(chances(seed)) for seed in range(3)]
    wanted = np.mean([chances(seed) for seed in range(3)], axis=0)
    assert np.abs(maps.mean(parts) / 255 - wanted).max() < 2 / 255
    weighed = maps.mean(parts[:2], [3.0, 1.0]) / 255
    assert np.abs(weighed - (0.75 * chances(0) + 0.25 * chances(1))).max() < 2 / 255


def test_damage_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")
    with pytest.raises(ProjectError, match="cannot be read as maps"):
        maps.Maps(tmp_path / "a.npz")
    with maps.writer(tmp_path / "b.npz") as sink:
        sink.add("t", "val", "0", maps.quantised(chances(0)), None)
    with maps.Maps(tmp_path / "b.npz") as found, pytest.raises(ProjectError, match="run mml predict"):
        found.chances("t", "val", "1")


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with maps.writer(path) as sink:
        sink.add("t", "val", "0", maps.quantised(chances(0)), None)
    assert maps.first_damage(path) == ""
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    assert maps.first_damage(path)


def test_the_same_maps_are_the_same_bytes_in_whatever_order_they_were_read(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        with maps.writer(tmp_path / name) as sink:
            sink.add("t", "val", "0", maps.quantised(chances(0)), np.ones((6, 5), np.uint8))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    before = (tmp_path / "a.npz").read_bytes()
    with maps.writer(tmp_path / "a.npz", {("t", "test"), ("u", "val")}):
        pass
    assert (tmp_path / "a.npz").read_bytes() == before
    # Small ones, as maps of few chances are.
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_DEFLATED}
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("wrong", [np.zeros(6, np.uint8), np.zeros((3, 6, 5), np.float32)])
def test_what_is_no_map_is_named(tmp_path: Path, wrong: np.ndarray) -> None:
    out = io.BytesIO()
    np.save(out, wrong)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("t/val/0.npy", out.getvalue())
        archive.writestr("t/val/1.npy", b"no array")
        archive.writestr("t/val/1/true.npy", out.getvalue())
    with maps.Maps(tmp_path / "a.npz") as found:
        with pytest.raises(
            ProjectError, match=r"a\.npz: cannot be read as maps \(t/val/0 is no map\); run mml predict"
        ):
            found.chances("t", "val", "0")
        with pytest.raises(ProjectError, match=r"cannot be read as maps \(t/val/1: "):
            found.chances("t", "val", "1")
        if wrong.dtype == np.uint8:
            assert np.array_equal(found.true("t", "val", "1"), wrong)
    with pytest.raises(ProjectError, match=r"none\.npz: cannot be read as maps"):
        maps.Maps(tmp_path / "none.npz")
    assert maps.first_damage(tmp_path / "none.npz")


def test_255ths_are_the_nearest_and_the_first_of_equals_stays_first() -> None:
    given = np.array([[[0.0, 0.5, 0.334]], [[1.0, 0.5, 0.333]], [[0.0, 0.0, 0.333]]])
    assert maps.quantised(given).tolist() == [[[0, 128, 85]], [[255, 128, 85]], [[0, 0, 85]]]
    certain = np.array([[[0.4999]], [[0.5001]]])
    assert maps.quantised(certain).tolist() == [[[127]], [[128]]]
    tied = np.array([[[0.4995]], [[0.5005]]]) * 0.998
    assert maps.quantised(tied)[:, 0, 0].tolist() == [127, 128]


def test_a_mean_may_be_weighed_by_any_numbers() -> None:
    one, two = np.full((2, 1, 1), 100, np.uint8), np.full((2, 1, 1), 200, np.uint8)
    assert maps.mean([one, two])[1, 0, 0] == 150
    assert maps.mean([one, two], [2, 6])[1, 0, 0] == maps.mean([one, two], [0.25, 0.75])[1, 0, 0] == 175


def test_pixels_are_counted_where_they_are_known() -> None:
    said = np.array([[0, 1, 2], [1, 1, 0]])
    true = np.array([[0, 1, 1], [2, 255, 255]], np.uint8)
    outputs, targets = maps.counts(said, true, 4)
    assert outputs.tolist() == [1, 2, 1, 0, 1, 1, 0, 0] and targets.tolist() == [1, 2, 1, 0]
    assert outputs.dtype == targets.dtype == np.float32
    for unknown in (None, np.full((2, 3), 255, np.uint8)):
        outputs, targets = maps.counts(said, unknown, 4)
        assert outputs.tolist() == [2, 3, 1, 0, 0, 0, 0, 0]
        assert targets.shape == (4,) and np.isnan(targets).all() and targets.dtype == outputs.dtype == np.float32


@pytest.mark.parametrize("spatial", [(7,), (3, 4, 5)])
def test_maps_of_one_and_three_axes(tmp_path: Path, spatial: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    chances = maps.quantised(rng.dirichlet([1, 1], spatial).astype(np.float32).transpose(-1, *range(len(spatial))))
    true, values = rng.integers(0, 2, spatial).astype(np.uint8), rng.normal(size=(2, *spatial)).astype(np.float32)
    with maps.writer(tmp_path / "a.npz") as sink:
        sink.add("t", "val", "a", chances, true)
        sink.add("t", "val", "b", values, values + 1)
    with maps.Maps(tmp_path / "a.npz") as found:
        assert np.array_equal(found.chances("t", "val", "a"), chances)
        assert np.array_equal(found.true("t", "val", "a"), true)
        assert np.array_equal(found.true_values("t", "val", "b"), values + 1)
    sums, counts = maps.errors(values, values + 2)
    assert sums.tolist() == pytest.approx([4.0 * true.size] * 2 + [2.0 * true.size] * 2) and (counts == true.size).all()


def test_text_of_class_numbers_that_stands_for_more_than_it_says_is_refused() -> None:
    found = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    text = maps.as_text(found)
    assert (maps.of_text(text) == found).all()
    bomb = {"shape": [1, 2, 3], "zlib": base64.b64encode(zlib.compress(bytes(1 << 24))).decode()}
    for wrong in ({**text, "shape": [1, 2, 4]}, {**text, "zlib": "AAAA"}, {**text, "zlib": "%"}, bomb):
        with pytest.raises(ValueError):
            maps.of_text(wrong)
