"""Pictures of what was learned from, as they are and after the random changes of the stored recipe."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.cache import packs
from mlpipe.data.preprocessing import standard
from mlpipe.data.sources.targets.mask_files import colour_of
from mlpipe.errors import DataError
from mlpipe.reports.facts import TaskFacts
from mlpipe.reports.sections import samples
from mlpipe.reports.sections.pictures import Album


def pictures(text: str) -> dict[str, np.ndarray]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]*)" alt="([^"]*)"', text)
    return {alt: np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data, alt in found}


def test_images_of_each_class(two_classes: TaskFacts) -> None:
    section = samples.samples(two_classes)
    shown = pictures(str(section.body()))
    assert sorted(alt.rpartition(": ")[2] for alt in shown) == ["healthy", "healthy", "ill", "ill"]
    assert all("train" in alt for alt in shown)


def test_random_changes_are_those_of_training(two_classes: TaskFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    assert two_classes.task is not None
    pack = np.random.default_rng(0).integers(0, 255, (len(two_classes.task.samples), 8, 6, 3)).astype(np.uint8)
    monkeypatch.setattr(Album, "packed", lambda self: pack)
    shown = pictures(str(samples.samples(two_classes).body()))
    changed = {alt: pixels for alt, pixels in shown.items() if "saw it" in alt}
    row_of = {name: row for row, name in enumerate(two_classes.task.samples.ids)}
    assert len(changed) == 4 * 3
    for alt, pixels in changed.items():
        # A flip with p of 1.
        assert np.array_equal(pixels, pack[row_of[alt.split(" as epoch")[0]]][:, ::-1])


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.system", "command": "true"},
        {"_target_": "mlpipe.data.augment.samples.random_crop", "padding": 1e9},
        {"_target_": "albumentations.HorizontalFlip"},
        "nothing",
    ],
)
def test_a_stored_configuration_runs_no_other_code(node: object) -> None:
    assert samples._random_change(node) is None


def test_packs_of_masks_are_no_images(two_classes: TaskFacts) -> None:
    assert two_classes.task is not None
    folder = two_classes.data_dir / "t" / "cache" / "a-masks-b"
    folder.mkdir(parents=True)
    np.save(folder / packs.FIXED_FILE, np.zeros((len(two_classes.task.samples), 2, 2, 1), np.uint8))
    assert Album(two_classes.task, two_classes.data_dir).packed() is None


def test_masks_are_drawn_on_images_and_move_with_their_random_changes(two_classes: TaskFacts, tmp_path: Path) -> None:
    for number in range(4):
        for folder, values in (("images", np.full((8, 8, 3), 100 + number)), ("masks", np.eye(8) * 255)):
            path = tmp_path / "d" / folder / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = values.astype(np.uint8)
            values[number] = values[number] if folder == "images" else 0
            Image.fromarray(values).save(path)
    task = sources.masks(root=str(tmp_path / "d"), name="t")
    facts = dataclasses.replace(two_classes, kind=task.kind, classes=list(task.classes), task=task, data_dir=tmp_path)
    keys = {"id": "own", "size": 8}
    file = facts.project.model_dir(facts.newest.pivot, facts.newest.id) / "config.yaml"
    before = file.read_text("utf-8")
    assert not any("saw it" in alt for alt in pictures(str(samples.samples(facts).body())))
    packs.build(
        task, standard(3, **keys), tmp_path / task.name / "cache" / packs.pack_id(task, standard(3, **keys)), workers=1
    )
    try:
        target = "_target_: mlpipe.data.preprocessing.standard"
        file.write_text(f"{before}preprocessing: {{{target}, id: own, size: 8}}\n", "utf-8")
        text = str(samples.samples(facts).body())
    finally:
        file.write_text(before, "utf-8")
    shown = pictures(text)
    assert len([alt for alt in shown if "saw it" in alt]) == 4 * 3 and "foreground" in text
    for alt, pixels in shown.items():
        number = int(re.findall(r"(\d)\.png", alt)[0])
        expected = np.full((8, 8, 3), 100 + number)
        for place in set(range(8)) - {number}:
            expected[place, place] = (100 + number + np.array(colour_of(1))) // 2
        # The flip of the recipe has a p of 1.
        assert np.array_equal(pixels, expected[:, ::-1] if "saw it" in alt else expected)


def test_a_task_whose_images_may_not_be_read_has_a_report_still(two_classes: TaskFacts) -> None:
    """A stored path that leads out of the task's folder is refused, which is no matter of the whole report."""
    of = two_classes.task
    assert of is not None
    away = dataclasses.replace(of.samples, ids=tuple(f"../{name}" for name in of.samples.ids))
    with pytest.raises(DataError, match="has samples outside of its folder"):
        sources.open(dataclasses.replace(of, samples=away))
    lost = dataclasses.replace(two_classes, task=dataclasses.replace(of, samples=away))
    assert samples.samples(lost).is_empty
