"""Measure how time and memory of commands grow: create, pp, one epoch, predict, post and report at several sizes.

Each command runs in its own process, whose processor seconds and peak memory are printed. From the first and the last size
follows the exponent by which the time grows with the number of cells (images x classes): 1 is linear.

    python scripts/bench_scale.py [--sizes 5000x250,20000x1000] [--threads 1] [--json]

Large sizes take minutes each: 100000x1000, 20000x10000, and 1000000x10 for many samples of few classes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="5000x250,20000x1000", help="images x classes, one after the other")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    sizes = [tuple(int(part) for part in size.split("x")) for size in arguments.sizes.split(",")]
    results = {f"{images}x{classes}": measured(images, classes, arguments.threads) for images, classes in sizes}
    print(json.dumps(results, indent=1) if arguments.json else table(results))


def measured(images: int, classes: int, threads: int) -> dict[str, dict[str, float]]:
    """Return processor seconds, wall seconds and peak megabytes of each command, run in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), images, classes)
        task = ["task=arrays", "task.file=x.npy", "task.targets=y.npy"]
        network = ["arch=test_resnet", "arch.pretrained=false", "preprocessing=none", "trainer.max_epochs=1"]
        # With two images of each class, some have none in a part.
        network += ["split.folds=2", "split.rare=allow", "mode.nested=false", "split.test_fraction=0.2"]
        network += ["sampling.batch_size=256"]
        threaded = f"sys.threads={threads}"
        commands = {
            "create": ["create", *task],
            "pp": ["pp", *task, "preprocessing=none"],
            "train": ["train", *task, *network, threaded, "mode.folds=[0]", "mode.subroutines=[train]"],
            "predict": ["predict", *task, *network, threaded],
            "post": ["post", threaded, "mode.subroutines=[calibrate,ensemble]"],
            "report": ["info", "mode.subroutines=[report]"],
        }
        return {name: run(words, Path(folder)) for name, words in commands.items()}


def write_images(folder: Path, images: int, classes: int) -> None:
    """Write 8 x 8 images: noisy copies of one random pattern per class, equally many of each."""
    rng = np.random.default_rng(0)
    patterns, targets = rng.integers(0, 256, (classes, 8, 8)), rng.permutation(np.arange(images) % classes)
    pixels = np.empty((images, 8, 8), np.uint8)
    for first in range(0, images, 10_000):
        chosen = patterns[targets[first : first + 10_000]]
        pixels[first : first + 10_000] = np.clip(chosen + rng.normal(0, 60, chosen.shape), 0, 255)
    np.save(folder / "x.npy", pixels)
    np.save(folder / "y.npy", targets)


def run(words: list[str], folder: Path) -> dict[str, float]:
    """Run a command and return its cost; exit with its output if it fails."""
    started = time.monotonic()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlpipe.cli", *words], cwd=folder, stdout=output, stderr=output
        )
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"mml {' '.join(words)} failed:\n{(folder / 'output.txt').read_text(errors='replace')[-2000:]}")
    # Linux counts in kilobytes, macOS in bytes.
    megabytes = used.ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    return {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.monotonic() - started, "mb": megabytes}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Format a row per command: seconds and megabytes at each size, and the exponent from the first to the last."""
    sizes = list(results)
    cells = [math.prod(int(part) for part in size.split("x")) for size in (sizes[0], sizes[-1])]
    lines = [f"{'command':<10}" + "".join(f"{size:>24}" for size in sizes) + f"{'exponent of cells':>20}"]
    for name in results[sizes[0]]:
        rows = [results[size][name] for size in sizes]
        shown = "".join(f"{row['cpu_s']:>13.1f} s {row['mb']:>6.0f} MB" for row in rows)
        exponent = (
            math.log(rows[-1]["cpu_s"] / rows[0]["cpu_s"]) / math.log(cells[1] / cells[0]) if len(sizes) > 1 else 0
        )
        lines.append(f"{name:<10}{shown}{exponent:>20.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
