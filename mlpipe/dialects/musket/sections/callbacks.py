"""Callbacks of Keras and Musket: early stopping, learning rate schedules, TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlpipe.dialects.musket.sections import losses
from mlpipe.dialects.musket.state import State
from mlpipe.errors import did_you_mean
from mlpipe.names import path_of

_KNOWN = {
    name.lower(): name
    for name in (
        "EarlyStopping",
        "ReduceLROnPlateau",
        "CyclicLR",
        "LRVariator",
        "TensorBoard",
        "TerminateOnNaN",
        "ModelCheckpoint",
        "CSVLogger",
        "History",
        "ProgbarLogger",
    )
}
_KEYS = {
    "EarlyStopping": {"monitor", "patience", "min_delta", "mode", "verbose", "baseline", "restore_best_weights"},
    "ReduceLROnPlateau": {
        *("monitor", "factor", "patience", "min_delta", "epsilon", "cooldown", "min_lr", "mode", "verbose"),
    },
    "CyclicLR": {"base_lr", "max_lr", "step_size", "mode", "gamma"},
    "TensorBoard": {
        *("log_dir", "histogram_freq", "batch_size", "write_graph", "write_grads", "write_images", "update_freq"),
        *("embeddings_freq", "embeddings_layer_names", "embeddings_metadata", "embeddings_data"),
    },
    "LRVariator": {"fromVal", "toVal", "style", "absSize", "relSize", "periodEpochs", "periodSteps", "then"},
}


# Callbacks whose function every training has anyway.
_ALWAYS = {
    **dict.fromkeys(("TerminateOnNaN", "ModelCheckpoint", "ProgbarLogger"), "every training does this"),
    **dict.fromkeys(("CSVLogger", "History"), "metrics/ has the values of every epoch"),
}
# Callbacks that may occur once; several schedules may follow each other.
_ONCE = ("EarlyStopping", "ReduceLROnPlateau", "TensorBoard")


@dataclass
class Callbacks:
    """Native equivalent of a map of callbacks.

    Attributes:
        callbacks: Native callbacks by name.
        lr_scheduler: The native schedule; None: the rate is constant.
        lr: The initial learning rate of the schedule, if it names one.
        logging: The data that TensorBoard writes; None: none.
    """

    callbacks: dict[str, dict[str, Any]] = field(default_factory=dict)
    lr_scheduler: dict[str, Any] | None = None
    lr: float | None = None
    logging: dict[str, Any] | None = None


def translated(state: State, key: str, given: Any) -> Callbacks:
    """Return the native equivalent of a map (or list) of callbacks.

    Args:
        state: Collects problems.
        key: The key in the source.
        given: Parameters by name.
    """
    result, schedules, names = Callbacks(), list[_Schedule](), list[str]()
    for name, parameters in _entries(state, key, given):
        full, where = _KNOWN.get(name.lower()), f"{key}.{name}"
        parameters = parameters if isinstance(parameters, Mapping) else {}
        if full is None:
            fix = did_you_mean(name, _KNOWN.values(), otherwise=f"known: {', '.join(_KNOWN.values())}")
            state.refuse(where, "there is no such callback here", fix=fix)
            continue
        _note_unknown_keys(state, where, full, parameters)
        if full in _ONCE and full in names:
            state.refuse(where, f"there is a second {full}", fix="keep one of them")
        names.append(full)
        if full == "EarlyStopping":
            _early(state, where, parameters, result)
        elif full in _ALWAYS:
            state.say(where, "same", note=_ALWAYS[full])
        elif full == "TensorBoard":
            _tensorboard(state, where, parameters, result)
        else:
            schedules.append(_Schedule(full, where, parameters))
    _schedule(state, schedules, result)
    return result


def _note_unknown_keys(state: State, key: str, name: str, parameters: Mapping[str, Any]) -> None:
    for unknown in (parameter for parameter in parameters if parameter not in _KEYS.get(name, parameters)):
        state.unknown(f"{key}.{unknown}", str(unknown), sorted(_KEYS[name]))


@dataclass(frozen=True)
class _Schedule:
    """A callback that changes the learning rate, and its key."""

    name: str
    key: str
    parameters: Mapping[str, Any]

    @property
    def is_always_on(self) -> bool:
        """Whether it sets the rate after every batch of its stage."""
        sizes = ("absSize", "relSize", "periodEpochs", "periodSteps")
        whole = self.name == "LRVariator" and all(self.parameters.get(key) is None for key in sizes)
        return self.name == "CyclicLR" or whole


def _schedule(state: State, schedules: list[_Schedule], result: Callbacks) -> None:
    """Merge several schedules into one: of those that set the rate after every batch, the last one takes effect."""
    if sorted(schedule.name for schedule in schedules) == ["LRVariator", "ReduceLROnPlateau"] and not any(
        schedule.is_always_on for schedule in schedules
    ):
        _ramp_and_plateau(state, {schedule.name: schedule for schedule in schedules}, result)
        return
    winner = next(
        (schedule for schedule in reversed(schedules) if schedule.is_always_on),
        schedules[0] if len(schedules) == 1 else None,
    )
    later = schedules[schedules.index(winner) + 1 :] if winner is not None else []
    if winner is None or any(schedule.name == "LRVariator" for schedule in later):
        for schedule in schedules[1:]:
            ramp = next((other.name for other in schedules if other.name != schedule.name), schedule.name)
            wrong = f"and {schedules[0].name} change the learning rate in turns"
            state.refuse(schedule.key, wrong, fix=_two_stages_advice(ramp, schedule.name))
        return
    for schedule in schedules:
        _SCHEDULERS[schedule.name](
            state, schedule.key, schedule.parameters, result if schedule is winner else Callbacks()
        )
        if schedule is not winner:
            note = f"{winner.name} sets the rate anew after every batch, as in Keras, so that this has no effect"
            if schedule.name == "ReduceLROnPlateau":
                note += " (there it lasted one batch)"
            state.lines = [line for line in state.lines if line.key != schedule.key]
            state.say(schedule.key, "differs", note=note)


def _ramp_and_plateau(state: State, schedules: Mapping[str, _Schedule], result: Callbacks) -> None:
    """Translate a single or repeated ramp, and a plateau that lowers the resulting rate."""
    ramp, plateau = schedules["LRVariator"], schedules["ReduceLROnPlateau"]
    _variator(state, ramp.key, ramp.parameters, result)
    values = _plateau_values(state, plateau.key, plateau.parameters)
    if result.lr_scheduler is None or values is None:
        return
    if "plateau" in result.lr_scheduler:
        state.refuse(plateau.key, "and the one after LRVariator both lower the learning rate", fix="keep one of them")
        return
    result.lr_scheduler |= {"plateau": values, "plateau_from": "start"}
    state.say(plateau.key, "same", "lr_scheduler.plateau", f"while LRVariator runs it sets the rate anew; {_ONE_LESS}")


def _two_stages_advice(first: str, second: str) -> str:
    """Return advice to write two stages instead of two schedules in one."""
    text = (
        f"write two stages, {{epochs: N, callbacks: {{{first}: ...}}}} and then one with callbacks: {{{second}: ...}}"
    )
    return f"{text}; without lr and loss it goes on with the rate of the first"


def _entries(state: State, key: str, callbacks: Any) -> list[tuple[str, Any]]:
    if callbacks is None:
        return []
    if isinstance(callbacks, Mapping):
        return [(str(name), value) for name, value in callbacks.items()]
    if isinstance(callbacks, list):
        entries = [entry if isinstance(entry, Mapping) else {entry: None} for entry in callbacks]
        return [(str(name), value) for entry in entries for name, value in entry.items()]
    state.refuse(key, "must be a map of callbacks", got=callbacks, fix="for example EarlyStopping: {patience: 3}")
    return []


def _watch_keys(state: State, key: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    monitored = losses.monitor(state, f"{key}.monitor", str(parameters.get("monitor", "val_loss")))
    if monitored is None:
        return None
    mode = losses.direction(state, f"{key}.mode", monitored, parameters.get("mode", "auto"))
    return {"watch": monitored, "watch_direction": mode}


def _early(state: State, key: str, parameters: Mapping[str, Any], result: Callbacks) -> None:
    watched = _watch_keys(state, key, parameters)
    if watched is not None:
        values = {"patience": int(parameters.get("patience", 0)), "min_delta": float(parameters.get("min_delta", 0))}
        if parameters.get("baseline") is not None:
            values["baseline"] = float(parameters["baseline"])
        name = "early" if watched["watch"].startswith("val/") else "early_train"
        result.callbacks[name] = {"_target_": path_of("callbacks", name), **values, **watched}
        note = "the weights are those of the best epoch anyway" if parameters.get("restore_best_weights") else ""
        state.say(key, "same", f"callbacks.{name}", note)


def _tensorboard(state: State, key: str, parameters: Mapping[str, Any], result: Callbacks) -> None:
    every = int(parameters.get("histogram_freq") or 0)
    settings: dict[str, Any] = {
        "log_dir": str(state.home.experiment / str(parameters.get("log_dir", "logs"))),
        "histograms": every,
        "gradients": bool(every and parameters.get("write_grads", False)),
        "filters": bool(every and parameters.get("write_images", False)),
        "graph": bool(parameters.get("write_graph", True)),
        "embeddings": int(parameters.get("embeddings_freq") or 0),
    }
    rhythm = parameters.get("update_freq", "epoch")
    if rhythm == "batch":
        settings["every_n_steps"] = 1
    elif isinstance(rhythm, int) and not isinstance(rhythm, bool) and rhythm > 0:
        settings["every_n_steps"] = max(1, rhythm // int(state.source.get("batch", 8)))
    elif rhythm != "epoch":
        state.refuse(f"{key}.update_freq", "must be epoch, batch or a number of images", got=rhythm)
    result.logging = settings
    state.say(key, "same", "logging")
    labels = parameters.get("embeddings_metadata")
    if isinstance(labels, Mapping):
        if len(set(labels.values())) > 1:
            state.refuse(f"{key}.embeddings_metadata", "names several files", got=dict(labels), fix="name one for all")
        labels = next(iter(labels.values()), None)
    if labels is not None and state.is_whole and not (state.home.experiment / str(labels)).is_file():
        note = f"there is no file {labels}, which TensorBoard would look for: the labels are the classes"
        state.say(f"{key}.embeddings_metadata", "lint", note=note)
        labels = None
    for name, place, value in (
        ("batch_size", "samples", parameters.get("batch_size")),
        ("embeddings_layer_names", "embedded_layers", parameters.get("embeddings_layer_names")),
        (
            "embeddings_metadata",
            "embedded_labels",
            None if labels is None else str(state.home.experiment / str(labels)),
        ),
    ):
        if value is not None:
            settings[place] = value
            note = "layers by their names in torch" if name == "embeddings_layer_names" else "of validation images"
            state.say(f"{key}.{name}", "differs", f"logging.{place}", note)
    if parameters.get("embeddings_data") is not None:
        state.say(f"{key}.embeddings_data", "ignored", note="validation images are embedded")


def _plateau(state: State, key: str, parameters: Mapping[str, Any], result: Callbacks) -> None:
    values = _plateau_values(state, key, parameters)
    if values is not None:
        result.lr_scheduler = {"_target_": path_of("lr_scheduler", "plateau"), **values}
        state.say(key, "same", "lr_scheduler", _ONE_LESS)


_ONE_LESS = "patience and cooldown are one less: torch counts from the next epoch"


def _plateau_values(state: State, key: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    watched = _watch_keys(state, key, parameters)
    if watched is None:
        return None
    if "epsilon" in parameters:
        state.say(f"{key}.epsilon", "lint", note="the old name of min_delta, whose place it takes")
    # Keras acts in the epoch that reaches `patience`, torch in the one after; likewise for the cooldown.
    return {
        "factor": float(parameters.get("factor", 0.1)),
        "patience": max(int(parameters.get("patience", 10)) - 1, 0),
        "cooldown": max(int(parameters.get("cooldown", 0)) - 1, 0),
        "threshold": float(parameters.get("epsilon", parameters.get("min_delta", 1e-4))),
        "threshold_mode": "abs",
        "min_lr": float(parameters.get("min_lr", 0)),
        **watched,
    }


def _cyclic(state: State, key: str, parameters: Mapping[str, Any], result: Callbacks) -> None:
    low, high = float(parameters.get("base_lr", 0.001)), float(parameters.get("max_lr", 0.006))
    mode = parameters.get("mode", "triangular")
    if not 0 <= low <= high or high == 0:
        state.refuse(key, "base_lr must be at most max_lr", got=[low, high])
        return
    if mode not in ("triangular", "triangular2", "exp_range"):
        state.refuse(f"{key}.mode", "must be triangular, triangular2 or exp_range", got=mode)
        return
    result.lr = high
    result.lr_scheduler = {
        "_target_": path_of("lr_scheduler", "cyclic"),
        "interval": "step",
        "min_ratio": low / high,
        "up_steps": int(parameters.get("step_size", 2000)),
        "policy": mode,
        # The other modes do not use it.
        "gamma": float(parameters.get("gamma", 1.0)) if mode == "exp_range" else 1.0,
    }
    state.say(key, "same", "lr_scheduler", "max_lr is optimizer.lr")


def _variator(state: State, key: str, parameters: Mapping[str, Any], result: Callbacks) -> None:
    values = _ramps(state, key, parameters)
    if values is not None:
        result.lr_scheduler = {"_target_": path_of("lr_scheduler", "variator"), "interval": "step", **values}
        state.say(key, "same", "lr_scheduler")


def _ramps(state: State, key: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    """Translate a ramp and the callbacks that follow it; a final plateau becomes one of the first ramp's keys."""
    values, then = _ramp(state, key, parameters), parameters.get("then")
    if values is None or then is None:
        return values
    name, inner = _nested_callback(then)
    if name == "LRVariator":
        _note_unknown_keys(state, f"{key}.then", name, inner)
        following = _ramps(state, f"{key}.then", inner)
        if following is None:
            return None
        ending = {name: following.pop(name) for name in ("plateau",) if name in following}
        return {**values, **ending, "then": following}
    if name != "ReduceLROnPlateau":
        wrong, fix = "must be an LRVariator or a ReduceLROnPlateau", _two_stages_advice("LRVariator", name)
        state.refuse(f"{key}.then", wrong, got=then, fix=fix)
        return None
    _note_unknown_keys(state, f"{key}.then", name, inner)
    lowered = _plateau_values(state, f"{key}.then", inner)
    if lowered is None:
        return None
    state.say(
        f"{key}.then",
        "differs",
        "lr_scheduler.plateau",
        f"acts when the ramp has ended, in Musket from the start on; {_ONE_LESS}",
    )
    return {**values, "plateau": lowered}


def _nested_callback(then: Any) -> tuple[str, Mapping[str, Any]]:
    """Return name and parameters of a nested callback; bare parameters are those of a ramp."""
    if not isinstance(then, Mapping):
        return str(then), {}
    if len(then) == 1 and (name := str(next(iter(then)))).lower() in _KNOWN:
        parameters = then[name]
        return _KNOWN[name.lower()], parameters if isinstance(parameters, Mapping) else {}
    return ("LRVariator" if set(then) & _KEYS["LRVariator"] else str(next(iter(then), "it"))), then


def _ramp(state: State, key: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    for parameter, other in (("absSize", "relSize"), ("periodEpochs", "periodSteps")):
        if parameters.get(parameter) is not None and parameters.get(other) is not None:
            state.refuse(key, f"has both {parameter} and {other}", fix="keep one of them")
            return None
    ramp = {
        "from_lr": parameters.get("fromVal"),
        "to_lr": parameters.get("toVal", 0.006),
        "style": parameters.get("style", "linear"),
        "steps": parameters.get("absSize"),
        "epochs": parameters.get("relSize"),
        "period_epochs": parameters.get("periodEpochs"),
        "period_steps": parameters.get("periodSteps"),
    }
    return {name: value for name, value in ramp.items() if value is not None}


_SCHEDULERS = {"ReduceLROnPlateau": _plateau, "CyclicLR": _cyclic, "LRVariator": _variator}
