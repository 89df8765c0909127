"""Data type `pde` and Burgers' equation: generated initial values, and a loss that needs no targets."""

from __future__ import annotations

from mlpipe.dialects.rmldnn.sections.transforms import translate_transforms
from mlpipe.dialects.rmldnn.state import State

# Keys of generated data -> native keys.
_PLACES = {
    "domain_size": "size", "num_examples": "examples", "num_test_examples": "test_examples", "bc_frequency": "frequency",
    "bc_type": "sampling",
}  # fmt: skip
_SAMPLING = {"random_uniform": "random", "fixed_uniform": "uniform"}
# Keys of every data type.
_COMMON = (
    "type", "input_type", "target_type", "batch_size", "test_batch_size", "test_output_path", "preload", "hdf5_precision",
)  # fmt: skip


def refuse_generated_keys(state: State) -> None:
    """Refuse keys of generated data if data are of another type."""
    for key in state.section("data"):
        if key in _PLACES:
            state.refuse(f"data.{key}", "is for generated data", fix="leave it out, or use type: pde")


def translate_generated(state: State, targets: str | None) -> None:
    """Translate generated initial values, each its own target.

    Args:
        state: The state of the translation.
        targets: The type of targets.
    """
    data = state.section("data")
    state.options["task"] = "initial_values"
    if targets not in ("pde", None):
        fix = "leave target_type out, or use type: pde"
        state.refuse("data.target_type", "generated data have no targets of their own", got=targets, fix=fix)
    for key in data:
        if key not in (*_PLACES, *_COMMON):
            state.refuse(f"data.{key}", "is not for generated data", fix="leave it out, or use another type")
    if "domain_size" not in data:
        state.refuse("data.domain_size", "is needed", fix='say how many places a sample has: "domain_size": 64')
    elif data["domain_size"] < 2:
        fix = "use 2 or more"
        state.refuse("data.domain_size", "is too small for a solution", got=data["domain_size"], fix=fix)
    if not ("num_examples" in data or "num_test_examples" in data):
        fix = "add num_examples to train, num_test_examples to evaluate"
        state.refuse("data", "there is nothing to train on and nothing to evaluate", fix=fix)
    _translate_samples(state)
    if not state.has_targets and not state.trains:
        # Without a loss the network is only applied.
        state.set("task.labelled", False)
        state.options["loss"] = "burgers"
    translate_transforms(state, is_colour=False, white=1.0, target_colour=False)


def translate_burgers(state: State) -> None:
    """Translate the residual of Burgers' equation and its conditions, with the inputs as initial values."""
    loss = state.section("loss")
    state.options["loss"] = "burgers"
    state.set("metrics.train", [])
    note = (
        "implicit upwind differences in the unit square, x along the width and t along the height; there is no accuracy"
    )
    state.say("loss.function", "differs", "loss=burgers", note)
    for key in ("diffusion_coeff", "boundary_factor"):
        if key in loss:
            state.same(f"loss.{key}", f"loss.{key}", float(loss[key]))


def _translate_samples(state: State) -> None:
    """Translate the number of samples and their frequencies."""
    data = state.section("data")
    for key, place in _PLACES.items():
        if key not in data:
            continue
        if key == "num_examples" and not state.trains:
            state.say(f"data.{key}", "ignored", note="num_epochs is 0: nothing is trained")
        elif key == "bc_frequency":
            _frequency(state)
        elif key == "bc_type":
            state.same(f"data.{key}", f"task.{place}", _SAMPLING[data[key].lower()])
        else:
            state.same(f"data.{key}", f"task.{place}", data[key])
    missing = [key for key in ("bc_frequency", "bc_type") if key not in data]
    if missing:
        note = "rmldnn's page gives no default: frequencies are drawn from 1 to 4"
        state.say(f"data.{missing[0]}", "lint", f"task.{_PLACES[missing[0]]}", note)


def _frequency(state: State) -> None:
    frequencies = [float(value) for value in state.section("data")["bc_frequency"]]
    if len(frequencies) != 2 or not 0 <= frequencies[0] <= frequencies[1]:
        wrong = "must be the least and the largest frequency, 0 or more"
        state.refuse("data.bc_frequency", wrong, got=frequencies, fix="for example [1, 4]")
        return
    state.same("data.bc_frequency", "task.frequency", frequencies)
