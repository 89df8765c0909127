"""The sets, the table and the bars of the script that compares presets; nothing is trained here."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script as it finds its neighbours when it is run."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module
    for name in ("open_sets", "bench_presets"):
        sys.modules.pop(name, None)


def test_made_sets_are_the_same_for_everybody(scripts: Any) -> None:
    sets = scripts("open_sets")
    images, classes = sets.made(16, 8, 0.3)
    again, _ = sets.made(16, 8, 0.3)
    assert np.bincount(classes).tolist() == [2] * 8
    assert all(
        one.shape == (64, 64) and one.dtype == np.uint8 and np.array_equal(one, two)
        for one, two in zip(images, again, strict=True)
    )
    # A shape of noise is harder to see: neighbours have less in common.
    noisy, _ = sets.made(16, 8, 1.2)

    def likeness(pictures: list[Any]) -> float:
        flat = np.stack(pictures).astype(float)
        return float(np.corrcoef(flat[:, :, 1:].ravel(), flat[:, :, :-1].ravel())[0, 1])

    assert likeness(noisy) < 0.5 * likeness(images)


def test_shapes_differ(scripts: Any) -> None:
    sets = scripts("open_sets")
    grid = np.linspace(-1.2, 1.2, 81)
    u, v = np.meshgrid(grid, grid)
    covered = [sets._inside(shape, u, v) for shape in range(8)]
    assert all(0.05 < one.mean() < 0.6 for one in covered)
    assert all(not np.array_equal(covered[one], covered[two]) for one in range(8) for two in range(one))


def test_pieces_of_pictures(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sets = scripts("open_sets")
    draw = np.random.default_rng(0)
    for name in sets._TEXTURES:
        Image.fromarray(draw.integers(0, 256, (90, 130), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    monkeypatch.setenv(sets.PICTURES, str(tmp_path))
    images, classes = sets.textures()
    assert sets.missing("textures") == "" and len(images) == 9 * 6 and set(np.bincount(classes)) == {6}
    assert {one.shape for one in images} == {(40, 40)} and all(abs(one.mean() - 128) < 2 for one in images)


def test_new_images_are_apart_from_those_that_learn(
    scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = scripts("open_sets")
    monkeypatch.setitem(sets.SETS, "made_few", lambda: sets.made(20, 4, 0.3, size=16))
    targets = sets.written("made_few", 1, tmp_path)
    learn = {file.name: file.parent.name for file in (tmp_path / "learn").glob("*/*.png")}
    new = sorted(file.name for file in (tmp_path / "new").iterdir())
    assert len(learn) == 14 and len(new) == len(targets) == 6 and not set(learn) & set(new)
    assert [int(name[:6]) % 4 for name in new] == targets.tolist()


def row(way: str, split: int, loss: float, accuracy: float, seconds: float, of: float = 60.0) -> dict[str, Any]:
    scores = {"log_loss": loss, "accuracy": accuracy, "seconds": seconds, "images": 100}
    return {"set": "digits", "split": split, "time": of, "way": way, **scores}


def test_bars(scripts: Any) -> None:
    bench = scripts("bench_presets")
    rows = [row("fast", split, 0.4, 0.85, 58.0 + split) for split in range(3)]
    rows += [row("logistic", split, 0.3 + split / 10, 0.90, 30.0) for split in range(3)]
    rows += [row("timm", 0, 0.5, 0.70, 60.0), {"set": "digits", "split": 1, "time": 60.0, "way": "timm", "failed": []}]
    rows += [row("fast", split, 0.45, 0.75, 311.0, 300.0) for split in range(3)] + [
        row("timm", 0, 0.2, 0.99, 300.0, 300.0)
    ]
    assert "| digits | 60 s | logistic | 0.400 | 0.900 | 30 | 3 |" in bench.table(rows)
    lines = bench.bars(rows).splitlines()[2:]
    # Medians 0.4 and 0.4 are equal; the standard error of .9 of 100 is .03, so that .85 is within 1.96 of it.
    assert lines[0] == "| digits | 60 s | fast | first | within the interval | yes |"
    assert lines[1] == "| digits | 300 s | fast | timm is better by 0.250 | outside the interval | no, 311 s |"
    assert lines[2] == "| digits | 300 s against 60 s | fast | worse by 0.050 | | |"


def test_results_are_gone_on_with(scripts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = scripts("bench_presets")
    asked: list[tuple[str, int, float, str]] = []

    def result(given: argparse.Namespace, name: str, split: int, seconds: float, way: str) -> dict[str, Any]:
        asked.append((name, split, seconds, way))
        return {**row(way, split, 0.4, 0.9, 50.0, seconds), "set": name}

    monkeypatch.setattr(bench, "result", result)
    monkeypatch.setattr(bench, "reason", lambda name, python: "" if name == "logistic" else "not installed")
    out = tmp_path / "results.jsonl"
    words = ["bench_presets.py", "--sets", "digits", "--times", "60", "--ways", "fast", "--out", str(out)]
    for splits in ("1", "2"):
        monkeypatch.setattr(sys, "argv", [*words, "--splits", splits])
        bench.main()
    assert asked == [("digits", split, 60.0, way) for split in (0, 1) for way in ("fast", "logistic")]
    assert len([json.loads(line) for line in out.read_text().splitlines()]) == 4
