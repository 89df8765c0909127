"""Sections `optimizer` and `loss`: rmldnn's defaults, torch's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.rmldnn import schema
from mlpipe.dialects.rmldnn.sections.boxes import translate_box_loss
from mlpipe.dialects.rmldnn.sections.drawn import translate_wasserstein
from mlpipe.dialects.rmldnn.sections.images import translate_image_loss
from mlpipe.dialects.rmldnn.sections.masks import translate_focal_parameters, translate_mask_loss
from mlpipe.dialects.rmldnn.state import State

_ADAM = {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False}
_SGD = {"learning_rate": 0.01, "momentum": 0.0, "weight_decay": 0.0, "dampening": 0.0, "nesterov": False}
DEFAULTS: dict[str, dict[str, Any]] = {
    "SGD": _SGD,
    "Adagrad": {"learning_rate": 0.01, "lr_decay": 0.0, "weight_decay": 0.0},
    "Adam": _ADAM,
    "AdamW": _ADAM,
    "RMSprop": {
        "learning_rate": 0.01, "momentum": 0.0, "alpha": 0.99, "eps": 1e-8, "centered": False, "weight_decay": 0.0,
    },
    "LARS": {**_SGD, "eta": 1e-3},
    "LAMB": _ADAM,
    "Hessian": {
        "learning_rate": 1.0, "max_iterations": 2000, "max_func_eval": 4000, "absolute_tolerance": 1e-8,
        "relative_tolerance": 1e-8,
    },
}  # fmt: skip
_OPTIONS = {"Hessian": "lbfgs"}
# Keys of rmldnn with another native name.
_NAMES = {
    "learning_rate": "lr", "eta": "trust_coeff", "max_iterations": "max_iter", "max_func_eval": "max_eval",
    "absolute_tolerance": "tolerance", "relative_tolerance": "relative_tolerance",
}  # fmt: skip
# Native settings without a key in rmldnn that make the formulas agree.
_ALSO: dict[str, dict[str, Any]] = {
    "LARS": {"always_adapt": True},
    "LAMB": {"always_adapt": True, "max_grad_norm": None},
}
# More images than any training set has, so that one step uses all of them.
_WHOLE_SET = 2**31


def translate_optimizer(state: State) -> None:
    """Translate the optimizer and its schedule."""
    optimizer = state.section("optimizer")
    kind = schema.named(str(optimizer["type"]), DEFAULTS)
    state.options["optimizer"] = option = _OPTIONS.get(kind, kind.lower())
    state.say("optimizer.type", "same", f"optimizer={option}")
    values = DEFAULTS[kind] | {key: value for key, value in optimizer.items() if key in DEFAULTS[kind]}
    if values.get("nesterov") and (values["momentum"] <= 0 or values["dampening"] != 0):
        state.refuse("optimizer.nesterov", "needs a momentum and no dampening", fix="set momentum, or leave it out")
    if "beta1" in values:
        state.set("optimizer.betas", [values.pop("beta1"), values.pop("beta2")])
    for key, value in {**values, **_ALSO.get(kind, {})}.items():
        state.set(f"optimizer.{_NAMES.get(key, key)}", value)
    for key in optimizer:
        if key in DEFAULTS[kind]:
            place = "betas" if key in ("beta1", "beta2") else _NAMES.get(key, key)
            state.say(f"optimizer.{key}", "same", f"optimizer.{place}")
    if "weight_decay" in values:
        # torch and rmldnn decay every parameter; by default mlpipe excludes norms, biases and embeddings.
        state.set("optimizer.decay_all", True)
    if kind == "Hessian":
        _whole_batch(state)
    _schedule(state, optimizer.get("lr_scheduler"))


def _whole_batch(state: State) -> None:
    """Use the whole training set as one batch, because a line search needs the same loss for the same weights."""
    if state.random:
        fix = "leave them out, or use a first-order optimizer"
        state.refuse("optimizer.type", f"Hessian needs images that stay the same ({', '.join(state.random)})", fix=fix)
    if state.network.drops:
        fix = "leave the Dropout layers out, or use a first-order optimizer"
        state.refuse("optimizer.type", "Hessian needs a network without dropout", fix=fix)
    state.set("sampling.batch_size", _WHOLE_SET)
    note = "limited-memory BFGS (torch.optim.LBFGS) on all training samples at once; batch_size is not used"
    state.say("optimizer.type", "differs", "sampling.batch_size", note)


def _schedule(state: State, params: Mapping[str, Any] | None) -> None:
    if params is None:
        state.options["lr_scheduler"] = "none"
        return
    key = "optimizer.lr_scheduler"
    kind = schema.named(str(params["type"]), schema.SCHEDULES)
    state.options["lr_scheduler"] = option = kind.lower()
    values: dict[str, Any] = {"interval": "epoch"}
    if kind == "Warmup":
        values |= {"warmup_epochs": params["num_epochs"], "start_ratio": params["start_factor"]}
    else:
        values |= {"gamma": params.get("gamma", 0.1)}
    values |= {"step_epochs": params["step_size"]} if kind == "Step" else {}
    values |= {"milestones": params["milestones"]} if kind == "MultiStep" else {}
    for name, value in values.items():
        state.set(f"lr_scheduler.{name}", value)
    state.say(f"{key}.type", "same", f"lr_scheduler={option}")
    for name in params:
        if name not in ("type", "verbose"):
            state.say(f"{key}.{name}", "same", "lr_scheduler")
    if "verbose" in params:
        state.say(f"{key}.verbose", "ignored", note="the rate of every epoch is in the record's metrics.csv")


def translate_loss(state: State) -> None:
    """Translate the loss over class numbers or masks."""
    loss = state.section("loss")
    kind = schema.named(str(loss["function"]), schema.LOSSES)
    if state.is_generated and kind != "Burgers_pde":
        wrong = f"{kind} is no loss of generated data, which have no targets"
        state.refuse("loss.function", wrong, fix="use Burgers_pde")
        return
    if state.is_of_boxes:
        translate_box_loss(state, kind)
        return
    if state.is_of_masks:
        translate_mask_loss(state)
        return
    if state.is_of_images:
        translate_image_loss(state)
        return
    if kind in ("Dice", "Jaccard", "Lovasz"):
        wrong = f"{kind} compares maps with masks, targets are labels"
        fix = "use NLL, BCE, MSE or Focal, or target_type images with masks"
        state.refuse("loss.function", wrong, fix=fix)
    elif state.solves:
        state.refuse(
            "loss.function", f"{kind} solves an equation, for which there are no labels", fix="leave target_type out"
        )
    elif state.draws:
        translate_wasserstein(state)
    elif state.is_of_numbers:
        _number_loss(state)
    elif kind == "nll":
        _nll(state, loss)
    elif kind == "Focal":
        _focal(state, loss)
    else:
        _each_output(state, kind)
    end, source = state.network.end, loss.get("source")
    if source is not None and kind == "Focal" and str(source).lower() != end:
        fix = f"end the network in {source}, or write {end}"
        state.refuse("loss.source", f"the network ends in {end}", got=source, fix=fix)
    elif source is not None:
        state.say("loss.source", "ignored", note="the network's end says it")


def _nll(state: State, params: Mapping[str, Any]) -> None:
    if state.network.end == "log_softmax":
        state.options["loss"] = "nll"
        state.say("loss.function", "same", "loss=nll")
    else:
        state.options["loss"] = "ce"
        note = f"the network ends in {state.network.end}, and NLL wants log-probabilities: the logarithm is taken here"
        state.say("loss.function", "differs", "loss=ce", note)
        state.say("loss.function", "lint", note="end the network in log_softmax")
    if "weight" in params or "ignore_index" in params:
        weights = _class_weights(state, params)
        if weights is not None:
            state.set("loss.class_weights", weights)
            state.say("loss.weight", "same", "loss.class_weights")


def _class_weights(state: State, params: Mapping[str, Any]) -> list[float] | None:
    """Return the weight of each class; an ignored class has the weight 0, as in torch."""
    ignored, units = params.get("ignore_index"), state.network.units
    weights = [float(value) for value in params.get("weight", [])]
    if ignored is not None and not weights:
        if units is None or not 0 <= ignored < units:
            state.say("loss.ignore_index", "ignored", note="it is no class")
            return None
        weights = [1.0] * units
    if units is not None and len(weights) != units:
        fix = f"give {units} numbers"
        state.refuse("loss.weight", f"the network has {units} outputs", got=weights, fix=fix)
    if ignored is not None and 0 <= ignored < len(weights):
        weights[int(ignored)] = 0.0
        state.say("loss.ignore_index", "same", "loss.class_weights")
    elif ignored is not None:
        state.say("loss.ignore_index", "ignored", note="it is no class")
    return weights


def _focal(state: State, params: Mapping[str, Any]) -> None:
    gamma, end = float(params.get("gamma", 2.0)), state.network.end
    if end == "sigmoid" and state.network.units != 1:
        state.options["loss"] = "elementwise"
        for key, value in {"of": "focal", "outputs": "sigmoid", "gamma": gamma}.items():
            state.set(f"loss.{key}", value)
        state.say("loss.function", "same", "loss=elementwise", "every output is a class against the rest")
    elif end == "linear":
        fix = "end the network in softmax, log_softmax or sigmoid"
        state.refuse("loss.function", "Focal takes probabilities, the network ends in linear", fix=fix)
    else:
        state.options["loss"] = "focal"
        state.set("loss.gamma", gamma)
        state.say("loss.function", "same", "loss=focal", "" if "gamma" in params else "gamma is 2, as in the paper")
    translate_focal_parameters(state, params, of_classes=end != "sigmoid")


def _number_loss(state: State) -> None:
    """Translate MSE between outputs and numbers, with the coefficient of determination as the accuracy."""
    state.options["loss"] = "mse"
    state.set("metrics.train", ["r2"])
    state.say("loss.function", "same", "loss=mse", "of the network's outputs as they are")
    note = "numbers have no accuracy: in its place stands their coefficient of determination"
    state.say("loss", "differs", "metrics.train", note)


def _each_output(state: State, kind: str) -> None:
    """Translate BCE and MSE between every output and its class as 0 or 1."""
    end = state.network.end
    if kind == "bce" and end not in ("softmax", "sigmoid"):
        wrong = f"BCE takes probabilities, the network ends in {end}"
        state.refuse("loss.function", wrong, fix="end the network in sigmoid or softmax")
        return
    if state.network.units == 1:
        _one_output(state, kind)
        return
    state.options["loss"] = "elementwise"
    state.set("loss.of", "bce" if kind == "bce" else "squared_error")
    state.set("loss.outputs", end if end in ("softmax", "sigmoid") else "linear")
    state.say("loss.function", "same", "loss=elementwise", "between every output and its class as 0 or 1")


def _one_output(state: State, kind: str) -> None:
    """Translate BCE and MSE of a single sigmoid, the probability of the second of two classes."""
    if state.network.end != "sigmoid":
        wrong = f"{kind} of a single output is one of a sigmoid, the network ends in {state.network.end}"
        state.refuse("loss.function", wrong, fix="end it in sigmoid, or give it an output for each class")
    elif kind == "bce":
        state.options["loss"] = "ce"
        state.say("loss.function", "same", "loss=ce", "of a single sigmoid it is the binary cross-entropy")
    else:
        state.options["loss"] = "elementwise"
        state.set("loss.of", "squared_error")
        state.set("loss.outputs", "softmax")
        state.say("loss.function", "same", "loss=elementwise", "both classes have the error of the single output")
