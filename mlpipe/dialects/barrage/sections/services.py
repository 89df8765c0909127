"""Section `services`: checkpoints, logs and early stopping; all of them are on by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.barrage.sections.solver import monitor
from mlpipe.dialects.barrage.state import State

_BOARD = (
    "log_dir", "histogram_freq", "write_graph", "write_images", "write_steps_per_second", "update_freq", "profile_batch",
    "embeddings_freq", "embeddings_metadata", "write_grads", "batch_size", "embeddings_layer_names", "embeddings_data",
)  # fmt: skip
_STOP = ("monitor", "mode", "patience", "min_delta", "verbose", "baseline", "restore_best_weights")


def translate_services(state: State) -> None:
    """Translate the best checkpoint, a checkpoint per epoch, curves, the CSV log and both early stops."""
    services = state.source["services"]
    state.options["callbacks"] = "best_practice"
    best, key = services["best_checkpoint"], "services.best_checkpoint"
    watched = monitor(state, f"{key}.monitor", _of_validation(state, f"{key}.monitor", best["monitor"], True))
    if watched is not None:
        state.set("metrics.monitor", watched)
        state.set("metrics.direction", best["mode"])
        state.say(key, "same", "metrics.monitor", "the record has the best epoch's weights")
    _stop(state, "services.train_early_stopping", services["train_early_stopping"], "early_train", False)
    _stop(state, "services.validation_early_stopping", services["validation_early_stopping"], "early_validation", True)
    board = services["tensorboard"]
    state.unknown_keys("services.tensorboard", board, _BOARD)
    state.options["logging"] = "tensorboard"
    note = "loss and metrics" + ("; its other parameters are not used" if set(board) - {"log_dir"} else "")
    state.say("services.tensorboard", "differs", "logging=tensorboard", note)
    if "log_dir" in board:
        state.say("services.tensorboard.log_dir", "lint", note="Barrage overrides it, the curves go to TensorBoard/")
    # Keras stops a training with a NaN loss; by default mlpipe would roll back and continue with a lower rate.
    state.set("healing.rollbacks", 0)
    state.say("services", "differs", "healing.rollbacks", "a loss that is no number ends the training with an error")


def _stop(state: State, key: str, block: Mapping[str, Any], name: str, validation: bool) -> None:
    state.unknown_keys(key, block, _STOP)
    baseline = block.get("baseline")
    if baseline is not None and (isinstance(baseline, bool) or not isinstance(baseline, int | float)):
        state.refuse(f"{key}.baseline", "must be a number", got=baseline, fix="leave it out")
    watched = monitor(state, f"{key}.monitor", _of_validation(state, f"{key}.monitor", block["monitor"], validation))
    if watched is None:
        return
    values: dict[str, Any] = {"patience": int(block["patience"]), "min_delta": float(block["min_delta"])}
    values |= {"watch": watched, "watch_direction": block["mode"]}
    if baseline is not None:
        values["baseline"] = baseline
    for setting, value in values.items():
        state.set(f"callbacks.{name}.{setting}", value)
    note = "the weights are those of the best epoch anyway" if block.get("restore_best_weights") else ""
    state.say(key, "same", f"callbacks.{name}", note)


def _of_validation(state: State, key: str, name: str, is_validation: bool) -> str:
    """Return the monitor with or without `val_`, as Barrage forces it, with Barrage's warning."""
    forced = f"val_{name.removeprefix('val_')}" if is_validation else name.removeprefix("val_")
    if forced != name:
        state.say(
            key, "lint", note=f"{name} is not of the {'validation' if is_validation else 'training'}, so it is {forced}"
        )
    return forced
