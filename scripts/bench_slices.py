"""What slicing, inference and assembly of a volume cost beside plain copies of the same bytes, and how much memory they need.

A volume of 1 x SIDE x SIDE x SIDE goes through a network that changes nothing, slice by slice, from an .npy file into an
HDF5 file. Beside it NumPy copies the same slices from one mapped file into another (`numpy`), and in memory alone
(`memory`). They take turns; the figures are medians of their ratios of speed. Before that comes the peak memory for volumes
of growing size.

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
    """The slices of a case in a volume of a side."""
    scaled = {
        key: [min(one, side) for one in value] if isinstance(value, list) else value for key, value in keys.items()
    }
    return Grid(slices.slice_set("slices", 1, **scaled), (side,) * 3)


def through(source: Path, target: Path, grid: Grid) -> None:
    """Slices of a file through a network that changes nothing into another file."""
    size = max(1, _AT_ONCE // int(np.prod(grid.cut.seen)))
    with arrays.opened(source, "source") as volume, assembly.assembled(target, [grid]) as joined:
        model = Model({}, {}, Inputs(1, grid.cut.seen), lambda given: {"target": given})
        learned.apply(model, volume, [grid], joined, size=size)


def copied(source: Path, target: Path, grid: Grid) -> None:
    """The same slices, copied twice by NumPy from one mapped file into another, which is as durable afterwards."""
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
    """The same slices, copied twice in memory."""
    joined = np.empty_like(volume)
    for index in range(len(grid)):
        region = (slice(None), *grid.region(index))
        part = np.array(volume[region])
        joined[region] = part


def seconds(call: Callable[..., None], *arguments: Any) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def compare(folder: Path, side: int, rounds: int) -> None:
    """Print the ratios of every case."""
    volume = np.random.default_rng(0).normal(size=(1, side, side, side)).astype(np.float32)
    source = folder / "volume.npy"
    np.save(source, volume)
    print(f"volume 1 x {side} x {side} x {side}, {volume.nbytes / 2**20:.0f} MB, {rounds} rounds; speed as a ratio")
    print(f"{'slices':<32}{'number':>8}{'MB/s':>8}{'to numpy':>10}{'to memory':>11}")
    for name, keys in CASES.items():
        grid, found = grid_of(side, keys), list[tuple[float, float, float]]()
        for number in range(rounds + 1):
            one = seconds(through, source, folder / "out.h5", grid)
            other = seconds(copied, source, folder / "copy.npy", grid)
            memory = seconds(copied_in_memory, volume, grid)
            if number:
                found.append((one, other, memory))
        own = statistics.median(one for one, _, _ in found)
        to_numpy = statistics.median(other / one for one, other, _ in found)
        to_memory = statistics.median(memory / one for one, _, memory in found)
        print(
            f"{name:<32}{len(grid):>8}{volume.nbytes / own / 2**20:>8.0f}{to_numpy:>10.2f}{to_memory:>11.2f}",
            flush=True,
        )


def most_memory() -> float:
    """The peak of this process's memory in MB since `forget_peak`."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Let the peak of this process's memory begin anew, which Linux can do."""
    Path("/proc/self/clear_refs").write_text("5", "utf-8")


def memory(folder: Path, side: int) -> None:
    """Print the peak memory for volumes of growing size."""
    print(f"{'volume':<20}{'MB':>8}{'slices':>8}{'before, MB':>12}{'peak, MB':>10}")
    for planes in (side // 4, side, 4 * side, 8 * side):
        source = folder / "growing.npy"
        made = np.lib.format.open_memmap(source, "w+", np.float32, (1, planes, side, side))
        for at in range(planes):
            made[0, at] = at
        del made
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
    parser.add_argument("--side", type=int, default=256, help="the volume's side")
    parser.add_argument("--rounds", type=int, default=5, help="how often they take turns")
    parser.add_argument("--folder", type=Path, default=None, help="where files go; by default the system's")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        memory(Path(folder), given.side)
        print(flush=True)
        compare(Path(folder), given.side, given.rounds)


if __name__ == "__main__":
    main()
