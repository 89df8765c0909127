"""Files of drawn images: models draw in turns, and an image is its seed's and its number's."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from mlpipe.arch.gan import seeds_of
from mlpipe.data import task
from mlpipe.data.task import Row
from mlpipe.errors import ConfigError, ProjectError
from mlpipe.reports.progress import Display
from mlpipe.running.drawn_samples import DrawnSamples
from mlpipe.running.steps import RunContext
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.runs.test_records import made

DIGITS = task.make("t", ["a"], [Row("0", "train", 0, "x")], channels=1, source={"type": "folder"})


def samples(folder: Path, count: int, folds: list[int] | None = None) -> DrawnSamples:
    return DrawnSamples(cast(Any, None), RunContext(Project(folder), Display()), DIGITS, count, 1, folds)


def draw(monkeypatch: pytest.MonkeyPatch, of: DrawnSamples, peak: float) -> list[dict[str, str]]:
    """Draw by two models that paint the lowest byte of a seed, of which the second adds one; the rows of the table."""

    def by(self: DrawnSamples, record: Any, seeds: Any) -> tuple[Any, float]:
        values = (seeds.numpy() & 127) + (record.id == "two")
        return np.broadcast_to(values[:, None, None, None], (len(values), 1, 3, 5)) / 255 * peak, peak

    monkeypatch.setattr(DrawnSamples, "_drawn_pixels", by)
    of._draw([made("one"), made("two")], None)
    folder = of.context.project.reports_dir() / "samples" / f"t-seed{of.seed}"
    with (folder / "samples.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_pictures(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = samples(tmp_path, count)
    rows = draw(monkeypatch, of, 255)
    assert [row["record"] for row in rows] == ["one", "two", "one", "two", "one"][:count]
    folder = tmp_path / "reports/samples/t-seed1"
    expected = [(value & 127) + number % 2 for number, value in enumerate(seeds_of(1, 5).tolist())][:count]
    pictures = [np.asarray(Image.open(folder / row["file"])) for row in rows]
    assert [one.shape for one in pictures] == [(3, 5)] * count
    assert [int(one[0, 0]) for one in pictures] == expected
    assert sorted(path.name for path in folder.iterdir()) == [*(row["file"] for row in rows), "grid.png", "samples.csv"]
    assert of.context.facts["samples"] == count


def test_fewer_images_leave_none_of_those_that_were_drawn_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures of an earlier model stayed beside the new ones, under the numbers that were not drawn again."""
    folder = tmp_path / "reports/samples/t-seed1"
    draw(monkeypatch, samples(tmp_path, 5), 255)
    (folder / "notes.txt").write_text("mine")
    (folder / "00001_large.png").write_bytes(b"mine")
    draw(monkeypatch, samples(tmp_path, 2), 255)
    names = ["00000.png", "00001.png", "00001_large.png", "grid.png", "notes.txt", "samples.csv"]
    assert sorted(path.name for path in folder.iterdir()) == names
    draw(monkeypatch, samples(tmp_path, 2), 1)
    names = ["00001_large.png", "grid.png", "notes.txt", "samples.csv", "samples.npy"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_arrays_are_one_file_channels_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = draw(monkeypatch, samples(tmp_path, 3), 1)
    assert {row["file"] for row in rows} == {"samples.npy"}
    stored = np.load(tmp_path / "reports/samples/t-seed1/samples.npy")
    assert stored.shape == (3, 3, 5, 1) and stored.dtype == np.float32
    assert stored[:, 0, 0, 0] == pytest.approx(
        [(int(one) & 127) / 255 + (n == 1) / 255 for n, one in enumerate(seeds_of(1, 3))]
    )


def test_models_that_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="t"):
        samples(tmp_path, 3).plan()
    records.save(Project(tmp_path), made("one"))
    with pytest.raises(ConfigError, match="the newest models of t predict one of 2 classes, and draw nothing, got 3"):
        samples(tmp_path, 3).plan()
    records.save(Project(tmp_path), made("two", kind="generation", recipe="other"))
    with pytest.raises(ConfigError, match="two: has no weights to draw with; train with mode.store_parameters=true"):
        samples(tmp_path, 3).plan()
    with pytest.raises(
        ConfigError, match=r"mode\.folds: the newest models of t are of other folds, got \[3\]; choose among 0"
    ):
        samples(tmp_path, 3, [3]).plan()
