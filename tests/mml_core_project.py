"""A project folder and a data folder as mml-core 1.0 leaves them, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import yaml
from PIL import Image

from tests.dialects.test_mml_core import PIPELINE

SIZE, FOLDS = 32, 3
NETWORK = "test_resnet"
RECIPE = {**PIPELINE, "arch": {**PIPELINE["arch"], "name": NETWORK}}
NAMES = {"train": [f"{n:03d}" for n in range(18)], "test": ["100", "101", "102", "103"], "free": ["200"]}


class Settings:
    """Stands for a class of the other program, which lies in a checkpoint beside the tensors."""

    def __init__(self) -> None:
        self.seed = 42


def pixels(name: str) -> np.ndarray:
    return np.random.default_rng(int(name)).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def label(name: str) -> int:
    return int(name) % 2


def described(data: Path) -> Path:
    """The folder of a data set, with the file that describes its task."""
    root = data / "RAW" / "DSET_pets"

    def sample(name: str, folder: str, *, labelled: bool) -> dict[str, Any]:
        path = root / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(name)).save(path)
        return {"image": f"{folder}/{name}.png", **({"class": label(name)} if labelled else {})}

    task = {
        "name": "pets", "task_type": "classification", "keywords": [], "means": [0.5] * 3, "stds": [0.2] * 3,
        "sizes": [SIZE] * 4, "idx_to_class": {"0": "cat", "1": "dog"}, "class_occ": {"cat": 9, "dog": 9},
        "train_samples": {name: sample(name, "training_data", labelled=True) for name in NAMES["train"]},
        "test_samples": {name: sample(name, "testing_data", labelled=True) for name in NAMES["test"]},
        "unlabeled_samples": {name: sample(name, "unlabeled_data", labelled=False) for name in NAMES["free"]},
        "train_folds": [NAMES["train"][fold::FOLDS] for fold in range(FOLDS)],
    }  # fmt: skip
    (root / "TASK_pets.json").write_text(json.dumps(task), "utf-8")
    return root


def logits_of(network: torch.nn.Module, head: torch.nn.Module, names: list[str]) -> torch.Tensor:
    """What the other program computes: ImageNet's normalisation, the body, the head."""
    images = torch.stack([torch.tensor(pixels(name)).permute(2, 0, 1) / 255 for name in names])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        found: torch.Tensor = head(network((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)))
    return found


def written(results: Path, data: Path) -> Path:
    """A project of three nested folds in a results folder, and the data folder that describes its task."""
    described(data)
    source = results / "study"
    for fold in range(FOLDS):
        task = f"pets+nested?{fold}"
        for kind in ("MODELS", "PIPELINES", "PARAMETERS", "PREDICTIONS"):
            (source / kind / task).mkdir(parents=True)
        (source / "PREDICTIONS" / "pets").mkdir(parents=True, exist_ok=True)
        torch.manual_seed(fold)
        network = timm.create_model(NETWORK, num_classes=0).eval()
        head = torch.nn.Linear(network.num_features, 2)
        state = {f"model.backbone.{key}": value for key, value in network.state_dict().items()}
        state |= {f"model.heads.{task}.linear.{key}": value for key, value in head.state_dict().items()}
        checkpoint = {"state_dict": state, "hyper_parameters": {"cfg": Settings()}, "epoch": 1}
        torch.save(checkpoint, source / "PARAMETERS" / task / "model_0001.pth")
        (source / "PIPELINES" / task / "pipeline_0001.yaml").write_text(yaml.safe_dump(RECIPE), "utf-8")
        held, others = NAMES["train"][fold::FOLDS], [n for n in NAMES["train"] if n not in NAMES["train"][fold::FOLDS]]

        def rows(names: list[str], *, labelled: bool = True, network: Any = network, head: Any = head) -> list[Any]:
            return [
                {"logits": one.half(), "sample_id": name, **({"target": torch.tensor(label(name))} if labelled else {})}
                for name, one in zip(names, logits_of(network, head, names), strict=True)
            ]

        places = {task: f"study/PREDICTIONS/{task}/p_0001.pt", "pets": f"study/PREDICTIONS/pets/p_000{fold + 1}.pt"}
        torch.save({"TEST": rows(held), "VAL": rows(others[:4]), "UNLABELLED": []}, source.parent / places[task])
        free = rows(NAMES["free"], labelled=False)
        torch.save({"TEST": rows(NAMES["test"]), "VAL": rows(held), "UNLABELLED": free}, source.parent / places["pets"])
        history = [{f"val/{task}/loss": 0.7, "train/loss": 0.9}, {f"val/{task}/loss": 0.6, "train/loss": 0.8}]
        model = {
            "pipeline": f"study/PIPELINES/{task}/pipeline_0001.yaml",
            "parameters": f"study/PARAMETERS/{task}/model_0001.pth",
            "performance": 0.6, "training_time": 12.5, "task": task, "fold": 0, "created": f"2024-08-13T15:39:0{fold}",
            "metrics": history, "predictions": places,
        }  # fmt: skip
        (source / "MODELS" / task / "model_storage_0001.json").write_text(json.dumps(model), "utf-8")
    (source / "runs").mkdir()
    return source
