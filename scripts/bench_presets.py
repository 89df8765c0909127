"""Compare `preset=` with the obvious alternatives at equal time: the same images, test images, first weights and threads.

The alternatives are a plain fine-tuning of the same pretrained network (AdamW, one cosine over the time, flips, all images
that are not for testing) and two classifiers of scikit-learn on pixels. They get decoded and resized images for free.

    python scripts/bench_presets.py [--tasks elpv fashion_mini] [--minutes 2] [--preset fast] [--size 0]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

NETWORK = ["arch=tf_efficientnet_lite0", "arch.pretrained=lite0"]
FEW_PIXELS = 32
BATCH = 32


def judged(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy and mean log-loss of probabilities, shape (n, classes)."""
    own = np.clip(probabilities[np.arange(len(targets)), targets], 1e-7, 1)
    return {"accuracy": float((probabilities.argmax(axis=1) == targets).mean()), "log_loss": float(-np.log(own).mean())}


def preset(common: list[str], name: str, minutes: float) -> tuple[dict[str, float], float]:
    """What `mml train preset=NAME` makes of the time."""
    from mlpipe.api import run
    from mlpipe.runs import ensembles, predictions
    from mlpipe.runs.project import Project

    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run("train", *common, f"preset={name}", f"time_limit={round(60 * minutes)}s")
    seconds = time.perf_counter() - started
    project = Project(Path(os.environ["MML_RESULTS_PATH"]) / "default")
    (folder,) = [path for path in project.tasks_dir().iterdir() if path.is_dir()]
    *_, newest = ensembles.load_all(project, folder.name)
    rows = predictions.load(project.ensembles_dir(folder.name) / f"{newest.id}.parquet", folder.name, "test")
    assert rows.calibrated is not None
    return judged(np.exp(rows.calibrated), rows.targets), seconds


def images_of(common: list[str]) -> dict[str, Any]:
    """The task's decoded images and targets, apart for learning and testing, and the recipe for its network."""
    from mlpipe.data.splits import variants
    from mlpipe.running import launch, tasks

    config = launch.prepare(launch.Command("train", common)).run_config
    of = tasks.resolve(config.task, config.data_dir)
    view = variants.plain(of, tasks.split_of(config, of), 0)
    learned = np.concatenate([view.train, view.val])
    pack = tasks.pack_of(config, of, workers=2)
    return {
        "config": config, "task": of, "pack": pack, "rows": learned,
        "x": np.asarray(pack.images[learned]), "y": of.samples.targets[learned],
        "x_test": np.asarray(pack.images[view.test]), "y_test": of.samples.targets[view.test],
    }  # fmt: skip


def fine_tuned(data: dict[str, Any], minutes: float, lr: float) -> tuple[dict[str, float], float]:
    """A plain loop of PyTorch from the same first weights for the time; the schedule follows the clock."""
    import torch
    from torch.nn.functional import cross_entropy

    from mlpipe.learn.build.network import build_network

    torch.manual_seed(0)
    network = build_network(data["config"].recipe, data["task"], data["pack"], seed=0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.01)
    x, y = (torch.from_numpy(np.ascontiguousarray(values)) for values in (data["x"].transpose(0, 3, 1, 2), data["y"]))
    started, left = time.perf_counter(), 60 * minutes
    while (spent := time.perf_counter() - started) < left:
        rows = torch.randint(len(x), (BATCH,))
        images = x[rows].float()
        if torch.rand(()) < 0.5:
            images = images.flip(-1)
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * spent / left))
        optimizer.zero_grad()
        cross_entropy(network(images)["target"], y[rows]).backward()
        optimizer.step()
    seconds = time.perf_counter() - started
    network.eval()
    with torch.no_grad():
        parts = np.array_split(data["x_test"].transpose(0, 3, 1, 2), math.ceil(len(data["x_test"]) / 64))
        logits = [network(torch.from_numpy(np.ascontiguousarray(part)).float())["target"] for part in parts]
    return judged(torch.cat(logits).softmax(dim=1).double().numpy(), data["y_test"]), seconds


def classical(data: dict[str, Any], make: Callable[[], Any]) -> tuple[dict[str, float], float]:
    """A classifier of scikit-learn on images made small."""
    started = time.perf_counter()
    model = make().fit(flat(data["x"]), data["y"])
    return judged(model.predict_proba(flat(data["x_test"])), data["y_test"]), time.perf_counter() - started


def flat(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels) as vectors of few pixels, shape (n, features)."""
    import torch
    from torch.nn.functional import interpolate

    small = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    return interpolate(small, size=(FEW_PIXELS, FEW_PIXELS), mode="area").flatten(1).numpy()


def forest() -> Any:
    """A random forest."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(500, n_jobs=-1, random_state=0)


def kernel_machine() -> Any:
    """A support vector machine with probabilities."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    return CalibratedClassifierCV(SVC(C=10.0), ensemble=False)


def compared(task: str, minutes: float, name: str, size: int) -> list[dict[str, Any]]:
    """Every way on one task."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MML_RESULTS_PATH": f"{folder}/results", "MML_DATA_PATH": f"{folder}/data"}
        common = [f"task={task}", *NETWORK, *([f"preprocessing.size={size}"] if size else [])]
        found = {f"mml train preset={name}": preset(common, name, minutes)}
        data = images_of([*common, "split=holdout", "mode.nested=false"])
        for lr in (3e-4, 1e-3):
            found[f"plain fine-tuning, lr {lr:g}"] = fine_tuned(data, minutes, lr)
        found[f"random forest on {FEW_PIXELS} px"] = classical(data, forest)
        found[f"SVM on {FEW_PIXELS} px"] = classical(data, kernel_machine)
    return [{"task": task, "way": way, **scores, "seconds": seconds} for way, (scores, seconds) in found.items()]


def main() -> None:
    """Print one table and the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", nargs="+", default=["elpv", "fashion_mini"])
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--size", type=int, default=0, help="pixels; 0: the task's own")
    given = parser.parse_args()
    rows = [row for task in given.tasks for row in compared(task, given.minutes, given.preset, given.size)]
    for row in rows:
        print(
            f"{row['task']:14}{row['way']:30}accuracy {row['accuracy']:.4f}  log-loss {row['log_loss']:.4f}"
            f"  {row['seconds']:6.0f} s"
        )
    print(json.dumps({**vars(given), "rows": rows}))


if __name__ == "__main__":
    main()
