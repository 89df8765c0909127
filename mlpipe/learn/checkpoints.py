"""Lightning's checkpoints without pickle: tensors in safetensors, everything else in JSON, committed together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlpipe import files
from mlpipe.errors import ProjectError, problem

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"


class PlainCheckpointIO(CheckpointIO):
    """A checkpoint is a folder of two files; the JSON is written last and holds the hash of the other."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; the one that was there stays until the new one is complete."""
        folder = Path(path)
        tensors: dict[str, Tensor] = {}
        state = _plain(checkpoint, tensors)
        name = f"{files.digest(state)[:12]}.{TENSORS_FILE}"
        with files.durable(folder / name) as temporary:
            save_file(tensors, temporary)
        files.write_json(
            folder / STATE_FILE, {"tensors": name, "hash": files.digest_file(folder / name), "state": state}
        )
        for old in folder.glob(f"*.{TENSORS_FILE}"):
            if old.name != name:
                old.unlink()

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            ProjectError: When it is damaged.
        """
        folder = Path(path)
        damaged = problem(str(folder), "the checkpoint is damaged", fix="start the run again")
        try:
            stored = files.read_json(folder / STATE_FILE)
            is_whole = files.digest_file(folder / stored["tensors"]) == stored["hash"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ProjectError(damaged) from error
        if not is_whole:
            raise ProjectError(damaged)
        restored = _restored(stored["state"], load_file(folder / stored["tensors"]))
        assert isinstance(restored, dict)
        return restored

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        shutil.rmtree(path, ignore_errors=True)


def exists(folder: Path) -> bool:
    """Whether a complete checkpoint is there."""
    return (folder / STATE_FILE).is_file()


def _plain(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` in JSON's terms: tensors by name, tuples and dictionaries tagged so that they come back as they were."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_plain(key, tensors), _plain(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_plain(item, tensors) for item in value]
    if isinstance(value, float) and value - value != 0:
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):
        return _plain(value.item(), tensors)
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _restored(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_restored(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    match tag:
        case "tensor":
            return tensors[content]
        case "dict":
            return {_restored(key, tensors): _restored(item, tensors) for key, item in content}
        case "tuple":
            return tuple(_restored(item, tensors) for item in content)
        case "float":
            return float(content)
    raise ValueError(f"unknown tag {tag!r} in a checkpoint")
