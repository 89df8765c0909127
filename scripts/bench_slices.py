"""Compare slicing, inference and assembly of a volume with plain copies of the same bytes, and measure the peak memory.

A volume of 1 x SIDE x SIDE x SIDE passes slice by slice through an identity network, from an .npy file into an HDF5 file.
NumPy copies the same slices from one memory-mapped file into another (`numpy`), and within memory (`memory`). They take
turns; the figures are medians of speed ratios. The peak memory for volumes of growing size is printed first.

    python scripts/bench_slices.py --side 256 --rounds 5
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlpipe.data.volumes import arrays, assembly, slices
from mlpipe.data.volumes.slices import Grid
from mlpipe.predicting import volumes as learned
from mlpipe.predicting.model import Inputs, Model

CASES: dict[str, dict[str, Any]] = {
    "cubes of 64": {"sizes": [64, 64, 64]},
    "cubes of 64, 8 around": {"sizes": [64, 64, 64], "padding": [8, 8, 8]},
    "cubes of 64, half overlapping": {"sizes": [64, 64, 64], "strides": [32, 64, 64]},
    "planes": {"sizes": [1, 256, 256]},
    "planes across, transposed": {"sizes": [256, 1, 256], "transpose": True},
}
_AT_ONCE = 1 << 22


def grid_of(side: int, keys: dict[str, Any]) -> Grid:
    """Return the slices of a case in a cube."""
    scaled = {
        key: [min(length, side) for length in value] if isinstance(value, list) else value
        for key, value in keys.items()
    }
    return Grid(slices.slice_set("slices", 1, **scaled), (side,) * 3)


def through(source: Path, target: Path, grid: Grid) -> None:
    """Pass the slices of a file through an identity network into another file."""
    size = max(1, _AT_ONCE // int(np.prod(grid.cut.seen)))
    with arrays.opened(source, "source") as volume, assembly.assembled(target, [grid]) as joined:
        model = Model({}, {}, Inputs(1, grid.cut.seen), lambda inputs: {"target": inputs})
        learned.apply(model, volume, [grid], joined, size=size)


def copied(source: Path, target: Path, grid: Grid) -> None:
    """Copy the same slices twice with NumPy from one memory-mapped file into another, and sync it to disk."""
    volume = np.load(source, mmap_mode="r")
    joined = np.lib.format.open_memmap(target, "w+", np.float32, volume.shape)
    for index in range(len(grid)):
        region = (slice(None), *grid.region(index))
        part = np.array(volume[region])
        joined[region] = part
    joined.flush()
    with target.open("rb") as handle:
        os.fsync(handle.fileno())


def copied_in_memory(volume: np.ndarray[Any, Any], grid: Grid) -> None:
    """Copy the same slices twice in memory."""
    joined = np.empty_like(volume)
    for index in range(len(grid)):
        region = (slice(None), *grid.region(index))
        part = np.array(volume[region])
        joined[region] = part


def seconds(call: Callable[..., None], *arguments: Any) -> float:
    """Return the seconds of a call."""
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def compare(folder: Path, side: int, rounds: int) -> None:
    """Print the speed ratios of every case."""
    volume = np.random.default_rng(0).normal(size=(1, side, side, side)).astype(np.float32)
    source = folder / "volume.npy"
    np.save(source, volume)
    print(f"volume 1 x {side} x {side} x {side}, {volume.nbytes / 2**20:.0f} MB, {rounds} rounds; speed as a ratio")
    print(f"{'slices':<32}{'number':>8}{'MB/s':>8}{'to numpy':>10}{'to memory':>11}")
    for name, keys in CASES.items():
        grid, times = grid_of(side, keys), list[tuple[float, float, float]]()
        for number in range(rounds + 1):
            own = seconds(through, source, folder / "out.h5", grid)
            with_numpy = seconds(copied, source, folder / "copy.npy", grid)
            in_memory = seconds(copied_in_memory, volume, grid)
            if number:
                times.append((own, with_numpy, in_memory))
        median = statistics.median(own for own, _, _ in times)
        to_numpy = statistics.median(with_numpy / own for own, with_numpy, _ in times)
        to_memory = statistics.median(in_memory / own for own, _, in_memory in times)
        print(
            f"{name:<32}{len(grid):>8}{volume.nbytes / median / 2**20:>8.0f}{to_numpy:>10.2f}{to_memory:>11.2f}",
            flush=True,
        )


def most_memory() -> float:
    """Return the peak memory of this process in MB since `forget_peak`."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Reset the peak memory of this process (Linux)."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def memory(folder: Path, side: int) -> None:
    """Print the peak memory for volumes of growing size."""
    print(f"{'volume':<20}{'MB':>8}{'slices':>8}{'before, MB':>12}{'peak, MB':>10}")
    for planes in (side // 4, side, 4 * side, 8 * side):
        source = folder / "growing.npy"
        volume = np.lib.format.open_memmap(source, "w+", np.float32, (1, planes, side, side))
        for plane in range(planes):
            volume[0, plane] = plane
        del volume
        grid = Grid(slices.slice_set("slices", 1, sizes=[32, 64, 64], padding=[4, 4, 4]), (planes, side, side))
        forget_peak()
        before = most_memory()
        through(source, folder / "peak.h5", grid)
        size = planes * side * side * 4 / 2**20
        shape = f"{planes} x {side} x {side}"
        print(f"{shape:<20}{size:>8.0f}{len(grid):>8}{before:>12.0f}{most_memory():>10.0f}", flush=True)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="side of the cube")
    parser.add_argument("--rounds", type=int, default=5, help="number of turns")
    parser.add_argument("--folder", type=Path, default=None, help="folder for temporary files; default: the system's")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        memory(Path(folder), arguments.side)
        print(flush=True)
        compare(Path(folder), arguments.side, arguments.rounds)


if __name__ == "__main__":
    main()
