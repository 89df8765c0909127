"""Boxes from a COCO file to calibrated, fused predictions, a report, and the boxes of new images."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mlpipe.api import Model, load
from mlpipe.cli import main
from mlpipe.data import sources
from mlpipe.errors import ConfigError
from mlpipe.post.measures.box_metrics import METRICS, boxes_of, detections_of
from mlpipe.predicting import box_tensors
from mlpipe.running import smaller_files
from mlpipe.runs import predictions
from tests.build import shapes

# Every detection is kept, so that networks that have hardly learned have some.
TRAIN = (
    "train task=boxes task.file=made/boxes.json arch=yolo arch.backbone=mobilenetv3_small_050 arch.pretrained=false "
    "arch.width=16 arch.min_score=0.0001 preprocessing.size=64 trainer.max_epochs=1 split.folds=2 mode.nested=false "
    "split.test_fraction=0.25 sampling.batch_size=8 sys.num_workers=0"
)


def _odd_inputs(model: Model, file: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """Images of other modes and shapes: the project, the file, and the program beside it give the same boxes, or say why not."""
    rng, odd = np.random.default_rng(0), Path("odd")
    odd.mkdir()
    colours = Image.fromarray(rng.integers(0, 256, (50, 70, 4), np.uint8), "RGBA")
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {
        "alpha": colours, "dot": colours.crop((0, 0, 1, 1)).convert("RGB"), "grey": colours.convert("L"),
        "palette": colours.convert("P"), "row": colours.resize((300, 1)).convert("RGB"),
        "column": colours.resize((1, 300)).convert("RGB"),
    }  # fmt: skip
    for name, picture in pictures.items():
        picture.save(odd / f"{name}.png")
    colours.convert("RGB").save(odd / "turned.png", exif=turned)
    (odd / "empty.png").touch()
    images = sorted(path for path in odd.iterdir() if path.stat().st_size)
    wanted, found = model.predict_values(images), file.predict_values(images)
    sides = [max(Image.open(path).size) for path in images]
    compared = box_tensors.difference(wanted, found, sides, np.full(3, 0.5), 1e-3)
    assert compared.decided == 0 and compared.alone < 0.02 and sum(map(len, wanted)) > 50
    onnx_runner = pytest.importorskip("mlpipe.predicting.onnx_runner")
    capsys.readouterr()
    onnx_runner.main("boxes.onnx", "odd")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["image"] for line in lines if line["problem"]] == ["empty.png"]
    keys = ("x0", "y0", "x1", "y1", "score")
    for path, own in zip(images, found, strict=True):
        shown = [[float(line[key]) for key in keys] for line in lines if line["image"] == path.name and line["x0"]]
        np.testing.assert_allclose(np.array(shown).reshape(-1, 5), own[:, :5], atol=1e-5)


def _in_less_precision(images: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Files of half precision and of whole numbers, and the rows that their loss is measured on."""
    whole = load("boxes.onnx").predict_values(images)
    for words, most_bytes in ((["mode.dtype=fp16"], 0.7), (["mode.quantize=int8"], 0.6)):
        capsys.readouterr()
        path = ["mode.file=small.onnx", "mode.images=4", "sys.threads=1", "mode.most_loss=1"]
        assert main(["export", "mode.record=1", *words, *path, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["smaller"]
        assert told["measure"] == "map" and told["images"] == 8 and abs(told["lost"]) < 0.1
        assert told["bytes"] < most_bytes * told["bytes_before"]
        found = load("small.onnx").predict_values(images)
        near = box_tensors.difference(whole, found, [80] * len(images), np.full(3, 0.5), 0.05)
        assert near.decided == 0 and near.largest > 0 and near.alone < 0.5
    model = load("default#1")
    predictor = model._torch_predictor
    judging, _ = smaller_files.rows_of(predictor, 8, 4)
    read = sources.reader(predictor.pivot, 3)
    raw = [read(row) for row in judging.rows.tolist()]
    given = smaller_files.Images(judging.rows.tolist(), raw, raw)
    rows = smaller_files._of_found(smaller_files._session(Path("boxes.onnx")), given, predictor)
    record = predictor.stored.records[0]
    stored = predictions.load(predictor.stored.project.predictions_file(record.pivot, record.id), record.pivot, "test")
    assert rows.ids == stored.sample_ids
    # True boxes and detections both lie in pixels of the files, where `mml predict` had put them.
    np.testing.assert_allclose(rows.targets, stored.targets, atol=1e-3)
    for one, other in zip(detections_of(rows.raw), model.predict_values(raw), strict=True):
        found = box_tensors.difference([other], [one[one[:, 4] > 0]], [96], np.full(3, 0.5), 1e-3)
        assert found.decided == 0 and found.alone < 0.05


def _places_of_boxes(model: Model, image: Path) -> None:
    """Heat maps of boxes are of one class at a time, in the image's own size."""
    pytest.importorskip("pytorch_grad_cam")
    with pytest.raises(ConfigError, match="output: is not given; use one of disc, square, triangle"):
        model.explain(image)
    one, other = (model.explain(image, output=name)["heat_map"][0] for name in ("disc", "square"))
    assert one.shape == other.shape == (80, 80) and one.max() == pytest.approx(1) and not np.array_equal(one, other)


@pytest.mark.program
def test_boxes_from_a_file_to_new_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(shapes(tmp_path / "made", 32, side=96, most=3).read_text("utf-8"))
    shapes(tmp_path / "fresh", 5, side=80, most=3, seed=9)
    (tmp_path / "fresh/images/broken.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    assert main(TRAIN.split()) == 0

    # Stored boxes are those of the file, in its pixels, and detections lie where its images are.
    (newest,) = Path("results/default/tasks").glob("*/ensembles/*.json")
    record = json.loads(newest.read_text("utf-8"))
    rows = predictions.load(newest.with_suffix(".parquet"), record["task"], "test")
    assert len(rows) == 8
    of_image = {one["id"]: one["file_name"] for one in content["images"]}
    for name, own in zip(rows.sample_ids, boxes_of(rows.targets), strict=True):
        given = [
            one["bbox"] for one in content["annotations"] if Path(of_image[one["image_id"]]).name == Path(name).name
        ]
        wanted = sorted([x, y, x + wide, y + high] for x, y, wide, high in given)
        assert sorted(own[~np.isnan(own[:, 4]), :4].tolist()) == [pytest.approx(box, abs=1e-2) for box in wanted]
    found = detections_of(rows.logits)
    there = found[..., 4] > 0
    assert there.any() and found[there][:, :4].min() > -96 and found[there][:, :4].max() < 2 * 96
    assert record["scores"]["test"]["map"]["value"] == pytest.approx(
        METRICS["map"](rows.calibrated, rows.targets), abs=1e-6
    )
    assert record["decide"]["thresholds"]["criterion"] == "f1"
    page = Path("results/default/reports/report.html").read_text("utf-8")
    assert "Precision and recall" in page and "false alarm" in page

    capsys.readouterr()
    assert main(["predict", "mode.source=fresh/images", "mode.ensemble=latest", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    table = pq.read_table(facts["parquet"]).to_pylist()
    assert len({row["image"] for row in table}) == 6
    assert [row["image"] for row in table if row["problem"]] == ["broken.png"]
    corners = np.array([[row[name] for name in ("x0", "y0", "x1", "y1")] for row in table if row["score"] is not None])
    assert len(corners) and corners.min() >= 0 and corners.max() <= 80
    coco = json.loads(Path(facts["coco"]).read_text("utf-8"))
    assert len(coco["images"]) == 5 and len(coco["annotations"]) == len(corners)
    assert len(list(Path(facts["pictures"]).glob("*.png"))) == 5

    # A loaded model, and a bundle of it, give the rows of that table.
    assert main(["export", "mode.ensemble=latest", "mode.format=bundle", "mode.file=boxes.zip"]) == 0
    shown = ["x0", "y0", "x1", "y1", "score"]
    for model in (load("default", ensemble="latest"), load("boxes.zip")):
        frame = model.predict(tmp_path / "fresh/images")
        assert list(frame["image"]) == [row["image"] for row in table]
        assert list(frame["class"].fillna("")) == [row["class"] or "" for row in table]
        wanted = np.array([[np.nan if row[name] is None else row[name] for name in shown] for row in table])
        np.testing.assert_allclose(frame[shown].to_numpy(float), wanted, atol=6e-3)
        assert list(frame["kept"].fillna(False)) == [bool(row["kept"]) for row in table]
        values = model.predict_values(tmp_path / "fresh/images/0000.png")
        assert values[0].shape == (sum(row["image"] == "0000.png" for row in table), 6)
    # A program of torch.export gives them where this package is not there.
    assert main(["export", "mode.ensemble=latest", "mode.format=pt2", "mode.file=boxes.pt2", "mode.images=4"]) == 0
    picture = np.asarray(Image.open(tmp_path / "fresh/images/0000.png").convert("RGB"))[None]
    np.save("pixels.npy", picture)
    code = "import sys, numpy, torch; call = torch.export.load('boxes.pt2').module(); "
    code += "numpy.save('given.npy', call(torch.from_numpy(numpy.load('pixels.npy')))[0].detach().numpy()); "
    code += "assert not {'mlpipe', 'torchvision'} & {*sys.modules}"
    subprocess.run([sys.executable, "-I", "-c", code], check=True)
    given = np.load("given.npy")[0]
    wanted = load("default", ensemble="latest").predict_values(tmp_path / "fresh/images/0000.png")
    found = box_tensors.difference(wanted, [given[given[:, 4] > 0]], [80], np.full(3, 0.5), 1e-3)
    assert found.decided == 0 and found.alone == 0 and found.largest < 1e-4

    # An ONNX file gives its boxes, to it and to the program beside it.
    pytest.importorskip("onnxscript")
    onnx_runner = pytest.importorskip("mlpipe.predicting.onnx_runner")
    assert main(["export", "mode.record=1", "mode.file=boxes.onnx", "mode.images=4", "sys.threads=1"]) == 0
    one, file = load("default#1"), load("boxes.onnx")
    images = [tmp_path / f"fresh/images/{number:04}.png" for number in range(5)]
    found = box_tensors.difference(
        one.predict_values(images), file.predict_values(images), [80] * 5, np.full(3, 0.5), 1e-3
    )
    assert found.decided == 0 and found.alone < 0.02
    assert list(file.predict(images).columns) == list(one.predict(images).columns)
    capsys.readouterr()
    onnx_runner.main("boxes.onnx", "fresh/images")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert "cannot identify" in lines[-1]["problem"]
    assert [line["class"] for line in lines[:-1]] == file.predict(images)["class"].tolist()
    _odd_inputs(one, file, capsys)
    _in_less_precision(images, capsys)
    _places_of_boxes(one, images[0])
