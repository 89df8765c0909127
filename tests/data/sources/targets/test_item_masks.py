"""Masks of items of user code: every form that y may have, which classes it means, and mistakes in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.data import preprocessing, sources, task, user_code
from mlpipe.data.cache import packs
from mlpipe.data.items import PredictionItem
from mlpipe.data.sources.targets import mask_files
from mlpipe.data.splits import methods
from mlpipe.data.task import IGNORED, Task
from mlpipe.errors import DataError
from mlpipe.learn.stages import view_of

BARE = np.zeros((4, 6), np.int64)
HALF = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)


class Pictures:
    """Items whose masks are given."""

    def __init__(self, masks: Sequence[Any], **more: Any) -> None:
        self.masks = masks
        self.__dict__ |= more

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, item: int) -> PredictionItem:
        return PredictionItem(f"site{item // 2}-{item}", np.full((4, 6, 3), item, np.uint8), self.masks[item])


def made(data_set: Any, **more: Any) -> Task:
    return sources.items(train=[{"call": user_code.hold(data_set)}], kind="segmentation", name="m", **more)


def seen(of: Task, row: int) -> Any:
    return sources.reader(mask_files.task_of(of), 1)(row)[:, :, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: mask,
        lambda mask: mask[:, :, np.newaxis],
        lambda mask: mask == 1,
        lambda mask: (mask * 255).astype(np.uint8),
        lambda mask: mask.astype(np.float32),
        lambda mask: np.stack([mask == 0, mask == 1], axis=2),
        lambda mask: np.stack([1.0 - mask, 1.0 * mask], axis=2),
        lambda mask: mask.tolist(),
    ],
    ids=["numbers", "channel", "booleans", "white", "floats", "maps", "float maps", "lists"],
)
def test_every_form_of_a_mask_is_the_same_task(change: Any) -> None:
    found = made(Pictures([change(BARE), change(HALF)]))
    assert (found.kind, found.classes) == ("segmentation", ("background", "foreground"))
    assert found.samples.targets.tolist() == [[1, 0], [0.5, 0.5]]
    assert [name for name, _ in found.samples.masks] == list(found.samples.ids)
    assert (seen(found, 1) == HALF).all() and not seen(found, 0).any()


def test_classes_have_the_sets_names_and_some_pixels_count_nowhere() -> None:
    three = np.array([[0, 1, 2, 255, 255, 0]] * 4)
    named = made(Pictures([three, BARE], classes=["sky", "road", "car"]), ignore_index=255)
    assert named.classes == ("sky", "road", "car")
    assert named.samples.targets[0].tolist() == [0.5, 0.25, 0.25]
    assert (seen(named, 0)[0] == [0, 1, 2, IGNORED, IGNORED, 0]).all()
    assert made(Pictures([HALF], classes=["ship"])).classes == ("background", "ship")
    assert made(Pictures([BARE, BARE]), outputs=2).classes == ("background", "foreground")
    assert made(Pictures([np.eye(3, dtype=int)[three % 3], np.eye(3)[BARE]])).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("masks", "more", "sentence"),
    [
        ([BARE, HALF[:3]], {}, r"item 1 of Pictures: its mask is 3 x 6, its image 4 x 6; let both have one size"),
        ([np.stack([HALF, np.ones_like(HALF)], 2)], {}, "maps are not one-hot: 12 pixels are of several classes;"),
        ([np.stack([HALF, HALF, BARE], 2)], {}, "12 pixels are of several classes and 12 pixels are of none"),
        ([np.stack([HALF * 0.5, HALF * 0.5], 2)], {}, "its maps hold other values than 0 and 1"),
        ([HALF * 0.7], {}, r"values that are no class numbers \(0 to 0.7\)"),
        ([-HALF], {}, r"no class numbers \(-1 to 0\)"),
        ([HALF * 70000], {}, "beyond 0 to 65535"),
        ([None], {}, "its y is no mask"),
        ([1.0], {}, "its y is a target of the whole image, no mask, got 1.0; give y the shape"),
        ([np.zeros((4, 6, 1, 1))], {}, "its y is no mask"),
        ([BARE], {}, "the masks hold nothing but 0; say how many classes there are with task.outputs=2"),
        ([HALF, HALF * 255], {}, "some masks hold 0 and 1, others 255"),
        ([HALF, HALF * 2], {"outputs": 2}, r"item site0-1: has values that are no class \(2\)"),
        ([np.stack([HALF, 1 - HALF], 2)], {"outputs": 3}, "task.outputs: y has maps of 2 classes, 3 are wanted"),
        ([np.stack([HALF, 1 - HALF], 2), np.eye(3)[HALF]], {}, "items have maps of 2, 3 classes"),
        ([HALF], {"group": "x"}, "bracketed parts"),
    ],
)
def test_mistakes_are_one_sentence(masks: list[Any], more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        made(Pictures(masks), **more)
    assert len(caught.value.problems) == 1


def test_names_and_kinds_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="its set names 3 classes, its masks have 2"):
        made(Pictures([HALF], classes=["a", "b", "c"]), outputs=2)
    data_set = Pictures([np.array([1.0])])
    with pytest.raises(DataError, match=r"task.ignore_index: is for task.kind=segmentation, got 'regression'"):
        sources.items(train=[{"call": user_code.hold(data_set)}], kind="regression", ignore_index=3)


def test_an_item_that_is_another_one_each_time_is_found() -> None:
    class Restless(Pictures):
        def __getitem__(self, item: int) -> PredictionItem:
            found = super().__getitem__(item)
            self.count = getattr(self, "count", 0) + 1
            return PredictionItem(found.id, found.x + np.uint8(self.count), found.y)

    with pytest.raises(DataError, match="give the same item each time"):
        seen(made(Restless([HALF, BARE])), 0)


def test_a_stored_task_reads_its_masks_again(tmp_path: Path) -> None:
    found = made(Pictures([HALF * 255, BARE], isPositive=lambda row: row == 1))
    task.save(found, tmp_path / "task.json")
    stored = task.load(tmp_path / "task.json")
    assert stored.source_hash == found.source_hash and (seen(stored, 0) == HALF).all()
    assert stored.samples.positives is not None and stored.samples.positives.tolist() == [False, True]
    assert mask_files.stored_values(stored.source["masks"]).numbers == (0, 255)


def test_groups_stay_together_and_masks_without_foreground_are_spread() -> None:
    grouped = made(Pictures([HALF, BARE] * 6), group=r"site(\d+)")
    fold = methods.kfold(grouped.samples, folds=3, seed=0).fold
    assert (fold[::2] == fold[1::2]).all()
    plain = made(Pictures([HALF, HALF, BARE] * 4))
    bare = np.arange(12) % 3 == 2
    drawn = methods.shuffled(plain.samples, folds=4, stratify=True)
    assert [int((bare & (drawn.fold == fold)).sum()) for fold in range(4)] == [1] * 4
    held = made(
        Pictures([HALF, HALF, BARE] * 4), holdout={"fraction": 0.25, "seed": 1, "stratify": True}, allow_overlap=True
    )
    assert held.samples.targets[held.samples.in_part("test")][:, 1].tolist().count(0) == 1


def test_negatives_are_masks_without_foreground() -> None:
    from mlpipe.config.schema import Stage
    from mlpipe.data.splits.variants import View

    found = made(Pictures([HALF, BARE, BARE, BARE]))
    rows = np.arange(4)
    view = View(found.name, 0, rows, rows, rows[:0], rows[:0])
    stage = Stage(epochs=1, negatives=1, val_negatives=0)
    kept = view_of(view, found, stage)
    assert len(kept.train) == 2 and 0 in kept.train and kept.val.tolist() == [0]


def test_masks_are_cached_beside_images(tmp_path: Path) -> None:
    of, how = made(Pictures([HALF, BARE])), preprocessing.standard(3, id="p", size=12, resize="pad")
    masks, alike = mask_files.task_of(of), mask_files.preprocessing_of(how)
    for one, wanted in ((of, how), (masks, alike)):
        pack = packs.build(one, wanted, tmp_path / packs.pack_id(one, wanted), workers=2)
        assert not pack.unreadable and pack.take(np.arange(2)).shape == (2, 12, 12, wanted.channels)  # type: ignore[union-attr]
    values = np.asarray(pack.take(np.arange(2)))[0, :, :, 0]
    assert (values[:2] == IGNORED).all() and (values[2:10] == [0] * 6 + [1] * 6).all()
