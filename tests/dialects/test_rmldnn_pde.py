"""rmldnn's data type `pde` with Burgers' equation, as a native task of initial values."""

from __future__ import annotations

from typing import Any

import pytest

from mlpipe.dialects.rmldnn.translate import translate
from mlpipe.errors import ConfigError
from tests.build import PLACES, layers

DATA = {
    "type": "pde", "domain_size": PLACES, "num_examples": 12, "num_test_examples": 3, "batch_size": 4, "test_batch_size": 2,
    "bc_frequency": [1, 2], "bc_type": "fixed_uniform", "test_output_path": "out/",
}  # fmt: skip


LOSS = {"function": "Burgers_PDE", "diffusion_coeff": 0.01, "boundary_factor": 64}


def whole(**changes: Any) -> dict[str, Any]:
    inside = {
        "outfile": "log.txt", "num_epochs": 4, "layers": "net.json", "data": DATA, "loss": LOSS,
        "checkpoints": {"save": "kept/", "interval": 4}, "optimizer": {"type": "Adam", "learning_rate": 0.01}, **changes,
    }  # fmt: skip
    return {"neural_network": {key: value for key, value in inside.items() if value is not None}}


def translated(**changes: Any) -> Any:
    return translate(whole(**{"layers": layers(row=True), **changes}))


def test_every_key_has_its_place() -> None:
    found = translated()
    assert found.mode == "" and found.chosen()["task"] == "initial_values" and found.chosen()["loss"] == "burgers"
    assert found.native["task"] == {
        "size": PLACES, "examples": 12, "test_examples": 3, "frequency": [1.0, 2.0], "sampling": "uniform",
        "allow_overlap": True,
    }  # fmt: skip
    assert found.native["loss"] == {"diffusion_coeff": 0.01, "boundary_factor": 64.0}
    assert found.native["metrics"]["train"] == [] and found.chosen()["split"] == "on_test"
    told = {line.key for line in found.report}
    assert {f"data.{key}" for key in DATA} | {f"loss.{key}" for key in LOSS} <= told
    drawn = translated(data={"type": "PDE", "domain_size": 8, "num_examples": 4, "bc_type": "random_uniform"})
    assert drawn.native["task"] == {"size": 8, "examples": 4, "sampling": "random", "allow_overlap": True}
    assert [line.key for line in drawn.of_fate("lint")] == ["data.bc_frequency"]


def test_what_is_not_named_is_not_done() -> None:
    judged = translated(data={"input_type": "pde", "domain_size": 8, "num_test_examples": 4}, optimizer=None)
    assert (
        judged.mode == "evaluate" and judged.chosen()["loss"] == "burgers" and "labelled" not in judged.native["task"]
    )
    applied = translated(data={"type": "pde", "domain_size": 8, "num_test_examples": 4}, optimizer=None, loss=None)
    assert applied.mode == "evaluate" and applied.native["task"]["labelled"] is False
    assert applied.chosen()["loss"] == "burgers"
    never = translated(num_epochs=0)
    assert never.mode == "evaluate" and "examples" not in never.native["task"]
    plain = translated(data={"type": "pde", "domain_size": 8, "num_examples": 4})
    assert "test_examples" not in plain.native["task"] and plain.mode == ""


def test_arrays_may_be_initial_values_too() -> None:
    found = translated(data={"type": "numpy", "input_path": "a.npz", "test_input_path": "b.npz"})
    assert found.chosen()["task"] == "samples" and found.chosen()["loss"] == "burgers"
    assert found.native["task"] == {"labels": "images", "train": "a.npz", "test": "b.npz", "allow_overlap": True}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_examples": None, "num_test_examples": None}, r"data: there is nothing to train on and nothing to evaluate"),
        ({"domain_size": None}, r"data\.domain_size: is needed"),
        ({"domain_size": 1}, r"data\.domain_size: is too small for a solution, got 1"),
        ({"domain_sise": 4}, r"data\.domain_sise: unknown key; did you mean 'domain_size'"),
        ({"bc_type": "fixed"}, r"data\.bc_type: must be random_uniform or fixed_uniform, got 'fixed'"),
        ({"bc_frequency": [3, 1]}, r"data\.bc_frequency: must be the least and the largest frequency, 0 or more, got \[3\.0"),
        ({"bc_frequency": [1, 2, 3]}, r"data\.bc_frequency: must be the least and the largest"),
        ({"num_examples": 0}, r"data\.num_examples: must be a whole number >= 1, got 0"),
        ({"input_path": "x/"}, r"data\.input_path: is not for generated data"),
        ({"transforms": [{"rotate": 90}]}, r"data\.transforms: is not for generated data"),
        ({"slicers": [{"sizes": [4]}]}, r"data\.slicers: is not for generated data"),
        ({"type": None, "input_type": "pde", "target_type": "labels"}, r"generated data have no targets of their own, got 'lab"),
        ({"type": "numpy"}, r"data\.domain_size: is for generated data; leave it out, or use type: pde"),
    ],
)  # fmt: skip
def test_wrong_data_are_named(changes: dict[str, Any], said: str) -> None:
    data = {key: value for key, value in {**DATA, **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=said):
        translated(data=data)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": {"function": "MSE"}}, r"loss\.function: mse is no loss of generated data, which have no targets; use Burgers"),
        ({"loss": {"function": "Poisson2D_pde"}}, r"Poisson2D_pde is no loss of generated data"),
        ({"loss": {**LOSS, "boundary_facto": 2}}, r"loss\.boundary_facto: unknown key; did you mean 'boundary_factor'"),
        ({"loss": {**LOSS, "diffusion_coeff": -1}}, r"loss\.diffusion_coeff: must be a number >= 0, got -1"),
        ({"loss": None}, r"neural_network\.loss: is needed to train; add it, or leave num_examples out"),
        ({"data": {"input_type": "images", "target_type": "labels", "input_path": "a"}},
         r"Burgers_pde solves an equation, for which there are no labels"),
    ],
)  # fmt: skip
def test_wrong_losses_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        translated(**changes)
