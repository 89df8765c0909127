"""Average precision of boxes against COCO's own program, of weighted images against images written several times."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mlpipe.post.measures import box_metrics
from mlpipe.post.measures.box_metrics import METRICS, as_outputs, as_targets
from tests.post.drawing import boxes

Array = npt.NDArray[Any]


def coco(found: Array, true: Array) -> Any:
    """What pycocotools says of the same boxes: an evaluation that was accumulated and summarised."""
    pytest.importorskip("pycocotools")
    from pycocotools.coco import COCO  # type: ignore[import-untyped]
    from pycocotools.cocoeval import COCOeval  # type: ignore[import-untyped]

    classes = [{"id": number} for number in range(10)]
    known, said = list[dict[str, Any]](), list[dict[str, Any]]()
    for image, (its, rows) in enumerate(zip(true, found, strict=True)):
        for x0, y0, x1, y1, label in its[~np.isnan(its[:, 0])].tolist():
            area = (x1 - x0) * (y1 - y0)
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": area, "iscrowd": 0, "id": len(known) + 1}
            known.append({**box, "image_id": image, "category_id": int(label)})
        for x0, y0, x1, y1, score, label in rows[~np.isnan(rows[:, 0])].tolist():
            box = {"bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
            said.append({**box, "image_id": image, "category_id": int(label)})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": [{"id": k} for k in range(len(true))], "annotations": known, "categories": classes}
        truth.createIndex()
        judged = COCOeval(truth, truth.loadRes(said), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged


@pytest.mark.parametrize("seed", range(6))
def test_every_metric_is_that_of_coco(seed: int) -> None:
    found, true = boxes(seed)
    stats = dict(
        zip(("map", "map50", "map75", "map_small", "map_medium", "map_large"), coco(found, true).stats, strict=False)
    )
    stats["mar100"] = coco(found, true).stats[8]
    outputs, targets = as_outputs(found), as_targets(true)
    for name, expected in stats.items():
        assert METRICS[name](outputs, targets) == pytest.approx(expected, abs=1e-6), name


def test_the_table_has_the_areas_of_each_class() -> None:
    found, true = boxes(7)
    precision = coco(found, true).eval["precision"][..., 0, 2]
    rows = box_metrics.table(as_outputs(found), as_targets(true), ["a", "b", "c"])
    for number, row in enumerate(rows):
        own = precision[..., number].mean(axis=1)
        assert row["ap"] == pytest.approx(own.mean(), abs=1e-6)
        assert row["ap50"] == pytest.approx(own[0], abs=1e-6)
        assert row["ap75"] == pytest.approx(own[5], abs=1e-6)
        labels = true[..., 4]
        assert row["boxes"] == (labels == number).sum()
        assert row["images"] == (labels == number).any(axis=1).sum()


@pytest.mark.parametrize("name", [name for name in METRICS if name != "score_loss"])
def test_weights_are_images_written_several_times(name: str) -> None:
    found, true = boxes(11, images=20)
    outputs, targets = as_outputs(found), as_targets(true)
    weights = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=4).astype(float)
    values = box_metrics.weighted(name, outputs, targets)(weights)
    for one, value in zip(weights, values, strict=True):
        rows = np.repeat(np.arange(20), one.astype(int))
        assert value == pytest.approx(METRICS[name](outputs[rows], targets[rows]), abs=1e-9)


def test_large_draws_are_computed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    found, true = boxes(12)
    outputs, targets = as_outputs(found), as_targets(true)
    weights = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=9).astype(float)
    whole = box_metrics.weighted("map", outputs, targets)(weights)
    monkeypatch.setattr(box_metrics, "_BLOCK", 100)
    assert box_metrics.weighted("map", outputs, targets)(weights) == pytest.approx(whole, abs=1e-12)


def test_by_hand() -> None:
    """Two boxes; the first detection is right, the second wrong, the third right: precision 1 to recall 1/2, then 2/3."""
    true = np.array([[[0, 0, 10, 10, 0], [20, 20, 30, 30, 0]]], float)
    found = np.array([[[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0], [20, 20, 30, 30, 0.7, 0]]], float)
    outputs, targets = as_outputs(found), as_targets(true)
    assert METRICS["map"](outputs, targets) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert METRICS["mar100"](outputs, targets) == 1
    assert METRICS["score_loss"](outputs, targets) == pytest.approx(-np.log([0.9, 0.2, 0.7]).mean())
    assert box_metrics.of_images(outputs, targets).tolist() == [pytest.approx(4 / 5)]
    row = box_metrics.table(outputs, targets, ["a", "b"])
    assert (row[0]["precision"], row[0]["recall"], row[0]["f1"]) == (pytest.approx(2 / 3), 1, pytest.approx(0.8))
    assert row[0]["score"] == pytest.approx(0.7)
    assert row[1]["boxes"] == 0 and np.isnan(row[1]["ap"])


def test_images_without_a_box_and_images_that_are_not_known_differ() -> None:
    true = np.full((2, 3, 5), np.nan)
    true[1, 0, 4] = -1
    rows = as_targets(true)
    assert rows[0, 0] == 0 and np.isnan(rows[1]).all()
    outputs = as_outputs(np.array([[[0, 0, 5, 5, 0.6, 0]], [[np.nan] * 6]]))
    assert outputs[1].tolist() == [0] * 6
    assert np.isnan(METRICS["map"](outputs[:1], rows[:1])), "no class has a true box"
    assert METRICS["score_loss"](outputs[:1], rows[:1]) == pytest.approx(-np.log(0.4), abs=1e-6)
    assert box_metrics.of_images(outputs[:1], rows[:1]).tolist() == [0]


def test_rows_are_sorted_and_tasks_without_room_for_boxes_have_no_hits() -> None:
    found = np.array([[[0, 0, 1, 1, 0.2, 0], [np.nan] * 6, [0, 0, 2, 2, 0.7, 1]]])
    assert as_outputs(found).reshape(-1, 6)[:, 4].tolist() == pytest.approx([0.7, 0.2, 0])
    nothing = as_targets(np.zeros((1, 0, 5)))
    assert nothing.tolist() == [[0]]
    assert np.isnan(METRICS["map"](as_outputs(found), nothing))


def test_the_score_of_the_least_cost_is_the_best_of_all() -> None:
    found, true = boxes(3)
    matches = box_metrics.match_boxes(as_outputs(found), as_targets(true), least=box_metrics.OVERLAPS[:1])
    own = matches.label == 1
    curve = box_metrics.curve(matches, 1)
    assert curve is not None
    for costs in ((1.0, 5.0), (3.0, 1.0)):
        best = box_metrics.best_score(curve, costs)
        assert best is not None
        hit, score = matches.hit[own, 0], matches.score[own]
        tried = {
            least: costs[0] * (~hit & (score >= least)).sum() + costs[1] * (curve.true - (hit & (score >= least)).sum())
            for least in [*score.tolist(), np.inf]
        }
        assert tried[best[0]] == min(tried.values())
    assert box_metrics.best_score(curve, (1e9, 1.0)) is not None
