"""Arrays of HDF5 files by their names, and no array of another file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlpipe import hdf5, limits


def test_every_dataset_in_the_order_of_names(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["z"], file["g/b"], file["g/a"] = np.arange(3), np.ones((2, 2)), 5
        # A group that lies in itself.
        file["g/again"] = file["g"]
    assert [(name, value.shape) for name, value in hdf5.arrays(tmp_path / "a.h5")] == [
        ("g/a", ()), ("g/b", (2, 2)), ("z", (3,)),
    ]  # fmt: skip
    assert hdf5.array(tmp_path / "a.h5", "z").tolist() == [0, 1, 2]
    for name in ("g/c", "z/y", "g"):
        with pytest.raises((KeyError, ValueError)):
            hdf5.array(tmp_path / "a.h5", name)


@pytest.mark.parametrize("kind", ["external", "soft", "raw", "virtual"])
def test_what_lies_elsewhere_is_not_read(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["deep/s"] = np.arange(8.0)
    (tmp_path / "raw").write_bytes(bytes(64))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "external":
            file["s"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "deep/s")
        elif kind == "soft":
            file["t"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "deep")
            file["s"] = h5py.SoftLink("/t/s")
        elif kind == "raw":
            file.create_dataset("s", (8,), "f8", external=[(str(tmp_path / "raw"), 0, 64)])
        else:
            layout = h5py.VirtualLayout((8,), "f8")
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "deep/s", (8,))
            file.create_virtual_dataset("s", layout)
    with pytest.raises(ValueError, match="link|no plain array"):
        list(hdf5.arrays(tmp_path / "a.h5"))
    with pytest.raises(ValueError, match="link|no plain array"):
        hdf5.array(tmp_path / "a.h5", "s")
    with h5py.File(tmp_path / "a.h5") as file:
        if kind in ("external", "soft"):
            with pytest.raises(ValueError, match="is a link to another file"):
                hdf5.require_whole(file)
        else:
            hdf5.require_whole(file)


@pytest.mark.parametrize("kind", ["one array under many names", "many arrays of nothing", "many groups of nothing"])
def test_what_is_small_by_itself_is_counted_together(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNPACKED", 1 << 20)
    monkeypatch.setattr(limits, "EMPTY_GROUPS", 10)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (1 << 19,), "u1")
        for number in range(11):
            if kind == "one array under many names":
                file[f"b{number}"] = file["a"]
            elif kind == "many arrays of nothing":
                file.create_dataset(f"b{number}", (1 << 19,), "u1")
            else:
                file.create_group(f"b{number}")
    with pytest.raises(ValueError, match="a.h5 would have 1,572,864 bytes|more than 10 of its groups hold nothing"):
        list(hdf5.arrays(tmp_path / "a.h5"))


def test_a_chunk_that_is_larger_than_all_of_its_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is unpacked whole, however little of it is asked for."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        more = {"maxshape": (None, None), "chunks": (1000, 2000), "compression": "gzip"}
        file.create_dataset("x", data=np.zeros((8, 8), np.float32), **more)
    monkeypatch.setattr(limits, "UNPACKED", 1 << 20)
    with pytest.raises(ValueError, match=r"^a chunk of /x would have 8,000,000 bytes, of which "):
        hdf5.array(tmp_path / "a.h5", "x")
    monkeypatch.setattr(limits, "UNPACKED", 8 << 20)
    assert hdf5.array(tmp_path / "a.h5", "x").shape == (8, 8)
