"""Sections `dataset` and `model`: records, the network, its output with loss and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpipe.dialects.barrage import keras_names
from mlpipe.dialects.barrage.work import Work
from mlpipe.errors import did_you_mean, listing

_REDUCTIONS = ("auto", "sum_over_batch_size")


def translate_dataset(work: Work) -> None:
    """Loader, transformer, augmentors, counts and seed."""
    dataset = work.source["dataset"]
    work.options["task"] = "records"
    for key in ("loader", "transformer", "augmentor"):
        work.same(f"dataset.{key}", f"task.{key}", dataset[key])
    if "sample_count" in dataset:
        work.same("dataset.sample_count", "task.sample_count", dataset["sample_count"])
    if "seed" in dataset:
        seed = int(dataset["seed"])
        work.set("task.seed", seed)
        work.set("seed", seed)
        work.say("dataset.seed", "differs", "seed", "everything random follows from it, and is the same every time")
    # Barrage looks for no records that are in both parts.
    work.set("task.allow_overlap", True)


def translate_model(work: Work) -> None:
    """The network and its output."""
    model = work.source["model"]
    work.options["arch"] = "records"
    note = "a function or class of yours returns a torch module" if not _is_sequential(model["network"]) else ""
    work.set("arch.network", model["network"])
    work.say("model.network", "differs" if note else "same", "arch.network", note)
    outputs = model["outputs"]
    if len(outputs) > 1:
        named = listing(one["name"] for one in outputs)
        fix = "train one network for each output"
        work.missing("model.outputs", f"a network with several outputs ({named})", fix)
    for number, output in enumerate(outputs):
        _output(work, f"model.outputs[{number}]", output)


def _output(work: Work, key: str, output: Mapping[str, Any]) -> None:
    work.set("task.output", output["name"])
    work.say(f"{key}.name", "same", "task.output")
    loss = _loss(work, f"{key}.loss", output["loss"])
    if loss is None:
        return
    work.kind = keras_names.kind_of(loss)
    work.set("task.kind", work.kind)
    weight = output.get("loss_weight")
    if weight not in (None, 1):
        work.missing(f"{key}.loss_weight", "a weight of the only output", "leave it out and multiply the learning rate")
    if output.get("sample_weight_mode") is not None:
        note = "weights are one number for each record" if output["sample_weight_mode"] == "temporal" else ""
        work.say(f"{key}.sample_weight_mode", "ignored", note=note or "Keras ignores it too")
    _metrics(work, f"{key}.metrics", output.get("metrics") or [])


def _loss(work: Work, key: str, block: Mapping[str, Any]) -> str | None:
    """The loss in snake case."""
    found = _named(work, key, block["import"], keras_names.LOSSES, "loss")
    params = dict(block.get("params") or {})
    if found is None:
        return None
    smoothing = found in ("categorical_crossentropy", "binary_crossentropy")
    logits = found in ("categorical_crossentropy", "binary_crossentropy", "sparse_categorical_crossentropy")
    known = ["reduction", "name"] + ["label_smoothing"] * smoothing + ["from_logits"] * logits
    known += ["delta"] * (found == "huber") + ["axis"] * (found == "cosine_similarity")
    work.unknown_keys(f"{key}.params", params, known)
    if params.get("reduction", "auto") not in _REDUCTIONS:
        work.missing(f"{key}.params.reduction", f"the reduction {params['reduction']}", "use sum_over_batch_size")
    if params.get("delta", 1) != 1:
        work.missing(f"{key}.params.delta", "a delta other than 1", "leave it out")
    if params.get("axis", -1) != -1:
        work.missing(f"{key}.params.axis", "an axis other than the last", "leave it out")
    work.options["loss"] = "keras"
    work.set("loss.name", found)
    if "label_smoothing" in params:
        work.set("loss.label_smoothing", params["label_smoothing"])
    probabilities = {"classification": "softmax", "multilabel": "sigmoid", "regression": "logits"}
    kind = keras_names.kind_of(found)
    work.set("arch.gives", "logits" if params.get("from_logits") else probabilities[kind])
    note = "" if kind == "regression" else "probabilities are stored as their logarithms"
    work.say(key, "same", "loss.name", note)
    return found


def _metrics(work: Work, key: str, blocks: list[Mapping[str, Any]]) -> None:
    """Metrics, and under which names Keras logs them; only those of the validation part are computed."""
    table = keras_names.METRICS[work.kind]
    work.monitors |= {"loss": "train/loss", "val_loss": "val/loss"}
    found = []
    for number, block in enumerate(blocks):
        where = f"{key}[{number}]"
        name = _named(work, where, block["import"], tuple(table), "metric")
        if name is None:
            continue
        params = dict(block.get("params") or {})
        plain = keras_names.last_part(block["import"]) or name
        is_class = plain[:1].isupper()
        logged = str(params.pop("name", keras_names.snake(plain) if is_class else plain))
        work.unknown_keys(f"{where}.params", params, [])
        work.monitors[f"val_{logged}"] = f"val/{table[name]}"
        found.append(table[name])
        note = "the exact area, where Keras has 200 steps" if name == "auc" else "of the validation part"
        work.say(where, "differs" if name == "auc" else "same", f"metrics.train: {table[name]}", note)
    if found:
        work.set("metrics.train", list(dict.fromkeys(found)))


def _named(work: Work, key: str, path: str, known: tuple[str, ...], what: str) -> str | None:
    """The known name that an import string means."""
    name = keras_names.last_part(path)
    if name is None:
        work.missing(f"{key}.import", f"a {what} of your own ({path})", f"use one of {listing(known, most=20)}")
        return None
    if "." in path and name.islower():
        fix = f"use the short name {name!r}"
        work.refuse(f"{key}.import", "a dotted name must be one of a class, as in Barrage", got=path, fix=fix)
        return None
    plain = keras_names.snake(name)
    if plain not in known:
        near = did_you_mean(plain, known)
        fix = f"{near} there are {listing(known, most=20)}".strip()
        work.refuse(f"{key}.import", f"there is no such {what} here", got=path, fix=fix)
        return None
    return plain


def _is_sequential(block: Mapping[str, Any]) -> bool:
    return str(block["import"]).rpartition(".")[2] == "sequential_from_config"
