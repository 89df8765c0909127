"""Section `stages`: the settings of each stage, and those that it inherits from the previous stage."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlpipe.dialects.musket.sections import callbacks, losses
from mlpipe.dialects.musket.sections.callbacks import Callbacks
from mlpipe.dialects.musket.state import State
from mlpipe.names import path_of

_KEYS = (
    "epochs", "lr", "loss", "callbacks", "extra_callbacks", "initial_weights", "unfreeze_encoder", "freeze_encoder",
    "negatives", "validation_negatives", "logAll", "optimizer",
)  # fmt: skip
# File name of the best weights of a fold's stage.
_OF_STAGE = re.compile(r"best-\d+\.(?P<stage>\d+)\.weights")


def translate_stages(state: State, root: Callbacks) -> None:
    """Translate the list of stages.

    Args:
        state: The state of the translation.
        root: The native equivalent of the root's callbacks.
    """
    stages = state.source.get("stages")
    if not isinstance(stages, list) or not stages:
        state.refuse(
            "stages", "nothing is trained without stages", got=stages, fix="for example stages: [{epochs: 10}]"
        )
        return
    frozen = bool(state.source.get("freeze_encoder", False))
    mentioned = frozen or any({"freeze_encoder", "unfreeze_encoder"} & set(entry or {}) for entry in stages)
    entries = []
    for number, entry in enumerate(stages):
        if not isinstance(entry, Mapping):
            state.refuse(f"stages[{number}]", "must be a mapping", got=entry, fix="for example {epochs: 10}")
            continue
        if "unfreeze_encoder" in entry and entry.get("freeze_encoder") == entry["unfreeze_encoder"]:
            fix = "keep one of them"
            state.refuse(
                f"stages[{number}].unfreeze_encoder",
                "freeze_encoder says the opposite",
                got=entry["unfreeze_encoder"],
                fix=fix,
            )
        if "unfreeze_encoder" in entry or "freeze_encoder" in entry:
            frozen = not entry["unfreeze_encoder"] if "unfreeze_encoder" in entry else bool(entry["freeze_encoder"])
        native = _stage(state, number, entry, root)
        if len(stages) > 1:
            native["keep"] = True
        if mentioned:
            native["freeze"] = "backbone" if frozen else False
        entries.append(native)
    state.set("stages.list", entries)
    if "freeze_encoder" in state.source:
        state.say("freeze_encoder", "differs", "stages.list", "what is frozen keeps its batch statistics too")


def _stage(state: State, number: int, entry: Mapping[str, Any], root: Callbacks) -> dict[str, Any]:
    key = f"stages[{number}]"
    for unknown in (option for option in entry if option not in _KEYS):
        state.unknown(f"{key}.{unknown}", str(unknown), _KEYS)
    epochs = entry.get("epochs")
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        state.refuse(f"{key}.epochs", "must be a whole number >= 1", got=epochs, fix="say how many epochs it has")
    native: dict[str, Any] = {"epochs": epochs}
    if entry.get("loss") is not None:
        loss = losses.component(state, f"{key}.loss", entry["loss"])
        if loss is not None:
            native["loss"] = loss
    own = _callbacks(state, key, entry, root)
    rate = own.lr if own is not None else root.lr
    if entry.get("lr") is not None or rate is not None:
        native["lr"] = float(rate if rate is not None else entry["lr"])
    if own is not None:
        native["callbacks"] = own.callbacks
        if own.logging is not None and root.logging is None:
            state.options["logging"] = "tensorboard"
            for name, value in own.logging.items():
                state.set(f"logging.{name}", value)
            state.say(f"{key}.callbacks.TensorBoard", "differs", "logging", "it writes in all stages")
        native["lr_scheduler"] = own.lr_scheduler or {"_target_": path_of("lr_scheduler", "none")}
    if number and entry.get("lr") is None and entry.get("loss") is None:
        native["carry"] = True
    _negatives(state, key, entry, native)
    _translate_start(state, key, entry, native)
    if entry.get("logAll"):
        state.native.setdefault("logging", {}).setdefault("batches", []).append(number)
        note = "loss and rate of each batch; metrics are computed after every epoch"
        state.say(f"{key}.logAll", "differs", "logging.batches", note)
    if "optimizer" in entry:
        note = "Musket reads no optimizer of a stage: every stage learns with the one at the root"
        state.say(f"{key}.optimizer", "lint", note=note)
    state.say(key, "same", f"stages.list[{number}]")
    return native


def _callbacks(state: State, key: str, entry: Mapping[str, Any], root: Callbacks) -> Callbacks | None:
    """Return the callbacks of a stage that has some of its own; None if they are the root's."""
    if "callbacks" not in entry and "extra_callbacks" not in entry:
        return None
    base = entry.get("callbacks", state.source.get("callbacks"))
    extra = entry.get("extra_callbacks") or {}
    if isinstance(base, Mapping) and isinstance(extra, Mapping):
        return callbacks.translated(state, f"{key}.callbacks", {**base, **extra})
    joined = [*_as_list(base), *_as_list(extra)]
    return callbacks.translated(state, f"{key}.callbacks", joined)


def _as_list(entries: Any) -> list[Any]:
    if isinstance(entries, Mapping):
        return [{name: value} for name, value in entries.items()]
    return list(entries or [])


def _negatives(state: State, key: str, entry: Mapping[str, Any], native: dict[str, Any]) -> None:
    training = entry.get("negatives", "all")
    for name, place in (("negatives", "negatives"), ("validation_negatives", "val_negatives")):
        negatives = entry.get(name, training)
        if negatives in ("all", "real", None):
            continue
        if negatives == "none" or (isinstance(negatives, int) and not isinstance(negatives, bool) and negatives >= 0):
            native[place] = 0 if negatives == "none" else negatives
        elif isinstance(negatives, float):
            state.say(f"{key}.{name}", "lint", note=f"{negatives} is no whole number, so all negatives are kept")
        else:
            if name in entry:
                state.refuse(f"{key}.{name}", "must be none, real, all or a whole number", got=negatives)


def _is_future_weights(state: State, path: Path) -> bool:
    """Return whether another experiment of the project will write a weights file when it is trained."""
    folder = path.parent.parent
    is_other = folder != state.home.experiment.absolute() and (folder / state.home.config.name).is_file()
    return is_other and path.parent.name == "weights" and _OF_STAGE.fullmatch(path.name) is not None


def _translate_start(state: State, key: str, entry: Mapping[str, Any], native: dict[str, Any]) -> None:
    weights = entry.get("initial_weights")
    if weights is None:
        return
    below = (state.home.experiment, state.home.project, state.home.project / "experiments")
    candidates = [Path(os.path.normpath(folder / str(weights))) for folder in below]
    number, place = int(key.partition("[")[2].rstrip("]")), f"{key}.initial_weights"
    for path in candidates:
        # The weights file of a stage of this training, which does not exist before the training has ended.
        match = _OF_STAGE.fullmatch(path.name)
        if match and path.parent == state.home.experiment.absolute() / "weights" and int(match["stage"]) < number:
            native["start_from"] = int(match["stage"])
            note = "each fold starts from its own best weights of that stage, whichever fold the file names"
            state.say(place, "differs", f"stages.list[{number}].start_from", note)
            return
    file = next((path for path in candidates if path.is_file()), None)
    if file is None and state.is_whole and not any(_is_future_weights(state, path) for path in candidates):
        wrong = "there is no such file below the experiment, its project and experiments/"
        fix = "name best-F.S.weights of an earlier stage, or of another experiment"
        state.refuse(place, wrong, got=weights, fix=fix)
        return
    native["initial_weights"] = str(file or weights)
    state.say(place, "differs", f"stages.list[{number}].initial_weights", "it wins over the stage before")
