"""Array files that stand for more than they hold, or are damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace as Namespace

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from mlpipe import limits
from mlpipe.data.volumes import arrays
from mlpipe.errors import DataError


def test_a_packed_volume_that_grows_beyond_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNPACKED", 1 << 16)
    path = tmp_path / "v.npz"
    np.savez_compressed(path, v=np.random.default_rng(0).integers(0, 255, (400, 400), np.uint8))
    with arrays.opened(path, "mode.source") as volume:
        assert volume.shape == (400, 400)
    np.savez_compressed(path, v=np.zeros((4000, 400), np.uint8))
    with arrays.opened(path, "mode.source") as volume:
        assert volume.shape == (4000, 400) and not volume[:].any()
    # On a disk that it would fill it may be a file that only looks small.
    monkeypatch.setattr(arrays.shutil, "disk_usage", lambda folder: Namespace(free=10_000_000))
    with (
        pytest.raises(DataError, match=r"mode.source: cannot be read .*v.npy would have 1,600,128 bytes, of which"),
        arrays.opened(path, "mode.source"),
    ):
        pass


def test_a_header_that_is_nested_without_end_is_damage(tmp_path: Path) -> None:
    header = b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000
    (tmp_path / "v.npy").write_bytes(header)
    with zipfile.ZipFile(tmp_path / "v.npz", "w") as archive:
        archive.writestr("v.npy", header)
    for name in ("v.npy", "v.npz"):
        with (
            pytest.raises(DataError, match="mode.source: cannot be read"),
            arrays.opened(tmp_path / name, "mode.source"),
        ):
            pass


def test_a_volume_that_is_only_declared_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_dataset("v", (100_000, 100_000), "f4", chunks=(1000, 1000))
    with (
        pytest.raises(DataError, match=r"/v would have 40,000,000,000 bytes, of which 0 are stored"),
        arrays.opened(tmp_path / "v.h5", "mode.source"),
    ):
        pass
