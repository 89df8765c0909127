"""Compare a training step of a Keras JSON ResNet50 with one of timm's resnet50, side by side in one run.

The JSON is what keras.applications exports; batch size, image size and threads are the same, the two take turns, and the ratio
of their medians is printed. The networks differ a little: Keras's has biases before its batch normalisations and its strides
in the first convolution of a block, which costs less.

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
    """Both networks, ready to train."""
    import keras
    import timm

    from mlpipe.arch.keras import keras_json

    content = keras.applications.ResNet50(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    ours = keras_json.load(json.loads(content.to_json()))
    return {"keras_json": ours.train(), "timm": timm.create_model("resnet50", num_classes=10).train()}


def seconds(network: Any, size: int, batch: int, steps: int) -> float:
    """The time of one training step, the mean of some."""
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
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    both = networks(given.size)
    times: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(given.rounds):
        for name, network in both.items():
            times[name].append(seconds(network, given.size, given.batch, given.steps))
    medians = {name: statistics.median(values) for name, values in times.items()}
    speeds = {name: round(given.batch / value, 1) for name, value in medians.items()}
    ratio = round(medians["timm"] / medians["keras_json"], 3)
    print(json.dumps({**vars(given), "images_per_s": speeds, "speed_of_keras_json_over_timm": ratio}))


if __name__ == "__main__":
    main()
