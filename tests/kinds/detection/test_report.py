"""Sections on boxes: what is a hit, a miss and a false alarm is counted by hand, and drawn where it lies."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources, task
from mlpipe.data.cache import packs
from mlpipe.data.sources.targets import boxes, mask_files
from mlpipe.post.measures.box_metrics import as_outputs, as_targets
from mlpipe.reports import drawn_boxes, facts, html
from mlpipe.reports.sections import boxes as section
from mlpipe.reports.sections import samples
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project
from tests import build
from tests.runs.test_records import made


def project_of(folder: Path) -> tuple[Project, Path, Any]:
    """Eight images: of all but the first every box is found; of the first none, and one is drawn where nothing is."""
    file = build.shapes(folder / "made", 8, side=64, most=3)
    of = sources.boxes(file=str(file), name="t", data_dir=str(folder / "data"))
    task.save(of, folder / "data" / of.name / "task.json")
    true = boxes.of_task(of).padded()
    said = np.insert(true, 4, 0.9, axis=2)
    said[0, :, :] = np.nan
    said[0, 0] = [0, 0, 6, 6, 0.95, 0]
    project = Project(folder / "p")
    classes = list(of.classes)
    about = {
        "task": of.name,
        "pivot": of.name,
        "classes": classes,
        "kind": "detection",
        "val_used_for": ["best_checkpoint"],
    }
    numbers = {"counts": {"train": 8, "val": 8}, "timings": {"seconds": 1.0}, "scores": {"val": {}}}
    record = made("r0", fold=0, recipe="recipe0", **about, **numbers)
    records.save(project, record)
    with predictions.writer(project.predictions_file(of.name, "r0"), (), "detection") as sink:
        sink.add(of.name, "val", 0, list(of.samples.ids), as_targets(true), as_outputs(said))
    return project, folder / "data", true


def test_images_that_were_learned_from_have_their_boxes(tmp_path: Path) -> None:
    project, data_dir, true = project_of(tmp_path)
    (shown,) = facts.gather(project, data_dir)
    body = str(samples.samples(shown).body())
    sources_of = re.findall(r'src="data:image/\w+;base64,([^"]*)" alt="Image (images/\d+.png)', body)
    assert len(sources_of) == 8
    for data, name in sources_of:
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
        plain = np.asarray(Image.open(tmp_path / "made" / name).convert("RGB")).astype(int)
        left, top, right, _, number = true[shown.task.samples.ids.index(name), 0].astype(int)  # type: ignore[union-attr]
        # The upper edge of the first box, in the colour of its class, where no later box lies over it.
        edge = (drawn[top, left:right] == mask_files.colour_of(number + 1)).all(axis=1)
        assert edge.mean() > 0.5 and (drawn != plain).any()


def test_images_that_are_gone_come_from_their_cache(tmp_path: Path) -> None:
    """Without boxes, which stand at other pixels than those of a cache."""
    project, data_dir, _ = project_of(tmp_path)
    (shown,) = facts.gather(project, data_dir)
    assert shown.task is not None
    for path in (tmp_path / "made").rglob("*.png"):
        path.unlink()
    assert samples.samples(shown).is_empty
    folder = data_dir / shown.name / "cache" / "a-b"
    folder.mkdir(parents=True)
    np.save(folder / packs.FIXED_FILE, np.full((8, 5, 5, 3), 7, np.uint8))
    (folder / packs.INDEX_FILE).write_text("{}")
    body = str(samples.samples(shown).body())
    (first, *others) = re.findall(r'src="data:image/\w+;base64,([^"]*)" alt="Image images/\d+.png', body)
    assert len(others) == 7 and (np.asarray(Image.open(io.BytesIO(base64.b64decode(first)))) == 7).all()


def test_hits_misses_and_false_alarms(tmp_path: Path) -> None:
    project, data_dir, true = project_of(tmp_path)
    (one,) = facts.gather(project, data_dir)
    body = str(section.pictures(one).body())
    in_first = int((~np.isnan(true[0, :, 4])).sum())
    assert f"0 hits, {in_first} missed, 1 false alarm" in body
    captions = re.findall(r"(\d+) hits?, (\d+) missed, (\d+) false alarm", body)
    assert len(captions) >= 8
    counts = np.array([[int(value) for value in one] for one in captions])[:: len(captions) // 8]
    assert counts[:, 0].sum() == (~np.isnan(true[1:, :, 4])).sum()
    assert counts[1:, 1:].sum() == 0, "the worst is first, the others have no mistake"
    uri = re.search(r"data:image/jpeg;base64,([^\"']+)", body)
    assert uri is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.group(1)))), int)
    # The false alarm is drawn at the upper left, six times as large as it is.
    assert picture.shape[:2] == (384, 384)
    assert np.abs(picture[35, 3:30] - drawn_boxes.ALARM).max() < 90


def test_curves_and_sizes(tmp_path: Path) -> None:
    project, data_dir, true = project_of(tmp_path)
    (one,) = facts.gather(project, data_dir)
    made_section = section.curves(one)
    (plot,) = made_section.plots
    for name in one.classes:
        corners = np.array([row[2:] for row in plot.rows if row[0] == name])
        number = one.classes.index(name)
        share = (true[1:, :, 4] == number).sum() / (true[:, :, 4] == number).sum()
        assert corners[:, 0].max() == pytest.approx(share), "recall ends where all that is found is found"
    areas = np.prod(true[..., 2:4] - true[..., :2], axis=-1)
    assert f">{int((areas < 1024).sum())}<" in str(made_section.body())


def test_the_page_has_all_sections(tmp_path: Path) -> None:
    project, data_dir, _ = project_of(tmp_path)
    text = html.write(project, data_dir).read_text("utf-8")
    for title in ("By class", "Precision and recall", "Calibration", "Boxes"):
        assert re.search(rf"<h\d[^>]*>{title}", text), title


def test_networks_that_draw_nothing_have_a_page_too(tmp_path: Path) -> None:
    project, data_dir, true = project_of(tmp_path)
    (one,) = facts.gather(project, data_dir)
    path = project.predictions_file(one.name, "r0")
    nothing = np.zeros((len(true), 12), np.float32)
    ids = predictions.load(path, one.name, "val").sample_ids
    with predictions.writer(path, {(one.name, "val")}, "detection") as sink:
        sink.add(one.name, "val", 0, ids, as_targets(true), nothing)
    text = html.write(project, data_dir).read_text("utf-8")
    assert "0 hits" in text and not re.search(r"<h\d[^>]*>Calibration", text)
