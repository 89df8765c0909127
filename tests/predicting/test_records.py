"""Stored predictions are a plain forward pass of the stored weights."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mlpipe.arch import weights
from mlpipe.arch.classifier import Classifier
from mlpipe.config.components import Component
from mlpipe.errors import Interrupted, ProjectError, TrainingError
from mlpipe.learn import fit
from mlpipe.learn.build.network import build_network
from mlpipe.learn.job import FoldJob, Watch
from mlpipe.predicting import records
from mlpipe.predicting.records import RowsToPredict
from mlpipe.runs import predictions
from tests.learn.conftest import job
from tests.predicting.test_through import little_memory

pytestmark = pytest.mark.program

FEW = ["trainer.max_epochs=1", "sampling.eval_batch_size=50"]


def weights_of(one: FoldJob) -> Path:
    return one.files.project.model_dir("digits", one.files.record_id) / "weights.safetensors"


def wanted(one: FoldJob, split: str, rows: np.ndarray, name: str = "digits") -> RowsToPredict:
    return RowsToPredict(name, split, one.task, one.pack, rows)


def forward(one: FoldJob, rows: np.ndarray) -> np.ndarray:
    """The logits of a network built and run by hand, one image at a time."""
    network = build_network(one.recipe, one.task, one.pack, seed=123, pretrained=False).eval()
    weights.load(network, weights.read(weights_of(one)))
    images = torch.from_numpy(np.ascontiguousarray(one.pack.images[rows].transpose(0, 3, 1, 2)))
    with torch.no_grad():
        return torch.cat([network(image[None])["target"] for image in images]).numpy()


@pytest.fixture
def trained(tmp_path: Path) -> FoldJob:
    one = job(tmp_path, *FEW)
    fit.fit(one, Watch())
    return one


def test_predictions_are_a_forward_pass(trained: FoldJob, tmp_path: Path) -> None:
    one, out = trained, tmp_path / "p.parquet"
    val, test = one.view.val, one.view.test[:120]
    parts = [wanted(one, "val", val), wanted(one, "test", test), wanted(one, "unlabelled", one.view.unlabelled)]
    assert len(one.view.unlabelled) == 0
    assert records.predict(one.recipe, weights_of(one), 5, parts, out, num_workers=0) == len(val) + len(test)
    assert predictions.contents(out) == {("digits", "val"): len(val), ("digits", "test"): len(test)}
    for split, rows in (("val", val), ("test", test)):
        stored = predictions.load(out, "digits", split)
        assert stored.sample_ids == [one.task.samples.ids[row] for row in rows]
        assert stored.targets.tolist() == one.task.samples.targets[rows].tolist()
        np.testing.assert_allclose(stored.logits, forward(one, rows), atol=2e-4, rtol=1e-4)
    assert set(pq.ParquetFile(out).read()["fold"].to_pylist()) == {5}
    record_scores = (one.files.project.model_dir("digits", "record") / "record.json").read_text()
    accuracy = (predictions.load(out, "digits", "val").logits.argmax(1) == one.task.samples.targets[val]).mean()
    assert f'"accuracy": {accuracy}' in record_scores


def test_memory_that_runs_out_halves_what_is_predicted_at_a_time(
    trained: FoldJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, rows = trained, trained.view.test[:120]
    parts = [wanted(one, "test", rows)]
    records.predict(one.recipe, weights_of(one), 0, parts, tmp_path / "whole.parquet", num_workers=0)
    # The first batch of 50 fits, then no more than 20 do.
    seen = little_memory(monkeypatch, 20, after=1)
    with caplog.at_level(logging.WARNING, "mlpipe"):
        assert records.predict(one.recipe, weights_of(one), 0, parts, tmp_path / "cut.parquet", num_workers=0) == 120
    assert seen == [50, 50, 25, *[12] * 5, 10]
    assert "memory ran out; from here on 12 images at a time" in caplog.text
    whole, cut = (predictions.load(tmp_path / f"{name}.parquet", "digits", "test") for name in ("whole", "cut"))
    assert whole.sample_ids == cut.sample_ids
    np.testing.assert_allclose(whole.logits, cut.logits, atol=2e-4, rtol=1e-4)


def test_memory_for_not_even_one_image_is_a_sentence(
    trained: FoldJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little_memory(monkeypatch, 0)
    out = tmp_path / "p.parquet"
    with pytest.raises(TrainingError, match="memory ran out with one image at a time .*preprocessing.size"):
        records.predict(
            trained.recipe, weights_of(trained), 0, [wanted(trained, "test", trained.view.test[:9])], out, num_workers=0
        )
    assert not out.exists()


def test_only_what_is_predicted_anew_is_replaced(trained: FoldJob, tmp_path: Path) -> None:
    one, out = trained, tmp_path / "p.parquet"
    recipe, file = one.recipe, weights_of(one)
    both = [wanted(one, "val", one.view.val), wanted(one, "test", one.view.test[:30], "other")]
    records.predict(recipe, file, 0, both, out, num_workers=0)
    before = predictions.load(out, "digits", "val").logits
    records.predict(recipe, file, 0, [wanted(one, "test", one.view.test[:10], "other")], out, num_workers=2)
    assert predictions.contents(out) == {("digits", "val"): len(one.view.val), ("other", "test"): 10}
    assert np.array_equal(predictions.load(out, "digits", "val").logits, before)


def test_an_interruption_leaves_the_old_file(trained: FoldJob, tmp_path: Path) -> None:
    one, out = trained, tmp_path / "p.parquet"
    records.predict(one.recipe, weights_of(one), 0, [wanted(one, "val", one.view.val)], out, num_workers=0)
    before = out.read_bytes()
    with pytest.raises(Interrupted):
        records.predict(
            one.recipe, weights_of(one), 0, [wanted(one, "test", one.view.test)], out,
            num_workers=0, should_stop=lambda: True,
        )  # fmt: skip
    assert out.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if "parquet" in file.name] == ["p.parquet"]


def test_weights_that_are_missing_or_do_not_fit(trained: FoldJob, tmp_path: Path) -> None:
    one, out = trained, tmp_path / "p.parquet"
    parts = [wanted(one, "val", one.view.val)]
    with pytest.raises(ProjectError, match="the record has no weights; train with mode.store_parameters=true"):
        records.predict(one.recipe, tmp_path / "none.safetensors", 0, parts, out, num_workers=0)
    three = dataclasses.replace(one.task, classes=one.task.classes[:3])
    with pytest.raises(ProjectError, match="does not fit its recipe"):
        records.predict(one.recipe, weights_of(one), 0, [dataclasses.replace(parts[0], task=three)], out, num_workers=0)
    assert not out.exists()


def test_a_frozen_backbone_sees_no_image_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = job(tmp_path, "arch.freeze=true", "augmentations=none", "optimizer=linear")
    fit.fit(one, Watch())
    val, test, out = one.view.val, one.view.test[:40], tmp_path / "p.parquet"
    seen: list[int] = []
    features = Classifier.view_features
    monkeypatch.setattr(Classifier, "view_features", lambda self, x: seen.append(len(x)) or features(self, x))
    parts = [wanted(one, "val", val), wanted(one, "test", test)]
    records.predict(one.recipe, weights_of(one), 5, parts, out, num_workers=0)
    assert sum(seen) == len(test)
    monkeypatch.undo()
    for split, rows in (("val", val), ("test", test)):
        np.testing.assert_allclose(
            predictions.load(out, "digits", split).logits, forward(one, rows), atol=2e-4, rtol=1e-4
        )
    # Other views of an image have other features.
    mirrored = dataclasses.replace(
        one.recipe, tta=Component("tta", "mlpipe.learn.tta.views", {"views": ["horizontal"], "mix": "logits"})
    )
    records.predict(mirrored, weights_of(one), 5, parts, out, num_workers=0)
    turned = dataclasses.replace(one, pack=one.pack.with_images(one.pack.images[:, :, ::-1]))
    np.testing.assert_allclose(
        predictions.load(out, "digits", "val").logits, forward(turned, val), atol=2e-4, rtol=1e-4
    )
