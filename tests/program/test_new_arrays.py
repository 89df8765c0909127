"""`mml predict mode.source=FILE` of models that learned from arrays: what the same arrays get in the project."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.running import new_data
from mlpipe.runs import maps, predictions, records
from mlpipe.runs.project import Project
from tests.build import conv

FAST = [
    "arch=keras_json", "preprocessing=none", "augmentations=none", "split.folds=2", "mode.nested=false",
    "trainer.max_epochs=1", "sys.threads=1",
]  # fmt: skip
SHAPE = (2, 12, 10)


@pytest.fixture
def fields(tmp_path: Path) -> np.ndarray[Any, Any]:
    """Arrays of two channels as x.npz, with class numbers, masks and numbers of every pixel beside it; networks for each."""
    x = np.random.default_rng(0).random((24, *SHAPE)).astype(np.float32)
    targets = {
        "y": (x.mean((1, 2, 3)) > 0.5).astype(int), "m": (x[:, 0] > 0.5).astype(np.uint8), "t": 3 * x[:, :1] - 40,
        "x": x,
    }  # fmt: skip
    for name, values in targets.items():
        np.savez(f"{name}.npz", **{f"s{place:02}": value for place, value in enumerate(values)})
    first = conv("c1", 4, batch_input_shape=[None, 12, 10, 2])
    flat: list[dict[str, Any]] = [
        {"class_name": "Flatten", "config": {"name": "f"}},
        {"class_name": "Dense", "config": {"name": "o", "units": 2, "activation": "softmax"}},
    ]
    ends = {"y": flat, "m": [conv("o", 2, "softmax")], "t": [conv("o", 1, "linear")]}
    for name, end in ends.items():
        network = {"class_name": "Sequential", "config": {"name": name, "layers": [first, *end]}}
        Path(f"{name}.json").write_text(json.dumps(network))
    with h5py.File("new.h5", "w") as file:
        file["deep/a"], file["b.1"], file["b.2"] = x[0], x[1], x[2]
    return x


def train(name: str, *more: str) -> None:
    given = [
        "task=samples",
        "task.train=x.npz",
        f"task.train_targets={name}.npz",
        f"arch.file={name}.json",
        f"proj={name}",
    ]
    assert main(["train", *FAST, *given, *more, "mode.subroutines=[train,predict]"]) == 0


def reports(tmp_path: Path, name: str) -> tuple[Path, list[dict[str, str]]]:
    folder = tmp_path / "results" / name / "reports/predictions"
    (path,) = folder.glob("new-new-*.csv")
    return path.with_suffix(""), list(csv.DictReader(path.read_text().splitlines()))


def test_arrays_get_classes_masks_and_arrays(fields: np.ndarray[Any, Any], tmp_path: Path) -> None:
    for name, more in {"y": [], "m": ["task.labels=masks"], "t": ["task.labels=images"]}.items():
        train(name, *more)
        assert main(["predict", f"proj={name}", "mode.source=new.h5"]) == 0
    _, rows = reports(tmp_path, "y")
    assert [row["image"] for row in rows] == ["new.h5:b.1", "new.h5:b.2", "new.h5:deep/a"]
    assert all(float(row["p(0)"]) + float(row["p(1)"]) == pytest.approx(1, abs=1e-4) for row in rows)
    folder, rows = reports(tmp_path, "m")
    assert {row["mask"] for row in rows} == {"new.h5/b.1.png", "new.h5/b.2.png", "new.h5/deep/a.png"}
    mask = np.asarray(Image.open(folder / "new.h5/deep/a.png"))
    assert mask.shape == SHAPE[1:] and set(np.unique(mask)) <= {0, 1}
    folder, rows = reports(tmp_path, "t")
    assert rows[2]["prediction"] == "new.h5/deep/a.npy"
    values = np.load(folder / "new.h5/deep/a.npy")
    assert values.shape == (1, *SHAPE[1:]) and values.dtype == np.float32
    # The samples themselves as new ones get what their fold's model gave them.
    assert main(["predict", "proj=t", "mode.source=x.npz", "mode.folds=[0]"]) == 0
    project = Project(tmp_path / "results/t")
    record = next(one for one in records.load_all(project) if one.fold == 0)
    path = project.predictions_file(record.pivot, record.id)
    known = predictions.load(path, record.pivot, "val").sample_ids
    (folder,) = (one for one in (project.reports_dir() / "predictions").glob("new-x-*") if one.is_dir())
    with maps.Maps(path.with_suffix(maps.SUFFIX)) as stored:
        for name in known:
            written = np.load(folder / f"{name.removeprefix('train/').replace(':', '/')}.npy")
            np.testing.assert_allclose(written, stored.values(record.pivot, "val", name), atol=1e-5)
    assert len(known) == 12


@pytest.mark.parametrize("shape", [(6, 5, 4), (9,)])
def test_volumes_and_series_get_masks_and_arrays_of_their_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    x, axes = np.random.default_rng(1).random((8, 1, *shape)).astype(np.float32), len(shape)
    for name, values in (("x", x), ("new", x[:2]), ("m", (x[:, 0] > 0.5).astype(np.uint8)), ("t", 2 * x)):
        np.savez(f"{name}.npz", **{f"s{place}": value for place, value in enumerate(values)})
    for name, units, end in (("m", 2, "softmax"), ("t", 1, "linear")):
        config = {"name": "o", "filters": units, "kernel_size": [1] * axes, "activation": end,
                  "batch_input_shape": [None, *shape, 1]}  # fmt: skip
        Path(f"{name}.json").write_text(json.dumps([{"class_name": f"Conv{axes}D", "config": config}]))
        train(name, f"task.axes={axes}", f"task.labels={'masks' if name == 'm' else 'images'}")
        assert main(["predict", f"proj={name}", "mode.source=new.npz"]) == 0
        folder, rows = reports(tmp_path, name)
        assert [row["image"] for row in rows] == ["new.npz:s0", "new.npz:s1"]
        given, project = np.load(folder / "new.npz/s1.npy"), Project(tmp_path / "results" / name)
        key, parts = (folder.name, "unlabelled", "test/new.npz:s1"), []
        for record in records.load_all(project):
            with maps.Maps(project.predictions_file(record.pivot, record.id).with_suffix(maps.SUFFIX)) as stored:
                parts.append((stored.chances(*key) if name == "m" else stored.values(*key)).astype(float))
        mean = np.mean(parts, axis=0)
        if name == "m":
            assert given.shape == shape and given.dtype == np.uint8
            assert np.array_equal(given, mean.argmax(0)) and 0 <= float(rows[1]["share(foreground)"]) <= 1
        else:
            assert given.shape == (1, *shape) and np.allclose(given, mean, atol=1e-5)


def test_what_is_wrong_with_new_arrays(fields: np.ndarray[Any, Any], capsys: pytest.CaptureFixture[str]) -> None:
    train("t", "task.labels=images")
    np.savez("odd.npz", a=np.full(SHAPE, np.nan), b=np.zeros((3, 12, 10)))
    np.save("large.npy", np.zeros((2, 16, 14)))
    Path("text.txt").write_text("no")
    wrong = {
        "odd.npz": "odd.npz:a: has values that are no numbers (NaN or infinite); replace them\nodd.npz:b: has 3 channels, "
        "the samples of",
        "gone.npy": "mode.source: there is no such file",
        "text.txt": "mode.source: holds no NumPy or HDF5 file",
    }
    # Convolutions take arrays of any size, whatever the file of the network says.
    assert main(["predict", "proj=t", "mode.source=large.npy"]) == 0
    (file,) = Path("results/t/reports/predictions").glob("*large*/*.npy")
    assert np.load(file).shape[-2:] == (16, 14)
    for name, sentence in wrong.items():
        capsys.readouterr()
        assert main(["predict", "proj=t", f"mode.source={name}"]) == 2
        assert sentence in capsys.readouterr().err, name


def test_names_in_a_file_lead_nowhere_else(fields: np.ndarray[Any, Any], tmp_path: Path) -> None:
    train("t", "task.labels=images")
    np.savez("new.npz", **{"../../../up/x": fields[0]})
    assert main(["predict", "proj=t", "mode.source=new.npz"]) == 0
    _, (row,) = reports(tmp_path, "t")
    assert row["image"] == "new.npz:../../../up/x"
    assert row["prediction"] == "new.npz/unnamed/unnamed/unnamed/up/x.npy"
    assert not [path for path in tmp_path.rglob("x.npy") if "unnamed" not in str(path)]


def test_a_volume_is_for_another_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    volume = np.random.default_rng(0).normal(size=(16, 8, 8))
    np.save("scan.npy", volume)
    np.save("classes.npy", (volume > 0).astype(np.uint8))
    layers = [conv("c1", 4, batch_input_shape=[None, 8, 8, 1]), conv("o", 2, "softmax")]
    Path("n.json").write_text(json.dumps({"class_name": "Sequential", "config": {"name": "n", "layers": layers}}))
    given = ["task=slices", "task.train=scan.npy", "task.train_targets=classes.npy", "arch.file=n.json"]
    sets = "task.slices=[{name: y-z, sizes: [1, 8, 8]}]"
    assert main(["train", "mode.subroutines=[train]", *FAST, *given, sets, "task.blocks=8", "proj=s"]) == 0
    assert main(["predict", "proj=s", "mode.source=scan.npy"]) == 2
    said = capsys.readouterr().err
    assert (
        "mode.source: a model of slices is applied to a whole volume by another command; mml evaluate 'mode.record=s#1' "
        "mode.source=scan.npy 'mode.slices=[{name:y-z,sizes:[1,8,8]}]' mode.outfile=prediction.h5"
    ) in said
    words = ["mode.record=s#1", "mode.source=scan.npy", "mode.slices=[{name:y-z,sizes:[1,8,8]}]"]
    assert main(["evaluate", *words, "mode.outfile=prediction.h5"]) == 0
    with h5py.File("prediction.h5") as file:
        assert file["y-z"].shape == (16, 8, 8, 2)


def test_texts_of_the_command_are_quoted_where_they_must_be() -> None:
    given = [{"name": "a b", "sizes": [1, 2], "transpose": True, "margin": "data"}]
    assert new_data._text(given) == '[{name:"a b",sizes:[1,2],transpose:true,margin:data}]'
