"""Compare starting points of training: random weights, the model of another task, pretrained weights frozen or fine-tuned.

Two small data sets: a tenth of the digits, from scratch and from a model of clothes; and photographs of solar cells, from
scratch, with a linear head on frozen ImageNet features, and fine-tuned with layer-wise learning rates. Prints a table and JSON.

    python scripts/bench_transfer.py [--epochs 4] [--size 96] [--only digits elpv]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PLAIN = ["split=holdout", "mode.nested=false", "mode.subroutines=[train,predict,test]"]
LITE = ["arch=tf_efficientnet_lite0"]
PRETRAINED = [*LITE, "arch.pretrained=lite0"]


def ways(epochs: int, size: int) -> dict[str, dict[str, tuple[str, list[str]]]]:
    """Return the starting points of each task: a mode and its overrides."""
    few = ["task=digits+subset?0.1", f"trainer.max_epochs={5 * epochs}"]
    cells = ["task=elpv", f"preprocessing.size={size}", f"trainer.max_epochs={epochs}"]
    decayed = [
        f"stages.list=[{{epochs:1,freeze:backbone}},{{epochs:{epochs - 1},lr:5e-4}}]",
        "optimizer.layer_decay=0.8",
    ]
    return {
        "digits": {
            "from scratch": ("train", few),
            "from fashion_mini, all learn": ("tl", [*few, "mode.pretrain_task=fashion_mini"]),
        },
        "elpv": {
            "from scratch": ("train", [*cells, *LITE, "arch.pretrained=false"]),
            "ImageNet, frozen, exact linear head": (
                "train",
                [*cells, *PRETRAINED, "arch.freeze=true", "augmentations=none", "optimizer=linear"],
            ),
            "ImageNet, frozen, then layer-wise rates": ("train", [*cells, *PRETRAINED, *decayed]),
        },
    }


def trained(mode: str, overrides: list[str], project: str) -> dict[str, float]:
    """Train one fold; return its test scores and its duration."""
    from mlpipe.api import load_project, run

    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run(mode, *PLAIN, *overrides, f"proj={project}")
    frame = load_project(project).records()
    newest = frame[frame["run"] == frame["run"].iloc[-1]].iloc[-1]
    scores = {name: float(newest[f"test/{name}"]) for name in ("accuracy", "auroc", "nll")}
    return {**scores, "seconds": time.perf_counter() - started}


def main() -> None:
    """Print the results as a table and as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--only", nargs="+", default=["digits", "elpv"])
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MML_RESULTS_PATH": f"{folder}/results", "MML_DATA_PATH": f"{folder}/data"}
        for task, starts in ways(arguments.epochs, arguments.size).items():
            if task not in arguments.only:
                continue
            if task == "digits":
                trained("train", ["task=fashion_mini"], task)
            for name, (mode, overrides) in starts.items():
                rows.append({"task": task, "start": name, **trained(mode, overrides, task)})
    for row in rows:
        scores = "  ".join(f"{name} {row[name]:.4f}" for name in ("accuracy", "auroc", "nll"))
        print(f"{row['task']:8}{row['start']:42}{scores}  {row['seconds']:6.0f} s")
    print(json.dumps({**vars(arguments), "rows": rows}))


if __name__ == "__main__":
    main()
