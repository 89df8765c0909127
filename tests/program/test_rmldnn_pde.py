"""rmldnn's Poisson solver from the command line: a network that is given diffusivities only ends at their solutions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mlpipe.cli import main
from mlpipe.runs import records
from mlpipe.runs.project import Project
from tests.learn.losses.test_equations import diffusivity, solved_by_differences

NODES = 17
LAYERS: list[dict[str, Any]] = [
    {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, NODES, NODES, 1]}},
    {"class_name": "Dense", "config": {"name": "dense", "units": NODES**2}},
    {"class_name": "Reshape", "config": {"name": "map", "target_shape": [NODES, NODES, 1]}},
]


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Four diffusivities to learn from, of which two are tested."""
    for part, count in (("train", 4), ("test", 2)):
        (tmp_path / part).mkdir()
        for number in range(count):
            field = diffusivity((NODES, NODES), number).astype(np.float32)
            np.save(tmp_path / part / f"nu{number}.npy", field[None])
    (tmp_path / "net.json").write_text(json.dumps(LAYERS))
    return tmp_path


def write(**changes: Any) -> None:
    data = {"type": "numpy", "input_path": "train/", "target_path": "train/", "test_input_path": "test/",
            "test_target_path": "test/", "test_output_path": "out/"}  # fmt: skip
    whole = {
        "num_epochs": 2,
        "layers": "net.json",
        "data": data,
        "optimizer": {"type": "Hessian", "max_iterations": 500, "max_func_eval": 1000},
        "loss": {"function": "Poisson2D_pde"},
        **changes,
    }
    Path("config.json").write_text(json.dumps({"neural_network": whole}))


def test_a_solution_is_within_a_hundredth_of_finite_differences(fields: Path) -> None:
    write()
    assert main(["train", "--app=pde", "--config=config.json", "sys.threads=1"]) == 0
    with h5py.File("out/output_2.h5") as file:
        for number in range(2):
            found = file[f"nu{number}.npy"][0]
            # What an equation gives at both ends is not learned.
            found[0], found[-1] = 1, 0
            expected = solved_by_differences(np.load(fields / "test" / f"nu{number}.npy")[0].astype(float))
            assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)
    assert main(["info", "mode.subroutines=[models]"]) == 0
    (record,) = records.load_all(Project(fields / "results" / "default"))
    assert record.kind == "solutions" and set(record.scores["val"]) == {"equation_loss", "loss"}


def test_a_solution_in_the_cube_is_within_a_hundredth_of_finite_differences(tmp_path: Path) -> None:
    shape = (8, 7, 8)
    for part, count in (("train", 2), ("test", 1)):
        (tmp_path / part).mkdir()
        for number in range(count):
            np.save(tmp_path / part / f"nu{number}.npy", diffusivity(shape, number).astype(np.float32)[None])
    layers = [
        {"class_name": "Flatten", "config": {"name": "flat", "batch_input_shape": [None, *shape, 1]}},
        {"class_name": "Dense", "config": {"name": "dense", "units": int(np.prod(shape)), "use_bias": False}},
        {"class_name": "Reshape", "config": {"name": "map", "target_shape": [*shape, 1]}},
        {"class_name": "Cropping3D", "config": {"name": "end", "cropping": 0}},
    ]
    (tmp_path / "net.json").write_text(json.dumps(layers))
    write(loss={"function": "Poisson3D_pde"})
    assert main(["train", "--app=pde", "--config=config.json", "sys.threads=1"]) == 0
    with h5py.File("out/output_2.h5") as file:
        found = file["nu0.npy"][0]
    found[0], found[-1] = 1, 0
    expected = solved_by_differences(np.load("test/nu0.npy")[0].astype(float))
    assert found.shape == shape and np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected)


def test_a_diffusivity_of_nothing_is_refused(fields: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(fields / "train" / "nu9.npy", np.zeros((1, NODES, NODES), np.float32))
    write(data={"type": "numpy", "input_path": "train/", "batch_size": 5})
    assert main(["train", "--app", "pde", "--config=config.json", "sys.threads=1"]) == 2
    assert "loss=poisson: takes a diffusivity above 0, got 0.0; add a small number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (
            "Poisson3D_pde",
            "neural_network.loss.function: Poisson3D_pde is for 3 axes, the network has 2; use Poisson2D_pde",
        ),
    ],
)
def test_other_equations_are_named(fields: Path, capsys: pytest.CaptureFixture[str], loss: str, said: str) -> None:
    write(loss={"function": loss})
    assert main(["convert", "recipe=config.json"]) == 2
    assert said in capsys.readouterr().err
