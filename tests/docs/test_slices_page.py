"""The page on slices: every command on it runs, its table lists the keys, the Python gives what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.config import signatures
from tests.data.samples import make_masks

PAGE = (Path(__file__).parents[2] / "docs" / "slices.md").read_text("utf-8")
COMMANDS = re.findall(r"^mml .*$", PAGE, re.MULTILINE)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
QUICK = [
    "arch.encoder=resnet10t", "arch.pretrained=false", "trainer.max_epochs=1", "preprocessing.size=32",
]  # fmt: skip


def test_the_table_has_every_key() -> None:
    signature = signatures.read("mlpipe.data.volumes.slices.slice_set")
    assert signature is not None
    table = PAGE[PAGE.index("## Slices") : PAGE.index("## The network")]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(signature.parameters)


def test_the_table_of_the_task_has_its_own_keys() -> None:
    signature = signatures.read("mlpipe.data.sources.slices")
    assert signature is not None
    section = PAGE[PAGE.index("## Learning from slices") : PAGE.index("## The predictions")]
    named = {
        key for line in section.splitlines() if line.startswith("| `") for key in re.findall(r"`task\.(\w+)`", line)
    }
    of_every_task = {"name", "max_unreadable", "allow_overlap", "data_dir"}
    assert named == set(signature.parameters) - of_every_task - {"slices"}


def test_the_python_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PYTHON[1], {})
    assert capsys.readouterr().out == "36 True\n"


@pytest.mark.program
def test_the_commands_of_the_page(tmp_path: Path) -> None:
    import keras

    volume = np.random.default_rng(0).normal(size=(1, 30, 40, 50)).astype(np.float32)
    np.save("volume.npy", volume)
    with h5py.File("volume.h5", "w") as file:
        file["scan"], file["other"] = volume, volume[0]
    for axes, layer in ((2, keras.layers.Conv2D), (3, keras.layers.Conv3D)):
        inputs = keras.layers.Input((*[None] * axes, 1))
        model = keras.Sequential([inputs, layer(2, 3, padding="same", activation="softmax", name="last")])
        Path(f"net{axes}d.json").write_text(model.to_json())
        model.save_weights(f"net{axes}d.weights.h5")
    make_masks(tmp_path / "scans", 30)
    np.save("scan.npy", (volume[0, :, :32, :32] * 50 + 100).clip(0, 255).astype(np.uint8))
    np.save("scan_classes.npy", (volume[0, :, :32, :32] > 0).astype(np.uint8))
    assert len(COMMANDS) == 7
    for command in COMMANDS:
        _, mode, *arguments = shlex.split(command)
        quick = QUICK[: 3 if "task=slices" in arguments else 4] if mode == "train" else []
        quick = [key for key in quick if "arch=keras_json" not in arguments or not key.startswith("arch.")]
        assert main([mode, *arguments, "sys.threads=1", *quick]) == 0, command
    found: dict[str, object] = {}
    exec(PYTHON[0], found)
    assert np.asarray(found["mask"]).shape == (30, 40, 50)
    with h5py.File("planes.h5") as file:
        assert {name: (one.shape, str(one.dtype)) for name, one in file.items()} == dict.fromkeys(
            ("xz", "yz"), ((30, 40, 50, 2), "float16")
        )
    with h5py.File("classes.h5") as file, h5py.File("judged.h5") as judged:
        assert judged["yz"].shape == (30, 32, 32, 2)
        assert np.allclose(file["slice_set_1"][()].sum(-1), 1, atol=1e-5)
