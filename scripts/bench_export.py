"""Time an exported network on this CPU: ONNX against eager PyTorch, and int8 against float32.

The three take turns on the same resized images with the same number of threads. Ratios are ratios of median times.

    python scripts/bench_export.py [--arch resnet18] [--size 224] [--batch 1] [--rounds 20] [--threads 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import timm
import torch
from torch import Tensor, nn

from mlpipe.data.preprocessing import Preprocessing
from mlpipe.predicting import exported, quantization
from mlpipe.predicting.exported import Mixture, Part, Whole
from mlpipe.predicting.output_tensors import Classes

CLASSES = [str(number) for number in range(10)]
CALIBRATING = 16


class Network(nn.Module):
    """A timm network with random weights, including normalisation."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.body = timm.create_model(arch, pretrained=False, num_classes=len(CLASSES))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return logits, shape (n, 10), of images with values 0 to 255, shape (n, 3, height, width)."""
        return {"target": self.body((images - 120) / 58)}


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an ONNX file with a number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def medians(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each call; calls take turns, and the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if number:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", default="resnet18")
    for name, value in (("size", 224), ("batch", 1), ("rounds", 20), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    before = Preprocessing("bench", 3, options.size, "squash")
    mixture = Mixture([[Part(Network(options.arch).eval(), None, before)]], [1.0], "logits", "logits", None, False)
    whole = Whole(mixture, Classes(), resizes=False).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(options.batch, CALIBRATING), options.size, options.size, 3), np.uint8)
    batch = images[: options.batch]
    facts = {"format": 1, "version": "0", "classes": CLASSES}
    with TemporaryDirectory() as name, torch.inference_mode():
        paths = {"onnx": Path(name) / "float.onnx", "int8": Path(name) / "int8.onnx"}
        exported.save(whole, torch.from_numpy(images[:2]), paths["onnx"], facts, any_size=False)
        quantization.write_quantized(paths["onnx"], paths["int8"], list(images[:CALIBRATING]), facts)
        opened = {kind: session(path, options.threads) for kind, path in paths.items()}
        tensor = torch.from_numpy(batch)
        calls: dict[str, Callable[[], object]] = {"torch": lambda: whole(tensor)}
        for kind in paths:
            calls[kind] = partial(opened[kind].run, ["values"], {"pixels": batch})
        times = medians(calls, options.rounds)
        sizes = {kind: path.stat().st_size / 1e6 for kind, path in paths.items()}
    ratios = {"onnx/torch": times["torch"] / times["onnx"], "int8/onnx": times["onnx"] / times["int8"]}
    if options.json:
        print(json.dumps({"milliseconds": times, "megabytes": sizes, "times_as_fast": ratios}))
        return
    print(f"{options.arch}, {options.size} px, batch {options.batch}, threads {options.threads}")
    print(", ".join(f"{kind} {value:.2f} ms" for kind, value in times.items()))
    print(", ".join(f"{kind} {value:.1f} MB" for kind, value in sizes.items()))
    first, second = ratios.values()
    print(f"ONNX is {first:.2f} times as fast as eager PyTorch, int8 {second:.2f} times as fast as float")


if __name__ == "__main__":
    main()
