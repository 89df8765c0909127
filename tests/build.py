"""What tests of several files make: records and runs on disk without training, small networks, options of a quick run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlpipe import files
from mlpipe.config import snapshot
from mlpipe.running import launch
from mlpipe.runs import journal, records
from mlpipe.runs.journal import Run
from mlpipe.runs.project import Project
from mlpipe.runs.records import ModelRecord
from mlpipe.runs.references import Located

SMALL = ["arch=test_resnet", "arch.pretrained=false", "preprocessing.size=16", "sys.threads=1", "trainer.max_epochs=1"]
# Options of a Musket script.
ON_CPU = ["--num_workers", "0", "--overrides", "sys.threads=1 trainer.accelerator=cpu"]
DIGITS = ["task=digits", "split.folds=2", *SMALL]

# Where solutions of an equation are known.
PLACES, TIMES = 12, 6


def make_record(
    project: Project, name: str, *, weights: bytes | None = b"weights", config: str | None = None, **facts: Any
) -> ModelRecord:
    """A record of digits with its configuration (composed, unless its text is given) and a file that stands for its weights."""
    plain: dict[str, Any] = {
        "id": name,
        "number": 0,
        "run": "2026-01-01/00-00-00-aaaa",
        "created": journal.now(),
        "task": "digits",
        "pivot": "digits",
        "fold": 0,
        "nested": False,
        "recipe": "11111111",
        "arch": "test_resnet",
        "classes": [str(number) for number in range(10)],
        "parameters": 1,
        "counts": {"train": 1},
        "kind": "classification",
        "scores": {"val": {"accuracy": 0.5, "loss": 1.0}},
        "best_epoch": 0,
        "epochs": 1,
        "monitor": "val/loss (min)",
        "val_used_for": [],
        "timings": {"seconds": 1.0},
        "environment": {},
        "weights": None,
    }
    record = ModelRecord(**{**plain, **facts})
    folder = project.model_dir(record.pivot, record.id)
    if config is None:
        composed = launch.prepare(launch.Command("train", ["arch.drop_rate=0.25", *DIGITS])).run_config
        snapshot.save(composed, folder / records.CONFIG_FILE)
    else:
        files.write_text(folder / records.CONFIG_FILE, config)
    files.write_text(folder / records.METRICS_FILE, "epoch\n0\n")
    if weights is not None:
        files.write_bytes(folder / records.WEIGHTS_FILE, weights)
        record = dataclasses.replace(record, weights=files.digest_bytes(weights))
    return records.save(project, record)


def models(tmp_path: Path, losses: list[float | None]) -> list[Located]:
    """Models of one project, one after the other, with these losses of validation."""
    project = Project(tmp_path / "results" / "default")
    made = [
        make_record(project, f"net-{place}", scores={"val": {"loss": loss}}, created=f"2026-01-01T00:00:0{place}")
        for place, loss in enumerate(losses)
    ]
    return [Located(project, record) for record in made]


def make_run(project: Project, overrides: list[str], *, finished: bool = False, mode: str = "train") -> Run:
    """A run with one step, which is done or not."""
    run = journal.create(project)
    snapshot.save(launch.prepare(launch.Command(mode, overrides)).run_config, run.folder / journal.CONFIG_FILE)
    run.write_plan(["train fold 0"], "11111111", {})
    if finished:
        run.note("train fold 0", "done")
    return run


def contents(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def as_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text("utf-8"))


def layers(*, row: bool, times: int = TIMES, places: int = PLACES, width: int = 48) -> list[dict[str, Any]]:
    """A dense network from initial values to solutions, its input with or without a height."""
    first = {"name": "flat", "batch_input_shape": [None, places, 1] if row else [None, 1, places, 1]}
    return [
        {"class_name": "Flatten", "config": first},
        {"class_name": "Dense", "config": {"name": "inner", "units": width, "activation": "tanh"}},
        {"class_name": "Dense", "config": {"name": "outer", "units": times * places}},
        {"class_name": "Reshape", "config": {"name": "solution", "target_shape": [times, places, 1]}},
    ]


def conv(name: str, filters: int, activation: str = "relu", size: int = 3, **more: Any) -> dict[str, Any]:
    config = {
        "name": name,
        "filters": filters,
        "kernel_size": [size, size],
        "padding": "same",
        "activation": activation,
    }
    return {"class_name": "Conv2D", "config": config | more}


def shapes(root: Path, many: int, *, side: int = 128, most: int = 8, seed: int = 0) -> Path:
    """Images of 1 to `most` shapes on textured grounds below `root/images`, their boxes in `root/boxes.json` (COCO).

    The shapes are discs, squares and triangles of a seventh to a third of an image's side, brighter or darker than the
    ground, which lie over each other by a third of the smaller box at most.
    """
    draws = np.random.default_rng(seed)
    listed: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number in range(many):
        pixels, placed = _ground(draws, side), list[tuple[int, int, int]]()
        for _ in range(int(draws.integers(1, most + 1))):
            size = int(draws.integers(side // 7, side // 3))
            x, y = (int(place) for place in draws.integers(0, side - size + 1, 2))
            if all(_shared((x, y, size), other) < 1 / 3 for other in placed):
                label = int(draws.integers(3))
                _draw(pixels, (x, y, size), label, draws)
                placed.append((x, y, size))
                box = {"bbox": [x, y, size, size], "image_id": number, "category_id": label}
                boxes.append({"id": len(boxes), "area": size * size, "iscrowd": 0, **box})
        name = f"images/{number:04}.png"
        Image.fromarray(pixels).save(root / name)
        listed.append({"id": number, "file_name": name, "width": side, "height": side})
    categories = [{"id": place, "name": label} for place, label in enumerate(("disc", "square", "triangle"))]
    file = root / "boxes.json"
    file.write_text(json.dumps({"images": listed, "annotations": boxes, "categories": categories}))
    return file


def _ground(draws: np.random.Generator, side: int) -> np.ndarray[Any, Any]:
    """Colours that change slowly over the image, with noise on them; shape (side, side, 3), uint8."""
    coarse = Image.fromarray(draws.integers(70, 150, (4, 4, 3), np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    values = np.asarray(coarse, np.float64) + draws.normal(0, 12, (side, side, 1))
    return np.clip(values, 0, 255).astype(np.uint8)


def _shared(one: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """The part of the smaller of two squares (x, y, size) that lies in the other one."""
    sides = [min(a + one[2], b + other[2]) - max(a, b) for a, b in zip(one[:2], other[:2], strict=True)]
    return max(sides[0], 0) * max(sides[1], 0) / min(one[2], other[2]) ** 2


def _draw(pixels: np.ndarray[Any, Any], place: tuple[int, int, int], label: int, draws: np.random.Generator) -> None:
    """Paint a disc (0), a square (1) or a triangle (2) that touches all sides of its box."""
    x, y, size = place
    down, across = np.mgrid[:size, :size] + 0.5
    inside = {
        0: (down - size / 2) ** 2 + (across - size / 2) ** 2 <= (size / 2) ** 2,
        1: np.ones((size, size), np.bool_),
        2: abs(across - size / 2) <= down / 2,
    }[label]
    colour = draws.integers(180, 256, 3) if draws.random() < 0.5 else draws.integers(0, 50, 3)
    pixels[y : y + size, x : x + size][inside] = colour


def grid_layers(side: int, numbers: int, width: int = 16) -> dict[str, Any]:
    """A Keras network in the form of YOLOv3: so many numbers for each cell of grids of 32, 16 and 8 pixels, coarse ones first."""

    def layer(kind: str, name: str, before: list[str], **more: Any) -> dict[str, Any]:
        inbound = [[[one, 0, 0, {}] for one in before]] if before else []
        return {"class_name": kind, "name": name, "config": {"name": name, **more}, "inbound_nodes": inbound}

    made = [layer("InputLayer", "pixels", [], batch_input_shape=[None, side, side, 3])]
    last = "pixels"
    for place in range(5):
        shape = {"filters": width, "kernel_size": [3, 3], "strides": [2, 2], "padding": "same", "use_bias": False}
        made.append(layer("Conv2D", f"down{place}", [last], **shape))
        made.append(layer("BatchNormalization", f"norm{place}", [f"down{place}"], epsilon=1e-3, momentum=0.9))
        made.append(layer("Activation", last := f"map{place}", [f"norm{place}"], activation="relu"))
    for place in (4, 3, 2):
        made.append(layer("Conv2D", f"cell{place}", [f"map{place}"], filters=numbers, kernel_size=[1, 1]))
        made.append(layer("Reshape", f"rows{place}", [f"cell{place}"], target_shape=[-1, numbers]))
    made.append(layer("Concatenate", "boxes", ["rows4", "rows3", "rows2"], axis=1))
    ends = {"input_layers": [["pixels", 0, 0]], "output_layers": [["boxes", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "grids", "layers": made, **ends}}
