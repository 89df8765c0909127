"""Rows of detections are in pixels of the files, whatever was done to the images on their way to the network."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.data.preprocessing import Preprocessing
from mlpipe.data.sources.targets import boxes
from mlpipe.kinds.detection import predict
from mlpipe.post.measures.box_metrics import METRICS, as_outputs, boxes_of, detections_of
from mlpipe.predicting.batches import Batch, joined


def batch(places: Any, seen: Any) -> Batch:
    return Batch(["a", "b"], torch.zeros(2, 3, 40, 40), torch.from_numpy(seen), places)


@pytest.mark.parametrize("resize", ["squash", "short_side", "pad"])
def test_boxes_and_detections_go_back_to_the_files(resize: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = np.array([[80, 60], [30, 100]])
    in_files = np.full((2, 3, 5), np.nan, np.float32)
    in_files[0, 0], in_files[1, 0] = [20, 10, 60, 50, 1], [5, 40, 25, 60, 0]
    pack: Any = SimpleNamespace(places=None, preprocessing=Preprocessing("x", size=40, resize=resize, channels=3))
    monkeypatch.setattr(predict, "_sizes", lambda task: sizes)
    task: Any = None
    of_rows = predict.places(task, pack)
    assert of_rows is not None
    where = of_rows(np.arange(2))
    seen = np.stack(boxes.placed(list(in_files), where)).astype(np.float32)
    said = torch.from_numpy(np.insert(seen, 4, 0.9, axis=2))
    rows = predict.kept(said, batch(where, seen), None)
    assert rows.targets is not None
    assert boxes_of(rows.targets) == pytest.approx(in_files, abs=1e-3, nan_ok=True)
    assert detections_of(rows.outputs)[:, 0, :4] == pytest.approx(in_files[:, 0, :4], abs=1e-3)
    assert METRICS["map"](rows.outputs, rows.targets) == pytest.approx(1)


def test_files_that_the_cache_holds_smaller_are_counted_in_their_own_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 200 x 100 that is kept as 100 x 50 and seen squashed to 40 x 40."""
    pack: Any = SimpleNamespace(
        places=np.array([[0, 50, 100]]), preprocessing=Preprocessing("x", size=40, resize="squash", channels=3)
    )
    monkeypatch.setattr(predict, "_sizes", lambda task: np.array([[200, 100]]))
    task: Any = None
    of_rows = predict.places(task, pack)
    assert of_rows is not None
    assert of_rows(np.arange(1))[0] == pytest.approx(np.array([[40 / 200, 0], [40 / 100, 0]]))


def test_images_of_which_nothing_is_known_have_unknown_rows() -> None:
    plain = Batch(["a", "b"], torch.zeros(2, 3, 40, 40), torch.full((2, 3), torch.nan))
    rows = predict.kept(torch.full((2, 4, 6), torch.nan), plain, None)
    assert rows.targets is not None and np.isnan(rows.targets).all()
    assert not rows.outputs.any()


def test_batches_keep_their_places_when_they_are_joined_and_cut() -> None:
    one = batch(np.ones((2, 2, 2)), np.zeros((2, 1, 5), np.float32))
    both = joined([one, batch(np.zeros((2, 2, 2)), np.zeros((2, 1, 5), np.float32))])
    assert both.places is not None and both.places[:, 0, 0].tolist() == [1, 1, 0, 0]
    part = both[1:3].places
    assert part is not None and part[:, 0, 0].tolist() == [1, 0]


def test_models_are_fused() -> None:
    first = torch.tensor([[[0, 0, 10, 10, 0.8, 0], [torch.nan] * 6]])
    second = torch.tensor([[[0, 0, 10, 10, 0.4, 0], [50, 50, 60, 60, 0.6, 1]]])
    mean = predict.mean([first, second], [0.5, 0.5], "probabilities")
    assert mean[0].numpy() == pytest.approx(np.array([[0, 0, 10, 10, 0.6, 0], [50, 50, 60, 60, 0.3, 1]]), abs=1e-6)


def test_detections_are_cut_to_their_image() -> None:
    rows = as_outputs(np.array([[[-5, 2, 20, 99, 0.9, 0], [60, 60, 70, 70, 0.8, 0]]])).astype(float)
    inside, is_kept = predict._clipped_detections(detections_of(rows)[0], (50, 40, 3), np.array([0.5]))
    assert inside.tolist() == [[0, 2, 20, 50, pytest.approx(0.9), 0]] and is_kept.tolist() == [True]
