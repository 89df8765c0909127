"""Target images of another size than their images: super-resolution, maps of half the size, and what does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.runs import maps, predictions, records
from mlpipe.runs.project import Project
from tests.build import conv

FAST = ["arch=keras_json", "split.folds=2", "mode.nested=false", "trainer.max_epochs=2", "sys.threads=1"]
PLAIN = ["preprocessing=none", "augmentations=none"]
UP = {"class_name": "UpSampling2D", "config": {"name": "up", "size": [2, 2]}}
DOWN = {"class_name": "AveragePooling2D", "config": {"name": "down", "pool_size": [2, 2]}}
RESIZE = "_target_: mlpipe.data.augment.geometry.resize"


def network(name: str, shape: list[int], *between: dict[str, Any]) -> str:
    layers = [conv("c1", 8, batch_input_shape=[None, *shape]), *between, conv("out", shape[-1], "sigmoid")]
    whole = {"class_name": "Sequential", "config": {"name": name, "layers": layers}}
    Path(f"{name}.json").write_text(json.dumps(whole))
    return f"arch.file={name}.json"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Grey pictures of 20 x 24 pixels in large/, and of half the size in small/."""
    rng = np.random.default_rng(0)
    for kind in ("small", "large"):
        (tmp_path / kind).mkdir()
    for place in range(24):
        coarse = (rng.random((3, 3)) * 255).astype(np.uint8)
        large = Image.fromarray(coarse).resize((20, 24), Image.Resampling.BICUBIC)
        large.save(tmp_path / "large" / f"{place:02}.png")
        large.resize((10, 12), Image.Resampling.BOX).save(tmp_path / "small" / f"{place:02}.png")
    return tmp_path


def stored(project: str, split: str = "val") -> list[tuple[Any, Any]]:
    """Predicted images and targets of a fold."""
    home = Project(Path("results") / project)
    record = records.load_all(home)[0]
    path = home.predictions_file(record.pivot, record.id)
    names = predictions.load(path, record.pivot, split).sample_ids
    with maps.Maps(path.with_suffix(maps.SUFFIX)) as found:
        return [
            (found.values(record.pivot, split, name), found.true_values(record.pivot, split, name)) for name in names
        ]


def test_images_of_twice_the_size(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["task=image_folders", "task.train=small", "task.train_targets=large", network("twice", [12, 10, 1], UP)]
    moves = "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.samples.horizontal_flip}]"
    parts = ["mode.subroutines=[train,predict,test]", "split.test_fraction=0.25"]
    arguments = [*FAST, *PLAIN, *given, moves, *parts, "tta=flips", "optimizer.lr=0.01"]
    assert main(["train", *arguments, "trainer.max_epochs=20", "sampling.batch_size=4", "proj=sr"]) == 0
    pairs = stored("sr")
    assert all(one.shape == true.shape == (1, 24, 20) for one, true in pairs)
    truth = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("large").iterdir())]) / 255
    assert all(min(np.abs(truth - true[0]).max((1, 2))) < 1e-3 for _, true in pairs)
    # Anything upside down or shifted is far from smooth pictures; their own mean is at 0.05 or more.
    assert np.mean([((one - true) ** 2).mean() for one, true in pairs]) < 0.02
    assert main(["post", "proj=sr"]) == 0
    assert main(["predict", "proj=sr", "mode.source=small"]) == 0
    (folder,) = (one for one in Path("results/sr/reports/predictions").iterdir() if one.is_dir())
    assert {Image.open(path).size for path in folder.glob("*.png")} == {(20, 24)}
    written = np.asarray(Image.open(folder / "03.png")) / 255
    assert ((written - truth[3]) ** 2).mean() < 0.02
    assert ".png: prediction" in Path("results/sr/reports/report.html").read_text()
    # The file says one size; a network of convolutions takes any.
    arguments += ["preprocessing=default", "preprocessing.size=[18,15]", "trainer.max_epochs=1"]
    assert main(["train", *arguments, "proj=larger"]) == 0
    assert all(one.shape == (1, 36, 30) for one, _ in stored("larger"))


def test_sizes_that_preprocessing_makes(pictures: Path) -> None:
    given = ["task=image_folders", "task.train=large", "task.train_targets=small", "augmentations=none"]
    for kind in ("default", "original"):
        size = [f"preprocessing={kind}", "preprocessing.size=16"]
        assert main(["train", *FAST, *given, *size, network("half", [16, 16, 1], DOWN), f"proj={kind}",
                     "mode.subroutines=[train,predict]"]) == 0  # fmt: skip
        assert all(one.shape == true.shape == (1, 8, 8) for one, true in stored(kind))


def test_arrays_with_targets_of_half_the_size(pictures: Path) -> None:
    large = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("large").iterdir())]) / np.float32(255)
    np.savez("x.npz", **{f"s{place:02}": one[np.newaxis] for place, one in enumerate(large)})
    np.savez("y.npz", **{f"s{place:02}": one[np.newaxis, ::2] for place, one in enumerate(large)})
    halves = {"class_name": "AveragePooling2D", "config": {"name": "down", "pool_size": [2, 1]}}
    given = ["task=samples", "task.labels=images", "task.train=x.npz", "task.train_targets=y.npz"]
    turned = "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.geometry.random_rotate, degrees: 5}]"
    arguments = [*FAST, *PLAIN, *given, network("rows", [24, 20, 1], halves), turned]
    assert main(["train", *arguments, "mode.subroutines=[train,predict]", "proj=a"]) == 0
    assert all(one.shape == true.shape == (1, 12, 20) for one, true in stored("a"))
    assert main(["predict", "proj=a", "mode.source=x.npz"]) == 0
    (folder,) = (one for one in Path("results/a/reports/predictions").iterdir() if one.is_dir())
    assert np.load(folder / "x.npz/s03.npy").shape == (1, 12, 20)


def test_a_picture_as_the_target_of_its_smaller_self(pictures: Path) -> None:
    given = ["task=image_folders", "task.train=large", network("own", [12, 10, 1], UP)]
    steps = f"augmentations.cpu.pipeline=[{{{RESIZE}, size: [10, 12], on: images}}]"
    assert main(["train", *FAST, *PLAIN, *given, steps, "mode.subroutines=[train,predict]", "proj=own"]) == 0
    truth = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("large").iterdir())]) / 255
    assert all(
        one.shape == (1, 24, 20) and min(np.abs(truth - true[0]).max((1, 2))) < 1e-3 for one, true in stored("own")
    )
    assert main(["predict", "proj=own", "mode.source=large"]) == 0
    (folder,) = (one for one in Path("results/own/reports/predictions").iterdir() if one.is_dir())
    assert {Image.open(path).size for path in folder.glob("*.png")} == {(20, 24)}


def test_what_does_not_fit_is_one_sentence(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["task=image_folders", "task.train=small", "task.train_targets=large"]
    same = [*FAST, *PLAIN, *given, network("same", [12, 10, 1])]
    twice = [*FAST, *PLAIN, *given, network("twice", [12, 10, 1], UP)]
    crop = "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.samples.random_crop}]"
    zoom = "{_target_: mlpipe.data.augment.geometry.random_zoom, most: 0.1}"
    late = f"augmentations.cpu.pipeline=[{{{RESIZE}, size: [10, 12], on: images}},{zoom}]"
    pad, odd = ["preprocessing=default", "preprocessing.size=16", "preprocessing.resize=pad"], ["preprocessing.size=15"]
    back = ["task=image_folders", "task.train=large", "task.train_targets=small", "preprocessing=default", *odd]
    wrong = [
        (same, "arch.layers: out gives (12, 10, 1), images are 12 x 10 and targets 24 x 20; end it at the targets' size"),
        ([*FAST[1:], *PLAIN, *given, "arch=unet", "arch.pretrained=false"], "targets are [24, 20]; use arch=keras_json"),
        ([*twice, crop], "random_crop does not move images and targets of different sizes alike"),
        ([*FAST, *PLAIN, "task=image_folders", "task.train=large", network("own", [12, 10, 1], UP), late],
         "random_zoom does not move images and targets of different sizes alike"),
        ([*FAST, "augmentations=none", *given, *pad, network("twice", [12, 10, 1], UP)],
         "preprocessing.resize: would put targets of another size beside their images, got 'pad'; use squash"),
        ([*FAST, "augmentations=none", *back, network("half", [15, 15, 1])],
         "preprocessing.size: gives targets of 15/2 x 15/2 pixels"),
    ]  # fmt: skip
    for arguments, sentence in wrong:
        capsys.readouterr()
        assert main(["train", *arguments]) == 2, sentence
        assert sentence in capsys.readouterr().err
    Image.new("L", (20, 20)).save(pictures / "large" / "07.png")
    assert main(["train", *twice]) == 2
    assert "07.png: is 20 x 20 pixels, its image 07.png 10 x 12; make it 2 times as high and 2 times as wide" in (
        capsys.readouterr().err
    )


def test_masks_have_the_size_of_their_images(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["task=mask_folders", "task.train=large", "task.train_masks=small", "arch=unet", "arch.pretrained=false"]
    (pictures / "masks").mkdir()
    for path in Path("large").iterdir():
        mask = Image.fromarray((np.asarray(Image.open(path)) > 127).astype(np.uint8))
        mask.resize((10, 12), Image.Resampling.NEAREST).save(pictures / "masks" / path.name)
        (pictures / "whole").mkdir(exist_ok=True)
        mask.save(pictures / "whole" / path.name)
    given[2] = "task.train_masks=masks"
    assert main(["train", *given, "mode.nested=false"]) == 2
    assert "is 10 x 12 pixels, its image" in capsys.readouterr().err
    given[2] = "task.train_masks=whole"
    steps = f"augmentations.cpu.pipeline=[{{{RESIZE}, size: [10, 12], on: targets}}]"
    assert main(["train", *given, "mode.nested=false", *PLAIN, steps]) == 2
    assert "resizes images or masks alone, got 'on: targets'; leave `on` out" in capsys.readouterr().err
