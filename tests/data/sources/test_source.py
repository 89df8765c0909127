"""A stored path that leads out of the folders that were named is refused, whatever the source, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe import files
from mlpipe.api import TaskCreator
from mlpipe.data import sources, task
from mlpipe.data.sources.targets import mask_files, target_files
from mlpipe.data.task import Task
from mlpipe.errors import DataError


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Images of two classes in two parts, masks of both, arrays of both, and a file beside them."""
    for number, part in enumerate(("train", "test")):
        for index in range(4):
            name, value = f"{'ab'[index % 2]}/{index}", 10 * index + 100 * number
            picture(tmp_path / "d" / part / f"{name}.png", value)
            picture(tmp_path / "d" / f"{part}_masks" / f"{name}.png", 255 * (index % 2))
            for folder, content in ((part, np.full((1, 4, 4), value)), (f"{part}_masks", np.full((4, 4), index % 2))):
                path = tmp_path / "d" / f"{folder}_arrays" / f"{name}.npy"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, content)
    picture(tmp_path / "secret.png", 7)
    np.save(tmp_path / "secret.npy", np.full((1, 4, 4), 7))
    return tmp_path / "d"


def parts(base: Path, ending: str, *keys: str) -> dict[str, str]:
    """The folders of both parts: `train`, `test` and the keys of what belongs to them."""
    return {
        f"{part}{key}": str(base / f"{part}{'_masks' * bool(key)}{ending}")
        for part in ("train", "test")
        for key in ("", *keys)
    }


def arrays(base: Path, labels: str, **more: object) -> Task:
    given = parts(base, "_arrays", "_targets") if labels in ("masks", "images") else parts(base, "_arrays")
    return sources.samples(**given, labels=labels, **more)  # type: ignore[arg-type]


def boxed(base: Path, *, is_listed: bool) -> Task:
    """Images with a box each, which a JSON file lists, or a text file beside each."""
    names = sorted(path.relative_to(base / "train").as_posix() for path in (base / "train").rglob("*.png"))
    if not is_listed:
        for name in names:
            (base / "train" / name).with_suffix(".txt").write_text("0 0.5 0.5 0.5 0.5")
        return sources.boxes(root=str(base / "train"))
    images = [{"id": place, "file_name": name} for place, name in enumerate(names)]
    boxes = [{"image_id": place, "category_id": 0, "bbox": [1, 1, 4, 4]} for place in range(len(names))]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 0, "name": "thing"}]}
    files.write_json(base / "boxes.json", content)
    return sources.boxes(root=str(base / "train"), file=str(base / "boxes.json"))


MADE: dict[str, Callable[[Path], Task]] = {
    "folder": lambda base: sources.folder(root=str(base / "train")),
    "folders": lambda base: sources.folders(**parts(base, "")),  # type: ignore[arg-type]
    "mask_folders": lambda base: sources.mask_folders(**parts(base, "", "_masks")),  # type: ignore[arg-type]
    "image_folders": lambda base: sources.image_folders(**parts(base, "", "_targets")),  # type: ignore[arg-type]
    "own images": lambda base: sources.image_folders(**parts(base, "")),  # type: ignore[arg-type]
    "masks": lambda base: sources.masks(root=str(base), images="train", masks="train_masks"),
    "boxes": lambda base: boxed(base, is_listed=False),
    "listed boxes": lambda base: boxed(base, is_listed=True),
    "new images": lambda base: sources.new_images(root=str(base / "test"), like=MADE["folder"](base)),
    "samples": lambda base: arrays(base, "folders"),
    "samples with masks": lambda base: arrays(base, "masks"),
    "samples with images": lambda base: arrays(base, "images"),
    "new samples": lambda base: sources.new_arrays(root=str(base / "test_arrays"), like=arrays(base, "folders")),
}
CLIMBING = (
    "../secret.png",
    "/etc/passwd",
    "x/../../secret.png",
    "{part}/../../secret{end}",
    "{part}//etc/passwd",
    "{key}/x.png",
)


def with_first(made: Task, **column: object) -> Task:
    """The task with another first entry in a column."""
    old = getattr(made.samples, (key := next(iter(column))))
    return replace(made, samples=replace(made.samples, **{key: (column[key], *old[1:])}))


def refuses(changed: Task, folder: Path, shown: str) -> None:
    """Both ways to a stored task refuse it, with one sentence; its targets too."""
    task.save(changed, folder / "task.json")
    with pytest.raises(DataError) as refused:
        sources.load(folder / "task.json")
    told = f"has samples outside of its folder: {shown}; remove it and create the task again"
    assert refused.value.problems == (f"{folder / 'task.json'}: {told}",)
    ways = [lambda: sources.reader(changed, 1)]
    if "masks" in changed.source:
        ways.append(lambda: sources.reader(mask_files.task_of(changed), 1))
    elif "targets" in changed.source and changed.samples.masks:
        ways.append(lambda: sources.reader(target_files.task_of(changed), 1))
    for way in ways:
        with pytest.raises(DataError, match="outside of its folder"):
            way()


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("path", CLIMBING)
def test_ids_that_climb_out_are_refused(base: Path, tmp_path: Path, name: str, path: str) -> None:
    made = MADE[name](base)
    is_parted = made.source["type"] in ("folders", "samples")
    if path.startswith("{key}") and not is_parted:
        return
    end = ".npy" if made.source["type"] == "samples" else ".png"
    part = "test" if name == "new samples" else "train"
    climbing = path.format(part=part, end=end, key="type")
    if path.startswith("{part}//") and not is_parted:
        climbing = "/etc/passwd"
    refuses(with_first(made, ids=climbing), tmp_path, climbing)


@pytest.mark.parametrize(
    "name", [name for name in MADE if "mask" in name or name in ("image_folders", "samples with images")]
)
@pytest.mark.parametrize("path", ["../../secret.png", "/etc/passwd", "train/../../secret.npy"])
def test_masks_and_targets_that_climb_out_are_refused(base: Path, tmp_path: Path, name: str, path: str) -> None:
    made = MADE[name](base)
    refuses(with_first(made, masks=(path, made.samples.masks[0][1])), tmp_path, path)


@pytest.mark.parametrize("name", MADE)
def test_what_was_made_is_read(base: Path, tmp_path: Path, name: str) -> None:
    made = MADE[name](base)
    task.save(made, tmp_path / "task.json")
    source = sources.open(stored := sources.load(tmp_path / "task.json"))
    assert source.inputs(1)(0).shape[-1] == 1
    if stored.samples.masks:
        # A row of a box has five numbers.
        assert source.targets(1)(0).shape[-1] == (5 if "boxes" in name else 1)
    roots = {root.resolve() for root in source.roots()}
    assert roots and all(root.is_relative_to(base.resolve()) for root in roots)


def test_two_points_in_a_name_climb_nowhere(base: Path, tmp_path: Path) -> None:
    picture(base / "train" / "a" / "v1..2.png", 77)
    made = sources.folder(root=str(base / "train"))
    task.save(made, tmp_path / "task.json")
    assert "a/v1..2.png" in sources.load(tmp_path / "task.json").samples.ids


def test_tables_and_programs_name_files_wherever_they_lie(base: Path, tmp_path: Path) -> None:
    """A table's own paths may lead out of its folder: its rows say what is read."""
    table = base / "tables" / "t.csv"
    table.parent.mkdir()
    rows = [f"../train/{'ab'[n % 2]}/{n}.png,../train_masks/{'ab'[n % 2]}/{n}.png,{'ab'[n % 2]}" for n in range(4)]
    picture(tmp_path / "elsewhere" / "x.png", 99)
    picture(tmp_path / "elsewhere" / "y.png", 255)
    rows.append(f"{tmp_path}/elsewhere/x.png,{tmp_path}/elsewhere/y.png,a")
    table.write_text("\n".join(["image,mask,target", *rows]))
    creator = TaskCreator("made", base / "train", ["a", "b"])
    for number in range(4):
        creator.add(f"{'ab'[number % 2]}/{number}.png", "ab"[number % 2])
    for made in (sources.csv(file=str(table)), sources.masks(file=str(table)), creator.task()):
        task.save(made, tmp_path / made.name / "task.json")
        stored = sources.load(tmp_path / made.name / "task.json")
        read = sources.reader(stored, 1)
        assert {int(read(row)[0, 0, 0]) for row in range(len(stored.samples))} >= {0, 10, 20, 30}


def test_the_hash_is_no_way_round(base: Path, tmp_path: Path) -> None:
    """A file of another's hash, bytes and id is refused as one of the task's own folder is."""
    made = MADE["folders"](base)
    digest = files.digest_file(base.parent / "secret.png")
    changed = replace(made, samples=replace(made.samples, digests=(digest, *made.samples.digests[1:])))
    refuses(with_first(changed, ids="train/../../secret.png"), tmp_path, "train/../../secret.png")
