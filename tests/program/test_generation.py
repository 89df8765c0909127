"""A generator through the whole program: trained, judged, asked for images, and refused where it has nothing to say."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe.cli import main
from mlpipe.runs import predictions, records
from mlpipe.runs.project import Project

TASK = ["task=digits", "sys.threads=1"]
GAN = [
    "arch=gan", "arch.width=4", "arch.noise=8", "loss=wasserstein", "loss.critic_steps=2", "preprocessing.size=8",
    "augmentations=none", "optimizer=adam", "optimizer.lr=2e-3", "optimizer.betas=[0.5,0.9]", "lr_scheduler=none",
    "split.folds=4", "mode.folds=[0,1]", "mode.nested=false", "trainer.max_epochs=3",
]  # fmt: skip


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two folds of a small generator of digits, tested and reported."""
    folder = tmp_path_factory.mktemp("gan")
    assert run(folder, "train", *TASK, *GAN, "mode.subroutines=[train,predict,test,post]") == 0
    return folder


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(once, tmp_path / "copy"))


def run(folder: Path, mode: str, *arguments: str) -> int:
    return main([mode, *arguments, f"out_dir={folder / 'results'}", f"data_dir={folder / 'data'}"])


def drawn(folder: Path, seed: int) -> Path:
    return folder / "results" / "default" / "reports" / "samples" / f"digits-seed{seed}"


def test_records_and_report(trained: Path) -> None:
    project = Project(trained / "results" / "default")
    found = records.load_all(project)
    assert [record.kind for record in found] == ["generation"] * 2
    for record in found:
        path = project.predictions_file(record.pivot, record.id)
        rows = predictions.load(path, "digits", "test")
        assert rows.logits.shape[1] == 2 + 2 * 64 and (rows.targets == 1).all()
        assert record.scores["test"]["frechet"] > 0
        assert len(list((project.model_dir("digits", record.id) / "samples").glob("*.png"))) == 3
    page = (project.reports_dir() / "report.html").read_text("utf-8")
    assert page.count("drawn in epoch") == 3 and "Fréchet distance" in page


def test_the_same_seed_draws_the_same_images(trained: Path) -> None:
    assert run(trained, "predict", *TASK, "mode.samples=7", "mode.seed=1") == 0
    first = [np.asarray(Image.open(path)) for path in sorted(drawn(trained, 1).glob("0*.png"))]
    assert len(first) == 7 and first[0].shape == (8, 8)
    with (drawn(trained, 1) / "samples.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len({row["record"] for row in rows}) == 2 and rows[0]["record"] == rows[2]["record"]
    assert run(trained, "predict", *TASK, "mode.samples=3", "mode.seed=1") == 0
    again = [np.asarray(Image.open(drawn(trained, 1) / f"{number:05d}.png")) for number in range(3)]
    assert all((one == other).all() for one, other in zip(first, again, strict=False))
    assert run(trained, "predict", *TASK, "mode.samples=3", "mode.seed=2") == 0
    other = np.asarray(Image.open(drawn(trained, 2) / "00000.png"))
    assert not (other == first[0]).all()


@pytest.mark.parametrize(
    ("mode", "arguments", "sentence"),
    [
        ("post", [], "its models draw images, of which nothing is calibrated or mixed"),
        ("predict", ["mode.source=."], "the newest models draw images from noise"),
        (
            "predict",
            ["mode.samples=3", "mode.source=."],
            "mode.samples: draws images, mode.source asks for predictions",
        ),
        (
            "export",
            [],
            "task digits: draws images from noise, and predicts nothing of others; use mml predict mode.samples=64",
        ),
        (
            "lr_find",
            [one for one in GAN if not one.startswith("mode.folds")],
            "loss: is a critic's, which says nothing of the images, and so nothing of rates, got 'wasserstein'",
        ),
        ("predict", ["mode.seed=3"], "mode.seed: is what images are drawn from, got 3; add mode.samples=64"),
    ],
)
def test_what_it_does_not_do(
    mode: str, arguments: list[str], sentence: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(trained, mode, *TASK, *arguments) != 0
    assert sentence in capsys.readouterr().err
