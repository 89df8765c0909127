"""Compare images/s of `mml train` with a bare PyTorch loop over tensors in memory, side by side in one run.

Network, batch size, threads, precision and memory format are the same; the two take turns, and the ratio of their medians is
printed. With `--table` the bare loop runs in every precision and layout instead, to check the choice of
`trainer.precision=auto`.

    python scripts/bench_train.py [--arch resnet18] [--sizes 64 224] [--batch 32] [--images 256] [--rounds 3] [--table]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def bare_loop(
    arch: str, size: int, batch: int, images: int, epochs: int, *, bf16: bool, channels_last: bool, threads: int
) -> float:
    """Return the median images/s of a plain loop over uint8 tensors in memory, without its first epoch."""
    import timm
    import torch
    from torch.nn.functional import cross_entropy

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = timm.create_model(arch, num_classes=10, in_chans=1).train().to(device, memory_format=layout)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    pixels = torch.randint(0, 256, (images, 1, size, size), dtype=torch.uint8)
    targets = torch.randint(0, 10, (images,))
    speeds = []
    for _ in range(epochs):
        order = torch.randperm(images)
        started = time.perf_counter()
        for rows in order.split(batch):
            inputs = pixels[rows].to(device).float().sub_(127.0).div_(64.0).contiguous(memory_format=layout)
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                outputs = network(inputs)
            cross_entropy(outputs.float(), targets[rows].to(device)).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        speeds.append(images / (time.perf_counter() - started))
    return statistics.median(speeds[1:] or speeds)


def whole_program(arch: str, size: int, batch: int, images: int, epochs: int, folder: Path, threads: int) -> float:
    """Return the `train_images_per_s` that `mml train` records, on the embedded images at this size."""
    from mlpipe.api import load_project, run

    with contextlib.redirect_stdout(io.StringIO()):
        run(
            "train",
            "task=fashion_mini",
            f"arch={arch}",
            "split=holdout",
            f"split.val_fraction={round(1 - images / 1000, 3)}",
            "mode.nested=false",
            "augmentations=none",
            f"preprocessing.size={size}",
            f"sampling.batch_size={batch}",
            f"trainer.max_epochs={epochs}",
            f"sys.threads={threads}",
            f"out_dir={folder / 'results'}",
            f"data_dir={folder / 'data'}",
        )
    records = load_project(out_dir=folder / "results").records()
    return float(records["train_images_per_s"].iloc[-1])


def compare(arguments: argparse.Namespace, size: int, folder: Path) -> dict[str, Any]:
    """Compare the program with the loop, in the precision and layout that `auto` chooses."""
    from mlpipe.learn.machine.hardware import numerics

    chosen = numerics("auto", size)
    shape = (arguments.arch, size, arguments.batch, arguments.images, arguments.epochs)
    options = {
        "bf16": "bf16" in str(chosen.precision),
        "channels_last": chosen.channels_last,
        "threads": arguments.threads,
    }
    bare, whole = [], []
    for _ in range(arguments.rounds):
        whole.append(whole_program(*shape, folder, arguments.threads))
        bare.append(bare_loop(*shape, **options))
    ratio = statistics.median(whole) / statistics.median(bare)
    return {"size": size, "numerics": str(chosen), "bare": bare, "whole": whole, "ratio": ratio}


def table(arguments: argparse.Namespace, size: int) -> dict[str, Any]:
    """Measure the bare loop in every precision and layout, relative to 32 bit, and report the choice of `auto`."""
    from mlpipe.learn.machine.hardware import numerics

    cells = {
        "32-true": (False, False),
        "32-true, channels last": (False, True),
        "bf16-mixed": (True, False),
        "bf16-mixed, channels last": (True, True),
    }
    speeds: dict[str, list[float]] = {name: [] for name in cells}
    for _ in range(arguments.rounds):
        for name, (bf16, channels_last) in cells.items():
            options = {"bf16": bf16, "channels_last": channels_last, "threads": arguments.threads}
            speeds[name].append(bare_loop(arguments.arch, size, arguments.batch, arguments.images, 2, **options))
    base = statistics.median(speeds["32-true"])
    ratios = {name: statistics.median(values) / base for name, values in speeds.items()}
    return {"size": size, "auto": str(numerics("auto", size)), "fastest": max(ratios, key=ratios.__getitem__), **ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            table(arguments, size) if arguments.table else compare(arguments, size, Path(folder))
            for size in arguments.sizes
        ]
    print(
        f"{arguments.arch}, batch {arguments.batch}, {arguments.threads} threads, {arguments.rounds} rounds taking turns"
    )
    for row in rows:
        if arguments.table:
            cells = ", ".join(f"{name} {value:.2f}" for name, value in row.items() if isinstance(value, float))
            print(
                f"  {row['size']:4d} px  images/s over 32-true: {cells}; auto: {row['auto']}; fastest: {row['fastest']}"
            )
        else:
            bare, whole = statistics.median(row["bare"]), statistics.median(row["whole"])
            print(
                f"  {row['size']:4d} px  bare loop {bare:8.1f}  mml train {whole:8.1f} images/s  "
                f"ratio {row['ratio']:.3f}  ({row['numerics']})"
            )
    print(json.dumps({**vars(arguments), "rows": rows}))


if __name__ == "__main__":
    main()
