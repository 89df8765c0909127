"""Batches of images with boxes: in pixels of the images, whatever their sizes, moved and clipped together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.data import sources
from mlpipe.data.augment import geometry, samples
from mlpipe.data.cache import packs
from mlpipe.data.loading.collating import Boxes, collating_of
from mlpipe.data.loading.loaders import Draw, PackDataset
from mlpipe.data.preprocessing import standard
from mlpipe.data.task import Task

# Height and width of each image, and x0, y0, x1, y1 of its white box.
IMAGES: list[tuple[tuple[int, int], tuple[int, int, int, int]]] = [
    ((40, 60), (20, 10, 40, 30)),
    ((60, 40), (15, 20, 30, 40)),
    ((50, 50), (10, 10, 20, 40)),
]


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Images of several sizes with a box each, one without an object and one that is unlabelled."""
    lines = ["path,x0,y0,x1,y1,class,split"]
    for number, ((height, width), (x0, y0, x1, y1)) in enumerate(IMAGES):
        pixels = np.zeros((height, width), np.uint8)
        pixels[y0:y1, x0:x1] = 255
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{x0},{y0},{x1},{y1},thing,train")
    for number, part in ((3, "train"), (4, "unlabelled")):
        Image.fromarray(np.full((30, 30), number, np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,,,,,,{part}")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    return sources.boxes(file=str(tmp_path / "boxes.csv"))


def batch(task: Task, folder: Path, steps: dict[str, Any], *, is_training: bool = True, **how: Any) -> Any:
    """A batch of all samples."""
    pack = packs.build(task, standard(1, id="made", **how), folder / "pack", workers=1)
    collating = collating_of(task, pack)
    assert collating is Boxes
    adapted = [collating.adapt(f"mlpipe.data.augment.{name}", step) for name, step in steps.items()]
    adapted = adapted if is_training else collating.always(adapted)
    made = PackDataset(pack, task, adapted, Draw(0, 0), is_training=is_training)
    return made[(0, np.arange(len(task.samples)))]


@pytest.mark.parametrize(
    "how",
    [
        {"size": 48},
        {"size": [64, 48], "resize": "pad"},
        {"size": 48, "keep": "original"},
        {"size": [40, 48], "keep": "original", "max_side": 45, "resize": "pad"},
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_boxes_lie_on_what_is_white(task: Task, tmp_path: Path, how: dict[str, Any], is_turned: bool) -> None:
    flips = {"geometry.random_flips": geometry.random_flips(), "samples.random_crop": samples.random_crop(padding=0.1)}
    found = batch(task, tmp_path, flips if is_turned else {}, **how)
    assert found["target"].shape == (5, 1, 5)
    for image, (own,) in zip(found["images"][:3].numpy(), found["target"][:3].numpy(), strict=True):
        rows, columns = np.nonzero(image[0] > 127)
        there = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # A pixel is painted by half at least, and the reduced one was rounded once before.
        assert np.allclose(own[:4], there, atol=1.3)
        assert own[4] == 0
    assert found["target"][3].isnan().all()
    assert found["target"][4, 0, 4] == -1


def test_what_evaluation_sees_is_clipped_and_dropped_alike(task: Task, tmp_path: Path) -> None:
    steps = {
        "geometry.center_crop": geometry.center_crop(size=(20, 20)),
        "samples.horizontal_flip": samples.horizontal_flip(p=1.0),
    }
    found = batch(task, tmp_path, steps, is_training=False, size=[40, 60])["target"].numpy()
    # The middle is x from 20 to 40 and y from 10 to 30: the first box fills it. The second one is 15 to 30 of 40 and 20 to
    # 40 of 60 in the file, 22.5 to 45 and 13.3 to 26.7 as the network sees it.
    assert np.allclose(found[0, 0], [0, 0, 20, 20, 0])
    assert np.allclose(found[1, 0], [2.5, 10 / 3, 20, 50 / 3, 0])
    # Of the third one, from x = 12 to 24 and y = 8 to 32, a third is left in x and 20 of 24 in y.
    assert np.allclose(found[2, 0], [0, 0, 4, 20, 0])
