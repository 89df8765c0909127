"""Compare images/s of a whole `mml train` with a bare PyTorch loop over tensors in memory, side by side in one run.

Same network, batch size, threads and precision; the two take turns, and the ratio of their medians is printed.

    python scripts/bench_train.py [--arch resnet18] [--size 64] [--batch 32] [--images 512] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def bare_loop(arch: str, size: int, batch: int, images: int, epochs: int) -> float:
    """Images/s of the steady epochs of a plain loop over uint8 tensors in memory."""
    import timm
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    network = timm.create_model(arch, num_classes=10, in_chans=1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    pixels = torch.randint(0, 256, (images, 1, size, size), dtype=torch.uint8)
    targets = torch.randint(0, 10, (images,))
    speeds = []
    for _ in range(epochs):
        order = torch.randperm(images)
        started = time.perf_counter()
        for rows in order.split(batch):
            inputs = pixels[rows].float().sub_(127.0).div_(64.0)
            optimizer.zero_grad()
            cross_entropy(network(inputs), targets[rows]).backward()
            optimizer.step()
        speeds.append(images / (time.perf_counter() - started))
    return statistics.median(speeds[1:] or speeds)


def whole_program(arch: str, size: int, batch: int, images: int, epochs: int, folder: Path) -> float:
    """The `train_images_per_s` that `mml train` records, on the embedded images at this size."""
    from mlpipe.api import load_project, run

    fraction = round(1 - images / 1000, 3)
    run(
        "train",
        "task=fashion_mini",
        f"arch={arch}",
        "split=holdout",
        f"split.val_fraction={fraction}",
        "mode.nested=false",
        f"preprocessing.size={size}",
        f"sampling.batch_size={batch}",
        f"trainer.max_epochs={epochs}",
        f"out_dir={folder / 'results'}",
        f"data_dir={folder / 'data'}",
    )
    records = load_project(out_dir=folder / "results").records()
    return float(records["train_images_per_s"].iloc[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    shape = (given.arch, given.size, given.batch, given.images, given.epochs)
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(given.rounds):
            whole.append(whole_program(*shape, Path(folder)))
            bare.append(bare_loop(*shape))
    ratio = statistics.median(whole) / statistics.median(bare)
    print(f"{given.arch} at {given.size} px, batch {given.batch}, {given.rounds} rounds taking turns")
    print(f"  bare PyTorch loop  {statistics.median(bare):8.1f} images/s")
    print(f"  mml train          {statistics.median(whole):8.1f} images/s")
    print(f"  ratio              {ratio:8.3f}")
    print(json.dumps({**vars(given), "bare": bare, "whole": whole, "ratio": ratio}))


if __name__ == "__main__":
    main()
