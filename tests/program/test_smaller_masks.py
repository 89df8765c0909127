"""A file of masks that computes with whole numbers: what it is said to lose is what its masks lose on test images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("onnxruntime", reason="needs the extra export")
pytest.importorskip("onnxscript", reason="needs the extra export")

from mlpipe.cli import main
from mlpipe.post import metrics
from mlpipe.runs import maps, predictions, records
from mlpipe.runs.project import Project
from tests.data.samples import make_masks

TRAIN = [
    "task=masks", "arch=unet", "arch.encoder=resnet10t", "arch.pretrained=false", "preprocessing.size=32", "sys.threads=1",
    "trainer.max_epochs=2", "optimizer.lr=3e-3", "split.folds=2", "split.test_fraction=0.5", "mode.nested=false",
    "mode.cv=false", "mode.subroutines=[train,predict,test]",
]  # fmt: skip


def test_the_loss_is_that_of_the_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_masks(tmp_path / "d", 40)
    for path in (tmp_path / "d").rglob("*.png"):
        with Image.open(path) as image:
            enlarged = image.resize((32, 32), Image.Resampling.NEAREST)
        enlarged.save(path)
    assert main(["train", *TRAIN, f"task.root={tmp_path / 'd'}"]) == 0
    (record,) = records.load_all(Project(tmp_path / "results/default"))
    capsys.readouterr()
    words = ["mode.record=1", "mode.quantize=int8", "mode.most_loss=1", f"mode.file={tmp_path / 'small.onnx'}"]
    assert main(["export", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["smaller"]
    assert told["precision"] == "int8" and told["bytes"] < 0.5 * told["bytes_before"]
    # By hand: the file's masks of the test images in the network's size beside the true ones that the record's test kept.
    path = Project(tmp_path / "results/default").predictions_file(record.pivot, record.id)
    stored = predictions.load(path, record.pivot, "test")
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "small.onnx", providers=["CPUExecutionProvider"])
    counted = []
    with maps.Maps(path.with_suffix(maps.SUFFIX)) as true:
        for name in stored.sample_ids:
            with Image.open(tmp_path / "d" / "images" / Path(name).name) as image:
                pixels = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR), np.uint8).reshape(1, 32, 32, -1)
            found = session.run(["values"], {"pixels": pixels})[0][0].argmax(-1)
            counted.append(maps.counts(found, true.true(record.pivot, "test", name), 2))
    outputs, targets = (np.stack(part) for part in zip(*counted, strict=True))
    its = metrics.compute([told["measure"]], outputs, targets, "segmentation")[told["measure"]]
    was = record.scores["test"][told["measure"]]
    assert was is not None and told["images"] == len(stored)
    assert told["lost"] == pytest.approx(was - its, abs=1e-3)
