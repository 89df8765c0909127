"""Data type `pde` and Burgers' equation: generated initial values, and a loss that needs no targets."""

from __future__ import annotations

from mlpipe.dialects.rmldnn.sections.transforms import translate_transforms
from mlpipe.dialects.rmldnn.state import Work

# The keys that generated data has, and where they go.
_PLACES = {
    "domain_size": "size", "num_examples": "examples", "num_test_examples": "test_examples", "bc_frequency": "frequency",
    "bc_type": "sampling",
}  # fmt: skip
_SAMPLING = {"random_uniform": "random", "fixed_uniform": "uniform"}
# What every data type has.
_COMMON = (
    "type", "input_type", "target_type", "batch_size", "test_batch_size", "test_output_path", "preload", "hdf5_precision",
)  # fmt: skip


def refuse_generated_keys(work: Work) -> None:
    """Refuse keys of generated data where data are of another type."""
    for key in work.section("data"):
        if key in _PLACES:
            work.refuse(f"data.{key}", "is for generated data", fix="leave it out, or use type: pde")


def translate_generated(work: Work, targets: str | None) -> None:
    """Generated initial values, each its own target.

    Args:
        work: The translation.
        targets: The type of targets.
    """
    data = work.section("data")
    work.options["task"] = "initial_values"
    if targets not in ("pde", None):
        fix = "leave target_type out, or use type: pde"
        work.refuse("data.target_type", "generated data have no targets of their own", got=targets, fix=fix)
    for key in data:
        if key not in (*_PLACES, *_COMMON):
            work.refuse(f"data.{key}", "is not for generated data", fix="leave it out, or use another type")
    if "domain_size" not in data:
        work.refuse("data.domain_size", "is needed", fix='say how many places a sample has: "domain_size": 64')
    elif data["domain_size"] < 2:
        fix = "use 2 or more"
        work.refuse("data.domain_size", "is too small for a solution", got=data["domain_size"], fix=fix)
    if not ("num_examples" in data or "num_test_examples" in data):
        fix = "add num_examples to train, num_test_examples to evaluate"
        work.refuse("data", "there is nothing to train on and nothing to evaluate", fix=fix)
    _places(work)
    if not work.has_targets and not work.trains:
        # Without a loss a network that solves an equation is applied only.
        work.set("task.labelled", False)
        work.options["loss"] = "burgers"
    translate_transforms(work, is_colour=False, white=1.0, target_colour=False)


def translate_burgers(work: Work) -> None:
    """The residual of Burgers' equation and its conditions, of the initial values that go in."""
    given = work.section("loss")
    work.options["loss"] = "burgers"
    work.set("metrics.train", [])
    note = (
        "implicit upwind differences in the unit square, x along the width and t along the height; there is no accuracy"
    )
    work.say("loss.function", "differs", "loss=burgers", note)
    for key in ("diffusion_coeff", "boundary_factor"):
        if key in given:
            work.same(f"loss.{key}", f"loss.{key}", float(given[key]))


def _places(work: Work) -> None:
    """Translate the number of samples, and their frequencies."""
    data = work.section("data")
    for key, place in _PLACES.items():
        if key not in data:
            continue
        if key == "num_examples" and not work.trains:
            work.say(f"data.{key}", "ignored", note="num_epochs is 0: nothing is trained")
        elif key == "bc_frequency":
            _frequency(work)
        elif key == "bc_type":
            work.same(f"data.{key}", f"task.{place}", _SAMPLING[data[key].lower()])
        else:
            work.same(f"data.{key}", f"task.{place}", data[key])
    missing = [key for key in ("bc_frequency", "bc_type") if key not in data]
    if missing:
        note = "rmldnn's page gives no default: frequencies are drawn from 1 to 4"
        work.say(f"data.{missing[0]}", "lint", f"task.{_PLACES[missing[0]]}", note)


def _frequency(work: Work) -> None:
    given = [float(value) for value in work.section("data")["bc_frequency"]]
    if len(given) != 2 or not 0 <= given[0] <= given[1]:
        wrong = "must be the least and the largest frequency, 0 or more"
        work.refuse("data.bc_frequency", wrong, got=given, fix="for example [1, 4]")
        return
    work.same("data.bc_frequency", "task.frequency", given)
