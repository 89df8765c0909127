"""A network learns to solve Burgers' equation from initial values, through the whole program; what has no meaning is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.runs import ensembles, maps, predictions, records
from mlpipe.runs.project import Project
from tests.build import PLACES, TIMES, layers
from tests.learn.losses.test_equations import loss_of, stepped


def tall() -> list[dict[str, Any]]:
    """A convolutional one, whose transposed convolution makes times of a single row."""
    return [
        {"class_name": "Conv2DTranspose", "config": {
            "name": "up", "filters": 4, "kernel_size": [TIMES, 3], "strides": [TIMES, 1], "padding": "same",
            "activation": "tanh", "batch_input_shape": [None, 1, PLACES, 1]}},
        {"class_name": "Conv2D", "config": {"name": "end", "filters": 1, "kernel_size": 3, "padding": "same"}},
    ]  # fmt: skip


def run(folder: Path, mode: str, *arguments: str, net: str = "row.json", size: int = PLACES) -> int:
    base = [
        "task=initial_values", f"task.size={size}", "loss=burgers", "loss.boundary_factor=64", "arch=keras_json",
        f"arch.file={folder / net}", "preprocessing=none", "augmentations=none", "sys.threads=1",
        f"out_dir={folder / 'r'}", f"data_dir={folder / 'data'}",
    ]  # fmt: skip
    return main([mode, *base, *arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks."""
    made = tmp_path_factory.mktemp("pde")
    nets = {
        "row": layers(row=True), "image": layers(row=False), "tall": tall(), "once": layers(row=False, times=1),
        "narrow": layers(row=True, places=8),
        "wide": [*layers(row=True)[:2], {"class_name": "Dense", "config": {"units": 40}},
                 {"class_name": "Reshape", "config": {"target_shape": [5, 8, 1]}}],
    }  # fmt: skip
    for name, content in nets.items():
        (made / f"{name}.json").write_text(json.dumps(content))
    return made


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """A project with two folds of a network that takes rows, the mean of both, and a report."""
    learned = [
        "task.examples=24", "task.test_examples=4", "task.frequency=[1,2]", "trainer.max_epochs=30", "optimizer.lr=1e-2",
        "sampling.batch_size=12", "split.folds=2", "mode.nested=false",
    ]  # fmt: skip
    assert run(folder, "train", *learned, "mode.subroutines=[train,predict,test]") == 0
    assert run(folder, "post", *learned[:3]) == 0
    return folder


def test_the_loss_falls_and_is_the_score(trained: Path) -> None:
    project = Project(trained / "r/default")
    found = records.load_all(project)
    assert len(found) == 2
    for record in found:
        assert record.kind == "solutions"
        history = (project.model_dir(record.pivot, record.id) / "metrics.csv").read_text().splitlines()
        column = history[0].split(",").index("val/loss")
        first, last = (float(history[row].split(",")[column]) for row in (1, -1))
        assert last < 0.3 * first
        path = project.predictions_file(record.pivot, record.id)
        rows = predictions.load(path, record.pivot, "test")
        assert record.scores["test"]["equation_loss"] == pytest.approx(rows.logits.mean(), rel=1e-5)
        assert list(record.scores["test"]) == ["equation_loss"]
        with maps.Maps(path.with_suffix(".npz")) as stored:
            for sample, lost in zip(rows.sample_ids, rows.logits[:, 0], strict=True):
                said, true = (of(record.pivot, "test", sample) for of in (stored.values, stored.true_values))
                assert true is not None and said.shape == (1, TIMES, PLACES) and true.shape == (1, 1, PLACES)
                assert said.dtype == np.float32
                # A network keeps to its initial values but for a little, which counts 64 times.
                off = ((said[0, 0] - true[0, 0]) ** 2).mean() * 64
                inside = loss_of(said[0].astype(float), factor=64.0)
                assert lost == pytest.approx(off + inside, rel=1e-4)


def test_the_mean_of_folds_is_judged_anew_and_the_report_shows_it(trained: Path) -> None:
    project = Project(trained / "r/default")
    found = records.load_all(project)
    (made,) = ensembles.load_all(project, found[0].task)
    assert made.kind == "solutions" and list(made.scores["test"]) == ["equation_loss"]
    path = project.ensembles_dir(made.task) / f"{made.id}.npz"
    each = [project.predictions_file(one.pivot, one.id).with_suffix(".npz") for one in found]
    rows = predictions.load(path.with_suffix(".parquet"), made.task, "test")
    with maps.Maps(path) as mean, maps.Maps(each[0]) as one, maps.Maps(each[1]) as other:
        for sample, lost in zip(rows.sample_ids, rows.logits[:, 0], strict=True):
            said = mean.values(made.task, "test", sample)
            both = [part.values(made.task, "test", sample) for part in (one, other)]
            np.testing.assert_allclose(said, (both[0] + both[1]) / 2, rtol=1e-5, atol=1e-6)
            true = mean.true_values(made.task, "test", sample)
            assert true is not None
            off = ((said[0, 0] - true[0, 0]) ** 2).mean() * 64
            assert lost == pytest.approx(off + loss_of(said[0].astype(float), factor=64.0), rel=1e-4)
    page = (project.reports_dir() / "report.html").read_text("utf-8")
    assert "solutions of an equation" in page and "time runs down" in page and "psnr" not in page.lower()
    board = (project.reports_dir() / "leaderboard.csv").read_text().splitlines()
    assert board[1].startswith("equation_loss,") and board[2].startswith("equation_loss,")


def test_new_pictures_and_views_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["task.examples=24", "task.test_examples=4", "task.frequency=[1,2]"]
    assert run(trained, "predict", *chosen, f"mode.source={trained}") == 2
    assert "mode.source: is for files of images, these models solve an equation" in capsys.readouterr().err
    assert run(trained, "predict", *chosen, "tta=flips") != 0
    assert "tta: a view of a sample has another solution, got 'flips'" in capsys.readouterr().err


def test_a_network_of_images_is_learned_exactly_and_applied(folder: Path) -> None:
    """Full batches of a second-order optimizer come close to the solution itself; its weights are evaluated and applied."""
    learned = [
        "task.examples=3", "task.frequency=[1,1.5]", "task.sampling=uniform", "optimizer=lbfgs", "optimizer.max_iter=400",
        "trainer.max_epochs=2", "mode.cv=false", "mode.nested=false", "split=on_test", "proj=exact", "mode.store_best=false",
        "trainer.precision=32-true", "cbs=output_files", f"callbacks.outputs.folder={folder / 'while'}", "task.test_examples=3",
        "task.allow_overlap=true",
    ]  # fmt: skip
    assert run(folder, "train", *learned, net="image.json") == 0
    (record,) = records.load_all(Project(folder / "r/exact"))
    x = np.arange(PLACES) / PLACES
    with h5py.File(folder / "while/output_2.h5") as file:
        for number, c in enumerate((1, 1.25, 1.5)):
            found = file[f"{number:07d}"][0]
            expected = stepped((1 - np.cos(2 * np.pi * c * x)) / 2, TIMES)
            assert found.shape == (TIMES, PLACES)
            assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)
    weights = Project(folder / "r/exact").model_dir(record.pivot, record.id) / "weights.safetensors"
    applied = [
        "task.test_examples=2",
        f"arch.weights={weights}",
        f"mode.outputs={folder / 'out'}",
        "task.labelled=false",
    ]
    assert run(folder, "evaluate", *applied, net="image.json") == 0
    with h5py.File(folder / "out/output_1.h5") as file:
        assert [value.shape for value in file.values()] == [(1, TIMES, PLACES)] * 2


def test_a_convolutional_network_makes_times_of_a_row(folder: Path) -> None:
    short = [
        "task.examples=6",
        "trainer.max_epochs=1",
        "mode.cv=false",
        "mode.nested=false",
        "split.folds=2",
        "proj=tall",
    ]
    assert run(folder, "train", *short, net="tall.json") == 0
    (record,) = records.load_all(Project(folder / "r/tall"))
    assert record.kind == "solutions" and np.isfinite(record.scores["val"]["equation_loss"])  # type: ignore[arg-type]


def test_arrays_of_ones_own_are_initial_values(folder: Path) -> None:
    np.savez(folder / "own.npz", **{f"{n}": np.full((1, 1, PLACES), n / 10, np.float32) for n in range(6)})  # type: ignore[arg-type]
    arguments = [
        "train", "task=samples", "task.labels=images", f"task.train={folder / 'own.npz'}", "loss=burgers", "arch=keras_json",
        f"arch.file={folder / 'row.json'}", "preprocessing=none", "augmentations=none", "sys.threads=1", "split.folds=2",
        "trainer.max_epochs=1", "mode.nested=false", "mode.cv=false", f"out_dir={folder / 'r'}", "proj=own",
    ]  # fmt: skip
    assert main([*arguments, f"data_dir={folder / 'data'}"]) == 0
    assert records.load_all(Project(folder / "r/own"))[0].kind == "solutions"


def test_solutions_stand_beside_images_of_the_same_task(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An auto-encoder of initial values is compared with them; each kind has a table, and the report tells of the newer one."""
    config = {"filters": 1, "kernel_size": 3, "padding": "same", "batch_input_shape": [None, 1, PLACES, 1]}
    (folder / "same.json").write_text(json.dumps([{"class_name": "Conv2D", "config": config}]))
    short = ["task.examples=8", "trainer.max_epochs=1", "split.folds=2", "mode.nested=false", "proj=both"]
    plain = [
        "train", "task=initial_values", f"task.size={PLACES}", "arch=keras_json", f"arch.file={folder / 'same.json'}",
        "preprocessing=none", "augmentations=none", "sys.threads=1", f"out_dir={folder / 'r'}", f"data_dir={folder / 'data'}",
    ]  # fmt: skip
    assert main([*plain, *short]) == 0
    assert run(folder, "train", *short, "mode.subroutines=[train,predict]") == 0
    assert sorted({one.kind for one in records.load_all(Project(folder / "r/both"))}) == ["images", "solutions"]
    capsys.readouterr()
    assert run(folder, "info", *short[:1], "proj=both", "mode.subroutines=[models,report]") == 0
    said = capsys.readouterr()
    assert "equation_loss of 1 recipe" in said.out + said.err and "psnr of 1 recipe" in said.out + said.err
    page = (folder / "r/both/reports/report.html").read_text("utf-8")
    assert "time runs down" in page and "Image, target and prediction" not in page


@pytest.mark.parametrize(
    ("net", "more", "said"),
    [
        ("once", [], "arch: solutions have two times and two places or more, these are [1, 1, 12]"),
        ("narrow", [], "arch.layers: narrow takes images of 1 x 8, these are 1 x 12"),
        ("wide", [], "gives (5, 8, 1), a solution is (times, 12, 1); end it in a Reshape to [times, 12, 1]"),
        ("row", ["metrics.train=[psnr]"], "metrics.train: no metric of solutions tasks, got 'psnr'"),
        ("row", ["loss=mse"], "arch.layers: row takes samples of 1 axis, the task's have 2"),
        ("row", ["tta=flips"], "tta: a view of a sample has another solution"),
        (
            "row",
            ["stages.list=[{epochs: 1, loss: mse}, {epochs: 1}]", "mode.store_best=false"],
            "stages.list[0].loss: solutions and images are not",
        ),
        ("row", ["loss.diffusion_coeff=-1"], "loss.diffusion_coeff: must be a number >= 0"),
        ("row", ["task.frequncy=[1,2]"], "task.frequncy: unknown key"),
        ("row", ["task.sampling=uniforn"], "task.sampling: must be one of uniform, random"),
    ],
)
def test_what_does_not_fit_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], net: str, more: list[str], said: str
) -> None:
    chosen = [one for one in more if not one.startswith("loss=")]
    loss = [one for one in more if one.startswith("loss=")]
    base = ["task.examples=8", "split.folds=2", "mode.nested=false", "trainer.max_epochs=1"]
    if loss:
        arguments = [
            "train", "task=initial_values", f"task.size={PLACES}", *loss, "arch=keras_json", "preprocessing=none",
            "augmentations=none", f"arch.file={folder / f'{net}.json'}", f"out_dir={folder / 'r'}", *base,
        ]  # fmt: skip
        assert main(arguments) == 2
    else:
        assert run(folder, "train", *base, *chosen, net=f"{net}.json") == 2
    assert said in capsys.readouterr().err
