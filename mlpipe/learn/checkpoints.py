"""Lightning checkpoints without pickle: tensors in safetensors, everything else in JSON, committed together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlpipe import files, limits
from mlpipe.errors import ProjectError, problem

TENSORS_FILE = "tensors.safetensors"
STATE_FILE = "state.json"
# The state before the newest one, used if the newest is damaged.
BEFORE_FILE = "state.before.json"


class PlainCheckpointIO(CheckpointIO):
    """A checkpoint folder with the last two states, each a JSON file that names its tensors file.

    The JSON file is written after the tensors and contains their hash and its own, so that damage on the disk is
    detected.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a state; the previous newest one is kept as the state before, and older ones are deleted."""
        folder = Path(path)
        tensors: dict[str, Tensor] = {}
        state = _as_json(checkpoint, tensors)
        name = f"{files.digest(state)[:12]}.{TENSORS_FILE}"
        with files.durable(folder / name) as temporary:
            save_file(tensors, temporary)
        content = {"tensors": name, "hash": files.digest_file(folder / name), "state": state}
        newest = folder / STATE_FILE
        if newest.is_file():
            files.write_bytes(folder / BEFORE_FILE, newest.read_bytes())
        files.write_sealed(newest, content)
        tensor_files = {_tensors_file_name(folder / file) for file in (STATE_FILE, BEFORE_FILE)}
        for old in folder.glob(f"*.{TENSORS_FILE}"):
            if old.name not in tensor_files:
                old.unlink()

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the newest state.

        Raises:
            ProjectError: When it is damaged.
        """
        folder = Path(path)
        if wrong := _damage(folder, STATE_FILE):
            raise ProjectError(problem(str(folder / STATE_FILE), wrong, fix="continue the run, or start it again"))
        stored = files.read_json(folder / STATE_FILE)
        restored = _from_json(stored["state"], load_file(folder / stored["tensors"]))
        assert isinstance(restored, dict)
        return restored

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint."""
        shutil.rmtree(path, ignore_errors=True)


def exists(folder: Path) -> bool:
    """Whether a state is there."""
    return (folder / STATE_FILE).is_file()


def verify_newest_state(folder: Path) -> list[str]:
    """Verify the newest state; if it is damaged, replace it by the one before; if both are damaged, delete them.

    Args:
        folder: The checkpoint; afterwards `exists` tells whether there is an intact state to resume from.

    Returns:
        A sentence for every damaged state.
    """
    problems: list[str] = []
    for file in (STATE_FILE, BEFORE_FILE):
        path = folder / file
        if not path.is_file():
            continue
        wrong = _damage(folder, file)
        if not wrong:
            if file == BEFORE_FILE and problems:
                files.write_bytes(folder / STATE_FILE, path.read_bytes())
            return problems
        problems.append(f"{path}: {wrong}")
    for path in (folder / STATE_FILE, folder / BEFORE_FILE):
        path.unlink(missing_ok=True)
    return problems


def _damage(folder: Path, file: str) -> str:
    """Describe the damage of one of the states; empty if it is intact."""
    try:
        stored = files.read_json(folder / file)
        if files.seal_is_broken(stored) is not False:
            return "the state does not have the checksum that it was written with"
        tensors = folder / stored["tensors"]
        if tensors.parent != folder or tensors.is_symlink():
            return f"its tensors ({stored['tensors']}) lie elsewhere"
        limits.require_ordinary(tensors)
        if files.digest_file(tensors) != stored["hash"]:
            return f"its tensors ({stored['tensors']}) do not have the checksum that they were written with"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"the state cannot be read ({type(error).__name__})"
    return ""


def _tensors_file_name(path: Path) -> str:
    """Return the name of a state's tensors file; empty if the state is missing or damaged."""
    try:
        return str(files.read_json(path)["tensors"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _as_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Convert `value` to JSON: tensors by name, tuples and dictionaries tagged so that they can be restored exactly."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_as_json(key, tensors), _as_json(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_as_json(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_as_json(item, tensors) for item in value]
    if isinstance(value, float) and value - value != 0:
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item"):
        return _as_json(value.item(), tensors)
    raise TypeError(f"a checkpoint cannot hold a {type(value).__name__}")


def _from_json(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_from_json(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    match tag:
        case "tensor":
            return tensors[content]
        case "dict":
            return {_from_json(key, tensors): _from_json(item, tensors) for key, item in content}
        case "tuple":
            return tuple(_from_json(item, tensors) for item in content)
        case "float":
            return float(content)
    raise ValueError(f"unknown tag {tag!r} in a checkpoint")
