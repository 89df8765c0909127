"""What loader processes are given can be pickled, and does the same afterwards; trainings are those of forked processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from mlpipe.config.components import Component
from mlpipe.data.augment import libraries, paired, samples
from mlpipe.data.loading import processes
from mlpipe.data.loading.processes import OwnStep

CONF = Path(__file__).parents[3] / "conf" / "augmentations"
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 24, 24, 3), np.uint8)
MASKS = RNG.integers(0, 4, (5, 24, 24, 1), np.uint8)
SEEDS = RNG.integers(0, 2**63, 5).astype(np.uint64)
GEOMETRY = "mlpipe.data.augment.geometry."
# What no option lists.
MORE: list[dict[str, Any]] = [
    {"_target_": f"{GEOMETRY}resize", "size": [20, 18]},
    {"_target_": f"{GEOMETRY}center_crop", "size": [10, 12]},
    {"_target_": f"{GEOMETRY}jitter_crop", "most": 0.4},
    {"_target_": f"{GEOMETRY}random_zoom", "most": 0.5},
    {"_target_": f"{GEOMETRY}rotate", "degrees": 30.0},
    {"_target_": f"{GEOMETRY}random_rotate", "degrees": 40.0},
    {"_target_": f"{GEOMETRY}random_flips"},
    {"_target_": f"{GEOMETRY}convert_color", "code": "RGB2HSV"},
    {"_target_": f"{GEOMETRY}normalize", "mean": 0.3, "std": 0.2, "white": 255.0},
    {"_target_": "mlpipe.data.augment.samples.rotate90"},
    {"_target_": "mlpipe.data.augment.samples.vertical_flip"},
    {"_target_": "mlpipe.data.augment.samples.random_erasing", "p": 0.9},
    {"_target_": "mlpipe.data.augment.samples.random_resized_crop", "size": 16},
    {
        "_target_": "mlpipe.data.augment.random_choices.some_of",
        "pipelines": [[{"_target_": "albumentations.HorizontalFlip", "p": 0.5}]],
    },
    {
        "_target_": "mlpipe.data.augment.random_choices.with_drawn",
        "transform": {"_target_": "albumentations.Solarize", "p": 0.5},
        "ranges": {"p": [0.1, 1.0]},
    },
    {"_target_": "mlpipe.data.augment.random_choices.edges", "direction": [0.0, 1.0]},
    {"_target_": "mlpipe.data.augment.random_choices.gray"},
    {"_target_": "mlpipe.data.augment.patches.random_patches", "number": 2, "size": 6},
    {"_target_": "albumentations.ElasticTransform", "p": 1.0},
    {"_target_": "torchvision.transforms.v2.RandomAffine", "degrees": 30},
    {"_target_": "torchvision.transforms.v2.ColorJitter", "brightness": 0.3},
]


def listed() -> list[dict[str, Any]]:
    """Every step that an option of `conf/augmentations` names, and the others."""
    found = list(MORE)
    for file in sorted(CONF.glob("*.yaml")):
        tree = yaml.safe_load(file.read_text()) or {}
        found += ((tree.get("cpu") or {}).get("pipeline")) or []
    return found


@pytest.mark.parametrize("node", listed(), ids=lambda node: str(node["_target_"].rpartition(".")[2]))
def test_every_step_does_the_same_after_a_journey(node: dict[str, Any]) -> None:
    target = node["_target_"]
    # Sizes as the configuration fills them in.
    params = {key: 16 if isinstance(value, str) and "${" in value else value for key, value in node.items()}
    component = Component("augmentations", target, {key: one for key, one in params.items() if key != "_target_"})
    done = 0
    for adapt, of, others in (
        (lambda name, made: libraries.adapt(made), samples.apply, ()),
        (paired.adapt, paired.apply, (MASKS,)),
        (partial(paired.adapt, of_images=True), partial(paired.apply, of_images=True), (IMAGES[::-1],)),
    ):
        try:
            step = adapt(target, component.build())
            expected: Any = of([step], IMAGES, *others, SEEDS)  # type: ignore[operator]
        except Exception:
            # Not for this kind of target; that it is for one of them is seen below.
            continue
        done += 1
        sent = pickle.loads(pickle.dumps(step))
        found: Any = of([sent], IMAGES, *others, SEEDS)  # type: ignore[operator]
        for one, other in zip(found if others else [found], expected if others else [expected], strict=True):
            for image, wanted in zip(one, other, strict=True):
                np.testing.assert_array_equal(image, wanted)
    assert done


def dimmed(share: float) -> Any:
    return lambda images, seeds: (images * share).astype(images.dtype)


def test_steps_of_ones_own_are_made_anew() -> None:
    step = OwnStep(partial(dimmed, 0.5))
    sent = pickle.loads(pickle.dumps(step))
    np.testing.assert_array_equal(sent(IMAGES, SEEDS), step(IMAGES, SEEDS))


def test_a_cache_is_sent_by_its_files_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(1_000_000, dtype=np.int64).reshape(1000, 1000))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    sent = pickle.dumps(processes.packed(mapped))
    assert len(sent) < 1000
    np.testing.assert_array_equal(processes.unpacked(pickle.loads(sent)), mapped)
    # A part of a file is not where the file says; and what is in memory stays what it is.
    np.testing.assert_array_equal(processes.unpacked(processes.packed(mapped[3:5])), mapped[3:5])
    assert processes.packed(IMAGES) is IMAGES


def test_what_cannot_be_sent_is_loaded_without_processes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert processes.workers_for(dimmed(1.0), 2) == 2
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "spawn")
    monkeypatch.setattr(processes.log, "propagate", True)
    assert processes.workers_for(IMAGES, 2) == 2
    assert processes.workers_for(dimmed(1.0), 2) == 0
    assert "sys.num_workers: images are loaded by the training process itself" in caplog.text


SCRIPT = """
import multiprocessing, sys
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    from mlpipe.api import run
    run("train", "task=digits", "mode.nested=false", "mode.folds=[0]", "split.folds=3", "split.test_fraction=0.9",
        "arch=test_resnet", "arch.pretrained=false", "preprocessing.size=32", "sys.threads=1", "trainer.max_epochs=2",
        "mode.subroutines=[train]", "sys.num_workers=" + sys.argv[2], "proj=" + sys.argv[3],
        "augmentations.cpu.pipeline=[{_target_: mlpipe.data.augment.samples.random_crop}, {_target_: own_steps.dim}]")
"""
OWN = """
def dim():
    def step(images, seeds):
        return images - images // 4
    return step
"""


@pytest.mark.program
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_training_is_the_same_however_its_loaders_start(tmp_path: Path, method: str) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "own_steps.py").write_text(OWN)
    for how, workers in (("fork", "0"), (method, "2")):
        done = subprocess.run(
            [sys.executable, "train.py", how, workers, f"{how}{workers}"],
            cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and "sys.num_workers" not in done.stderr, done.stderr
    one, other = (next((tmp_path / "results" / name).rglob("weights.safetensors")) for name in ("fork0", f"{method}2"))
    first, second = load_file(one), load_file(other)
    assert all(np.array_equal(first[name], second[name]) for name in first)
