"""Compare a training step of a Keras JSON ResNet50 with one of timm's resnet50, side by side in one run.

The JSON is the export of keras.applications. Batch size, image size and threads are the same; the two take turns, and the
ratio of their medians is printed. The networks differ slightly: Keras has biases before batch normalisation, and strides in
the first convolution of a block, which is cheaper.

    KERAS_BACKEND=torch python scripts/bench_keras_json.py [--size 64] [--batch 16] [--steps 3] [--rounds 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KERAS_BACKEND", "torch")


def networks(size: int) -> dict[str, Any]:
    """Return both networks in training mode."""
    import keras
    import timm

    from mlpipe.arch.keras import keras_json

    content = keras.applications.ResNet50(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    ours = keras_json.load(json.loads(content.to_json()))
    return {"keras_json": ours.train(), "timm": timm.create_model("resnet50", num_classes=10).train()}


def seconds(network: Any, size: int, batch: int, steps: int) -> float:
    """Return the mean seconds of a training step; one more step runs before as a warm-up."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device, memory_format=torch.channels_last)
    images = torch.rand(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 10, (batch,), device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    began = 0.0
    for step in range(steps + 1):
        if step == 1:
            if device == "cuda":
                torch.cuda.synchronize()
            began = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("size", 64), ("batch", 16), ("steps", 3), ("rounds", 3), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    both = networks(arguments.size)
    times: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(arguments.rounds):
        for name, network in both.items():
            times[name].append(seconds(network, arguments.size, arguments.batch, arguments.steps))
    medians = {name: statistics.median(values) for name, values in times.items()}
    speeds = {name: round(arguments.batch / value, 1) for name, value in medians.items()}
    ratio = round(medians["timm"] / medians["keras_json"], 3)
    print(json.dumps({**vars(arguments), "images_per_s": speeds, "speed_of_keras_json_over_timm": ratio}))


if __name__ == "__main__":
    main()
