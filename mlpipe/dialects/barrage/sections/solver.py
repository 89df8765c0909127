"""Section `solver`: optimizer, learning rate, batches, epochs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.barrage.sections import keras_names
from mlpipe.dialects.barrage.state import State
from mlpipe.dialects.rules import Rule, flag, maybe, number, text
from mlpipe.errors import did_you_mean, listing

_RATE = "solver.optimizer.learning_rate"
_REDUCER = "solver.learning_rate_reducer"
# Parameters of later versions of Keras, and the values without effect; none: any value.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "weight_decay": (None,), "use_ema": (False,), "loss_scale_factor": (None,), "gradient_accumulation_steps": (None, 1),
    **dict.fromkeys(("ema_momentum", "ema_overwrite_frequency", "jit_compile", "is_legacy_optimizer"), ()),
}  # fmt: skip
# Those of single optimizers: a step of Adafactor is bounded by the root of 1 / step in any case.
_NEUTRAL_OF: Mapping[str, Mapping[str, tuple[Any, ...]]] = {"Adafactor": {"relative_step": (True, False)}}
# Rules for parameters of Keras's optimizers; all others are non-negative numbers.
_PARAMETERS: dict[str, Rule] = {
    **dict.fromkeys(("amsgrad", "nesterov", "centered"), flag),
    **dict.fromkeys(keras_names.BOUNDS, maybe(number(above=0))),
    "epsilon": maybe(number(least=0)),
    "learning_rate_power": number(),
    "beta_2_decay": number(),
    "name": text,
}


def translate_solver(state: State) -> None:
    """Translate optimizer, schedule or reducer, batch size, epochs and steps."""
    solver = state.source["solver"]
    state.options["lr_scheduler"] = "none"
    decay = _optimizer(state, solver["optimizer"])
    _rate(state, solver["optimizer"]["learning_rate"], decay)
    state.same("solver.batch_size", "sampling.batch_size", int(solver["batch_size"]))
    state.same("solver.epochs", "trainer.max_epochs", int(solver["epochs"]))
    state.options["sampling"] = "full"
    if "steps" in solver:
        state.options["sampling"] = "subset"
        count = int(solver["steps"]) * int(solver["batch_size"])
        state.set("sampling.sample_count", count)
        note = "steps times batch_size samples: epochs take turns through all samples, in a new order each time"
        state.say("solver.steps", "same", "sampling.sample_count", note)
    if "learning_rate_reducer" in solver:
        _reducer(state, solver["learning_rate_reducer"])


def _optimizer(state: State, block: Mapping[str, Any]) -> Any:
    """Translate the optimizer and its parameters; return `decay`, which is a schedule."""
    key, path = "solver.optimizer.import", block["import"]
    name = keras_names.last_part(path)
    if name is None:
        state.options["optimizer"] = "import_block"
        state.set("optimizer.name", path)
        state.set("optimizer.params", dict(block.get("params") or {}))
        state.say(key, "differs", "optimizer=import_block", "a class of yours derived from torch.optim.Optimizer")
        return None
    optimizer = keras_names.either_case(name, keras_names.OPTIMIZERS)
    if optimizer is None:
        known = f"there are {listing(keras_names.OPTIMIZERS, most=len(keras_names.OPTIMIZERS))}"
        fix = did_you_mean(name, keras_names.OPTIMIZERS)
        state.refuse(key, "there is no such optimizer", got=path, fix=f"{fix} {known}".strip())
        return None
    option, own = keras_names.OPTIMIZERS[optimizer]
    state.options["optimizer"] = option
    note = "write tensorflow.keras in full, Barrage warns of tf.keras" if keras_names.is_abbreviated(path) else ""
    state.say(key, "same", f"optimizer={option}", note)
    prefix = "solver.optimizer.params"
    neutral = {**_NEUTRAL, **_NEUTRAL_OF.get(optimizer, {})}
    params = _without_neutral(state, prefix, block.get("params") or {}, neutral)
    state.unknown_keys(prefix, params, [*own, *keras_names.BOUNDS, "decay", "name"])
    for name in (*own, *keras_names.BOUNDS, "decay", "name"):
        if name in params:
            state.fits(f"{prefix}.{name}", params[name], _PARAMETERS.get(name, number(least=0)))
    for name in (*own, *keras_names.BOUNDS):
        if name in params:
            state.same(f"{prefix}.{name}", f"optimizer.{name}", params[name])
    if "name" in params:
        state.say(f"{prefix}.name", "ignored", note="nothing asks for it")
    return params.get("decay")


def _without_neutral(
    state: State, prefix: str, params: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]
) -> dict[str, Any]:
    """Return parameters without those that have no effect at their value."""
    kept = dict(params)
    for name, values in neutral.items():
        if name in kept and (not values or kept[name] in values):
            del kept[name]
            state.say(f"{prefix}.{name}", "ignored", note="says nothing more of the optimizer")
    return kept


def _rate(state: State, rate: Any, decay: Any) -> None:
    """Translate a number, a schedule, or a number with `decay`, which is a schedule, too."""
    if isinstance(rate, Mapping):
        if decay:
            state.missing("solver.optimizer.params.decay", "decay beside a schedule", "keep one of them")
        _schedule(state, rate)
        return
    state.same(_RATE, "optimizer.lr", float(rate))
    if decay is None:
        return
    if isinstance(decay, bool) or not isinstance(decay, int | float) or decay < 0:
        state.refuse("solver.optimizer.params.decay", "must be a number >= 0", got=decay)
        return
    state.options["lr_scheduler"] = "inverse_time"
    for name, value in {"interval": "step", "decay_rate": float(decay), "decay_steps": 1.0}.items():
        state.set(f"lr_scheduler.{name}", value)
    state.say("solver.optimizer.params.decay", "same", "lr_scheduler=inverse_time", "at every step")


def _schedule(state: State, block: Mapping[str, Any]) -> None:
    # A schedule of Keras has a native equivalent that starts from the same rate. One of the user's own computes the rate
    # itself: it is called at each step, and multiplies a rate of 1.
    key, path = f"{_RATE}.import", block["import"]
    name = keras_names.last_part(path)
    if name is None:
        state.options["lr_scheduler"] = "import_block"
        values = {"name": path, "interval": "step", "params": dict(block.get("params") or {})}
        for parameter, value in values.items():
            state.set(f"lr_scheduler.{parameter}", value)
        state.set("optimizer.lr", 1.0)
        state.say(_RATE, "same", "lr_scheduler=import_block", "at every step, times optimizer.lr, which is 1")
        return
    if name not in keras_names.SCHEDULES:
        known = f"there are {listing(keras_names.SCHEDULES)}"
        fix = did_you_mean(name, keras_names.SCHEDULES)
        state.refuse(key, "there is no such schedule", got=path, fix=f"{fix} {known}".strip())
        return
    params = {
        name: value
        for name, value in (block.get("params") or {}).items()
        if name != "name" and not (name == "warmup_target" and value is None)
    }
    needed, optional = keras_names.SCHEDULES[name]
    prefix, before = f"{_RATE}.params", len(state.wrong)
    state.unknown_keys(prefix, params, (*needed, *optional))
    for parameter in needed:
        if parameter not in params:
            state.refuse(f"{prefix}.{parameter}", "is needed", fix="add it")
    for parameter, value in params.items():
        _check_parameter(state, f"{prefix}.{parameter}", parameter, value)
    if len(state.wrong) > before:
        return
    if name == "PiecewiseConstantDecay" and not _is_valid_piecewise(params):
        fix = "give growing boundaries, and one value >= 0 more than boundaries, not all of them 0"
        state.refuse(prefix, "boundaries and values do not fit", got=params, fix=fix)
        return
    option, lr, values = _native_schedule(name, params)
    if lr <= 0:
        state.refuse(f"{prefix}.initial_learning_rate", "must be a number > 0", got=lr)
        return
    state.options["lr_scheduler"] = option
    state.set("optimizer.lr", lr)
    for parameter, value in values.items():
        state.set(f"lr_scheduler.{parameter}", value)
    state.say(_RATE, "same", f"lr_scheduler={option}", f"at every step; its first rate is {_first_rate(values)}")


def _first_rate(values: Mapping[str, Any]) -> str:
    """Return the initial rate of a schedule from its native keys."""
    ratio = values["ratios"][0] if "ratios" in values else values.get("first_ratio", 1.0)
    if "half_waves" in values:
        # At the first step both the linear and the cosine factor are 1.
        ratio = 1.0 + values["alpha"] + values["beta"]
    return "optimizer.lr" if ratio == 1 else f"{ratio:g} times optimizer.lr"


# Ends of the names of a schedule's parameters that cannot be 0. A rate that warms up to 0 would stay there.
_POSITIVE = ("decay_steps", "warmup_target")


def _check_parameter(state: State, key: str, name: str, value: Any) -> None:
    if name in ("staircase", "cycle"):
        if not isinstance(value, bool):
            state.refuse(key, "must be true or false", got=value)
    elif name in ("boundaries", "values"):
        if not isinstance(value, list) or not all(_is_number(entry) for entry in value):
            state.refuse(key, "must be a list of numbers", got=value)
    elif not _is_number(value) or value < 0 or (name.endswith(_POSITIVE) and value == 0):
        state.refuse(key, "must be a number " + ("> 0" if name.endswith(_POSITIVE) else ">= 0"), got=value)
    elif name == "t_mul" and value < 1:
        state.refuse(key, "must be a number >= 1", got=value)


def _is_valid_piecewise(params: Mapping[str, Any]) -> bool:
    ends, values = params["boundaries"], params["values"]
    grows = all(end < other for end, other in itertools.pairwise(ends))
    return len(values) == len(ends) + 1 and grows and min(values) >= 0 and max(values) > 0


def _native_schedule(name: str, params: Mapping[str, Any]) -> tuple[str, float, dict[str, Any]]:
    """Return the native option, the initial rate, and the option's keys."""
    if name == "PiecewiseConstantDecay":
        first = float(params["values"][0] or max(params["values"]))
        ratios = [float(value) / first for value in params["values"]]
        ends = [float(end) for end in params["boundaries"]]
        return "piecewise", first, {"interval": "step", "unit": "step", "boundaries": ends, "ratios": ratios}
    lr = float(params["initial_learning_rate"])
    if name == "LinearCosineDecay":
        linear: dict[str, Any] = {"interval": "step", "decay_steps": float(params["decay_steps"])}
        linear |= {"half_waves": 2 * float(params.get("num_periods", 0.5))}
        linear |= {"alpha": float(params.get("alpha", 0.0)), "beta": float(params.get("beta", 0.001))}
        return "linear_cosine", lr, linear
    if name.startswith("CosineDecay"):
        steps = params["decay_steps" if name == "CosineDecay" else "first_decay_steps"]
        cosine: dict[str, Any] = {"interval": "step", "decay_steps": float(steps)}
        cosine |= {"min_ratio": float(params.get("alpha", 0.0))}
        if target := float(params.get("warmup_target", 0.0)):
            # Without a target Keras warms nothing up, whatever the steps.
            warmup_steps = float(params.get("warmup_steps", 0))
            cosine |= {"warmup_steps": warmup_steps, "first_ratio": lr / target if warmup_steps else 1.0}
            return "cosine_decay", target, cosine
        if name == "CosineDecayRestarts":
            cosine |= {"period_factor": float(params.get("t_mul", 2.0)), "peak_factor": float(params.get("m_mul", 1.0))}
        return "cosine_decay", lr, cosine
    keys: dict[str, Any] = {"interval": "step", "decay_steps": float(params["decay_steps"])}
    if name == "ExponentialDecay":
        keys |= {"gamma": float(params["decay_rate"]), "staircase": params.get("staircase", False)}
        return "exponential", lr, keys
    if name == "InverseTimeDecay":
        keys |= {"decay_rate": float(params["decay_rate"]), "staircase": params.get("staircase", False)}
        return "inverse_time", lr, keys
    end = float(params.get("end_learning_rate", 1e-4))
    keys |= {"end_ratio": end / lr if lr else 0.0, "power": float(params.get("power", 1.0))}
    return "polynomial", lr, keys | {"cycle": params.get("cycle", False)}


def _reducer(state: State, block: Mapping[str, Any]) -> None:
    """Translate Keras's ReduceLROnPlateau."""
    if isinstance(state.source["solver"]["optimizer"]["learning_rate"], Mapping) or "decay" in (
        state.source["solver"]["optimizer"].get("params") or {}
    ):
        state.refuse(_REDUCER, "cannot reduce the rate of a schedule", fix="keep one of them")
        return
    known = ("monitor", "mode", "patience", "factor", "cooldown", "min_delta", "min_lr", "verbose", "epsilon")
    state.unknown_keys(_REDUCER, block, known)
    if "epsilon" in block:
        state.say(f"{_REDUCER}.epsilon", "lint", note="the old name of min_delta, whose place it takes")
    if block["factor"] >= 1:
        state.refuse(f"{_REDUCER}.factor", "must be a number < 1, as Keras wants it", got=block["factor"])
    # The reducer logs the rate before it reads the monitor.
    watched = "lr" if block["monitor"] == "lr" else monitor(state, f"{_REDUCER}.monitor", block["monitor"])
    if watched is None:
        return
    # Keras acts in the epoch that reaches `patience`, torch in the one after; likewise for the cooldown.
    values = {
        "factor": float(block["factor"]),
        "patience": max(int(block["patience"]) - 1, 0),
        "cooldown": max(int(block.get("cooldown", 0)) - 1, 0),
        "threshold": float(block.get("epsilon", block.get("min_delta", 1e-4))),
        "threshold_mode": "abs",
        "min_lr": float(block.get("min_lr", 0)),
        "watch": watched,
        "watch_direction": block["mode"],
    }
    state.options["lr_scheduler"] = "plateau"
    for name, value in values.items():
        state.set(f"lr_scheduler.{name}", value)
    note = "patience and cooldown are one less: torch counts from the next epoch"
    state.say(_REDUCER, "same", "lr_scheduler=plateau", note)


def monitor(state: State, key: str, name: str) -> str | None:
    """Return the native monitor for a Keras log name; None if there is none, which is noted."""
    if name in state.monitors:
        return state.monitors[name]
    fix = did_you_mean(name, state.monitors, otherwise=f"there are {listing(state.monitors)}")
    state.refuse(key, "nothing computes this", got=name, fix=fix)
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
