"""One model of all folds (`mode.refit`): what it learned, its calibration, and that it predicts in place of the folds."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mlpipe.arch.classifier import Classifier
from mlpipe.cli import main
from mlpipe.data import sources
from mlpipe.errors import Interrupted
from mlpipe.learn.callbacks import keeper
from mlpipe.learn.callbacks.guard import Guard
from mlpipe.learn.linear_head import LinearHead, solve
from mlpipe.predicting.model import Model
from mlpipe.reports import tables
from mlpipe.reports.facts import gather
from mlpipe.running import launch, tasks
from mlpipe.runs import ensembles, maps, predictions, records
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from tests.data.samples import make_masks

HEAD = [
    "task=digits", "split.folds=2", "split.test_fraction=0.6", "arch=test_resnet", "arch.pretrained=false",
    "preprocessing.size=16", "sys.threads=1", "optimizer=linear", "arch.freeze=true", "augmentations=none",
    "mode.refit=true",
]  # fmt: skip
TUNED = [
    "task=digits", "split.folds=2", "split.test_fraction=0.9", "arch=test_resnet", "arch.pretrained=false",
    "preprocessing.size=16", "sys.threads=1", "trainer.max_epochs=2", "mode.refit=true",
]  # fmt: skip


def stored(folder: Path, task: str = "digits") -> tuple[Project, list[ModelRecord], ModelRecord]:
    """The project with its folds and the refit."""
    project = Project(folder / "results" / "default")
    found = records.load_all(project, task)
    (refit,) = [one for one in found if one.refit]
    return project, [one for one in found if not one.refit], refit


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of an exact head and their refit, with predictions, and test images as files."""
    folder = tmp_path_factory.mktemp("head")
    places = [f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"]
    plain = ["mode.nested=false", "mode.subroutines=[train,predict,test]"]
    assert main(["train", *HEAD, *plain, *places]) == 0
    assert (
        main(
            ["post", "task=digits", "mode.calibrator=temperature", "mode.shrinkage=none", "mode.stage=before", *places]
        )
        == 0
    )
    digits = sources.digits()
    read = sources.reader(digits, 1)
    project, _, refit = stored(folder)
    names = predictions.load(project.predictions_file("digits", refit.id), "digits", "test").sample_ids[:40]
    for name in names:
        path = folder / "new" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(read(digits.samples.ids.index(name))[:, :, 0]).save(path)
    return folder


def test_it_is_a_record_of_its_own_kind(head: Path) -> None:
    _, folds, refit = stored(head)
    assert (refit.fold, refit.nested, refit.recipe) == (-1, False, folds[0].recipe)
    assert refit.refit == [one.id for one in folds] and refit.scores["val"] == {}
    assert refit.counts["train"] == sum(one.counts["val"] for one in folds) and refit.counts["val"] == 0
    assert "accuracy" in refit.scores["test"] and "nothing validated it" in refit.notes[0]
    assert records.newest_folds([*folds, refit]) == folds
    assert records.latest_cross_validation([*folds, refit]) == folds


def test_an_exact_head_is_that_of_scikit_learn_on_all_rows(head: Path) -> None:
    """At the penalty that the search finds; the features are the stored network's own."""
    project, folds, refit = stored(head)
    words = ["train", [*HEAD, f"out_dir={head / 'results'}", f"data_dir={head / 'data'}"]]
    config = launch.prepare(launch.Command(*words)).run_config  # type: ignore[arg-type]
    digits = sources.digits()
    pack = tasks.pack_of(config, digits, workers=1)
    held = [predictions.load(project.predictions_file("digits", one.id), "digits", "val") for one in folds]
    rows = np.sort([digits.samples.ids.index(name) for part in held for name in part.sample_ids])
    weights = project.model_dir("digits", refit.id) / records.WEIGHTS_FILE
    (network,) = Model.of_record(config.recipe, weights, digits, pack, ()).networks
    assert isinstance(network, Classifier)
    with torch.no_grad():
        images = torch.from_numpy(np.array(pack.images)).movedim(-1, 1).contiguous()
        features = np.concatenate([network.eval().features(part).numpy() for part in images.split(256)]).astype(
            np.float64
        )
    x, y = features[rows], digits.samples.targets[rows]
    penalty: LinearHead = config.recipe.optimizer.build([])
    found = solve(penalty, x, y, "classification", 10, [str(row) for row in rows], None, False, config.seed)
    scale = StandardScaler().fit(x)
    # Features that are silent in nearly all images are divided by a tenth of the features' median deviation.
    deviations = x.std(axis=0)
    scale.scale_ = np.maximum(deviations, 0.1 * np.median(deviations[deviations > 0]))
    model = LogisticRegression(C=found.strength[0], max_iter=4000, tol=1e-8).fit(scale.transform(x), y)
    test = predictions.load(project.predictions_file("digits", refit.id), "digits", "test")
    places = [digits.samples.ids.index(name) for name in test.sample_ids]
    logits = test.logits.astype(np.float64)
    own = np.exp(logits - logits.max(1, keepdims=True))
    expected = model.predict_proba(scale.transform(features[places]))
    np.testing.assert_allclose(own / own.sum(1, keepdims=True), expected, rtol=2e-3, atol=2e-5)


def test_new_images_are_predicted_by_it_alone(head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, _, refit = stored(head)
    places = [f"out_dir={head / 'results'}", f"data_dir={head / 'data'}"]
    for words in ([], ["mode.ensemble=latest"]):
        assert main(["predict", "task=digits", f"mode.source={head / 'new'}", *words, *places]) == 0
        assert "by 1 model" in capsys.readouterr().out
        (path,) = (project.root / "reports/predictions").glob("*.csv")
        told = {row["image"].removesuffix(".png"): row for row in csv.DictReader(path.read_text().splitlines())}
        path.unlink()
        made = predictions.load(project.predictions_file("digits", refit.id), "digits", "test")
        assert made.calibrated is not None
        chances = np.exp(made.calibrated - made.calibrated.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        known = dict(zip(made.sample_ids, chances, strict=True))
        for name, row in told.items():
            got = [float(value) for key, value in row.items() if key.startswith("p(")]
            np.testing.assert_allclose(got, known[name], atol=2e-4)
    # Asked for by their numbers, the folds predict.
    assert main(["predict", "task=digits", f"mode.source={head / 'new'}", "mode.folds=[0,1]", *places]) == 0
    assert "by 2 models" in capsys.readouterr().out


def test_its_calibration_is_that_of_the_rows_that_the_folds_held_out(head: Path) -> None:
    """One temperature, found by SciPy on the joined rows."""
    project, folds, refit = stored(head)
    parts = [predictions.load(project.predictions_file("digits", one.id), "digits", "val") for one in folds]
    logits = torch.from_numpy(np.concatenate([part.logits for part in parts]).astype(np.float64))
    targets = torch.from_numpy(np.concatenate([part.targets for part in parts]))

    def loss(scale: float) -> float:
        return float(torch.nn.functional.cross_entropy(np.exp(scale) * logits, targets))

    scale = np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8}).x)
    test = predictions.load(project.predictions_file("digits", refit.id), "digits", "test")
    assert test.calibrated is not None
    expected = torch.log_softmax(scale * torch.from_numpy(test.logits.astype(np.float64)), 1)
    got = torch.log_softmax(torch.from_numpy(test.calibrated.astype(np.float64)), 1)
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_in_the_ensemble_and_the_leaderboard_its_test_images_are_those_of_the_recipe(head: Path) -> None:
    project, folds, refit = stored(head)
    (ensemble,) = ensembles.load_all(project, "digits")
    assert ensemble.members == [
        {"name": f"{refit.recipe} {refit.arch}", "weight": 1.0, "records": refit.refit, "refit": refit.id}
    ]
    assert set(ensemble.calibrations) == {*refit.refit, refit.id}
    rows = predictions.load(project.ensembles_dir("digits") / f"{ensemble.id}.parquet", "digits", "test")
    own = predictions.load(project.predictions_file("digits", refit.id), "digits", "test")
    assert rows.sample_ids == sorted(own.sample_ids)
    by_name = dict(zip(own.sample_ids, torch.from_numpy(own.logits).log_softmax(1).numpy(), strict=True))
    np.testing.assert_allclose(rows.logits, [by_name[name] for name in rows.sample_ids], rtol=1e-4, atol=1e-3)
    recipe, together = sorted(tables.leaderboard(project, "digits"), key=lambda row: row["ensemble"])
    held_out = [predictions.load(project.predictions_file("digits", one.id), "digits", "val") for one in folds]
    right = np.concatenate([part.logits.argmax(1) == part.targets for part in held_out])
    assert recipe["out_of_fold"] == pytest.approx(right.mean())
    assert recipe["test"] == pytest.approx(float((own.logits.argmax(1) == own.targets).mean()))
    assert (recipe["folds"], recipe["refit"], together["refit"]) == (2, refit.id, refit.id)
    assert "a refit on all images predicts" in tables.as_text([recipe, together])
    assert refit.id in (project.root / "reports" / "report.html").read_text()
    (facts,) = gather(project, head / "data")
    assert facts.refits == {refit.recipe: refit} and facts.recipes == {refit.recipe: folds}


def test_nested_folds_without_test_images(
    tmp_path: Path, picture_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was set aside is held out; the refit has nothing to be tested on, and is replayed to the same weights."""
    nested = [word for word in TUNED if not word.startswith(("split.test", "task="))]
    task = ["task=folder", f"task.root={picture_folder}"]
    assert main(["train", *task, *nested, "mode.subroutines=[train,predict,test]"]) == 0
    (name,) = {one.pivot for one in records.load_all(Project(tmp_path / "results" / "default"))}
    project, folds, refit = stored(tmp_path, name)
    assert (refit.task, refit.nested, refit.scores) == (name, False, {"val": {}})
    assert refit.counts["train"] == sum(one.counts["test"] for one in folds) == 36
    assert refit.epochs == max(one.best_epoch + 1 for one in folds)
    assert main(["post", "mode.calibrator=temperature"]) == 0
    assert project.calibration_file(refit.pivot, refit.id).is_file()
    capsys.readouterr()
    assert main(["verify", f"mode.run={refit.run}"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(refit.id)]
    assert any("replayed weights" in line and line.endswith("ok") for line in told)


def test_a_killed_refit_goes_on_from_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ["mode.nested=false", "trainer.max_epochs=3", "mode.store_best=false", "mode.cv=false"]
    plain += ["mode.subroutines=[train]"]
    assert main(["train", *TUNED, *plain, "proj=whole"]) == 0
    monkeypatch.setattr(keeper, "_SAVING_SHARE", 0)
    real = Guard.on_train_epoch_start

    def stops(self: Guard, trainer: Any, module: Any) -> None:
        if trainer.datamodule.val_batches == 0 and trainer.current_epoch == 1:
            raise Interrupted("stopped")
        real(self, trainer, module)

    monkeypatch.setattr(Guard, "on_train_epoch_start", stops)
    assert main(["train", *TUNED, *plain]) == 75
    monkeypatch.setattr(Guard, "on_train_epoch_start", real)
    assert main(["train", "continue=latest"]) == 0
    _, _, refit = stored(tmp_path)
    (whole,) = [one for one in records.load_all(Project(tmp_path / "results/whole")) if one.refit]
    assert refit.weights == whole.weights and refit.epochs == 3
    assert "resumed: timings are of the last part" in refit.notes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lr_scheduler=plateau"], "mode.refit: learns from all images"),
        (["mode.store_parameters=false"], "mode.store_parameters=false: keeps no weights, but mode.refit"),
        (["split=on_test", "mode.store_best=false"], "mode.refit: the split holds no training image out"),
    ],
)
def test_what_it_cannot_go_with(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    plain = [word for word in TUNED if not word.startswith("split.")]
    assert main(["train", *plain, "mode.nested=false", *words]) == 2
    assert told in capsys.readouterr().err


def test_with_another_task_all_images_of_both_are_learned(tmp_path: Path) -> None:
    beside = ["mode.multitask=2", "task_list=[fashion_mini]", "trainer.max_epochs=1", "mode.cv=false"]
    assert main(["train", *TUNED, "mode.nested=false", "mode.subroutines=[train]", *beside]) == 0
    _, (fold,), refit = stored(tmp_path)
    (alone,), (partner,) = fold.co_tasks, refit.co_tasks
    assert sum(alone["images"].values()) == partner["images"]["train"] == 1000
    assert partner["images"]["val"] == 0 and partner["val"] == {}


def test_masks_of_test_images_are_its(tmp_path: Path) -> None:
    make_masks(tmp_path / "d", 24)
    task = ["task=masks", f"task.root={tmp_path / 'd'}", "arch=unet", "arch.encoder=resnet10t", "preprocessing.size=32"]
    plain = [
        "mode.nested=false",
        "split.test_fraction=0.25",
        "mode.subroutines=[train,predict]",
        "trainer.max_epochs=1",
    ]
    kept = [word for word in TUNED if not word.startswith(("task", "arch=", "preproc", "split.test", "trainer"))]
    assert main(["train", *kept, *task, *plain, "sampling.batch_size=8"]) == 0
    assert main(["post", "mode.report=false"]) == 0
    (name,) = {one.pivot for one in records.load_all(Project(tmp_path / "results" / "default"))}
    project, folds, refit = stored(tmp_path, name)
    (mean,) = ensembles.load_all(project, name)
    assert mean.members[0]["records"] == [one.id for one in folds] and mean.members[0]["refit"] == refit.id
    places = (
        project.ensembles_dir(name) / f"{mean.id}.npz",
        project.predictions_file(name, refit.id).with_suffix(".npz"),
    )
    (sample, *_) = predictions.load(places[1].with_suffix(".parquet"), name, "test").sample_ids
    with maps.Maps(places[0]) as ours, maps.Maps(places[1]) as own:
        np.testing.assert_allclose(ours.chances(name, "test", sample), own.chances(name, "test", sample), atol=0.01)
