"""Learning from samples of one and three axes, from the command line to the report, and what is refused in a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.errors import ConfigError, MlpipeError
from mlpipe.running import launch
from mlpipe.runs import maps

Array = np.ndarray[Any, Any]
SHAPE = (12, 16, 20)
QUICK = ["sys.threads=1", "sampling.batch_size=4", "optimizer.lr=0.02", "mode.nested=false"]


def layers(axes: int, filters: int = 3, end: str = "softmax") -> list[dict[str, Any]]:
    """A network of two convolutions that leaves sizes open."""
    first = {"name": "one", "filters": 8, "activation": "relu", "batch_input_shape": [None] * (axes + 1) + [1]}
    last = {"name": "end", "filters": filters, "activation": end}
    return [
        {"class_name": f"Conv{axes}D", "config": {"kernel_size": [3] * axes, "padding": "same", **config}}
        for config in (first, last)
    ]


def balls(seed: int) -> tuple[Array, Array]:
    """A volume in which balls of two kinds are brighter and darker, and which kind is where."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(SHAPE, np.int64)
    for kind in (1, 2) * 3:
        far = sum((axis - rng.uniform(3, size - 3)) ** 2 for axis, size in zip(np.indices(SHAPE), SHAPE, strict=True))
        classes[far < 16] = kind
    return (np.array([0.0, 3.0, -3.0])[classes] + rng.normal(0, 0.4, SHAPE)).astype(np.float32), classes


@pytest.fixture
def scans(tmp_path: Path) -> None:
    """Two volumes with class numbers in the current folder, and networks of one to three axes."""
    for seed, name in enumerate(("a", "b")):
        volume, classes = balls(seed)
        np.save(f"{name}.npy", volume)
        np.save(f"{name}_classes.npy", classes)
    for axes in (1, 2, 3):
        Path(f"net{axes}.json").write_text(json.dumps(layers(axes)))


def trained(*arguments: str) -> int:
    return main(["train", "mode.subroutines=[train]", "task=slices", "task.train=a.npy", "task.train_targets=a_classes.npy",
                 "arch=keras_json", *QUICK, *arguments])  # fmt: skip


@pytest.mark.parametrize(("axes", "sizes"), [(3, "[6,8,10]"), (1, "[1,1,10]")])
def test_boxes_and_lines_from_training_to_the_report(
    scans: None, capsys: pytest.CaptureFixture[str], axes: int, sizes: str
) -> None:
    keys = [f"task.slices=[{{name:s,sizes:{sizes}}}]", f"arch.file=net{axes}.json", "augmentations=axis_flips"]
    test = ["task.test=b.npy", "task.test_targets=b_classes.npy", "mode.subroutines=[train,predict,test]"]
    assert trained(*keys, *test, "loss=dice", "split.folds=2", "trainer.max_epochs=10", "sampling.batch_size=8") == 0
    assert main(["post", "sys.threads=1"]) == 0
    assert main(["info", "mode.subroutines=[models,report]"]) == 0
    assert main(["info", "task=slices", "task.train=a.npy", "task.train_targets=a_classes.npy", *keys[:1],
                 "mode.subroutines=[samples]", "mode.augmented=true", "augmentations=axis_flips"]) == 0  # fmt: skip
    report = next(Path("results").rglob("report.html")).read_text("utf-8")
    assert report.count("data:image/png") > 3
    assert ("middle plane" if axes == 3 else "drawn as strips") in report
    capsys.readouterr()
    for number in (1, 2):
        outfile = [f"mode.record=default#{number}", "mode.source=b.npy", f"mode.outfile=p{number}.h5"]
        compared = [f"mode.slices=[{{name:s,sizes:{sizes}}}]", "mode.targets=b_classes.npy", "sys.threads=1"]
        assert main(["evaluate", *outfile, *compared]) == 0
    said = [float(one) for one in re.findall(r"targets: .*dice (\S+),", capsys.readouterr().out)]
    # What a record says of the test slices is what it gives for the test volume.
    records = sorted(Path("results/default/tasks").rglob("record.json"))
    stored = [json.loads(one.read_text())["scores"]["test"]["dice"] for one in records]
    assert len(stored) == 2 and min(said) > 0.6
    assert sorted(said) == pytest.approx(sorted(stored), abs=2e-4)
    with h5py.File("p1.h5") as file:
        whole = file["s"][()]
    first_id = next(one.parent.name for one in records if json.loads(one.read_text())["number"] == 1)
    path = next(Path("results/default/tasks").rglob(f"predictions/{first_id}.npz"))
    task = path.parent.parent.name
    at = [int(one) for one in sizes.strip("[]").split(",")]
    with maps.Maps(path) as found:
        first = found.chances(task, "test", "test/s/00000")
    expected = np.moveaxis(whole[: at[0], : at[1], : at[2]], -1, 0)
    assert np.allclose(first.reshape(expected.shape) / 255, expected, atol=1 / 254)


def test_a_test_volume_is_joined_while_boxes_are_learned(scans: None) -> None:
    keys = ["task.slices=[{name:s,sizes:[6,8,8],padding:[1,1,1],margin:data}]", "arch.file=net3.json"]
    test = ["task.test=b.npy", "task.test_targets=b_classes.npy", "split=on_test", "mode.store_best=false"]
    joined = ["cbs=volume_file", "cbs.volume.outfile=p.h5", "augmentations=none", "trainer.max_epochs=8"]
    assert trained(*keys, *test, *joined) == 0
    with h5py.File("p.h5") as file:
        during = file["s"][()]
    assert (during.argmax(-1) == np.load("b_classes.npy")).mean() > 0.9
    assert main(["evaluate", "mode.record=default#1", "mode.source=b.npy", "mode.outfile=q.h5", "sys.threads=1",
                 "mode.slices=[{name:s,sizes:[6,8,8],padding:[1,1,1],margin:data}]"]) == 0  # fmt: skip
    with h5py.File("q.h5") as file:
        assert np.allclose(file["s"][()], during, atol=1e-5)
    assert main(["predict", "tta=flips", "sys.threads=1"]) == 2


def series_and_boxes(axes: int) -> None:
    """Small samples in x.npz in which a bump is bright or dark, its sign in y.npz, and where it is in m.npz."""
    rng, shape = np.random.default_rng(0), (16,) if axes == 1 else (6, 8, 7)
    given: dict[str, dict[str, Array]] = {"x": {}, "y": {}, "m": {}, "t": {}}
    for number in range(40):
        far = sum((axis - rng.uniform(2, size - 2)) ** 2 for axis, size in zip(np.indices(shape), shape, strict=True))
        inside, sign = np.asarray(far < 6), 2 * (number % 2) - 1
        sample = inside * 2.0 * sign + rng.normal(0, 0.3, shape)
        key = f"{number:02}"
        given["x"][key], given["y"][key] = sample[None], np.array(number % 2)
        given["m"][key], given["t"][key] = inside.astype(int), 0.5 * sample[None] + 1
    for name, arrays in given.items():
        np.savez(f"{name}.npz", **arrays)  # type: ignore[arg-type]


KINDS = [
    (1, "files", "y", "classification", 2), (3, "masks", "m", "segmentation", 2), (1, "images", "t", "images", 1),
    (3, "images", "t", "images", 1),
]  # fmt: skip


@pytest.mark.parametrize(("axes", "labels", "file", "kind", "outputs"), KINDS)
def test_arrays_of_other_axes_are_learned(
    tmp_path: Path, axes: int, labels: str, file: str, kind: str, outputs: int
) -> None:
    series_and_boxes(axes)
    net = layers(axes, outputs, "linear" if labels == "images" else "softmax")
    if labels == "files":
        net[1]["config"]["activation"] = "relu"
        net += [{"class_name": f"GlobalAveragePooling{axes}D", "config": {"name": "mean"}},
                {"class_name": "Dense", "config": {"name": "head", "units": 2, "activation": "softmax"}}]  # fmt: skip
    Path("net.json").write_text(json.dumps(net))
    keys = ["task=samples", "task.train=x.npz", f"task.train_targets={file}.npz", f"task.labels={labels}"]
    keys += [f"task.axes={axes}"] if axes == 1 else []
    keys += ["arch=keras_json", "arch.file=net.json", "preprocessing=none", "augmentations=axis_flips"]
    learn = [
        "split=holdout",
        "split.test_fraction=0.2",
        "mode.subroutines=[train,predict,test]",
        "trainer.max_epochs=15",
    ]
    assert main(["train", *keys, *QUICK, *learn]) == 0
    record = json.loads(next(Path("results").rglob("record.json")).read_text())
    name, good = {
        "classification": ("accuracy", 0.9), "segmentation": ("dice", 0.8), "images": ("psnr", 15.0),
    }[kind]  # fmt: skip
    assert record["kind"] == kind and record["scores"]["test"][name] > good
    assert main(["post", "sys.threads=1"]) == 0
    assert main(["info", "mode.subroutines=[models,report]"]) == 0
    assert main(["evaluate", *keys, "mode.outputs=out", "sys.threads=1"]) == 0
    if labels == "files":
        fitted = ["arch.freeze=true", "optimizer=linear", "augmentations=none", "split=holdout", "proj=linear"]
        assert main(["train", "mode.subroutines=[train]", *keys, *QUICK[:2], "mode.nested=false", *fitted]) == 0
    shape = (16,) if axes == 1 else (6, 8, 7)
    with h5py.File("out/output_1.h5") as given:
        assert given["x.npz:00"].shape == ((2,) if labels == "files" else (outputs, *shape))


def test_every_problem_of_a_recipe_for_images_is_listed(scans: None) -> None:
    keys = ["arch=unet", "tta=flips", "slicing=crops", "slicing.cells=2", "preprocessing.size=8", "augmentations=mixup"]
    with pytest.raises(ConfigError) as error:
        planned("[6,8,10]", *keys)
    assert [text.split(":")[0] for text in error.value.problems] == [
        "arch", "preprocessing.size", "augmentations.cpu.pipeline", "augmentations.device.pipeline", "tta", "slicing",
    ]  # fmt: skip
    assert (
        "have 3 axes, got 'unet-resnet34'; use arch=keras_json arch.file=net.json with a network of 3 axes"
        in (error.value.problems[0])
    )
    assert "got 'random_crop, horizontal_flip'; use augmentations=axis_flips" in error.value.problems[2]


def planned(sizes: str, *arguments: str) -> Any:
    given = ["task=slices", "task.train=a.npy", "task.train_targets=a_classes.npy", f"task.slices=[{{sizes:{sizes}}}]",
             *QUICK, "split.folds=2", *arguments]  # fmt: skip
    return launch.execute(launch.prepare(launch.Command("train", given)))


ARRAYS_WRONG = [
    (["arch=resnet18"], "arch: takes images, samples of x-"),
    (["arch=unet", "task.labels=masks", "task.train_targets=m.npz"], "have 3 axes, got 'unet-resnet34'; use arch=keras_json"),
    (["preprocessing=default"], "preprocessing.size: resizes images, samples of x-"),
    (["task.train=t.npz", "task.axes=2"], "t.npz:00: is no image: [1, 6, 8, 7] of float64; save arrays (channels, height, "),
    (["task.labels=images", "task.train_targets=null", "arch.file=flat.json"],
     "flat takes samples of 2 axes, the task's have 3"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "sentence"), ARRAYS_WRONG)
def test_arrays_that_do_not_fit_are_one_sentence(tmp_path: Path, keys: list[str], sentence: str) -> None:
    series_and_boxes(3)
    Path("net.json").write_text(json.dumps(layers(3)))
    Path("flat.json").write_text(json.dumps(layers(2, 1, "linear")))
    given = {"task.train_targets": "y.npz", "arch": "keras_json", "preprocessing": "none", "augmentations": "none",
             "task.train": "x.npz"} | dict(text.split("=", 1) for text in keys)  # fmt: skip
    given |= {"arch.file": "net.json"} if given["arch"] == "keras_json" and "arch.file" not in given else {}
    texts = ["task=samples", *QUICK, "split=holdout", *(f"{key}={value}" for key, value in given.items())]
    with pytest.raises(MlpipeError) as error:
        launch.execute(launch.prepare(launch.Command("train", texts)))
    assert sentence in str(error.value)
    assert not list(Path("results").rglob("record.json"))


WRONG = [
    ("[6,8,10]", "net2.json", [],
     "net2 takes samples of 2 axes, the task's have 3, got (None, None, 1); begin with (6, 8, 10, 1)"),
    ("[1,8,10]", "net3.json", [], "net3 takes samples of 3 axes, the task's have 2"),
    ("[6,8,10]", "four.json", [], "end gives 4 maps, the task has 3 classes; set its filters to 3"),
    ("[6,8,10]", "net3.json", ["split.folds=5"], "split.folds: leaves a fold without images: they are of 2 groups"),
    ("[6,8,10]", "net3.json", ["augmentations=axis_flips", "augmentations.cpu.pipeline.0.axes=[3]"],
     "random_flips names an axis that is not there, got [3]; count them from 0 to 2"),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "file", "keys", "sentence"), WRONG)
def test_what_is_wrong_is_one_sentence(scans: None, sizes: str, file: str, keys: list[str], sentence: str) -> None:
    Path("four.json").write_text(json.dumps(layers(3, 4)))
    with pytest.raises(MlpipeError) as error:
        planned(sizes, "arch=keras_json", f"arch.file={file}", "augmentations=none", *keys)
    assert sentence in str(error.value)
    assert not list(Path("results").rglob("record.json"))
