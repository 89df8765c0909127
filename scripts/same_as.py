"""Compare the behaviour of this tree with that of another commit: `python scripts/same_as.py COMMIT [CASE ...]`.

Each case is a few commands on a tiny task. It runs once in a work tree of COMMIT and once here, each in its own process,
with the same libraries and `sys.threads=1`. Then all files and outputs are compared exactly: weights, curves,
predictions, maps, splits, recipe hashes, facts of reports, exit codes. Before the comparison, names that contain the time
of a run are replaced by the order of their first appearance; times, speeds, versions and folders are left out; and dotted
paths of components become their identities (`mlpipe/names.py`).

Intended changes are listed in `DEVIATIONS`, with the reason: a difference that is not listed fails, and a listed one
counts only against commits before the change. `--keep FOLDER` keeps the files and outputs of both sides, and compares
them again without a run.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

HERE = Path(__file__).resolve().parents[1]


class Deviation(NamedTuple):
    """An intended difference.

    Attributes:
        case: Pattern of the cases that show it.
        name: Pattern of the compared value, `FILE#KEY.KEY` within a document.
        what: Pattern of the line that describes the difference, or the largest relative difference of numbers.
        why: The reason, as in the changelog.
        change: The commit with the change: against it and later ones nothing may differ.
    """

    case: str
    name: str
    what: str | float
    why: str
    change: str = "bd779ee1"


# Fields of the leaderboard, in its file and in `info --json`, and keys of configurations that came after 0.1.0.
_COLUMNS = ("repeats", "out_of_fold_sd", "folds_low", "folds_high", "val_images", "refit", "called")
_KEYS = {
    "arch.anchors": "detectors may be given anchors",
    "logging.embedded_*": "what TensorBoard embeds may be named",
    "logging.samples": "what TensorBoard embeds may be named",
    "logging.batches": "the loss of every batch is kept where stages are named",
    "mode.alpha": "new images may be given sets of another level",
    "mode.most_ms": "an ensemble may be bounded in milliseconds",
    "mode.positive": "the class that is looked for may be named",
    "mode.recipes": "mml post may take some recipes only",
    "mode.refit": "one more model may learn from all folds",
    "mode.samples": "a generator may draw images",
    "mode.seed": "a generator may draw images",
    "preset.*": "presets have measured recipes",
    "task.order": "forward-chained folds need an order of samples",
    "split.repeats": "a cross-validation may be repeated",
    "trust_paths": "places to write outside of results and data are named on the command line",
}
_FITS = "calibrations are fitted in better units and end at the same optimum but for the last digits"
DEVIATIONS: tuple[Deviation, ...] = (
    *(Deviation("*", f"*config.yaml#{key}", "only here", why) for key, why in _KEYS.items()),
    *(Deviation("*", f"*leaderboard.csv:{one}", "only here", "a new column") for one in _COLUMNS),
    *(Deviation("*", f"command *: out#models.*.{one}", "only here", "a new column") for one in _COLUMNS),
    Deviation("*", "command *: out#final.baseline", "only here", "scores stand beside the best constant prediction"),
    Deviation("*", "command *: out#final.against", "only here", "scores stand beside the best constant prediction"),
    *(
        Deviation("*", f"command *: {stream}", line, "texts are worded anew, with as many digits as images tell")
        for stream in ("out", "err", "out#headline", "out#final.left_out", "out#final.sentence")
        for line in ("* there, * here", "one is longer")
    ),
    Deviation("*", "*ensembles/*.json#notes", "* there, * here", "figures have as many digits as images tell"),
    Deviation("*", "*calibrations/*.json#calibration.parameters.*", 1e-13, _FITS),
    Deviation("*", "*calibrations/*.json#calibration.labels.*.parameters.*", 1e-13, _FITS),
    Deviation("*", "*ensembles/*.json#calibrations.*.parameters.*", 1e-13, _FITS),
    Deviation("*", "*ensembles/*.json#losses.stages.*", 1e-13, _FITS),
    *(
        Deviation("*", name, 1e-12, "intervals are sums over draws in another order: the last digits of their ends")
        for name in (
            "*ensembles/*.json#scores.*",
            "*leaderboard.csv:test_*",
            "command *: out#*.test_*",
            "command *: out#final.*",
        )
    ),
    Deviation("*", "*#scores.*.note", "* there, * here", "one group is told in the singular"),
    *(
        Deviation("*", name, "* there, * here", "a task's notes say what would change them")
        for name in ("command *: out#tasks.*.notes", "mlpipe_data/*/task.json#notes")
    ),
    Deviation("*", "*#decide.calibration_error.measures.*", 1e-12, "the last digits of sums in another order"),
    Deviation(
        "*", "*#decide.calibration_error.measures.L2, debiased", "* there, * here", "rows alone in a bin have no weight"
    ),
    *(
        Deviation("*", name, "'ensemble' there, 'nothing' here", "of an ensemble of one nothing was chosen")
        for name in ("command *: out#models.*.val_used_for", "*leaderboard.csv:val_used_for")
    ),
    *(
        Deviation(case, "*config.yaml#split.rare", "'refuse' there, 'allow' here", "as that program does")
        for case in ("barrage", "rmldnn")
    ),
    *(
        Deviation("musket", name, what, "metrics are measured while training, too, as that program's files have them")
        for name, what in (
            ("*config.yaml#metrics.while_training", "False there, True here"),
            ("*leaderboard.csv:recipe", "* there, * here"),
            ("*plan.json#recipe", "* there, * here"),
            ("*record.json#recipe", "* there, * here"),
            ("*record.json#checksums.metrics.csv", "* there, * here"),
            ("*metrics*.csv:*accuracy", "only here"),
        )
    ),
    Deviation(
        "barrage",
        "*/tensorboard_result.json#sent",
        "only here",
        "a result is written to a logger once, also by a run that goes on",
    ),
    Deviation("barrage", "*/hparams.yaml*", "only *", "loggers of Lightning's are given the configuration"),
    Deviation("*", "*_risk_coverage.csv:*", "only here", "the report has risk-coverage curves"),
    Deviation("*", "*_learning_*.csv:*", "only there", "one epoch has no learning curve, and no empty plot"),
    Deviation("*", "*_scores.csv:*", "only there", "an ensemble that scores as its recipe is drawn once"),
    Deviation("*", "*_scores.csv:*", "* there, * here", "an ensemble that scores as its recipe is drawn once"),
)

TRAIN = "arch=test_resnet arch.pretrained=false preprocessing.size=32 trainer.max_epochs=1 sys.threads=1"
FOLDS = f"{TRAIN} split.folds=2 mode.nested=false mode.subroutines=[train,predict,test]"
UNET = "arch=unet arch.encoder=test_resnet arch.depth=2 arch.pretrained=false preprocessing.size=32"


# --- inputs -------------------------------------------------------------------------------------------------------


def pictures(root: Path, parts: tuple[str, ...] = ("train", "test"), each: int = 8, size: int = 24) -> None:
    """Write class folders; the class is the brightness of the images."""
    from PIL import Image

    root, rng = root / "d", np.random.default_rng(0)
    for part in parts:
        for number, name in enumerate(("dark", "middle", "light")):
            (root / part / name).mkdir(parents=True)
            for index in range(each):
                pixels = rng.integers(0, 60, (size, size, 3)) + 60 * number
                Image.fromarray(pixels.astype(np.uint8)).save(root / part / name / f"{part}{index:02d}.png")


def table(root: Path) -> None:
    """Write a table of images with a class, two labels, a number and groups."""
    pictures(root, ("all",))
    rows = ["path,class,bright,even,number,group"]
    for number, name in enumerate(("dark", "middle", "light")):
        for index in range(8):
            path = f"d/all/{name}/all{index:02d}.png"
            rows.append(f"{path},{name},{int(number > 0)},{index % 2},{number + index / 10},g{index // 2}")
    (root / "t.csv").write_text("\n".join(rows) + "\n", "utf-8")


def masks(root: Path) -> None:
    """Write pairs of images and masks with squares of two classes."""
    from PIL import Image

    rng = np.random.default_rng(1)
    for part, count in (("train", 10), ("test", 4)):
        for index in range(count):
            mask = np.zeros((32, 32), np.uint8)
            y, x = rng.integers(0, 16, 2)
            mask[y : y + 12, x : x + 12] = 1 + index % 2
            image = (mask * 80 + rng.integers(0, 60, mask.shape)).astype(np.uint8)
            for side, pixels in (("images", image), ("masks", mask)):
                (root / "m" / part / side).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / "m" / part / side / f"{part}{index}.png")


def image_pairs(root: Path) -> None:
    """Write folders of blurred images and of the original images as targets."""
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(2)
    for index in range(12):
        image = Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8))
        for side, one in (("in", image.filter(ImageFilter.BoxBlur(1))), ("out", image)):
            (root / side).mkdir(exist_ok=True)
            one.save(root / side / f"{index}.png")


def solver(root: Path) -> None:
    """Write a network from rows of initial values to solutions over space and time."""
    layers = [
        {"class_name": "Flatten", "config": {"batch_input_shape": [None, 16, 1]}},
        {"class_name": "Dense", "config": {"units": 128}},
        {"class_name": "Reshape", "config": {"target_shape": [8, 16, 1]}},
    ]
    (root / "solver.json").write_text(json.dumps(layers), "utf-8")


def arrays(root: Path) -> None:
    """Write an NPZ file with arrays of images and class numbers."""
    rng = np.random.default_rng(3)
    targets = np.arange(24) % 3
    images = (rng.integers(0, 60, (24, 20, 20)) + 60 * targets[:, None, None]).astype(np.uint8)
    np.savez(root / "a.npz", images=images, targets=targets)


def musket(root: Path) -> None:
    """Write a Musket project with a data set in Python."""
    (root / "p/modules").mkdir(parents=True)
    (root / "p/experiments/x").mkdir(parents=True)
    (root / "p/modules/own.py").write_text(
        "import numpy as np\n"
        "from musket_core.datasets import DataSet, PredictionItem\n\n\n"
        "class Squares(DataSet):\n"
        "    def __len__(self):\n        return 20\n\n"
        "    def __getitem__(self, i):\n"
        "        x = np.random.default_rng(i).integers(0, 60, (32, 32, 3)) + 80 * (i % 2)\n"
        "        y = np.zeros(2)\n        y[i % 2] = 1\n"
        "        return PredictionItem(str(i), x.astype(np.uint8), y)\n\n\n"
        "def getTrain():\n    return Squares()\n",
        "utf-8",
    )
    (root / "p/experiments/x/config.yaml").write_text(
        "#%Musket Classification 1.0\n"
        "architecture: ResNet18\nclasses: 2\nactivation: softmax\nweights: null\nshape: [32, 32, 3]\n"
        "optimizer: Adam\nlr: 0.001\nbatch: 4\nfolds_count: 2\nmetrics: [categorical_accuracy]\n"
        "primary_metric: val_categorical_accuracy\nloss: categorical_crossentropy\n"
        "stages: [{epochs: 1}]\ndataset: {getTrain: []}\n",
        "utf-8",
    )


def rmldnn(root: Path) -> None:
    """Write an rmldnn configuration on class folders."""
    pictures(root)
    layers = [
        {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, 24, 24, 3]}},
        {"class_name": "Dense", "config": {"name": "out", "units": 3, "activation": "log_softmax"}},
    ]
    data = {"input_type": "images", "target_type": "labels", "input_path": "d/train", "test_input_path": "d/test"}
    network = {"num_epochs": 2, "layers": layers, "data": {**data, "batch_size": 6}}
    config = {"neural_network": {**network, "optimizer": {"type": "SGD"}, "loss": {"function": "NLL"}}}
    (root / "r.json").write_text(json.dumps(config), "utf-8")


def barrage(root: Path) -> None:
    """Write a Barrage configuration of vectors, with a transformer and a network in layers."""
    network = {
        "import": "barrage.model.sequential_from_config",
        "params": {
            "layers": [
                {"import": "Input", "params": {"shape": 2, "name": "x"}},
                {"import": "Dense", "params": {"units": 1, "name": "y"}},
            ]
        },
    }
    loader = {"import": "KeySelector", "params": {"inputs": {"x": ["a", "b"]}, "outputs": {"y": "y"}}}
    model = {"network": network, "outputs": [{"name": "y", "loss": {"import": "mse"}}]}
    config = {"dataset": {"loader": loader}, "model": model, "solver": {"epochs": 2}}
    (root / "b.json").write_text(json.dumps(config), "utf-8")
    rng = np.random.default_rng(4)
    for name, count in (("t", 24), ("v", 8)):
        rows = [{"a": float(a), "b": float(b), "y": float(a - b)} for a, b in rng.normal(size=(count, 2))]
        (root / f"{name}.json").write_text(json.dumps(rows), "utf-8")


# --- cases --------------------------------------------------------------------------------------------------------

Setup = Callable[[Path], None]
CASES: dict[str, tuple[Setup | None, tuple[str, ...]]] = {
    "classification": (
        pictures,
        (
            f"train task=folder task.root=d task.name=a {FOLDS}",
            f"train task=folder task.root=d task.name=a {FOLDS} optimizer=sgd loss=focal",
            "post",
            "post mode.prior=test mode.search=greedy mode.calibrator=temperature",
            "info --json",
            "predict mode.ensemble=latest mode.source=d/test",
        ),
    ),
    "nested": (
        None,
        (
            f"train task=digits+subset?0.2 {TRAIN} split.folds=2 mode.subroutines=[train,predict,test]",
            "post mode.threshold=f1",
            "info",
        ),
    ),
    "multilabel": (
        table,
        (
            f"train task=csv task.file=t.csv task.target=[bright,even] task.group=group {FOLDS} split.test_fraction=0.2",
            "post",
            "info --json",
        ),
    ),
    "regression": (
        table,
        (
            f"train task=csv task.file=t.csv task.target=number task.kind=regression {FOLDS} split.test_fraction=0.2",
            "post",
            "info --json",
        ),
    ),
    "table": (
        table,
        (
            f"train task=csv task.file=t.csv task.target=class split=holdout {TRAIN} mode.nested=false "
            "mode.subroutines=[train,predict] augmentations=flips cbs=[early,ema] stages=freeze_then_finetune",
        ),
    ),
    "segmentation": (
        masks,
        (
            f"train task=masks task.root=m {UNET} sampling.batch_size=4 split.folds=2 mode.nested=false "
            "mode.subroutines=[train,predict,test] trainer.max_epochs=1 sys.threads=1",
            "post",
            "info --json",
        ),
    ),
    "images": (
        image_pairs,
        (
            f"train task=image_folders task.train=in task.train_targets=out {UNET} sampling.batch_size=4 split.folds=2 "
            "mode.nested=false mode.subroutines=[train,predict] trainer.max_epochs=1 sys.threads=1",
            "post",
            "info --json",
        ),
    ),
    "solutions": (
        solver,
        (
            "train task=initial_values task.size=16 task.examples=8 loss=burgers arch=keras_json arch.file=solver.json "
            "preprocessing=none augmentations=none split.folds=2 mode.nested=false mode.subroutines=[train,predict] "
            "trainer.max_epochs=1 sys.threads=1",
            "post task=initial_values task.size=16 task.examples=8",
            "info --json task=initial_values task.size=16 task.examples=8",
        ),
    ),
    "arrays": (arrays, (f"train task=arrays task.file=a.npz {FOLDS} split.test_fraction=0.2", "post", "info --json")),
    "created": (
        pictures,
        (
            "create task=folder task.root=d task.name=a",
            "pp task=a-{a} preprocessing.size=32",
            f"train task=a-{{a}} {FOLDS} --dry-run",
            f"train task=a-{{a}} {FOLDS} augmentations=mixup lr_scheduler=one_cycle",
            "info --json",
        ),
    ),
    "transfer": (
        None,
        (
            f"train task=digits+subset?0.2 {TRAIN} split.folds=2 mode.nested=false mode.folds=[0] "
            "mode.subroutines=[train,predict,test]",
            f"tl task=digits+subset?0.3 mode.pretrain_task=digits+subset?0.2 {TRAIN} split.folds=2 mode.nested=false "
            "mode.folds=[0] mode.subroutines=[train,predict,test]",
            "verify",
        ),
    ),
    "multitask": (
        None,
        (
            f"train task=digits+subset?0.1 task_list=[fashion_mini+subset?0.1] mode.multitask=2 {TRAIN} split.folds=2 "
            "mode.nested=false mode.folds=[0] "
            "mode.subroutines=[train,predict,test]",
        ),
    ),
    "search": (
        None,
        (
            f"train task=digits+subset?0.1 {TRAIN} split.folds=2 mode.nested=false mode.folds=[0] hpo=optuna "
            "hpo.trials=2 hpo.study=s hpo.sampler=grid optimizer.lr=0.001,0.01",
            "info --json",
        ),
    ),
    "sweep": (
        None,
        (f"train task=digits+subset?0.1 {TRAIN} split.folds=2 mode.nested=false mode.folds=[0] seed=0,1 -m",),
    ),
    "musket": (musket, ("fit --project p --name x", "convert recipe=p/experiments/x/config.yaml")),
    "rmldnn": (rmldnn, ("train recipe=r.json sys.threads=1", "convert recipe=r.json")),
    "barrage": (
        barrage,
        ("train recipe=b.json task.train=t.json task.validation=v.json sys.threads=1", "convert recipe=b.json"),
    ),
    "wrong": (
        pictures,
        (
            "train task=folder task.root=d optimizer.lrr=1 loss=focl",
            "trian",
            "train task=folder task.root=nowhere",
            "post",
        ),
    ),
    "help": (None, ("--help", "train --help", "train --cfg job task=digits", "--version")),
}

# The code of a process: it runs commands in one folder and stores each one's output and exit code. `{a}` is the hash of
# the task's name. The installed package comes before PYTHONPATH on the path, so that the tree is inserted first.
DRIVER = """
import contextlib, io, json, os, sys
from pathlib import Path
sys.path.insert(0, os.environ["SAME_AS_TREE"])
import mlpipe
from mlpipe.cli import main

if __name__ == "__main__":
    printed = []
    if not Path(mlpipe.__file__).is_relative_to(os.environ["SAME_AS_TREE"]):
        sys.exit(f"the package is that of {mlpipe.__file__}")
    for command in json.loads(sys.argv[1]):
        hashes = {one.name.partition("-")[0]: one.name.partition("-")[2] for one in Path("mlpipe_data").glob("*-*")}
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(command.replace("{a}", hashes.get("a", "")).split())
            except SystemExit as stop:
                code = stop.code
        printed.append([command, code or 0, out.getvalue(), err.getvalue()])
    Path("printed.json").write_text(json.dumps(printed))
"""


def run_case(name: str, tree: Path, folder: Path) -> None:
    """Run a case with the package of a tree, everything below one folder."""
    setup, commands = CASES[name]
    folder.mkdir(parents=True)
    if setup is not None:
        setup(folder)
    (folder / "driver.py").write_text(DRIVER, "utf-8")
    environment = {
        **{"PYTHONPATH": str(tree), "SAME_AS_TREE": str(tree)},
        **{"OMP_WAIT_POLICY": "PASSIVE", "PATH": "/usr/bin:/bin", "COLUMNS": "160"},
    }
    command = [sys.executable, "driver.py", json.dumps(commands)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"case {name} in {tree}: {done.stderr[-2000:]}")


# --- comparison ---------------------------------------------------------------------------------------------------

# Keys of stored JSON with times, speeds, places and versions, and hashes of contents that include them or dotted paths.
VOLATILE = {
    "created", "run", "timings", "environment", "versions", "seconds", "started", "ended", "host", "pid", "command",
    "git", "time", "finished", "checksum", "config.yaml", "predictions_hash", "speed", "images_per_s", "data_wait", "cwd",
}  # fmt: skip
TIMED_COLUMNS = {"seconds", "images_per_s", "images/s", "time", "train_seconds"}
_RUN = re.compile(r"\d{4}-(?:\d\d|[A-Z][a-z]{2})-\d\d[/T ]\d\d[-:]\d\d([-:]\d\d[\w.:+-]*)?")
_DOTTED = re.compile(r"mlpipe(?:\.\w+)+")
_AMOUNT = re.compile(r"\d[\d.,]*( ?)(s\b|min\b|h\b|images/s|MB|GB|kB|%)")


class Texts:
    """Replaces what differs between two runs of the same command: roots, times, ids by their first appearance."""

    def __init__(self, folder: Path, tree: Path) -> None:
        from mlpipe import names

        self._roots = [(str(folder.resolve()), "FOLDER"), (str(tree), "TREE")]
        self._ids: dict[str, str] = {}
        self._origins = {names.current(path): path for path in names.frozen()}
        models = sorted(folder.glob("**/tasks/*/models/*"), key=_number)
        ensembles = sorted(folder.glob("**/tasks/*/ensembles/*.json"), key=lambda path: path.stat().st_mtime)
        for number, path in enumerate([*models, *ensembles]):
            self._ids[path.stem if path.suffix == ".json" else path.name] = f"ID{number}"
        runs = sorted(folder.glob("**/runs/*/*/config.yaml"), key=lambda path: path.stat().st_mtime_ns)
        for number, path in enumerate(runs):
            self._ids["/".join(path.parts[-3:-1])] = f"RUN{number}"

    def __call__(self, text: str) -> str:
        """Return the text with placeholders in place of what differs."""
        for root, name in self._roots:
            text = text.replace(root, name)
        for own, name in self._ids.items():
            text = text.replace(own, name)
        # Printed configurations contain the current paths of code.
        text = _DOTTED.sub(lambda match: self._origins.get(match[0], match[0]), text)
        return _AMOUNT.sub("AMOUNT", _RUN.sub("TIME", text))


def _number(path: Path) -> int:
    record = path / "record.json"
    return int(json.loads(record.read_text("utf-8"))["number"]) if record.is_file() else 0


def _facts(printed: str, texts: Texts) -> Any:
    """Return an output as a JSON document, or as lines."""
    try:
        return _plain(json.loads(texts(printed)))
    except json.JSONDecodeError:
        return texts(_printed(printed))


def _printed(text: str) -> str:
    """Return an output without tables of times and without lines that a progress bar overwrites."""
    kept, is_timed = [], False
    for line in text.replace("\r", "\n").splitlines():
        is_timed = "seconds" in line.split() or (is_timed and bool(line.strip()))
        is_progress = "it/s" in line or "%|" in line or ", data wait " in line
        kept += [] if is_timed or is_progress else [line.rstrip()]
    return "\n".join(kept)


def collected(folder: Path, tree: Path) -> dict[str, Any]:
    """Return all files and outputs of a case by name; arrays as arrays, texts without what may differ.

    Plots and pages are left out: they contain times, and their data are also in CSV files and in `info --json`.
    """
    sys.path.insert(0, str(HERE))
    texts = Texts(folder, tree)
    results: dict[str, Any] = {}
    for number, (command, code, out, err) in enumerate(json.loads((folder / "printed.json").read_text("utf-8"))):
        results[f"command {number} ({command}): exit code"] = code
        for name, stream in (("out", out), ("err", err)):
            results[f"command {number} ({command}): {name}"] = _facts(stream, texts)
    for path in sorted([*folder.glob("results/**/*"), *folder.glob("mlpipe_data/**/*"), *folder.glob("p/**/*")]):
        parts = path.relative_to(folder).parts
        is_plot = "plots" in parts and path.suffix == ".png"
        if path.is_file() and not is_plot and not any(part.startswith(".") for part in parts):
            results |= {texts(f"{path.relative_to(folder)}{part}"): value for part, value in _contents(path, texts)}
    return results


def _contents(path: Path, texts: Texts) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a file and their compared values."""
    if path.suffix == ".json":
        yield "", _plain(json.loads(texts(path.read_text("utf-8"))))
    elif path.suffix == ".yaml":
        yield "", _plain(yaml.safe_load(texts(path.read_text("utf-8"))))
    elif path.suffix == ".jsonl":
        yield "", [_plain(json.loads(line)) for line in texts(path.read_text("utf-8")).splitlines()]
    elif path.suffix == ".csv":
        import pandas as pd

        frame = pd.read_csv(path)
        for column in frame.columns:
            if column not in TIMED_COLUMNS:
                values = frame[column]
                yield f":{column}", values.to_numpy() if values.dtype.kind in "if" else [texts(str(v)) for v in values]
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        for name, column in pq.read_table(path).to_pydict().items():
            is_number = bool(column) and isinstance(column[0], int | float)
            yield f":{name}", np.array(column) if is_number else [texts(json.dumps(v, default=str)) for v in column]
    elif path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        yield from ((f":{name}", value) for name, value in load_file(path).items())
    elif path.suffix in (".npz", ".npy"):
        held = np.load(path, allow_pickle=False)
        yield from ((f":{name}", held[name]) for name in held.files) if path.suffix == ".npz" else (("", held),)
    elif path.suffix == ".png":
        from PIL import Image

        yield "", np.asarray(Image.open(path))


def _plain(value: Any, section: str = "") -> Any:
    """Return stored facts without times and places, with the identities of components."""
    from mlpipe import names

    if isinstance(value, dict):
        # Modes that shared one class now have one each; they are not part of any hash.
        volatile = VOLATILE | {"_target_"} if section == "scheduler" else VOLATILE
        kept = {key: part for key, part in value.items() if key not in volatile}
        return {key: _plain(part, key) for key, part in names.identified(section, kept).items()}
    return [_plain(part, section) for part in value] if isinstance(value, list) else value


def differences(
    case: str, there: dict[str, Any], here: dict[str, Any], deviations: Sequence[Deviation] = DEVIATIONS
) -> tuple[list[str], list[Deviation]]:
    """Return a line for each unintended difference, and the deviations that occurred."""
    lines, seen = [], []
    there, here = _leaves(there), _leaves(here)
    for name in {**there, **here}:
        if name not in here or name not in there:
            line = "only there" if name in there else "only here"
        else:
            line = _difference(there[name], here[name])
        if line:
            listed = (item for item in deviations if fnmatchcase(case, item.case) and fnmatchcase(name, item.name))
            meant = next((item for item in listed if _is_meant(item, line, there.get(name), here.get(name))), None)
            lines += [] if meant else [f"{name}: {line}"]
            seen += [meant] if meant else []
    return lines, seen


def _leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Return the compared values by their place: single values of documents, whole arrays and texts."""
    if isinstance(value, dict) and value:
        places = ((f"{name}{'#.'[bool('#' in name)]}{key}" if name else key, part) for key, part in value.items())
        return {place: leaf for key, part in places for place, leaf in _leaves(part, key).items()}
    if isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        return _leaves({str(number): part for number, part in enumerate(value)}, name)
    return {name: value}


def _is_meant(deviation: Deviation, line: str, one: Any, other: Any) -> bool:
    if isinstance(deviation.what, str):
        return fnmatchcase(line, deviation.what)
    return not _difference(one, other, deviation.what) if one is not None and other is not None else False


def _difference(one: Any, other: Any, most: float = 0.0) -> str:
    """Describe how two values differ; empty if they do not."""
    if isinstance(one, np.ndarray) != isinstance(other, np.ndarray):
        return f"{type(one).__name__} there, {type(other).__name__} here"
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{one.dtype}{one.shape} there, {other.dtype}{other.shape} here"
        if one.dtype.kind in "fc" and not np.allclose(one, other, rtol=most, atol=0, equal_nan=True):
            return f"largest difference {np.nanmax(np.abs(one - other)):.3g} of {np.nanmax(np.abs(one)):.3g}"
        return "" if one.dtype.kind in "fc" or np.array_equal(one, other) else "other values"
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return next((line for a, b in zip(one, other, strict=True) if (line := _difference(a, b, most))), "")
    if isinstance(one, float) and isinstance(other, float) and math.isclose(one, other, rel_tol=most):
        return ""
    if isinstance(one, str) and isinstance(other, str) and one != other:
        lines = zip(one.splitlines(), other.splitlines(), strict=False)
        return next((f"{a!r} there, {b!r} here" for a, b in lines if a != b), "one is longer")
    is_same = one == other or (one != one and other != other)
    return "" if is_same else f"{one!r} there, {other!r} here"


def _since(commit: str) -> list[Deviation]:
    """Return the deviations that came after a commit."""
    held = {}
    for change in {one.change for one in DEVIATIONS}:
        command = ["git", "merge-base", "--is-ancestor", change, commit]
        held[change] = subprocess.run(command, cwd=HERE, check=False).returncode
        if held[change] not in (0, 1):
            raise SystemExit(f"{change}, which DEVIATIONS names, is no commit here; fetch the whole history")
    return [one for one in DEVIATIONS if held[one.change]]


def main() -> int:
    """Run the cases in both trees; return 1 if there is an unintended difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)}; default: all")
    parser.add_argument(
        "--keep", type=Path, help="folder that keeps the results of both sides; stored ones are not run again"
    )
    options = parser.parse_intermixed_args()
    if unknown := sorted(set(options.cases) - set(CASES)):
        parser.error(f"no such case: {', '.join(unknown)}")
    deviations, failed, seen_ones = _since(options.commit), 0, []
    with tempfile.TemporaryDirectory(prefix="same_as-") as made:
        base = (options.keep or Path(made)).resolve()
        other = base / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", "-q", str(other), options.commit], cwd=HERE, check=True)
        try:
            for name in options.cases or CASES:
                sides = [_side(name, tree, base, side) for side, tree in (("there", other), ("here", HERE))]
                lines, seen = differences(name, *sides, deviations)
                seen_ones += seen
                codes = [one for key, one in sides[0].items() if key.endswith("exit code")]
                but = f" but for {len(seen)} listed deviations" if seen else ""
                verdict = f"{len(lines)} differences" if lines else f"equal{but}"
                print(f"{name}: {verdict} ({len(_leaves(sides[0]))} things, exit codes {codes})", flush=True)
                print("".join(f"  {line[:400]}\n" for line in lines[:20]), end="", flush=True)
                failed += bool(lines)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(other)], cwd=HERE, check=False)
    for one in deviations:
        if one in seen_ones:
            print(f"meant, {seen_ones.count(one)} times: {one.case}: {one.name}: {one.what}: {one.why}")
        elif not options.cases:
            print(f"listed, but nowhere seen: {one.case}: {one.name}: {one.what}")
    return 1 if failed else 0


def _side(name: str, tree: Path, base: Path, side: str) -> dict[str, Any]:
    """Return files and outputs of a case with the package of a tree, from a new run or as kept.

    Both sides run in the same folder, because hashes of sources contain its path.
    """
    folder, kept = base / name, base / side / name
    if kept.is_dir():
        kept.rename(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        run_case(name, tree, folder)
    results = collected(folder, tree)
    kept.parent.mkdir(exist_ok=True)
    folder.rename(kept)
    return results


if __name__ == "__main__":
    sys.exit(main())
