"""Images as targets through the whole program: an auto-encoder that is worth something, pictures of new images, refusals."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mlpipe.api import load
from mlpipe.cli import main
from mlpipe.post import metrics
from mlpipe.reports import facts
from mlpipe.reports.headline import headline
from mlpipe.runs import ensembles, maps, predictions, records
from mlpipe.runs.project import Project
from tests.data.samples import make_masks

WIDTHS = (12, 6, 12)


def net(path: Path, channels: int, end: str) -> None:
    """Write a small Keras network whose narrow middle must keep what an image shows."""
    shared = {"kernel_size": 3, "padding": "same"}
    layers = [
        {"class_name": "Conv2D", "config": {"filters": width, "activation": "relu", **shared}} for width in WIDTHS
    ]
    layers[0]["config"]["batch_input_shape"] = [None, 28, 28, 1]  # type: ignore[index]
    last = {"class_name": "Conv2D", "config": {"filters": channels, "activation": end, **shared}}
    path.write_text(json.dumps([*layers, last]))


QUICK = [
    "arch=keras_json",
    "arch.name=small",
    "sys.threads=1",
    "sampling.batch_size=8",
    "augmentations=flips",
    "preprocessing=none",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two folds of an auto-encoder."""
    folder = tmp_path_factory.mktemp("images")
    make_masks(folder / "d", 90)
    for name, channels, end in (("small", 1, "sigmoid"), ("linear", 1, "linear"), ("three", 3, "sigmoid")):
        net(folder / f"{name}.json", channels, end)
    arguments = [
        "task=image_folders", f"task.train={folder / 'd/images'}", f"arch.file={folder / 'small.json'}", "loss=bce",
        "trainer.max_epochs=8", "split.folds=2", "split.test_fraction=0.2", "mode.nested=false", "optimizer.lr=1e-2",
        "mode.subroutines=[train,predict,test]", "tta=flips",
    ]  # fmt: skip
    assert run(folder, "train", *QUICK, *arguments) == 0
    return folder


def run(folder: Path, *arguments: str) -> int:
    return main([*arguments, f"out_dir={folder / 'r'}", f"data_dir={folder / 'data'}"])


def test_the_scores_follow_from_what_is_stored(trained: Path) -> None:
    project = Project(trained / "r/default")
    found = records.load_all(project)
    assert len(found) == 2
    for record in found:
        path = project.predictions_file(record.pivot, record.id)
        rows = predictions.load(path, record.pivot, "test")
        values = metrics.compute(["psnr"], rows.logits, rows.targets, record.kind)
        assert record.kind == "images" and values["psnr"] == record.scores["test"]["psnr"]
        # The mean of all images as the answer to each has 11 dB.
        assert record.scores["test"]["psnr"] > 15  # type: ignore[operator]
        with maps.Maps(path.with_suffix(".npz")) as stored:
            for sample, sums in zip(rows.sample_ids, rows.logits, strict=True):
                said, true = (of(record.pivot, "test", sample) for of in (stored.values, stored.true_values))
                assert said.dtype == np.float16 and true is not None and said.shape == true.shape == (1, 28, 28)
                pixels = np.asarray(Image.open(trained / "d/images" / sample.partition("/")[2]))
                assert np.abs(true[0] * 255 - pixels).max() < 0.2
                assert maps.errors(said, true)[0] == pytest.approx(sums, rel=5e-3)
        header = (project.model_dir(record.pivot, record.id) / "metrics.csv").read_text().splitlines()[0]
        assert {"val/mse", "val/psnr", "val/loss"} <= set(header.split(","))


def test_post_averages_the_folds_and_the_report_shows_images(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trained, "post") == 0
    assert "values of pixels are not calibrated" in capsys.readouterr().out
    project = Project(trained / "r/default")
    folds = records.load_all(project)
    mean = ensembles.load_all(project, folds[0].pivot)[-1]
    scores = mean.scores["test"]["psnr"]
    assert scores["low"] < scores["value"] < scores["high"]
    assert scores["value"] > min(float(one.scores["test"]["psnr"] or 0) for one in folds)
    path = project.ensembles_dir(mean.task) / f"{mean.id}.npz"
    parts = [project.predictions_file(one.pivot, one.id).with_suffix(".npz") for one in folds]
    name = predictions.load(path.with_suffix(".parquet"), mean.task, "test").sample_ids[0]
    with maps.Maps(path) as mixed, maps.Maps(parts[0]) as one, maps.Maps(parts[1]) as other:
        half = (one.values(mean.task, "test", name) + other.values(mean.task, "test", name).astype(float)) / 2
        assert np.abs(mixed.values(mean.task, "test", name) - half).max() < 1e-3
    # Judged beside the mean image of what the folds held out, pixel by pixel.
    learned = [
        of[name] for of in map(np.load, parts) for name in of.files if "/val/" in name and name.endswith("/true")
    ]
    tested = [of[name] for of in [np.load(path)] for name in of.files if name.endswith("/true")]
    assert (len(learned), len(tested)) == (72, 18)
    off = np.stack(tested).astype(float) - np.stack(learned).astype(float).mean(axis=0)
    (task,) = facts.gather(project, trained / "data")
    found = headline(task)
    assert found is not None and found.baseline == pytest.approx(-10 * np.log10((off**2).mean()), abs=1e-4)
    assert found.against.startswith("Always predicting the mean image of those learned from would have a peak signal")
    assert found.against.endswith("dB: this is better.")
    page = (project.reports_dir() / "report.html").read_text()
    assert ": target" in page and ": prediction" in page and "By channel" in page and "The worst" in page
    assert run(trained, "verify", f"mode.run={folds[0].run}", "mode.replay=false") == 0
    assert run(trained, "info", "mode.subroutines=[tasks,samples,models]") == 0


def test_new_images_are_predicted_in_their_own_size(trained: Path) -> None:
    (trained / "new").mkdir()
    images = sorted((trained / "d/images").iterdir())[:2]
    for file in images:
        Image.open(file).save(trained / "new" / file.name)
    (trained / "new/bad.jpg").write_bytes(b"no image")
    assert run(trained, "predict", f"mode.source={trained / 'new'}") == 0
    (folder,) = [one for one in (trained / "r/default/reports/predictions").iterdir() if one.is_dir()]
    made, true = (np.asarray(Image.open(one), float) / 255 for one in (folder / images[0].name, images[0]))
    assert made.shape == (28, 28) and -10 * np.log10(((made - true) ** 2).mean()) > 12
    with folder.with_name(f"{folder.name}.csv").open() as handle:
        rows = {row["image"]: row for row in csv.DictReader(handle)}
    assert rows["bad.jpg"]["problem"] and rows[images[0].name]["prediction"] == images[0].name
    assert float(rows[images[0].name]["mean"]) == pytest.approx(made.mean(), abs=2e-3)
    frame = (
        load("default", out_dir=trained / "r", data_dir=trained / "data").predict(trained / "new").set_index("image")
    )
    assert frame.loc["bad.jpg", "problem"] and list(frame.columns) == ["prediction", "mean", "unseen", "problem"]
    np.testing.assert_allclose(np.squeeze(frame.loc[images[0].name, "prediction"]), made, atol=1.5 / 255)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["arch=test_resnet"], "gives one answer for an image, the task wants one for each pixel"),
        (["loss=ce"], "ce is for classification or segmentation tasks, this task is images"),
        (["loss=bce", "arch.file=FOLDER/linear.json"], "bce takes values from 0 to 1, the network's outputs have"),
        (["arch.file=FOLDER/three.json"], "gives 3 maps, the task has 1 channel"),
        (["augmentations=mixup"], "changes no target images"),
        (["tta=crop"], "cannot be undone"),
        (["metrics.final=[accuracy]"], "no metric of images tasks"),
        (["preset=fast"], "is not for target images"),
        (["augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.patches.random_patches, number: 1, size: 40}]"],
         "random_patches of 40 pixels do not fit into an image of 28 x 28"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(
    trained: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["task=image_folders", f"task.train={trained / 'd/images'}", "split=holdout", "mode.nested=false"]
    fast = [*QUICK, f"arch.file={trained / 'small.json'}", "trainer.max_epochs=1", *given]
    fast = [one for one in fast if not (arguments[0].startswith(("arch=", "preset=")) and one.startswith("arch"))]
    asked = [one.replace("FOLDER", str(trained)) for one in arguments]
    assert run(trained, "train", *fast, *asked, "proj=other") == 2
    assert sentence in capsys.readouterr().err


def test_arrays_are_learned_and_evaluated_as_they_are(trained: Path, tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    fields = {f"{number:02}": drawn.normal(size=(2, 28, 28)).astype(np.float32) for number in range(40)}
    np.savez(tmp_path / "x.npz", **fields)  # type: ignore[arg-type]
    np.savez(tmp_path / "y.npz", **{name: 3 * one[:1] - one[1:] for name, one in fields.items()})  # type: ignore[arg-type]
    given = ["task=samples", "task.labels=images", "preprocessing=none", "augmentations=none"]
    config = {"filters": 1, "kernel_size": 1, "batch_input_shape": [None, 28, 28, 2]}
    (tmp_path / "sum.json").write_text(json.dumps([{"class_name": "Conv2D", "config": config}]))
    arch = ["arch=keras_json", "arch.name=sum", f"arch.file={tmp_path / 'sum.json'}", "sys.threads=1"]
    where = [f"task.train={tmp_path / 'x.npz'}", f"task.train_targets={tmp_path / 'y.npz'}"]
    fit = ["trainer.max_epochs=12", "optimizer.lr=0.1", "sampling.batch_size=4", "split=holdout", "mode.nested=false"]
    assert run(trained, "train", *given, *where, *arch, *fit, "proj=arrays") == 0
    (record,) = records.load_all(Project(trained / "r/arrays"))
    # The network can say just this; the targets' own mean square is 10.
    assert record.scores["val"]["mse"] < 0.3  # type: ignore[operator]
    weights = trained / f"r/arrays/tasks/{record.pivot}/models/{record.id}/weights.safetensors"
    out = [
        "task.labelled=false",
        f"task.test={tmp_path / 'x.npz'}",
        "task.classes=[u]",
        f"mode.outputs={tmp_path / 'out'}",
    ]
    assert run(trained, "evaluate", *given, *out, *arch, f"arch.weights={weights}") == 0
    with h5py.File(tmp_path / "out/output_1.h5") as found:
        said = np.stack([found["x.npz:" + name][()] for name in fields])
    true = np.stack([3 * one[:1] - one[1:] for one in fields.values()])
    assert said.shape == (40, 1, 28, 28) and ((said - true) ** 2).mean() < 0.5


def test_what_is_missing_is_painted(trained: Path) -> None:
    patches = "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.patches.random_patches, number: 2, size: 4}]"
    given = [
        "task=image_folders",
        f"task.train={trained / 'd/images'}",
        "split=holdout",
        "mode.nested=false",
        "proj=painter",
    ]
    fit = ["trainer.max_epochs=6", "optimizer.lr=1e-2", f"arch.file={trained / 'linear.json'}", patches]
    assert run(trained, "train", *QUICK, *given, *fit) == 0
    (record,) = records.load_all(Project(trained / "r/painter"))
    history = (
        (Project(trained / "r/painter").model_dir(record.pivot, record.id) / "metrics.csv").read_text().splitlines()
    )
    rows = [dict(zip(history[0].split(","), line.split(","), strict=True)) for line in history[1:]]
    # Validation has the same patches in every epoch, so that its loss tells what is learned.
    assert float(rows[-1]["val/mse"]) < 0.5 * float(rows[0]["val/mse"]) or float(rows[-1]["val/mse"]) < 0.01
