"""Maps in one file: what NumPy reads, what is replaced, and damage that is named."""

from __future__ import annotations

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
