"""Volumes in files and predictions joined in one: lazily, to the same numbers as in memory, whole or not at all."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.data.volumes import arrays, assembly, slices
from mlpipe.data.volumes.slices import Grid
from mlpipe.errors import DataError

SHAPE = (7, 8, 9)


def grid(name: str = "a", **keys: Any) -> Grid:
    return Grid(slices.slice_set("s", 1, name=name, **keys), SHAPE)


OVER, FLAT = grid(sizes=[4, 3, 5], strides=[2, 3, 4], padding=[1, 0, 2]), grid("b", sizes=[1, 4, 4], transpose=True)


def whole() -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)


def fill(path: Path, grids: list[Grid], volume: Any, **keys: Any) -> None:
    with assembly.assembled(path, grids, **keys) as made:
        for which, one in enumerate(grids):
            for first in range(0, len(one), 5):
                parts = [slices.cut(volume, one, index) for index in range(first, min(first + 5, len(one)))]
                made.put(which, first, np.stack(parts))


@pytest.mark.parametrize(
    ("precision", "layout"), list(itertools.product(("single", "half"), ("channels_last", "channels_first")))
)
def test_what_is_put_together_is_what_was_cut(tmp_path: Path, precision: Any, layout: Any) -> None:
    volume, path = whole(), tmp_path / "out.h5"
    fill(path, [OVER, FLAT], volume, precision=precision, layout=layout)
    with h5py.File(path) as file:
        assert sorted(file) == ["a", "b"]
        for name in file:
            stored = file[name][()]
            assert stored.dtype == (np.float32 if precision == "single" else np.float16)
            found = np.moveaxis(stored, -1, 0) if layout == "channels_last" else stored
            assert np.allclose(found, volume, rtol=1e-6 if precision == "single" else 1e-3, atol=1e-6)
    assert [one.name for one in tmp_path.iterdir()] == ["out.h5"]


def test_a_failure_leaves_the_file_of_before(tmp_path: Path) -> None:
    path = tmp_path / "out.h5"
    path.write_text("before")
    with pytest.raises(RuntimeError, match="stop"), assembly.assembled(path, [FLAT]) as made:
        made.put(0, 0, np.zeros((5, 2, 4, 4), np.float32))
        raise RuntimeError("stop")
    with pytest.raises(DataError, match="37 predictions are missing"), assembly.assembled(path, [FLAT]) as made:
        made.put(0, 0, np.zeros((5, 2, 4, 4), np.float32))
    assert path.read_text() == "before" and [one.name for one in tmp_path.iterdir()] == ["out.h5"]


def test_slices_come_in_their_order(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="slice 6 of .* is not the next one"),
        assembly.assembled(tmp_path / "o.h5", [FLAT]) as made,
    ):
        made.put(0, 0, np.zeros((5, 2, 4, 4), np.float32))
        made.put(0, 6, np.zeros((5, 2, 4, 4), np.float32))


@pytest.mark.parametrize("one", [OVER, FLAT], ids=["overlapping", "apart"])
def test_numbers_too_large_for_half_precision(tmp_path: Path, one: Grid) -> None:
    with pytest.raises(DataError, match="holds numbers up to 65,504"):
        fill(tmp_path / "out.h5", [one], whole() * 1e6, precision="half")
    assert not list(tmp_path.iterdir())


def stored(tmp_path: Path, kind: str) -> tuple[Path, str | None]:
    volume = whole()
    path = tmp_path / f"volume.{kind.partition(' ')[0]}"
    match kind:
        case "npy":
            np.save(path, volume)
        case "npy fortran":
            np.save(path, np.asfortranarray(volume))
        case "npy big":
            np.save(path, volume.astype(">f8"))
        case "npz":
            np.savez_compressed(path, volume=volume)
        case "npz two":
            np.savez(path, volume=volume, other=volume[0])
        case "h5":
            with h5py.File(path, "w") as file:
                file["group/volume"] = volume
        case _:
            with h5py.File(path, "w") as file:
                file.create_dataset("volume", data=volume, chunks=(1, 2, 3, 4), compression="gzip", shuffle=True)
    return path, "volume" if kind == "npz two" else None


@pytest.mark.parametrize("kind", ["npy", "npy fortran", "npy big", "npz", "npz two", "h5", "h5 packed"])
def test_volumes_are_read_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path, dataset = stored(tmp_path, kind)
    with arrays.opened(path, "mode.source", dataset=dataset, scratch=tmp_path) as volume:
        assert volume.shape == (2, *SHAPE)
        for one in (OVER, FLAT):
            assert all(
                np.array_equal(slices.cut(volume, one, index), slices.cut(whole(), one, index))
                for index in range(len(one))
            )
            volume.release()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_no_volume_is_one_sentence(tmp_path: Path) -> None:
    path, _ = stored(tmp_path, "npz two")
    bad = tmp_path / "cut.npy"
    np.save(bad, whole())
    bad.write_bytes(bad.read_bytes()[:-100])
    np.save(tmp_path / "words.npy", np.array(["a", "b"]))
    np.save(tmp_path / "objects.npy", np.array([{}, []], dtype=object))
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file.create_dataset("x", (4, 4), "f4", external=[("elsewhere.bin", 0, 64)])
        file["link"] = h5py.ExternalLink("volume.h5", "/x")
    cases = {
        path: "mode.dataset: volume.npz holds 2 arrays, slices are cut from one; name one of volume, other",
        bad: "mode.source: cannot be read",
        tmp_path / "words.npy": "is to be an array of numbers",
        tmp_path / "objects.npy": "is to be an array of numbers",
        tmp_path / "far.h5": "its numbers are in other files",
    }
    for file_, sentence in cases.items():
        with pytest.raises(DataError) as error, arrays.opened(file_, "mode.source"):
            pass
        assert sentence in str(error.value)
    with pytest.raises(DataError, match="did you mean 'other'"), arrays.opened(path, "mode.source", dataset="othr"):
        pass


def test_a_folder_stands_for_its_only_volume(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        arrays.file_of(tmp_path / "none", "mode.source")
    with pytest.raises(DataError, match="holds 0 arrays"):
        arrays.file_of(tmp_path, "mode.source")
    path, _ = stored(tmp_path, "npy")
    (tmp_path / "notes.txt").write_text("x")
    assert arrays.file_of(tmp_path, "mode.source") == arrays.file_of(path, "mode.source") == path
    with pytest.raises(DataError, match="is no array"):
        arrays.file_of(tmp_path / "notes.txt", "mode.source")


def test_values_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    one, volume = grid(sizes=[7, 8, 9]), whole()
    volume[0, 1, 2, 3], volume[1, 0, 0, 0] = np.nan, np.inf
    with assembly.assembled(tmp_path / "v.h5", [one]) as made:
        made.put(0, 0, volume[np.newaxis])
        made.finish()
        assert made.odd == 2
