"""A folder with all that scoring needs: network, weights, transformer, readable without the project that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpipe import files
from mlpipe.errors import ProjectError, problem

FOREIGN_FILE, NATIVE_FILE = "config.json", "config.yaml"
PARAMS_FILE, LAYOUT_FILE, REPORT_FILE = "network_params.json", "records.json", "training_report.csv"
DATASET_DIR, CURVES_DIR, EPOCHS_DIR = "dataset", "TensorBoard", "resume_checkpoints"
BEST_FILE = "best_checkpoint/model_best.safetensors"


@dataclass(frozen=True)
class Artifacts:
    """What such a folder says.

    Attributes:
        folder: Where it is.
        loader: The import block of the loader.
        transformer: That of the transformer.
        network: That of the network.
        gives: What the network gives: logits, softmax or sigmoid, for each of several outputs.
        layout: The inputs and the output as plain data.
        network_params: What the network is told besides its own parameters.
    """

    folder: Path
    loader: Mapping[str, Any]
    transformer: Mapping[str, Any]
    network: Mapping[str, Any]
    gives: str | list[str]
    layout: Mapping[str, Any]
    network_params: Mapping[str, Any]

    @property
    def dataset(self) -> Path:
        """Where the transformer's files are."""
        return self.folder / DATASET_DIR

    def weights(self, epoch: int | None = None) -> Path:
        """The best epoch's weights, or those of an epoch counted from 1; -1: the last."""
        if epoch is None:
            return self.folder / BEST_FILE
        found = sorted((self.folder / EPOCHS_DIR).glob("model_epoch_*.safetensors"))
        return found[-1] if epoch == -1 and found else self.folder / EPOCHS_DIR / f"model_epoch_{epoch:04d}.safetensors"


def load(folder: Path) -> Artifacts:
    """What a folder of artifacts says; none of its code is run.

    Raises:
        ProjectError: When something is missing or damaged.
    """
    fix = "name a folder that mml train sys.artifact_dir=DIR filled to its end"
    missing = [name for name in (NATIVE_FILE, PARAMS_FILE, LAYOUT_FILE, BEST_FILE) if not (folder / name).is_file()]
    if missing:
        raise ProjectError(problem(str(folder), f"is no complete folder of artifacts, it lacks {missing[0]}", fix=fix))
    try:
        tree = files.read_yaml(folder / NATIVE_FILE)
        layout, params = files.read_json(folder / LAYOUT_FILE), files.read_json(folder / PARAMS_FILE)
        task, arch = tree["task"], tree["arch"]
        found = Artifacts(
            folder, task["loader"], task["transformer"], arch["network"], arch["gives"], dict(layout), dict(params)
        )
        if not all(isinstance(part, dict) for part in (found.loader, found.transformer, found.network)):
            raise TypeError("an import block is no mapping")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProjectError(problem(str(folder), f"cannot be read as artifacts ({error})", fix=fix)) from error
    return found
