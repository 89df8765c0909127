"""Boxes from a COCO file to calibrated, fused predictions, a report, and the boxes of new images."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlpipe.api import load
from mlpipe.cli import main
from mlpipe.post.measures.box_metrics import METRICS, boxes_of, detections_of
from mlpipe.predicting import box_tensors
from mlpipe.runs import predictions
from tests.build import shapes

# Every detection is kept, so that networks that have hardly learned have some.
TRAIN = (
    "train task=boxes task.file=made/boxes.json arch=yolo arch.backbone=mobilenetv3_small_050 arch.pretrained=false "
    "arch.width=16 arch.min_score=0.0001 preprocessing.size=64 trainer.max_epochs=1 split.folds=2 mode.nested=false "
    "split.test_fraction=0.25 sampling.batch_size=8 sys.num_workers=0"
)


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
    assert main(["export", "mode.ensemble=latest", "mode.format=pt2"]) == 2
    assert "does not know all of its operators" in capsys.readouterr().err

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
