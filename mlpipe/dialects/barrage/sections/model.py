"""Sections `dataset` and `model`: rows, network, and outputs with loss and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlpipe.dialects import rules
from mlpipe.dialects.barrage.sections import keras_names
from mlpipe.dialects.barrage.state import State
from mlpipe.errors import did_you_mean, listing
from mlpipe.post.measures import keras_metrics

# Reductions of Keras, and their native equivalents.
_REDUCTIONS = {
    **dict.fromkeys(("auto", "sum_over_batch_size", "mean"), "mean"), "sum": "sum",
    "mean_with_sample_weight": "weighted_mean",
}  # fmt: skip
# Metrics that depend only on the order of outputs, which is the same for logits and probabilities.
_BY_ORDER = ("categorical_accuracy", "sparse_categorical_accuracy", "top_k_categorical_accuracy",
             "sparse_top_k_categorical_accuracy")  # fmt: skip
# Kind of one of several outputs if it has logits; for a single output the task's kind determines it.
_LOGITS = {"classification": "class_logits", "multilabel": "label_logits"}
_COLUMNS = ("loss", "lr", "epoch")
# Rules for parameters of Keras's losses.
_OF_LOSSES = {
    "label_smoothing": rules.number(least=0),
    "from_logits": rules.flag,
    "delta": rules.number(above=0),
    "gamma": rules.number(least=0),
    "beta": rules.number(least=0),
    "alpha": rules.either("a number >= 0, or a list of them", rules.number(least=0), rules.many(rules.number(least=0))),
    "q": rules.number(above=0, most=1),
    "apply_class_balancing": rules.flag,
    "ignore_class": rules.maybe(rules.whole(-1)),
    "name": rules.text,
    "dtype": rules.maybe(rules.text),
    "reduction": rules.text,
}
# Parameters by loss, in addition to `reduction`, `name` and `dtype`.
_LOSS_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("dice", "cosine_similarity"), ("axis",)),
    **dict.fromkeys(("categorical_crossentropy", "binary_crossentropy"), ("label_smoothing", "from_logits", "axis")),
    "sparse_categorical_crossentropy": ("from_logits", "ignore_class", "axis"),
    "huber": ("delta",),
    "categorical_focal_crossentropy": ("label_smoothing", "from_logits", "axis", "alpha", "gamma"),
    "binary_focal_crossentropy": (
        "label_smoothing", "from_logits", "axis", "alpha", "gamma", "apply_class_balancing",
    ),
    "categorical_generalized_cross_entropy": ("q",),
    "tversky": ("axis", "alpha", "beta"),
}  # fmt: skip
# Parameters with the same names in the native loss.
_OWN = ("alpha", "beta", "gamma", "q", "apply_class_balancing", "ignore_class")


def translate_dataset(state: State) -> None:
    """Translate loader, transformer, augmentors, counts and seed."""
    dataset = state.source["dataset"]
    state.options["task"] = "records"
    for key in ("loader", "transformer", "augmentor"):
        state.same(f"dataset.{key}", f"task.{key}", dataset[key])
    _check_loader(state, dataset["loader"])
    if "sample_count" in dataset:
        state.same("dataset.sample_count", "task.sample_count", dataset["sample_count"])
    if "seed" in dataset:
        seed = int(dataset["seed"])
        state.set("task.seed", seed)
        state.set("seed", seed)
        state.say("dataset.seed", "differs", "seed", "everything random follows from it, and is the same every time")
    # Barrage does not check for rows that are in both parts.
    state.set("task.allow_overlap", True)


def _check_loader(state: State, block: Mapping[str, Any]) -> None:
    """Check the arguments of Barrage's own loader, before a record is read."""
    params, key = block.get("params") or {}, "dataset.loader.params"
    if block["import"] in ("KeySelector", "barrage.dataset.KeySelector"):
        state.unknown_keys(key, params, ("inputs", "outputs", "sample_weights"))
        for name in ("inputs", "outputs"):
            if name in params:
                state.fits(f"{key}.{name}", params[name], rules.mapping)
        if params.get("sample_weights") is not None:
            state.fits(f"{key}.sample_weights", params["sample_weights"], rules.mapping)


def translate_model(state: State) -> None:
    """Translate the network and its outputs."""
    model = state.source["model"]
    state.options["arch"] = "records"
    note = "a function or class of yours returns a torch module" if not _is_sequential(model["network"]) else ""
    state.set("arch.network", model["network"])
    state.say("model.network", "differs" if note else "same", "arch.network", note)
    if _is_sequential(model["network"]):
        state.say("model.network.params.layers", "same", "arch.layers")
    outputs = model["outputs"]
    state.monitors |= {"loss": "train/loss", "val_loss": "val/loss"}
    # Keras also logs metrics of training batches.
    state.set("metrics.while_training", True)
    parts = [
        _output(state, f"model.outputs[{number}]", output, len(outputs) > 1) for number, output in enumerate(outputs)
    ]
    if any(part is None for part in parts):
        return
    (_translate_single_output if len(outputs) == 1 else _translate_outputs)(
        state, [part for part in parts if part is not None]
    )


@dataclass(frozen=True)
class _Loss:
    """A native loss: its name, the kind that it is for, and the keys that differ from the native defaults."""

    name: str
    kind: str
    gives: str
    keys: dict[str, Any]

    @property
    def is_of_logits(self) -> bool:
        """Whether the network's outputs are logits of classes or labels."""
        return "logits" in self.gives and self.kind != "regression"


@dataclass(frozen=True)
class _Part:
    """A native output; metrics of the user's own are blocks."""

    name: str
    loss: _Loss
    weight: float
    metrics: list[Any]


def _translate_single_output(state: State, parts: list[_Part]) -> None:
    """Translate one output to a task of its kind."""
    (part,) = parts
    state.options["loss"] = "keras"
    values = {
        "task.output": part.name,
        "task.kind": part.loss.kind,
        "loss.name": part.loss.name,
        "loss.weight": part.weight,
        "arch.gives": part.loss.gives,
        **{f"loss.{key}": value for key, value in part.loss.keys.items()},
    }
    for place, value in values.items():
        state.set(place, value)
    if (
        part.loss.name in keras_names.OF_CLASS_NUMBERS
        and (units := _units(state.source["model"]["network"])) is not None
    ):
        # Class numbers do not determine the number of classes if the data lack some of them.
        state.set("task.outputs", units)
    if blocks := [metric for metric in part.metrics if isinstance(metric, Mapping)]:
        state.set("metrics.blocks", blocks)
    state.set("metrics.train", [metric["name"] if isinstance(metric, Mapping) else metric for metric in part.metrics])


def _translate_outputs(state: State, parts: list[_Part]) -> None:
    """Translate several outputs, with a loss and a head for each."""
    state.options["loss"] = "keras_outputs"
    for key in ("task.output", "arch.output"):
        state.set(key, [part.name for part in parts])
    state.set("task.kind", "regression")
    state.set("task.kinds", [part.loss.kind for part in parts])
    state.set("arch.gives", [part.loss.gives for part in parts])
    state.set("metrics.train", [])
    state.set("metrics.final", [])
    state.set(
        "loss.parts",
        [
            {
                "name": part.name,
                "loss": part.loss.name,
                "kind": part.loss.kind,
                "weight": part.weight,
                "metrics": part.metrics,
                **part.loss.keys,
            }
            for part in parts
        ],
    )
    note = "each is a head with a record of its own, whose probabilities are stored as their logarithms"
    state.say("model.outputs", "differs", "loss.parts", note)


def _output(state: State, key: str, output: Mapping[str, Any], is_one_of_several: bool) -> _Part | None:
    name = str(output["name"])
    state.say(f"{key}.name", "same", "task.output")
    if keras_names.last_part(output["loss"]["import"]) is None:
        loss: _Loss | None = _own_loss(state, f"{key}.loss", output)
    else:
        loss = _loss(state, f"{key}.loss", output["loss"])
    if loss is None:
        return None
    if is_one_of_several and loss.is_of_logits:
        loss = replace(loss, gives=_LOGITS[loss.kind])
    if output.get("sample_weight_mode") is not None:
        note = "weights are one number for each record" if output["sample_weight_mode"] == "temporal" else ""
        state.say(f"{key}.sample_weight_mode", "ignored", note=note or "Keras ignores it too")
    prefix = f"{name}_" if is_one_of_several else ""
    if is_one_of_several:
        state.monitors |= {f"{name}_loss": f"train/{name}_loss", f"val_{name}_loss": f"val/{name}_loss"}
    if "loss_weight" in output:
        state.say(f"{key}.loss_weight", "same", "loss.parts" if is_one_of_several else "loss.weight")
    metrics = _metrics(state, f"{key}.metrics", output.get("metrics") or [], loss, prefix)
    return _Part(name, loss, float(output.get("loss_weight", 1.0)), metrics)


def _own_loss(state: State, key: str, output: Mapping[str, Any]) -> _Loss:
    """Return a loss of the user's own; its kind is determined by the output's Keras metrics."""
    block = output["loss"]
    paths = [metric["import"] for metric in output.get("metrics") or []]
    kind = keras_names.kind_by_metrics(part for path in paths if (part := keras_names.last_part(path)) is not None)
    note = f"a class of yours; the output is taken for {kind}, by its metrics"
    state.say(key, "differs", "loss", note)
    params = dict(block.get("params") or {})
    return _Loss(block["import"], kind, keras_names.GIVES[kind], {"params": params} if params else {})


def _loss(state: State, key: str, block: Mapping[str, Any]) -> _Loss | None:
    """Return the native loss for a loss of Keras."""
    loss_name = _known_name(state, key, block["import"], keras_names.LOSSES, "loss")
    params = dict(block.get("params") or {})
    if loss_name is None:
        return None
    state.unknown_keys(f"{key}.params", params, ["reduction", "name", "dtype", *_LOSS_PARAMETERS.get(loss_name, ())])
    if not all(
        state.fits(f"{key}.params.{name}", params[name], rule) for name, rule in _OF_LOSSES.items() if name in params
    ):
        return None
    reduction = params.get("reduction", "auto")
    if reduction not in _REDUCTIONS:
        fix = "use sum_over_batch_size, sum or mean_with_sample_weight"
        state.missing(f"{key}.params.reduction", f"the reduction {reduction}", fix)
    if params.get("label_smoothing", 0) >= 1:
        state.refuse(f"{key}.params.label_smoothing", "must be a number < 1", got=params["label_smoothing"])
        return None
    overlaps = loss_name in ("dice", "tversky")
    if "axis" in params and params["axis"] not in ((None,) if overlaps else (-1, 1)):
        state.missing(
            f"{key}.params.axis", "an axis other than the last" if not overlaps else "an axis", "leave it out"
        )
    kind = keras_names.kind_of(loss_name)
    note = "" if kind == "regression" else "probabilities are stored as their logarithms"
    differing = []
    own = {name: params[name] for name in _OWN if name in params}
    if (way := _REDUCTIONS.get(reduction, "mean")) != "mean" and not overlaps:
        own["reduction"] = way
    if own.get("reduction") == "sum":
        own["batch_size"] = int(state.source["solver"]["batch_size"])
        differing.append("val_loss is the mean times batch_size: what Keras logs, where the last batch is full")
    if overlaps:
        differing.append("val_loss is over all records at once, where Keras has the mean over batches")
    state.say(key, "differs" if differing else "same", "loss", "; ".join(filter(None, [note, *differing])))
    gives = "logits" if params.get("from_logits") else keras_names.GIVES[kind]
    keys = {"label_smoothing": params.get("label_smoothing", 0.0), "delta": float(params.get("delta", 1.0))}
    return _Loss(loss_name, kind, gives, {**keys, **({"params": own} if own else {})})


def _metrics(state: State, key: str, blocks: list[Mapping[str, Any]], loss: _Loss, prefix: str) -> list[Any]:
    """Return native metrics, as blocks except for the plain accuracy of classes; register their Keras log names."""
    metrics: list[Any] = []
    for number, block in enumerate(blocks):
        where, path = f"{key}[{number}]", str(block["import"])
        if keras_names.last_part(path) is None:
            metrics.append(_own_metric(state, where, block, prefix))
        else:
            metrics += _keras_metric(state, where, block, loss, prefix)
    return metrics


def _keras_metric(state: State, key: str, block: Mapping[str, Any], loss: _Loss, prefix: str) -> list[Any]:
    """Return a metric of Keras under its log name, one for each threshold; empty if it is wrong, which is noted."""
    path = str(block["import"])
    if keras_names.metric(path) in keras_names.OF_ONE_VALUE:
        alone = "takes one value, so that Keras fails where it gives it outputs and targets"
        state.refuse(f"{key}.import", alone, got=path, fix="leave it out, or name a class of yours, MODULE.NAME")
        return []
    if (
        _known_name(state, key, path, tuple(keras_metrics.METRICS), "metric", "or name a class of yours, MODULE.NAME")
        is None
    ):
        return []
    metric, params = keras_names.metric(path), dict(block.get("params") or {})
    own_name = params.pop("name", None)
    if own_name is not None and not state.fits(f"{key}.params.name", own_name, rules.text):
        return []
    note = _metric_note(params, metric, loss)
    if loss.name in keras_names.OF_CLASS_NUMBERS and metric in ("io_u", "mean_io_u"):
        # Keras's metric gets class numbers, the native one one-hot targets.
        params["sparse_y_true"] = False
    several: list[Any] = params.pop("thresholds") if _has_several(metric, params) else [None]
    variants = [params if threshold is None else {**params, "thresholds": threshold} for threshold in several]
    if wrong := [sentence for variant in variants for sentence in keras_metrics.problems(key, metric, variant)]:
        state.wrong += wrong
        return []
    names = state.numbers.names(path, keras_names.logged_as(path, own_name), prefix)
    if _is_taken(state, key, names[0]):
        return []
    names_of = [names] if len(variants) == 1 else [[f"{names[0]}_{threshold:g}"] for threshold in several]
    if len(variants) > 1:
        note = "; ".join(
            [*filter(None, [note]), "a metric for each threshold, where Keras logs a list, which nothing can watch"]
        )
    metrics: list[Any] = []
    for of_one, (name, *others) in zip(variants, names_of, strict=True):
        is_plain = metric == name == "accuracy" and loss.kind == "classification"
        metrics.append(
            metric if is_plain else {"import": metric, **({"params": of_one} if of_one else {}), "name": name}
        )
        _make_watchable(state, prefix, [name, *others], name)
    place = "metrics.train" if metrics == [metric] else "metrics.blocks"
    state.say(key, "differs" if note else "same", place, note)
    return metrics


def _has_several(metric: str, params: Mapping[str, Any]) -> bool:
    """Return whether a metric has several thresholds."""
    thresholds = params.get("thresholds")
    return metric in keras_names.OF_THRESHOLDS and isinstance(thresholds, list) and len(thresholds) > 1


def _metric_note(params: dict[str, Any], metric: str, loss: _Loss) -> str:
    """Return a note on differences to Keras's metric; parameters without effect are removed from `params`."""
    params.pop("dtype", None)
    from_logits = params.pop("from_logits", False)
    if _REDUCTIONS.get(str(params.get("reduction", ""))) == "mean":
        del params["reduction"]
    if isinstance(params.get("thresholds"), list) and len(params["thresholds"]) == 1 and metric != "auc":
        params["thresholds"] = params["thresholds"][0]
    if params.get("average", "macro") is None:
        del params["average"]
    if metric in ("f1_score", "fbeta_score") and "average" not in params:
        return "the mean over outputs, where Keras has a number for each"
    are_logits = loss.is_of_logits
    if are_logits and not from_logits and metric not in _BY_ORDER:
        return "of probabilities, where Keras takes the logits for them"
    return "of probabilities, which the network gives" if from_logits and not are_logits else ""


def _own_metric(state: State, key: str, block: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return a metric of the user's own as a block, under its Keras log name: the parameter `name`, or the class name."""
    params = dict(block.get("params") or {})
    path = str(block["import"])
    names = state.numbers.names(path, keras_names.logged_as(path, params.get("name")), prefix)
    name = names[0]
    _is_taken(state, key, name)
    _make_watchable(state, prefix, names, name)
    state.say(key, "differs", "metrics.blocks", "a class of yours, called with tensors of torch")
    return {"import": block["import"], "params": params, "name": name}


def _is_taken(state: State, key: str, name: str) -> bool:
    """Return whether a metric has the name of another column of the log, and note it."""
    if name in _COLUMNS:
        state.refuse(f"{key}.params.name", "is the name of another column of the log", got=name, fix="give it another")
    return name in _COLUMNS


def _make_watchable(state: State, prefix: str, names: list[str], native: str) -> None:
    """Allow a metric to be monitored under its names, unless one is the first name of another metric."""
    for number, name in enumerate(names):
        for part, place in ((f"{prefix}{name}", "train"), (f"val_{prefix}{name}", "val")):
            if number == 0 or part not in state.monitors:
                state.monitors[part] = f"{place}/{prefix}{native}"


def _known_name(
    state: State, key: str, path: str, known: tuple[str, ...], noun: str, otherwise: str = ""
) -> str | None:
    """Return the known name for an import string."""
    name = keras_names.last_part(path) or ""
    if "." in path and (name.islower() or (noun == "loss" and name in keras_names.FUNCTIONS)):
        fix = f"use the short name {name!r}"
        state.refuse(f"{key}.import", "a dotted name must be one of a class, as in Barrage", got=path, fix=fix)
        return None
    plain = keras_names.snake(name)
    if plain not in known:
        near = did_you_mean(plain, known)
        fix = f"{near} there are {listing(known, most=50)}{otherwise and f'; {otherwise}'}".strip()
        state.refuse(f"{key}.import", f"there is no such {noun} here", got=path, fix=fix)
        return None
    return plain


def _units(block: Mapping[str, Any]) -> int | None:
    """Return the number of outputs of a list of layers, if its last Dense has a number."""
    layers = (block.get("params") or {}).get("layers") if _is_sequential(block) else None
    for layer in reversed(layers) if isinstance(layers, list) else ():
        kind = str(layer.get("import")).rpartition(".")[2] if isinstance(layer, Mapping) else ""
        if kind == "Dense":
            params = layer.get("params")
            units = params.get("units") if isinstance(params, Mapping) else None
            return units if isinstance(units, int) and not isinstance(units, bool) and units > 0 else None
        if kind not in ("Activation", "Softmax"):
            return None
    return None


def _is_sequential(block: Mapping[str, Any]) -> bool:
    return str(block["import"]).rpartition(".")[2] == "sequential_from_config"
