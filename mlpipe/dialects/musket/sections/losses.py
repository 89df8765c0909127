"""Losses, composite losses and metrics by their Musket names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mlpipe.dialects import names
from mlpipe.dialects.musket.reading import Home
from mlpipe.dialects.musket.sections import heads, masks
from mlpipe.dialects.musket.state import State
from mlpipe.errors import did_you_mean, listing
from mlpipe.names import path_of
from mlpipe.post import metrics

_NUMBER = re.compile(r"(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
# Matches `+`, but not inside an exponent such as 1e+1.
_TERMS = re.compile(r"(?<![\d.][eE])\+")
# Keys with names of metrics.
_OF_METRICS = ("metrics", "primary_metric", "final_metrics", "experiment_result")
_PLAIN = {"classification": "ce", "multilabel": "bce", "regression": "mse"}


def component(state: State, key: str, loss: Any) -> dict[str, Any] | None:
    """Return the native loss for a name, a composite such as `binary_crossentropy+0.1*dice_loss`, or a list of these.

    Args:
        state: Collects problems.
        key: The key in the source.
        loss: The name or composite; a list with one for each head; None: the default of the activation.
    """
    if isinstance(loss, list) and len(loss) not in (1, len(state.heads)):
        fix = "give loss, classes and activation one length"
        wrong = "there is one head" if len(state.heads) == 1 else f"there are {len(state.heads)} heads"
        state.refuse(key, wrong, got=loss, fix=fix)
        return None
    if state.has_parts:
        return _head_losses(state, key, loss)
    text = loss[0] if isinstance(loss, list) else loss
    if text is None:
        return {"_target_": path_of("loss", "auto")}
    expression = _expression(state, key, str(text), state.kind)
    if expression is None:
        return None
    if state.is_of_masks:
        return masks.component(expression)
    if state.are_joined:
        # Keras sums the losses of the heads.
        return {"_target_": path_of("loss", "composite"), "expression": f"{len(state.heads)}*{expression}"}
    if any(state.is_own(term.rpartition("*")[2]) for term in expression.split("+")):
        return {"_target_": path_of("loss", "own"), "expression": expression, **state.code()}
    if expression == _PLAIN[state.kind] or (state.kind == "regression" and expression == "squared_error"):
        return {"_target_": path_of("loss", _PLAIN[state.kind])}
    return {"_target_": path_of("loss", "composite"), "expression": expression}


def _head_losses(state: State, key: str, loss: Any) -> dict[str, Any] | None:
    """Return a loss for each head; a single one applies to all."""
    texts = loss if isinstance(loss, list) else [loss]
    texts = texts * len(state.heads) if len(texts) == 1 else texts
    expressions: list[str] = []
    for text, (activation, _) in zip(texts, state.heads, strict=True):
        expression = "auto" if text is None else _expression(state, key, str(text), heads.kind_of(activation))
        if expression is None:
            return None
        expressions.append(expression)
    own = any(state.is_own(term.rpartition("*")[2]) for expression in expressions for term in expression.split("+"))
    return {
        "_target_": path_of("loss", "heads"),
        "parts": heads.parts(state, expressions),
        **(state.code() if own else {}),
    }


def _expression(state: State, key: str, text: str, kind: str) -> str | None:
    parts = [part.strip() for part in _TERMS.split(text)]
    if "" in parts:
        fix = "write terms such as 0.1*dice_loss, joined by +"
        state.refuse(key, "has an empty term", got=text, fix=fix)
        return None
    terms = [_term(state, key, part, kind) for part in parts]
    return None if None in terms else "+".join(str(term) for term in terms)


def _term(state: State, key: str, text: str, kind: str) -> str | None:
    factors = [factor.strip() for factor in text.split("*")]
    words = [factor for factor in factors if not _NUMBER.fullmatch(factor)]
    weight = 1.0
    for factor in factors:
        weight *= float(factor) if _NUMBER.fullmatch(factor) else 1.0
    if len(words) != 1 or not words[0]:
        fix = "write terms such as 0.1*dice_loss, joined by +"
        state.refuse(key, "each term needs exactly one loss", got=text, fix=fix)
        return None
    name = _native_term(state, key, words[0], kind)
    return None if name is None else name if weight == 1.0 else f"{weight:g}*{name}"


def _native_term(state: State, key: str, word: str, kind: str) -> str | None:
    if state.is_of_masks:
        return masks.native_term(state, key, word)
    if state.is_own(word):
        return word
    known = {name.lower(): term for name, term in names.LOSSES.items()}
    term = known.get(word.lower())
    if term is None:
        fix = did_you_mean(
            word, [*state.own_names(), *names.LOSSES], otherwise=f"known: {listing(names.LOSSES, most=40)}"
        )
        state.refuse(key, "unknown loss", got=word, fix=fix)
    elif term == "bce" and kind == "classification":
        note = "on softmax each class counts as a yes-or-no question of its own; categorical_crossentropy is usual"
        state.say(key, "lint", note=note)
        return "elementwise_bce"
    elif term == "ce" and kind == "multilabel" and not word.lower().startswith("sparse"):
        note = "after a sigmoid the probabilities are divided by their sum, as Keras does; softmax is usual"
        state.say(key, "lint", note=note)
        return "normalized_ce"
    elif term in ("ce", "bce") and kind != "classification" and (term == "ce" or kind == "regression"):
        fix = "use activation: softmax" if term == "ce" else "use activation: sigmoid"
        state.refuse(key, f"{word} needs probabilities of another activation than {state.activation}", fix=fix)
        return None
    return term


def metric(state: State, key: str, name: str) -> str | None:
    """Return the native name of a metric that is computed on validation images; note a problem if there is none.

    Args:
        state: Collects problems.
        key: The key in the source.
        name: Musket's name, without `val_` and `_holdout`.
    """
    if name == "loss":
        return "loss"
    if state.is_of_masks:
        return masks.metric(state, key, name)
    table = names.METRICS[state.kind]
    if (number := heads.number_of(name)) is not None and state.is_own(heads.plain(name)) and len(state.heads) > 1:
        if not 0 <= number < len(state.heads):
            state.refuse(key, f"there are {len(state.heads)} heads", got=name, fix="heads are out0, out1, ...")
            return None
        state.measure(heads.plain(name))
        return f"out{number}_{heads.plain(name)}"
    if state.is_own(name):
        state.measure(name)
        return name
    if name.lower() == "binary_accuracy" and "softmax" in {activation for activation, _ in state.heads}:
        note = (
            "on softmax binary_accuracy counts each class as an answer of its own; categorical_accuracy counts images"
        )
        if not any(line.note == note for line in state.lines):
            state.say(key, "lint", note=note)
    if state.has_parts:
        return heads.metric(state, key, name)
    native = table.get(name.lower())
    if native is None:
        known = [*state.own_names(), *table]
        fix = did_you_mean(name, known, otherwise=f"known with {state.activation}: {listing(table, most=20)}")
        state.refuse(key, "unknown metric", got=name, fix=fix)
    return native


def bare(state: State, key: str, name: str) -> str:
    """Return a metric's name without its affixes; having both is a mistake."""
    if name.startswith("val_") and name.endswith("_holdout"):
        state.refuse(key, "has both val_ and _holdout", got=name, fix="keep one of them")
    return name.removeprefix("val_").removesuffix("_holdout")


def translate_losses(state: State) -> None:
    """Translate the root's `loss`; its default depends on the activation."""
    loss = state.source.get("loss")
    native_loss = component(state, "loss", loss)
    if native_loss is None:
        return
    option = native_loss["_target_"].rpartition(".")[2]
    state.options["loss"] = option
    for name, value in native_loss.items():
        if name != "_target_":
            state.set(f"loss.{name}", value)
    if loss is None:
        state.say("loss", "same", "loss", "missing, so the usual one of the activation")
    elif option == "own":
        note = "functions of the modules are given torch's tensors: y_true and the probabilities y_pred"
        state.say("loss", "differs", "loss", note)
    elif option == "heads":
        state.say("loss", "same", "loss.parts")
    elif state.is_of_masks:
        if not any(line.key == "loss" for line in state.lines):
            state.say("loss", "same", "loss")
    elif state.kind == "regression":
        state.say("loss", "differs", "loss", "computed on targets in standard deviations of the training images")
    else:
        state.say("loss", "same", "loss")


def translate_metrics(state: State) -> None:
    """Translate `metrics`, `final_metrics`, `primary_metric`, its mode, and `experiment_result`."""
    train = _listed_metrics(state, "metrics")
    if train and not state.is_of_masks and not state.source.get("noTrain"):
        state.set("metrics.while_training", True)
    final = _listed_metrics(state, "final_metrics")
    train += [name for name in final if name in _validation_metrics(state.source.get("final_metrics"))]
    if (result := state.source.get("experiment_result")) is not None:
        name = metric(state, "experiment_result", bare(state, "experiment_result", str(result)))
        final += [name] if name else []
        state.say("experiment_result", "same", "metrics.final", "mml fit reports it")
    primary = state.source.get("primary_metric")
    key = "primary_metric"
    usual = "val_loss" if state.has_parts else "val_binary_accuracy"
    monitored = monitor(state, key, str(primary) if primary is not None else usual, given=bool(primary))
    if primary is not None and not str(primary).startswith("val_"):
        plain = str(primary).removesuffix("_holdout")
        state.say(key, "lint", "metrics.monitor", f"taken as val_{plain}: a log has no other key to choose epochs by")
    if monitored is not None:
        state.say(key, "same", state.set("metrics.monitor", monitored))
        state.set("metrics.direction", direction(state, "primary_metric_mode", monitored))
        if "primary_metric_mode" in state.source:
            state.say("primary_metric_mode", "same", "metrics.direction")
        train += [monitored.removeprefix("val/")]
    if state.has_parts:
        # Metrics of the heads are part of their losses.
        own = {
            *state.own_metrics,
            *(f"out{number}_{name}" for number in range(len(state.heads)) for name in state.own_metrics),
        }
        train, final = ([name for name in metric_names if name in own] for metric_names in (train, final))
        state.set("metrics.train", list(dict.fromkeys(train)))
        state.set("metrics.final", list(dict.fromkeys([*train, *final])))
        return
    state.set("metrics.train", [name for name in dict.fromkeys(train) if name != "loss"] or "auto")
    state.set("metrics.final", [name for name in dict.fromkeys([*train, *final]) if name != "loss"] or "auto")


def direction(state: State, key: str, monitored: str, callback_mode: Any = None) -> str:
    """Return `min` or `max` for a monitor; for `auto` the metric's own direction, with lint if Keras would have guessed another.

    Args:
        state: The state of the translation.
        key: The key of the mode; the root's value is looked up.
        monitored: The native monitor.
        callback_mode: The mode in a callback.
    """
    mode = str(callback_mode if callback_mode is not None else state.source.get(key, "auto")).lower()
    name = monitored.removeprefix("val/").removeprefix("train/")
    if name in state.own_metrics or (len(state.heads) > 1 and heads.plain(name) in state.own_metrics):
        return _direction_of_own(state, key, name, mode)
    natural = metrics.direction(heads.plain(name))
    if mode not in ("auto", "min", "max"):
        state.refuse(key, "must be auto, min or max", got=mode)
        return natural
    keras = "max" if "acc" in name else "min"
    if mode == "auto":
        if keras != natural:
            note = f"auto: {name} is better when it is larger; Keras goes by the name and would have minimised it"
            state.say(key, "lint", note=note)
        return natural
    if mode != natural:
        state.say(key, "lint", note=f"{mode} is the wrong way for {name}; it is done as the file says")
    return mode


def _direction_of_own(state: State, key: str, name: str, mode: str) -> str:
    """Return the direction of a function of the project's own: from the file, else by its name, as in Keras."""
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        state.refuse(key, "must be auto, min or max", got=mode)
    by_name = "max" if "acc" in name or name.startswith("fmeasure") else "min"
    state.say(key, "lint", note=f"auto: by the name of {name}, as Keras goes, {by_name}; say min or max")
    return by_name


def monitor(state: State, key: str, name: str, *, given: bool = True) -> str | None:
    """Return the native monitor for a log key such as `val_loss`; one that nothing computes is a problem unless lenient.

    Callbacks may monitor training images (`loss`, `binary_accuracy`); the best epoch is selected on validation images.
    """
    plain = bare(state, key, name)
    if name.endswith("_holdout") and key != "primary_metric" and not name.startswith("val_"):
        state.refuse(key, "is measured once, when all is trained", got=name, fix=f"watch val_{plain}")
        return None
    is_of_training = not name.startswith("val_") and key != "primary_metric"
    if plain == "loss" and name == "loss":
        if is_of_training:
            return "train/loss"
        state.refuse(key, "the training loss cannot be monitored", got=name, fix="use val_loss")
        return None
    native = metric(state, key, plain)
    if native == "":
        fix = "name a head's own, for example val_out0_" + plain
        state.refuse(key, "not all heads have this metric, so there is no mean of it", got=name, fix=fix)
        return None
    trained = _bare_names(state.source.get("metrics"))
    listed = [*trained, *_bare_names(state.source.get("final_metrics"))]
    if key != "primary_metric":
        # The metric that selects the epoch is computed after each one, so that it can be monitored.
        listed.append(bare(state, key, str(state.source.get("primary_metric"))))
    if native not in (None, "loss") and given and not {plain, heads.plain(plain)} & {*listed, "loss"}:
        if state.lenient:
            state.say(key, "lint", note=f"nothing computes {name}; it is computed here")
        else:
            fix = f"add {plain} to metrics (mode.lenient=true adds it)"
            # A misspelt metric may be the one that is meant.
            if not any(sentence.startswith(("metrics: ", "final_metrics: ")) for sentence in state.wrong):
                state.refuse(key, "nothing computes it", got=name, fix=fix)
            return None
    if native is not None and is_of_training and plain in trained:
        if not state.is_of_masks:
            return f"train/{native}"
        state.say(key, "differs", note=f"of masks there is val_{plain} alone, which is taken")
    return None if native is None else f"val/{native}"


def _listed_metrics(state: State, key: str) -> list[str]:
    if key not in state.source:
        return []
    natives = [metric(state, key, bare(state, key, name)) for name in _names(state.source[key])]
    state.say(key, "same", "metrics.train" if key == "metrics" else "metrics.final", "over all images, not batch means")
    return [name for name in natives if name is not None]


def _names(value: Any) -> list[str]:
    entries = value if isinstance(value, list) else [] if value is None else [value]
    return [str(next(iter(entry)) if isinstance(entry, dict) and entry else entry) for entry in entries]


def _bare_names(value: Any) -> list[str]:
    """Return names of metrics without `val_` and `_holdout`."""
    return [name.removeprefix("val_").removesuffix("_holdout") for name in _names(value)]


def _validation_metrics(section: Any) -> list[str]:
    """Return the final metrics that are also computed after every epoch."""
    entries = [entry for entry in section if isinstance(entry, dict)] if isinstance(section, list) else []
    pairs = [(str(name), options) for entry in entries for name, options in entry.items()]
    return [name for name, options in pairs if isinstance(options, dict) and options.get("for_validation") is True]


def _monitors(tree: Any) -> list[str]:
    """Return the monitors of all callbacks in a tree."""
    if isinstance(tree, list):
        return [name for item in tree for name in _monitors(item)]
    if not isinstance(tree, Mapping):
        return []
    own = [tree["monitor"]] if isinstance(tree.get("monitor"), str) else []
    return [*own, *(name for item in tree.values() for name in _monitors(item))]


def names_of(source: Mapping[str, Any], home: Home) -> dict[str, str]:
    """Return Musket's name of each native metric of an experiment, in order.

    Args:
        source: The experiment's configuration, merged with common.yaml.
        home: Its home.
    """
    state = State(source, home, lenient=True)
    table = {**(masks.metrics(state) if state.is_of_masks else names.METRICS[state.kind]), "loss": "loss"}
    musket_names: dict[str, str] = {}
    if state.has_parts:
        metric_names = [bare(state, key, name) for key in _OF_METRICS for name in _names(source.get(key))]
        metric_names += [
            bare(state, key, name) for key in ("callbacks", "stages") for name in _monitors(source.get(key))
        ]
        table, musket_names = (
            {"loss": "loss"},
            heads.names_of(state, [name for name in metric_names if not state.is_own(name)]),
        )
    for key in ("metrics", "primary_metric", "final_metrics", "experiment_result", "callbacks", "stages"):
        for name in _names(source.get(key)) if key in _OF_METRICS else _monitors(source.get(key)):
            plain = name.removeprefix("val_").removesuffix("_holdout")
            if state.is_own(plain):
                musket_names.setdefault(plain, plain)
            elif plain.lower() in table:
                musket_names.setdefault(table[plain.lower()], plain)
    return musket_names
