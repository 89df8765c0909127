"""`mml predict mode.source=...`: new images get the probabilities that the same images have in the project."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import timm
import torch
from PIL import Image

from mlpipe.api import load
from mlpipe.cli import main
from mlpipe.data import sources
from mlpipe.errors import ConfigError, DataError, ProjectError
from mlpipe.predicting import exported, resizing
from mlpipe.runs import ensembles, predictions, records
from mlpipe.runs.project import Project
from tests.program.test_kinds import FAST, arrays

TRAIN = [
    "task=digits", "split.folds=2", "arch=test_resnet", "arch.pretrained=false", "sys.threads=1", "trainer.max_epochs=1",
    "mode.nested=false", "mode.subroutines=[train,predict,test]",
]  # fmt: skip
SHOWN = 60


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two recipes of digits at two sizes and their ensemble, and test images as files."""
    folder = tmp_path_factory.mktemp("trained")
    places = [f"out_dir={folder / 'r'}", f"data_dir={folder / 'd'}"]
    for size in (16, 20):
        assert main(["train", *TRAIN, f"preprocessing.size={size}", *places]) == 0
    assert main(["post", "task=digits", "mode.search=greedy", *places]) == 0
    digits = sources.digits()
    read = sources.reader(digits, 1)
    (path,) = Project(folder / "r" / "default").ensembles_dir("digits").glob("*.parquet")
    names = predictions.load(path, "digits", "test").sample_ids[:SHOWN]
    for place, row in enumerate([digits.samples.ids.index(name) for name in names]):
        path = folder / "new images" / ("first" if place % 2 else "second/deep") / f"{digits.samples.ids[row]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(read(row)[:, :, 0]).save(path)
    (folder / "new images" / "notes.txt").write_text("no image")
    return folder


def predict(folder: Path, *arguments: str, source: str = "new images") -> int:
    places = [f"out_dir={folder / 'r'}", f"data_dir={folder / 'd'}"]
    return main(["predict", "task=digits", f"mode.source='{folder / source}'", *places, *arguments])


def table(folder: Path, name: str) -> list[dict[str, str]]:
    (path,) = (folder / "r/default/reports/predictions").glob(f"new-{name}-*.csv")
    return list(csv.DictReader(path.read_text().splitlines()))


def chances(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(value) for key, value in row.items() if key.startswith("p(")] for row in rows])


def test_new_files_get_what_the_ensemble_gave_the_same_images(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(trained, "mode.ensemble=latest") == 0
    assert f"{SHOWN} images predicted by 4 models" in capsys.readouterr().out
    project = Project(trained / "r" / "default")
    (record,) = ensembles.load_all(project, "digits")
    path = project.ensembles_dir("digits") / f"{record.id}.parquet"
    stored = predictions.load(path, "digits", "test")
    assert stored.calibrated is not None
    by_id = dict(zip(stored.sample_ids, np.exp(stored.calibrated), strict=True))
    rows = table(trained, "new_images")
    assert len(rows) == SHOWN
    wanted = np.array([by_id[Path(row["image"]).stem] for row in rows])
    np.testing.assert_allclose(chances(rows), wanted, atol=2e-5)
    for row, values in zip(rows, wanted, strict=True):
        assert row["prediction"] == record.classes[int(values.argmax())] and row["prediction"] in row["set"].split(
            " | "
        )
    # The ensemble keeps them too.
    name = next(iter({task for task, _ in predictions.contents(path)} - {"digits"}))
    assert len(predictions.load(path, name, "unlabelled")) == SHOWN


def test_a_loaded_model_gives_what_the_ensemble_gave_the_same_images(trained: Path) -> None:
    project = Project(trained / "r" / "default")
    (record,) = ensembles.load_all(project, "digits")
    stored = predictions.load(project.ensembles_dir("digits") / f"{record.id}.parquet", "digits", "test")
    assert stored.calibrated is not None
    by_id = dict(zip(stored.sample_ids, np.exp(stored.calibrated), strict=True))
    places = {"out_dir": trained / "r", "data_dir": trained / "d"}
    model = load("default", ensemble="latest", **places)
    frame = model.predict(trained / "new images")
    wanted = np.array([by_id[Path(name).stem] for name in frame["image"]])
    shown = [f"p({name})" for name in model.classes]
    np.testing.assert_allclose(frame[shown].to_numpy(), wanted, atol=2e-6)
    assert (frame["problem"] == "").all() and [record.classes[one] for one in wanted.argmax(1)] == list(
        frame["prediction"]
    )
    # Pictures, arrays and a column of paths are the same images; a column keeps its index, what is unreadable its place.
    paths = pd.Series([str(trained / "new images" / name) for name in frame["image"][:3]], index=[5, 7, 9])
    opened = [Image.open(path) for path in paths]
    for given in (paths, opened, np.stack([np.asarray(one)[..., None] for one in opened])):
        np.testing.assert_allclose(model.predict(given)[shown].to_numpy(), wanted[:3], atol=2e-6)
    assert list(model.predict(paths).index) == [5, 7, 9]
    mixed = model.predict_values([paths[5], "gone.png", opened[1]])
    np.testing.assert_allclose(mixed[[0, 2]], wanted[:2], atol=2e-6)
    assert np.isnan(mixed[1]).all()
    with pytest.raises(DataError, match="gone.png: cannot be opened"):
        model.predict(["gone.png"])
    # Another prevalence: Bayes' rule on what the ensemble gave; costs that never pay for a class never decide for it.
    prior, there = np.array(record.prior["values"]), np.array([0.55, *[0.05] * 9])
    moved = wanted * there / prior
    got = model.predict_values(trained / "new images", deploy_prior=list(there))
    np.testing.assert_allclose(got, moved / moved.sum(1, keepdims=True), atol=2e-6)
    costs = 1 - np.eye(10)
    costs[:, 3] += 1
    decided = model.predict(trained / "new images", costs=costs)["decision"]
    assert "3" not in set(decided) and list(decided) == [record.classes[one] for one in (wanted @ costs).argmin(1)]


def runner_table(folder: Path, file: str, images: str = "new images") -> list[dict[str, str]]:
    """What the program beside an exported file writes, in a process of its own."""
    command = [sys.executable, str(folder / f"{Path(file).stem}_run.py"), str(folder / file), str(folder / images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(csv.DictReader(done.stdout.splitlines()))


def facts_of_file(path: Path) -> dict[str, Any]:
    """The facts in the metadata of an exported file."""
    import onnxruntime

    found: dict[str, Any] = json.loads(
        onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map["mlpipe"]
    )
    return found


def test_an_exported_file_gives_the_same_table_without_this_program(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    places = [f"out_dir={trained / 'r'}", f"data_dir={trained / 'd'}"]
    words = ["export", "task=digits", "mode.record=1", f"mode.file={trained / 'one.onnx'}", *places]
    wanted = load("default#1", out_dir=trained / "r", data_dir=trained / "d").predict(trained / "new images")
    shown = [f"p({number})" for number in range(10)]
    for resizes in (True, False):
        assert main([*words, f"mode.resize={resizes}", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert (
            facts["any_size"] == resizes and facts["differences"]["resized" if resizes else "pixels"]["largest"] < 1e-5
        )
        assert facts["differences"]["pixels"]["images"] == 64
        rows = runner_table(trained, "one.onnx")
        assert [row["image"] for row in rows] == list(wanted["image"])
        np.testing.assert_allclose(chances(rows), wanted[shown].to_numpy(), atol=2e-6)
        assert [row["prediction"] for row in rows] == list(wanted["prediction"])
        there = load(trained / "one.onnx").predict(trained / "new images")
        assert list(there.columns) == list(wanted.columns) and list(there["image"]) == list(wanted["image"])
        np.testing.assert_allclose(there[shown], wanted[shown], atol=2e-6)
    _refused_where_changed(trained / "one.onnx")
    held = facts_of_file(trained / "one.onnx")
    assert len(held["models"]) == 1 and held["classes"] == list(map(str, range(10)))
    # Networks that see different sizes need a file that resizes, also where it enlarges 8 pixels to 20.
    both = ["export", "task=digits", "mode.ensemble=latest", f"mode.file={trained / 'all.onnx'}", *places]
    assert main([*both, "mode.resize=false"]) == 2
    assert "mode.resize: the models see images of different sizes" in capsys.readouterr().err
    alone = [*both[:2], "mode.record=3", *both[3:]]
    for one in (both, alone):
        assert main([*one, "--json"]) == 0
        differences = json.loads(capsys.readouterr().out)["differences"]
        assert differences["pixels"]["largest"] < 1e-5 and differences["pixels"]["decided"] == 0
        (trained / "all.onnx").unlink()
    # Another filter than the pipeline's is noticed.
    monkeypatch.setattr(exported, "resized", lambda pixels, before: resizing.resized(pixels, *before.sides, "box"))
    for one, way_out in ((both, "mode.record=NUMBER"), (alone, "mode.resize=false")):
        assert main(one) == 1
        told = capsys.readouterr().err
        assert "resizing inside moves values" in told and way_out in told and not (trained / "all.onnx").exists()
    assert main([*both, "mode.record=1"]) == 2
    assert "mode.record: mode.ensemble says what to export already" in capsys.readouterr().err


def _refused_where_changed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.with_name("changed.onnx").write_bytes(content)
    with pytest.raises(ProjectError, match="was changed since it was written"):
        load(path.with_name("changed.onnx"))
    model = load(path)
    prior = [0.1] * 10
    assert model.predict_values(np.zeros((1, 8, 8), np.uint8), deploy_prior=prior).sum() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ConfigError, match="deploy_prior: needs held-out predictions"):
        model.predict(np.zeros((1, 8, 8), np.uint8), deploy_prior="estimate")
    with pytest.raises(ConfigError, match="an ONNX file holds no modules of PyTorch"):
        model.torch()


def test_a_bundle_predicts_without_its_project(trained: Path, tmp_path: Path) -> None:
    places = [f"out_dir={trained / 'r'}", f"data_dir={trained / 'd'}"]
    assert (
        main(
            [
                "export",
                "task=digits",
                "mode.ensemble=latest",
                "mode.format=bundle",
                f"mode.file={tmp_path / 'b.zip'}",
                *places,
            ]
        )
        == 0
    )
    model = load("default", ensemble="latest", out_dir=trained / "r", data_dir=trained / "d")
    there = load(tmp_path / "b.zip", out_dir=tmp_path / "none", data_dir=tmp_path / "none")
    images = trained / "new images"
    for options in ({}, {"deploy_prior": "estimate"}, {"costs": 2 - np.eye(10)}):
        pd.testing.assert_frame_equal(there.predict(images, **options), model.predict(images, **options))
    assert there.card() == json.loads(json.dumps(model.card())) and len(there.torch()) == 4
    # Nobody learns from it what images were called.
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        tables = [pq.read_table(archive.open(name)) for name in archive.namelist() if name.endswith(".parquet")]
    names = [name for table in tables for name in table["sample_id"].to_pylist()]
    assert names and all(len(name) == 9 for name in names)


def test_less_precision_tells_what_it_costs_and_is_refused_where_it_costs_too_much(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    places = [f"out_dir={trained / 'r'}", f"data_dir={trained / 'd'}"]
    file = trained / "small.onnx"
    words = [
        "export",
        "task=digits",
        "mode.record=1",
        f"mode.file={file}",
        "mode.resize=false",
        "mode.judged=60",
        *places,
    ]
    assert main([*words, "mode.dtype=fp16", "mode.most_loss=1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["smaller"]
    assert told["precision"] == "fp16" and told["bytes"] == file.stat().st_size < 0.6 * told["bytes_before"]
    assert told["measure"] == "accuracy" and told["images"] == 60 and told["low"] <= told["lost"] <= told["high"]
    # Whole images of 60; two that lie between classes may fall to either side.
    assert abs(told["lost"]) <= 2 / 60 + 1e-9 and (told["lost"] * 60) % 1 == pytest.approx(0, abs=1e-6)
    half = load(file).predict_values(trained / "new images")
    whole = load("default#1", out_dir=trained / "r", data_dir=trained / "d").predict_values(trained / "new images")
    assert 0 < np.abs(half - whole).max() < 0.01
    file.unlink()
    assert main([*words, "mode.quantize=int8", "mode.most_loss=1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["smaller"]
    assert told["precision"] == "int8" and told["bytes"] < 0.45 * told["bytes_before"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["mode.file=x.pt2"],
            "mode.file: ends in .pt2, files of mode.format=onnx end in .onnx, got 'x.pt2'; write mode.format=pt2",
        ),
        (
            ["mode.file=x.pkl"],
            "mode.file: does not end in .onnx, by which it is known for what it is, got 'x.pkl'; write mode.file=NAME.onnx",
        ),
        (
            ["mode.dtype=fp16", "mode.quantize=int8"],
            "mode.dtype: whole numbers are no floats of half precision; leave one out",
        ),
        (
            ["mode.dtype=fp16", "mode.format=bundle"],
            "mode.dtype: is for ONNX files, got 'fp16'; write mode.format=onnx",
        ),
    ],
)
def test_forms_that_are_none(
    trained: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"out_dir={trained / 'r'}", f"data_dir={trained / 'd'}"]
    assert main(["export", "task=digits", *arguments, *places]) == 2
    assert sentence in capsys.readouterr().err


def test_one_record_is_loaded_into_timm(trained: Path) -> None:
    model = load("default#1", out_dir=trained / "r", data_dir=trained / "d")
    state, how = model.timm()
    network = timm.create_model(how["name"], **how["options"])
    network.load_state_dict(state, strict=True)
    project = Project(trained / "r" / "default")
    (record,) = [one for one in records.load_all(project, "digits") if one.number == 1]
    stored = predictions.load(project.predictions_file("digits", record.id), "digits", "test")
    by_id = dict(zip(stored.sample_ids, stored.logits, strict=True))
    path = next((trained / "new images").rglob("*.png"))
    resized = np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BILINEAR), np.float32)
    with torch.inference_mode():
        logits = network.eval()((torch.from_numpy(resized)[None, None] - how["mean"][0]) / how["std"][0])
    np.testing.assert_allclose(logits.numpy()[0], by_id[path.stem], rtol=1e-3, atol=1e-4)
    card = model.card()
    assert card["classes"] == list(record.classes) and card["models"][0]["weights"] == record.weights
    assert record.id in model.write_card(trained / "card.md").read_text() and "fold 0" not in repr(model)


def test_without_an_ensemble_the_folds_of_the_latest_training(trained: Path) -> None:
    assert predict(trained) == 0
    rows = table(trained, "new_images")
    assert "set" not in rows[0]
    np.testing.assert_allclose(chances(rows).sum(axis=1), 1, atol=1e-4)


def test_another_prevalence_moves_probabilities_by_the_rule_of_bayes(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(trained, "mode.ensemble=latest") == 0
    before = chances(table(trained, "new_images"))
    there = [0.5, 0.02, 0.04, 0.06, 0.06, 0.06, 0.06, 0.06, 0.07, 0.07]
    assert predict(trained, "mode.ensemble=latest", f"mode.deploy_prior={there}".replace(" ", "")) == 0
    (record,) = ensembles.load_all(Project(trained / "r" / "default"), "digits")
    wanted = before * np.array(there) / np.array(record.prior["values"])
    np.testing.assert_allclose(
        chances(table(trained, "new_images")), wanted / wanted.sum(axis=1, keepdims=True), atol=2e-4
    )
    capsys.readouterr()
    assert predict(trained, "mode.ensemble=latest", "mode.deploy_prior=estimate", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    low, value, high = (np.array(facts["prevalence"][key]) for key in ("low", "value", "high"))
    assert (low <= value).all() and (value <= high).all() and value.sum() == pytest.approx(1)


def test_unreadable_files_are_named_and_the_others_predicted(trained: Path, tmp_path: Path) -> None:
    source = trained / "broken"
    source.mkdir()
    good = next((trained / "new images").rglob("*.png"))
    (source / "good.png").write_bytes(good.read_bytes())
    (source / "bad.png").write_bytes(good.read_bytes()[:40])
    assert predict(trained, "mode.ensemble=latest", source="broken") == 0
    rows = {row["image"]: row for row in table(trained, "broken")}
    assert rows["good.png"]["prediction"] and not rows["good.png"]["problem"]
    assert rows["bad.png"]["problem"] and not rows["bad.png"]["prediction"]


def test_archives_single_files_and_colour(trained: Path) -> None:
    picture = next((trained / "new images").rglob("*.png"))
    with zipfile.ZipFile(trained / "zipped.zip", "w") as archive:
        archive.write(picture, "scans/one.png")
    assert predict(trained, source="zipped.zip") == 0
    assert predict(trained, source=str(picture.relative_to(trained))) == 0
    single = chances(table(trained, picture.stem))
    np.testing.assert_allclose(single, chances(table(trained, "zipped")), atol=1e-6)
    (trained / "colour").mkdir()
    Image.open(picture).convert("RGB").save(trained / "colour" / "one.png")
    assert predict(trained, source="colour") == 0
    np.testing.assert_allclose(single, chances(table(trained, "colour")), atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "source", "sentence"),
    [
        ([], "nowhere", "mode.source: there is no such folder"),
        ([], "empty", "mode.source: holds no image"),
        (["mode.ensemble=ens-none"], "new images", "mode.ensemble: there is none, got 'ens-none'"),
        (["mode.deploy_prior=[0.5,0.5]"], "new images", "mode.deploy_prior: wrong number of entries"),
        (["mode.eval_on=digits"], "new images", "mode.source: cannot go with mode.eval_on"),
    ],
)
def test_wrong_inputs(
    trained: Path, arguments: list[str], source: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "empty").mkdir(exist_ok=True)
    assert predict(trained, *arguments, source=source) == 2
    assert sentence in capsys.readouterr().err


def test_keys_of_other_modes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "task=digits", "mode.ensemble=latest"]) == 2
    assert "mode.ensemble: is for new images; add mode.source=DIR" in capsys.readouterr().err
    assert main(["predict", "task=digits", "mode.source=there"]) == 2


@pytest.mark.parametrize("kind", ["multilabel", "regression"])
def test_labels_and_numbers(tmp_path: Path, kind: str) -> None:
    from tests.program.test_kinds import DIGITS

    targets = (
        DIGITS.target.astype(float) if kind == "regression" else np.stack([DIGITS.target % 2, DIGITS.target > 4], 1)
    )
    task = ["task=arrays", f"task.file={arrays(tmp_path, targets)}", f"task.kind={kind}"]
    steps = ["trainer.max_epochs=1", "mode.subroutines=[train,predict]"]
    assert main(["train", *FAST, *task, *steps]) == 0
    assert main(["post", "mode.threshold=f1" if kind == "multilabel" else "mode.alpha=0.2"]) == 0
    Image.fromarray((DIGITS.images[0] * 15).astype(np.uint8)).save(tmp_path / "one.png")
    assert main(["predict", "mode.source=one.png", "mode.ensemble=latest"]) == 0
    (path,) = (tmp_path / "results/default/reports/predictions").glob("new-one-*.csv")
    (row,) = csv.DictReader(path.read_text().splitlines())
    if kind == "multilabel":
        assert set(row) == {"image", "labels", "p(label0)", "p(label1)", "problem"}
    else:
        name = next(key for key in row if key.endswith(" low")).removesuffix(" low")
        assert float(row[f"{name} low"]) < float(row[name]) < float(row[f"{name} high"])
    model = load("default", ensemble="latest").predict("one.png").iloc[0]
    for got in [model, *_exported(tmp_path)]:
        assert list(got.keys()) == list(row)
        for key, value in row.items():
            if key.startswith("p(") or key not in ("image", "labels", "problem"):
                assert float(got[key]) == pytest.approx(float(value), abs=1e-3, rel=1e-3), key
            else:
                assert got[key] == value


def _exported(folder: Path) -> list[dict[str, str]]:
    """The row of a file's runner; none where the exporter is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("onnxscript", "onnxruntime")):
        return []
    assert main(["export", "mode.ensemble=latest", f"mode.file={folder / 'all.onnx'}"]) == 0
    return runner_table(folder, "all.onnx", "one.png")
