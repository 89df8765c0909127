"""`mml info`: of a project that may only be read, and pictures of samples with their boxes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpipe import files
from mlpipe.cli import main
from mlpipe.config import snapshot
from mlpipe.config.compose import Facts, compose
from mlpipe.data.sources.targets.mask_files import colour_of
from mlpipe.runs.project import Project
from tests.build import DIGITS, make_record


def refusing(number: int) -> object:
    @contextmanager
    def durable(path: Path) -> Iterator[Path]:
        if "results" in path.parts:
            raise OSError(number, "Read-only file system", str(path))
        with original(path) as temporary:
            yield temporary

    original = files.durable
    return durable


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "results" / "default")
    make_record(made, "one")
    return made


def test_a_project_that_may_only_be_read_is_shown(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(files, "durable", refusing(errno.EROFS))
    assert main(["info", "mode.subroutines=[models]", *DIGITS]) == 0
    shown = capsys.readouterr().out
    assert "not written, for the folder is only for reading" in shown and "leaderboard.csv" in shown and "net" in shown
    assert not project.reports_dir().exists()


def test_seeds_of_one_recipe_are_one_row_and_listed_one_by_one_below(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Project(tmp_path / "results" / "default")
    for seed, value in ((3, 0.5), (4, 0.25)):
        config = compose("train", [*DIGITS, f"seed={seed}"], Facts(lambda: ("test_resnet",)))
        scores = {"val": {"accuracy": value, "loss": 1.0}}
        own = {"recipe": f"{seed}" * 8, "scores": scores, "counts": {"train": 1, "val": 1000}}
        make_record(made, f"seed{seed}", config=snapshot.stored(config.tree), **own)
    assert main(["info", "mode.subroutines=[models]", *DIGITS]) == 0
    above, _, below = capsys.readouterr().out.partition("seeds 3, 4 of test_resnet, one by one:")
    # The deviation of two numbers is their distance over the root of two.
    assert "1 recipe" in above and "0.375 ± 0.177" in above and "mean ± sd of 2 seeds" in above
    assert "33333333" in below and "0.500" in below and "44444444" in below and "0.250" in below
    assert (made.reports_dir() / "leaderboard.csv").read_text().count("test_resnet") == 2


def test_another_error_of_a_disk_is_not_passed_over(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "durable", refusing(errno.EIO))
    assert main(["info", "mode.subroutines=[models]", *DIGITS]) == 1


def test_pictures_of_samples_have_their_boxes_which_move_with_augmentations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = ["path,x0,y0,x1,y1,class"]
    for number in range(5):
        Image.new("RGB", (96, 96), (number, 0, 0)).save(f"{number}.png")
        lines.append(f"{number}.png,10,20,40,60,cat")
    Path("boxes.csv").write_text("\n".join(lines))
    flip = "augmentations.cpu.pipeline=[{_target_:mlpipe.data.augment.samples.horizontal_flip,p:1.0}]"
    task = ["task=boxes", "task.file=boxes.csv", "preprocessing.size=96", flip]
    assert main(["info", *task, "mode.subroutines=[samples]", "mode.augmented=true"]) == 0
    # The first picture of a grid begins 6 pixels from its corner, and is as large as the image.
    for name, (left, right) in {"samples_*-????????": (10, 40), "*_augmented": (96 - 40, 96 - 10)}.items():
        (path,) = tmp_path.glob(f"*/*/plots/{name}.png")
        cell = np.asarray(Image.open(path))[6 : 6 + 96, 6 : 6 + 96].astype(int)
        drawn = np.argwhere(np.abs(cell - colour_of(1)).sum(axis=2) == 0)
        assert [*drawn.min(axis=0), *drawn.max(axis=0) + 1] == [20, left, 60, right]
        assert (cell[25:55, left + 5 : right - 5, 1:] == 0).all()


def test_augmented_pictures_of_a_variant_are_those_of_its_own_rows(tmp_path: Path) -> None:
    """Rows of half of the images were taken for rows of all: pictures of other images stood over the labels."""
    for number in range(24):
        folder = tmp_path / "images" / ("dark" if number < 12 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 10 * number + 5).save(folder / f"{number:02d}.png")
    plain = ["preprocessing.size=32", "augmentations=none", "arch=test_resnet"]
    assert main(["pp", "task=folder", f"task.root={tmp_path / 'images'}", *plain]) == 0
    (file,) = tmp_path.glob("data/*/task.json")
    name = f"{file.parent.name}+subset?0.5"
    assert main(["info", f"task={name}", *plain, "mode.subroutines=[samples]", "mode.augmented=true"]) == 0
    # Nothing is augmented, and no image has another size: both pictures show the same.
    (own,) = (path for path in tmp_path.glob("*/*/plots/samples_*.png") if "augmented" not in path.name)
    (augmented,) = tmp_path.glob("*/*/plots/samples_*_augmented.png")
    assert np.array_equal(np.asarray(Image.open(own)), np.asarray(Image.open(augmented)))
