"""Masks through the whole program: a Dice that is worth something, masks of new images, and refusals in a sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.api import load
from mlpipe.cli import main
from mlpipe.post import metrics
from mlpipe.runs import ensembles, maps, predictions, records
from mlpipe.runs.project import Project
from tests.data.samples import make_masks

FAST = ["arch=unet", "arch.encoder=resnet10t", "arch.pretrained=false", "sys.threads=1", "sampling.batch_size=16"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two folds, and four images of other sizes."""
    folder = tmp_path_factory.mktemp("masks")
    make_masks(folder / "d", 90)
    arguments = [
        "task=masks", f"task.root={folder / 'd'}", "loss=composite", "loss.expression=ce+0.5*dice", "preprocessing.size=32",
        "trainer.max_epochs=6", "split.folds=2", "split.test_fraction=0.2", "mode.nested=false", "optimizer.lr=3e-3",
        "mode.subroutines=[train,predict,test]", f"out_dir={folder / 'r'}", f"data_dir={folder / 'data'}",
        "preprocessing.resize=pad", "tta=flips",
    ]  # fmt: skip
    assert main(["train", *FAST, *arguments]) == 0
    return folder


def run(folder: Path, *arguments: str) -> int:
    return main([*arguments, f"out_dir={folder / 'r'}", f"data_dir={folder / 'data'}"])


def test_the_scores_follow_from_what_is_stored(trained: Path) -> None:
    project = Project(trained / "r/default")
    found = records.load_all(project)
    assert len(found) == 2
    for record in found:
        assert record.kind == "segmentation" and record.arch == "unet-resnet10t"
        path = project.predictions_file(record.pivot, record.id)
        rows = predictions.load(path, record.pivot, "test")
        assert (
            metrics.compute(["dice"], rows.logits, rows.targets, record.kind)["dice"] == record.scores["test"]["dice"]
        )
        assert record.scores["test"]["dice"] > 0.8  # type: ignore[operator]
        assert [row["class"] for row in record.details["test"]["classes"]] == ["background", "foreground"]
        with maps.Maps(path.with_suffix(".npz")) as stored:
            for sample, outputs, targets in zip(rows.sample_ids, rows.logits, rows.targets, strict=True):
                predicted = stored.chances(record.pivot, "test", sample).argmax(axis=0)
                true = stored.true(record.pivot, "test", sample)
                counted = maps.counts(predicted, true, 2)
                assert counted[0].tolist() == outputs.tolist() and counted[1].tolist() == targets.tolist()
                # 28 pixels become 32 without a change of shape, so that nothing is padded.
                assert targets.sum() == 32 * 32
        header = (project.model_dir(record.pivot, record.id) / "metrics.csv").read_text().splitlines()[0]
        assert {"val/dice", "val/iou", "val/loss"} <= set(header.split(","))


def test_post_averages_the_folds_and_the_report_shows_masks(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trained, "post") == 0
    assert "probabilities of pixels are not calibrated" in capsys.readouterr().out
    project = Project(trained / "r/default")
    folds = records.load_all(project)
    mean = ensembles.load_all(project, folds[0].pivot)[-1]
    scores = mean.scores["test"]["dice"]
    assert scores["low"] < scores["value"] < scores["high"]
    assert scores["value"] > min(float(one.scores["test"]["dice"] or 0) for one in folds)
    path = project.ensembles_dir(mean.task) / f"{mean.id}.npz"
    rows = predictions.load(path.with_suffix(".parquet"), mean.task, "test")
    files_of = [project.predictions_file(one.pivot, one.id).with_suffix(".npz") for one in folds]
    with maps.Maps(path) as mixed, maps.Maps(files_of[0]) as one, maps.Maps(files_of[1]) as other:
        name = rows.sample_ids[0]
        half = (one.chances(mean.task, "test", name).astype(float) + other.chances(mean.task, "test", name)) / 2
        assert np.abs(mixed.chances(mean.task, "test", name) - half).max() <= 1
    page = (project.reports_dir() / "report.html").read_text()
    assert all(words in page for words in ("true mask", "predicted mask", "By class", "The worst"))


def test_new_images_get_masks_in_their_own_size(trained: Path) -> None:
    new = trained / "new"
    (new / "sub").mkdir(parents=True)
    images = sorted((trained / "d/images").iterdir())[:3]
    for place, (file, size) in enumerate(zip(images, [(28, 28), (60, 60), (56, 40)], strict=True)):
        Image.open(file).resize(size).save(new / ("sub" if place else "") / f"{place}.png")
    (new / "bad.jpg").write_bytes(b"no image")
    assert run(trained, "predict", f"mode.source={new}") == 0
    (folder,) = [one for one in (trained / "r/default/reports/predictions").iterdir() if one.is_dir()]
    made = {file.relative_to(folder).as_posix(): Image.open(file) for file in folder.rglob("*.png")}
    assert {name: image.size for name, image in made.items()} == {
        "0.png": (28, 28), "sub/1.png": (60, 60), "sub/2.png": (56, 40),
    }  # fmt: skip
    true = np.asarray(Image.open(trained / "d/masks" / images[0].name)) == 255
    found = np.asarray(made["0.png"]) == 255
    assert 2 * (true & found).sum() / (true.sum() + found.sum()) > 0.8
    with folder.with_name(f"{folder.name}.csv").open() as handle:
        rows = {row["image"]: row for row in csv.DictReader(handle)}
    assert rows["bad.jpg"]["problem"] and not rows["0.png"]["problem"]
    assert float(rows["0.png"]["share(foreground)"]) == pytest.approx(found.mean(), abs=1e-4)

    # A loaded model, and a bundle of it, give the same masks, but for places that the rounding of stored maps decides.
    assert run(trained, "export", "mode.format=bundle", f"mode.file={trained / 'masks.zip'}", "mode.images=4") == 0
    for model in (load("default", out_dir=trained / "r", data_dir=trained / "data"), load(trained / "masks.zip")):
        frame = model.predict(new).set_index("image")
        assert frame.loc["bad.jpg", "problem"] and list(frame.columns) == [*list(rows["0.png"])[1:]]
        chances = dict(zip(frame.index, model.predict_values(new), strict=True))
        for name, image in made.items():
            mask, own = np.asarray(frame.loc[name, "mask"]), chances[name]
            assert set(np.unique(mask)) <= {0, 255} and own.shape == (*mask.shape, 2)
            is_sure = np.abs(own[..., 0] - own[..., 1]) > 3 / 255
            assert (mask == np.asarray(image))[is_sure].all() and is_sure.mean() > 0.5
            assert frame.loc[name, "share(foreground)"] == pytest.approx((mask == 255).mean(), abs=1e-6)
    assert run(trained, "export") == 2


def test_facts_for_machines(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(trained, "info", "mode.subroutines=[tasks,models]", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert "segmentation" in json.dumps(told) and "dice" in json.dumps(told)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["arch=test_resnet"], "use arch=unet arch.encoder=test_resnet"),
        (["loss=bce"], "bce is for classification or multilabel or images tasks"),
        (["loss=composite", "loss.expression=ce+hinge"], "is no loss of masks"),
        (["augmentations=mixup"], "changes no masks"),
        (["tta=crop"], "cannot be undone on its mask"),
        (["metrics.final=[accuracy]"], "no metric of segmentation tasks"),
        (["arch.freeze=true", "optimizer=linear", "augmentations=none"], "is not for masks"),
        (["preset=fast"], "is not for masks"),
        (["arch=pspnet", "arch.encoder=inception_v3", "arch.pretrained=false"], "does not halve images evenly"),
    ],
)
def test_what_does_not_fit_is_said(
    trained: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fast = [one for one in FAST if not (arguments[0].startswith(("arch=", "preset=")) and one.startswith("arch"))]
    given = [
        "task=masks",
        f"task.root={trained / 'd'}",
        "preprocessing.size=32",
        "split=holdout",
        "mode.nested=false",
        "trainer.max_epochs=1",
    ]
    assert run(trained, "train", *fast, *given, *arguments, "proj=other") == 2
    assert sentence in capsys.readouterr().err


def test_stages_averages_groups_and_a_frozen_encoder(trained: Path) -> None:
    given = [
        *FAST, "task=masks", f"task.root={trained / 'd'}", r"task.group=(\d)\.png", "preprocessing=original",
        "preprocessing.size=32", "split.folds=3", "loss=lovasz", "mode.subroutines=[train,predict]",
        "stages=freeze_then_finetune", "callbacks=[ema]", "mode.folds=[0]", "trainer.max_epochs=2", "proj=staged",
        "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.samples.random_resized_crop, size: 32}]",
    ]  # fmt: skip
    assert run(trained, "train", *given) == 0
    (record,) = records.load_all(Project(trained / "r/staged"))
    assert record.nested and record.epochs > 1 and record.scores["val"]["dice"]
    assert run(trained, "verify", "proj=staged") == 0


def test_what_is_damaged_is_found(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = Project(trained / "r/default")
    record = records.load_all(project)[0]
    path = project.predictions_file(record.pivot, record.id).with_suffix(".npz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert run(trained, "verify", f"mode.run={record.run}", "mode.replay=false") == 1
    assert "maps of pixels" in capsys.readouterr().out
    path.write_bytes(content)
