"""Results and data of every test go to its own folder; a small folder of pictures to learn from."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What Keras, an oracle of several tests, computes with.
os.environ.setdefault("KERAS_BACKEND", "torch")


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Modules stay: where every collection of garbage went through them, a training of a test took twice as long."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MML_RESULTS_PATH", str(tmp_path / "results"))
    monkeypatch.setenv("MML_DATA_PATH", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def make_pictures(root: Path, classes: dict[str, int], seed: int = 0) -> Path:
    """A class folder for each name with that many pictures; a class is the brightness of its pictures."""
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 60, (24, 20, 3)) + 60 * number
            suffix = "png" if index % 2 else "jpg"
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index:03d}.{suffix}")
    return root


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures", {"dark": 12, "middle": 12, "light": 12})
