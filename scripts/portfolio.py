"""Measure recipes on open sets of several sizes: the table from which a preset may choose by data, time and machine.

    python scripts/portfolio.py [--quick] [--sets made_few textures] [--recipes probe tuned] [--times 60,300] [--out FILE]

A row of the table is a set (images that learn, classes, pixels), a time, a device with its cores, and a recipe with what it
reached: log-loss and accuracy of the 30 % of the images that it has not seen, and the seconds that it took. The median of the
splits counts. Rows that are there are not measured again, so that the script may be stopped and called again at any time, on
another machine too. `--quick` measures two small sets at one size and time, to see that all works.

Every recipe is trained by `mml train` with what `mml train --help` knows, in a process of its own whose start and imports
count, within `time_limit`; then `mml predict` predicts the new images.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import bench_presets
import numpy as np
import open_sets

OUT = Path(__file__).parents[1] / "mlpipe" / "running" / "portfolio.csv"
# What tells one row from another, and what is measured.
KEYS = ("images", "classes", "pixels", "device", "cores", "time", "set", "recipe", "network")
MEASURED = ("log_loss", "accuracy", "seconds", "splits")
COLUMNS = (*KEYS, *MEASURED)

# All recipes hold one fifth out to validate on. What they are called is what a preset calls its recipes.
COMMON = ["split=holdout", "mode.nested=false", "mode.subroutines=[train,predict]"]
RECIPES: dict[str, list[str]] = {
    "probe": ["arch.freeze=true", "augmentations=none", "optimizer=linear"],
    "tuned": [],
    "strong": ["augmentations=trivial", "loss.label_smoothing=0.1", "callbacks=ema"],
    "layers": ["optimizer.layer_decay=0.7"],
    "mixed": ["augmentations=mixup"],
    "scratch": ["arch.pretrained=false"],
}
QUICK = {"sets": ["made_few", "digits"], "recipes": ["probe", "tuned"], "times": [60.0], "sizes": [64], "splits": 1}


def device() -> tuple[str, int]:
    """What trains here, and how many cores there are."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return name, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def measured(recipe: str, name: str, split: int, size: int, seconds: float) -> dict[str, float]:
    """Scores of one recipe on the new images of one split of a set, and the seconds of its training.

    Args:
        recipe: Of `RECIPES`.
        name: Of `open_sets.SETS`.
        split: The division's seed.
        size: Height and width in pixels.
        seconds: The time limit.

    Raises:
        RuntimeError: When a command fails.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        targets = open_sets.written(name, split, folder)
        words = ["task=folder", f"task.root={folder / 'learn'}", f"preprocessing.size={size}"]
        words += [
            f"arch={bench_presets.NETWORK}",
            f"arch.pretrained={bench_presets.WEIGHTS}",
            f"time_limit={round(seconds)}s",
        ]
        before = time.time()
        own = RECIPES[recipe]
        given = {word.partition("=")[0] for word in own}
        mml(folder, "train", *(word for word in words if word.partition("=")[0] not in given), *COMMON, *own)
        taken = time.time() - before
        mml(folder, "predict", f"mode.source={folder / 'new'}")
        (file,) = (folder / "results/default/reports/predictions").glob("*.csv")
        rows = pd.read_csv(file).sort_values("image")
        probabilities = rows[sorted(one for one in rows if one.startswith("p("))].to_numpy(np.float64)
        return {**bench_presets.judged(probabilities, targets), "seconds": taken}


def mml(folder: Path, *words: str) -> None:
    command = [str(Path(sys.executable).with_name("mml")), *words]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(words)}: {ended.stderr.strip()[-500:]}")


def rows_of(given: argparse.Namespace, there: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows that are not there yet, as they are measured; a recipe that fails on a set has none."""
    name_of_device, cores = device()
    known = {tuple(str(row[key]) for key in KEYS) for row in there}
    for name in given.sets:
        images, targets = open_sets.SETS[name]()
        for size in given.sizes:
            for seconds in given.times:
                for recipe in given.recipes:
                    row: dict[str, Any] = {
                        "images": round(0.7 * len(images)), "classes": int(targets.max()) + 1, "pixels": size,
                        "device": name_of_device, "cores": cores, "time": round(seconds), "set": name, "recipe": recipe,
                        "network": bench_presets.NETWORK,
                    }  # fmt: skip
                    if tuple(str(row[key]) for key in KEYS) in known:
                        continue
                    try:
                        found = [measured(recipe, name, split, size, seconds) for split in range(given.splits)]
                    except RuntimeError as error:
                        print(f"{name}, {recipe}, {size} px, {seconds:.0f} s: {error}", file=sys.stderr)
                        continue
                    median = {key: round(statistics.median(one[key] for one in found), 4) for key in MEASURED[:3]}
                    yield {**row, **median, "splits": given.splits}


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a table; none where there is no such file."""
    if not file.is_file():
        return []
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whole, in one order, under another name first."""
    ordered = sorted(
        rows, key=lambda row: [float(row[key]) if key in ("images", "time") else str(row[key]) for key in KEYS]
    )
    part = file.with_suffix(".part")
    with part.open("w", newline="") as text:
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)
    part.replace(file)


def main() -> None:
    """Measure what is missing; the table is written after every row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=list(open_sets.SETS), choices=list(open_sets.SETS))
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--times", type=lambda text: [float(one) for one in text.split(",")], default=[60.0, 300.0])
    parser.add_argument("--sizes", type=lambda text: [int(one) for one in text.split(",")], default=[64, 128, 224])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="two small sets, two recipes, one size, time and split")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if given.quick:
        vars(given).update(QUICK)
    for name in given.sets:
        if why := open_sets.missing(name):
            print(f"{name} is left out: {why}")
    given.sets = [name for name in given.sets if not open_sets.missing(name)]
    rows = read(given.out)
    for row in rows_of(given, rows):
        rows.append(row)
        write(given.out, rows)
        print(", ".join(f"{key} {row[key]}" for key in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
