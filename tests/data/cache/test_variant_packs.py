"""The pack of a variant: rows of other packs, fixed and ragged, never a copy."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mlpipe.data import sources, tags, task
from mlpipe.data.cache import packs as cache
from mlpipe.data.cache import variant_packs
from mlpipe.data.preprocessing import standard
from mlpipe.data.splits.methods import Split, kfold
from mlpipe.data.task import Task
from mlpipe.errors import DataError


def variant_of(base: Task, text: str) -> Task:
    def split(of: Task) -> Split:
        return kfold(of.samples, folds=2)

    return tags.derive(base, tags.parse(text), tags.World(split, lambda name: sources.fashion_mini()))


@pytest.mark.parametrize("keep", ["fixed", "original"])
@pytest.mark.parametrize("text", ["shrink?30", "bring?fashion_mini:bag+shrink?40"])
def test_images_are_those_that_the_reader_gives(text: str, keep: str, tmp_path: Path) -> None:
    preprocessing = standard(1, id="small", size=12, keep=keep)  # type: ignore[arg-type]
    of = variant_of(sources.digits(), text)
    build = partial(cache.build, preprocessing=preprocessing, workers=1)
    pack = variant_packs.joined(of, [build(base, folder=tmp_path / base.name) for base in of.bases])
    assert len(pack) == len(of.samples) and pack.shape == (12, 12) and pack.ragged == (keep == "original")
    rows = np.random.default_rng(0).permutation(len(of.samples))[:25]
    read = sources.reader(of, 1)
    for row, image in zip(rows.tolist(), pack.take(rows), strict=True):
        assert np.array_equal(image, preprocessing(read(row)))
    fixed = pack.take_fixed(rows)
    assert fixed.shape == (25, 12, 12, 1)
    features = pack.with_images(np.arange(len(pack) * 2, dtype=np.float32).reshape(-1, 2))
    assert features.take(np.array([3]))[0].tolist() == [6, 7]
    other = variant_of(sources.digits(), "shrink?31")
    assert pack.rows_key != variant_packs.joined(other, pack.parts[:1]).rows_key and not pack.parts[0].rows_key


def test_unreadable_images_are_named_as_in_the_variant(tmp_path: Path) -> None:
    of = variant_of(sources.digits(), "bring?fashion_mini:bag")
    packs = [cache.build(base, standard(1, id="x", size=8), tmp_path / base.name, workers=1) for base in of.bases]
    first = next(name for name in of.samples.ids if name.startswith("fashion_mini:"))
    packs[1].unreadable[first.removeprefix("fashion_mini:")] = "broken"
    packs[0].unreadable["00001"] = "empty"
    pack = variant_packs.joined(of, packs)
    assert pack.unreadable == {first: "broken", "00001": "empty"}
    assert pack.unreadable_mask(of).sum() == 2


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    of = variant_of(sources.digits(), "bring?fashion_mini:bag")
    none = standard(1, id="none", size=None)
    packs = [cache.build(base, none, tmp_path / base.name, workers=1) for base in of.bases]
    with pytest.raises(DataError, match="fashion_mini has images of 28 x 28 pixels, digits others"):
        variant_packs.joined(of, packs)


def test_ids_that_two_tasks_share_are_refused() -> None:
    rows = [task.Row(f"fashion_mini:train/{i:05d}", "train", i % 2, f"d{i}") for i in range(1000)]
    base = task.make("odd", ["bag", "b"], rows, channels=1, source={"type": "none"})
    with pytest.raises(DataError, match="ids of the two tasks are the same"):
        variant_of(base, "bring?fashion_mini:bag")
